"""Who is killed in the middle loses nothing that was acknowledged, and the rest is counted."""

import itertools
import random
import subprocess
import sys
import threading
import time

import grpc
import numpy

import http2
import small_run
from bystander import Bystander
from http2 import END_HEADERS, Connection, frame
from system_support import (
    LASTING_HOST,
    ROOT,
    Server,
    Stream,
    chunks,
    end_step,
    eventually,
    run,
    service,
    tensor,
)
from training import Training, assert_exact

MIB = 1 << 20

# Opens a step of many chunks, says so, and goes on sending it until it is killed.
CLIENT = """
import sys
sys.path[:0] = [{tests!r}, {folder!r}]
import numpy, system_support
from system_support import chunks, run, service, tensor
class Address:
    def channel(self):
        return system_support.grpc.insecure_channel({address!r})
parameters = [run.Parameter(id=1, name="w", shape=[1 << 20])]
gradient = chunks(1, tensor.TENSOR_KIND_GRADIENT, numpy.ones(1 << 20, numpy.float32))
stream = system_support.Stream(Address())
stream.open(run.RunSpec(run="killed", parameters=parameters))
print("open", flush=True)
for step in range(1, 1 << 30):
    begin = run.StepBegin(step=step, loss=1, learning_rate=1, microbatch_size=1, microbatches=1)
    stream.step(begin, gradient)
"""


def used(server, limit):
    return server.by_limit("thermograd_limit_used")[limit]


def counted(server, name):
    return server.scrape()[f"thermograd_{name}_total", frozenset()]


def test_clients_killed_while_they_send():
    source = random.Random(1)
    with Server() as server, Bystander(server):
        script = CLIENT.format(
            tests=str(ROOT / "tests"),
            folder=str(ROOT / "tests/end_to_end"),
            address=server.grpc_address,
        )
        resting = used(server, "max_memory_bytes")
        for kills in range(1, 6):
            with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as client:
                assert client.stdout.readline() == b"open\n"
                time.sleep(source.uniform(0, 0.3))
                client.kill()
            eventually(lambda: used(server, "max_streams") == 1, 5)
            assert counted(server, "incomplete_steps") <= kills
        # Its series stay for a while; its tensors do not.
        eventually(lambda: used(server, "max_memory_bytes") < resting + MIB)


def messages(*requests):
    return b"".join(http2.message(request.SerializeToString()) for request in requests)


def test_a_client_killed_in_the_middle_of_a_chunk():
    """By the byte: half of a message came, and the connection is reset."""
    spec = run.RunSpec(run="half", parameters=[run.Parameter(id=1, name="w", shape=[1 << 16])])
    declared = [
        service.StreamRunRequest(run_spec=spec),
        service.StreamRunRequest(step_begin=small_run.begin(1)),
    ]
    chunk = chunks(1, tensor.TENSOR_KIND_GRADIENT, numpy.ones(1 << 16, numpy.float32))[:1]
    whole = messages(*chunk)
    with Server() as server:
        for kills, share in enumerate((0.01, 0.3, 0.6, 0.99), start=1):
            with Connection(server.grpc_address) as connection:
                part = whole[: int(len(whole) * share)]
                connection.send(frame(http2.HEADERS, END_HEADERS, 1, http2.request_fields()))
                connection.send(frame(http2.DATA, 0, 1, messages(*declared)))
                # As much as a receiver admits before it says that it admits more.
                for start in range(0, min(len(part), 60_000), 16_000):
                    connection.send(frame(http2.DATA, 0, 1, part[start : start + 16_000]))
                begun = kills * sum(request.ByteSize() for request in declared)
                eventually(lambda begun=begun: counted(server, "received_bytes") == begun)
                connection.reset()
            eventually(lambda kills=kills: counted(server, "incomplete_steps") == kills)
            eventually(lambda: used(server, "max_streams") == 0, 5)
        # A part of a chunk is none.
        assert counted(server, "chunks") == 0
        with Bystander(server) as bystander:
            eventually(lambda: bystander.steps > 10)


def test_a_server_killed_in_the_middle_of_steps():
    """Again and again, while a training streams: it is exact, and no step is lost."""
    server = Server(f"--listen_address={LASTING_HOST}:0")
    address = server.grpc_address
    with Training(address, "--pause=0.01") as training:
        for _ in range(5):
            eventually(lambda steps=training.steps + 15: training.steps > steps)
            server.kill()
            eventually(lambda steps=training.steps + 15: training.steps > steps)
            server = Server(f"--listen_address={address}")
        eventually(lambda: counted(server, "steps") > 0)
        record = training.finish()
    stats = record["stats"]
    assert stats["dropped_steps"] == 0 and len(record["reports"]) == stats["captured_steps"]
    assert 0 < stats["reconnects"] <= 5
    assert_exact(record)
    server.close()


class Load:
    """A stream at full load, on a thread of its own."""

    def __init__(self, server, name):
        self._server = server
        self._name = name
        #: Steps of which the report, and of which the acknowledgement was read.
        self.reported = 0
        self.acknowledged = 0
        #: Why the stream ended.
        self.code = None
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def join(self):
        """Waits for the end of the stream."""
        self._thread.join()

    def _send(self):
        with Stream(self._server) as stream:
            try:
                stream.open(small_run.declaration(self._name))
                for step in itertools.count(1):
                    stream.send(
                        service.StreamRunRequest(step_begin=small_run.begin(step)),
                        *small_run.gradient(),
                        end_step(step),
                    )
                    assert stream.receive("step_report").step == step
                    self.reported = step
                    assert stream.receive("acknowledgement").step == step
                    self.acknowledged = step
            except grpc.RpcError as error:
                self.code = error.code()


STREAMS, REPETITIONS, DRAIN_SECONDS = 8, 100, 2


def test_a_server_drained_at_full_load():
    """What was analysed was acknowledged, and the server ends in time."""
    source = random.Random(2)
    for _ in range(REPETITIONS):
        server = Server(f"--drain_seconds={DRAIN_SECONDS}")
        loads = [Load(server, f"load-{number}") for number in range(STREAMS)]
        eventually(lambda all_loads=loads: all(load.acknowledged > 2 for load in all_loads))
        time.sleep(source.uniform(0, 0.1))
        server.terminate()
        begun = time.monotonic()
        assert server.wait() == 0
        assert time.monotonic() - begun < DRAIN_SECONDS + 1
        for load in loads:
            load.join()
            assert load.acknowledged == load.reported
            assert load.code == grpc.StatusCode.UNAVAILABLE
        stopped = server.events()[-1]
        assert stopped["event"] == "stopped"
        assert int(stopped["steps"]) == sum(load.acknowledged for load in loads)
