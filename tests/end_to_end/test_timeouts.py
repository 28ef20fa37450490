"""Silent, slow and vanished peers give back their places; whoever is merely at rest keeps its own."""

import signal
import socket
import subprocess
import sys
import threading
import time

import grpc
import pytest

import small_run
from system_support import ROOT, Server, Stream, assert_beyond, eventually, service

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


@pytest.mark.parametrize("begins", ["nothing", "a step"])
def test_what_is_begun_must_go_on(begins):
    with Server("--step_seconds=1") as server:
        with Stream(server) as silent, Stream(server) as resting:
            resting.open(small_run.declaration("resting"))
            if begins == "a step":
                silent.open(small_run.declaration("silent"))
                silent.send(begin(1))
            else:
                silent.send(b"")
                silent = Stream(server)
            assert_beyond(silent.error(), "step_seconds", 1, DEADLINE_EXCEEDED)
            # Between steps there is no hurry.
            resting.step(small_run.begin(1), small_run.gradient())
        assert server.refusals() == {"step_seconds": 1}
        assert server.rejected("deadline_exceeded") == 1


def test_a_pause_between_steps_may_be_bounded():
    with Server("--idle_seconds=1") as server, Stream(server) as idle, Stream(server) as busy:
        busy.open(small_run.declaration("busy"))
        busy.send(begin(1))
        idle.open(small_run.declaration("idle"))
        assert_beyond(idle.error(), "idle_seconds", 1, DEADLINE_EXCEEDED)
        busy.send(*small_run.gradient())
        assert server.refusals() == {"idle_seconds": 1}


def test_a_comparison_must_go_on():
    done = threading.Event()

    def requests():
        yield service.CompareRepresentationsRequest(
            header=service.ComparisonHeader(side=1, samples=4, features=4, data_type=1)
        )
        done.wait()

    with Server("--step_seconds=1") as server, server.channel() as channel:
        call = channel.stream_unary(
            "/thermograd.v1.TrainingAnalysisService/CompareRepresentations",
            request_serializer=service.CompareRepresentationsRequest.SerializeToString,
        ).future(requests(), timeout=60)
        assert_beyond(call.exception(), "step_seconds", 1, DEADLINE_EXCEEDED)
        done.set()
        eventually(lambda: server.by_limit("thermograd_limit_used")["max_comparisons"] == 0)
        assert server.refusals() == {"step_seconds": 1}


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
                assert server.by_limit("thermograd_limit_used")["max_streams"] == 2
                # Its system still answers for it.
                client.send_signal(signal.SIGSTOP)
                stopped = time.monotonic()
                eventually(lambda: server.by_limit("thermograd_limit_used")["max_streams"] == 1)
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
