"""A flood of greedy streams stays below the memory ceiling, and passes."""

import threading

import grpc
import numpy
import pytest

import small_run
from system_support import Server, Stream, assert_beyond, chunks, eventually, run, service, tensor
from system_support import value

MIB = 1 << 20
STREAMS = 16
# 8 MiB in fp64, which is a part of the ceiling that cannot lie below the soft limit when it is full.
ELEMENTS = 1 << 20
CEILING = 96 * MIB
# What a stream holds besides what is accounted: a message in gRPC's hands, one in ours, and what its
# connection has read ahead.
PER_STREAM = 3 * MIB


class Flood:
    """Streams that together take more memory than there is, and keep what they get."""

    def __init__(self, server):
        self._server = server
        self.errors = []
        self.peak_bytes = 0
        self._released = threading.Event()
        self._settled = threading.Barrier(STREAMS + 1)
        self._threads = [threading.Thread(target=self._take, args=(i,)) for i in range(STREAMS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        settled = threading.Thread(target=self._settled.wait)
        settled.start()
        while settled.is_alive():
            self.peak_bytes = max(self.peak_bytes, self._server.resident_bytes())
            settled.join(0.01)
        return self

    def __exit__(self, *_):
        self._released.set()
        for thread in self._threads:
            thread.join()

    def _take(self, number):
        spec = run.RunSpec(
            run=f"greedy-{number}",
            parameters=[run.Parameter(id=1, name="large", shape=[ELEMENTS])],
            parameter_kinds=[tensor.TENSOR_KIND_UPDATE],
        )
        values = numpy.ones(ELEMENTS, numpy.float32)
        with Stream(self._server) as stream:
            stream.send(service.StreamRunRequest(run_spec=spec))
            stream.send(service.StreamRunRequest(step_begin=small_run.begin(1)))
            stream.send(*chunks(1, tensor.TENSOR_KIND_UPDATE, values))
            # An open step is not answered: who hears nothing has got what it asked for.
            reader = threading.Thread(target=self._note, args=(stream,))
            reader.start()
            reader.join(2)
            self._settled.wait()
            self._released.wait()
        reader.join()

    def _note(self, stream):
        error = stream.error()
        if error.code() != grpc.StatusCode.CANCELLED:
            self.errors.append(error)


def is_admitted(server):
    """Whether a new stream is served."""
    with Stream(server) as stream:
        stream.send(service.StreamRunRequest(run_spec=small_run.declaration("after")))
        try:
            stream.receive("run_accepted")
        except grpc.RpcError:
            return False
        stream.step(small_run.begin(1), small_run.gradient())
    return True


@pytest.mark.parametrize("limit", ["max_memory_bytes", "max_resident_bytes"])
def test_a_flood(limit):
    with Server() as idle:
        baseline = idle.resident_bytes()
    ceiling = CEILING if limit == "max_memory_bytes" else baseline + CEILING
    with Server(f"--{limit}={ceiling}", "--max_chunk_bytes=262144") as server:
        with Stream(server) as bystander:
            bystander.open(small_run.declaration("bystander"))
            before = bystander.step(small_run.begin(1), small_run.gradient())
            with Flood(server) as flood:
                during = bystander.step(small_run.begin(2), small_run.gradient())
                assert 0 < len(flood.errors) < STREAMS
                for error in flood.errors:
                    assert_beyond(error, limit, ceiling)
                assert flood.peak_bytes < baseline + CEILING + STREAMS * PER_STREAM
                # It is open steps that fill what lies between the soft limit and the hard one.
                assert not is_admitted(server)
                refused = len(flood.errors) + 1
                assert server.refusals() == {limit: refused}
                assert server.rejected("resource_exhausted") == refused
            assert [(m.name, m.value) for m in before.metrics if "gradient" in m.name] == [
                (m.name, m.value) for m in during.metrics if "gradient" in m.name
            ]
            assert value(during, "thermograd_gradient_second_moment") == 6
            eventually(lambda: is_admitted(server))
            bystander.step(small_run.begin(3), small_run.gradient())
        eventually(lambda: server.by_limit("thermograd_limit_used")["max_memory_bytes"] < MIB)
