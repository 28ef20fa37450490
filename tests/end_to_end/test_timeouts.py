"""Silent, slow and vanished peers give back their places; whoever is merely at rest keeps its own."""

import signal
import socket
import subprocess
import sys
import threading
import time

import grpc
import numpy

import small_run
from system_support import (
    ROOT,
    Server,
    Stream,
    assert_beyond,
    chunks,
    end_step,
    eventually,
    run,
    service,
    tensor,
)

DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED

VANISHING_CLIENT = """
import sys, time
sys.path[:0] = [{tests!r}, {folder!r}]
import small_run, system_support
class Address:
    def channel(self):
        return system_support.grpc.insecure_channel({address!r})
stream = system_support.Stream(Address())
stream.open(small_run.declaration("vanishing"))
stream.send(system_support.service.StreamRunRequest(step_begin=small_run.begin(1)))
print("open", flush=True)
time.sleep(600)
"""


def begin(step):
    return service.StreamRunRequest(step_begin=small_run.begin(step))


def places(server):
    """Open streams and comparisons."""
    used = server.by_limit("thermograd_limit_used")
    return used["max_streams"], used["max_comparisons"]


def unfinished_comparison(server):
    """The error of a comparison that only begins."""
    done = threading.Event()

    def requests():
        yield service.CompareRepresentationsRequest(
            header=service.ComparisonHeader(side=1, samples=4, features=4, data_type=1)
        )
        done.wait()

    with server.channel() as channel:
        call = channel.stream_unary(
            "/thermograd.v1.TrainingAnalysisService/CompareRepresentations",
            request_serializer=service.CompareRepresentationsRequest.SerializeToString,
        ).future(requests(), timeout=60)
        error = call.exception()
        done.set()
    return error


def test_what_is_begun_must_go_on():
    with Server("--step_seconds=1") as server, Stream(server) as resting:
        resting.open(small_run.declaration("resting"))
        with Stream(server) as nameless, Stream(server) as silent:
            silent.open(small_run.declaration("silent"))
            silent.send(begin(1))
            for stream in (nameless, silent):
                assert_beyond(stream.error(), "step_seconds", 1, DEADLINE_EXCEEDED)
        error = unfinished_comparison(server)
        assert_beyond(error, "step_seconds", 1, DEADLINE_EXCEEDED)
        # Between steps there is no hurry.
        resting.step(small_run.begin(1), small_run.gradient())
        assert server.refusals() == {"step_seconds": 3}
        assert server.rejected("deadline_exceeded") == 3
        eventually(lambda: places(server) == (1, 0))


def test_a_pause_between_steps_may_be_bounded():
    with Server("--idle_seconds=1") as server, Stream(server) as idle, Stream(server) as busy:
        busy.open(small_run.declaration("busy"))
        busy.send(begin(1))
        idle.open(small_run.declaration("idle"))
        assert_beyond(idle.error(), "idle_seconds", 1, DEADLINE_EXCEEDED)
        busy.send(*small_run.gradient())
        assert server.refusals() == {"idle_seconds": 1}


def test_a_vanished_client_is_noticed():
    with Server("--keepalive_seconds=1", "--keepalive_timeout_seconds=1") as server:
        script = VANISHING_CLIENT.format(
            tests=str(ROOT / "tests"),
            folder=str(ROOT / "tests/end_to_end"),
            address=server.grpc_address,
        )
        with (
            Stream(server) as bystander,
            subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as client,
        ):
            try:
                bystander.open(small_run.declaration("bystander"))
                assert client.stdout.readline() == b"open\n"
                assert places(server) == (2, 0)
                # Its system still answers for it.
                client.send_signal(signal.SIGSTOP)
                stopped = time.monotonic()
                eventually(lambda: places(server) == (1, 0))
                assert time.monotonic() - stopped < 1 + 1 + 2
                assert server.scrape()["thermograd_incomplete_steps_total", frozenset()] == 1
                bystander.step(small_run.begin(1), small_run.gradient())
            finally:
                client.kill()


def test_a_silent_connection_is_closed():
    with Server("--handshake_seconds=1") as server:
        host, port = server.grpc_address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            while connection.recv(4096):
                pass


def test_a_client_that_never_reads_is_served_then_cut_off():
    parameters = [run.Parameter(id=i + 1, name=f"p{i}", shape=[1]) for i in range(200)]
    one = numpy.ones(1, numpy.float32)
    gradients = [
        chunk
        for parameter in parameters
        for chunk in chunks(parameter.id, tensor.TENSOR_KIND_GRADIENT, one)
    ]
    step = 0

    def dropped():
        nonlocal step
        for _ in range(10):
            step += 1
            deaf.send(begin(step), *gradients, end_step(step))
        eventually(lambda: server.scrape()["thermograd_steps_total", frozenset()] == step)
        return server.scrape()["thermograd_responses_dropped_total", frozenset()]

    with Server("--idle_seconds=3", f"--max_queued_bytes={128 << 10}") as server:
        with Stream(server) as deaf:
            spec = run.RunSpec(run="deaf", parameters=parameters)
            deaf.send(service.StreamRunRequest(run_spec=spec))
            drops = eventually(dropped)
            assert server.refusals() == {"max_queued_bytes": drops}
            # What is queued for it, and the end of its stream, will not be read either.
            eventually(lambda: places(server) == (0, 0))
        assert server.refusals() == {"max_queued_bytes": drops, "idle_seconds": 1}
        assert server.by_limit("thermograd_limit_used")["max_memory_bytes"] < 1 << 20
