"""What goes beyond a limit is refused by its name and counted, and harms no other stream."""

import grpc
import numpy
import pytest

import small_run
from system_support import (
    Server,
    Stream,
    report,
    run,
    service,
    tensor,
    undefined_reason,
    value,
)

RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


def refused(server):
    reason = frozenset({("reason", "resource_exhausted")})
    return server.scrape()["thermograd_rejected_total", reason]


def large(name, elements=1 << 20):
    spec = small_run.declaration(name)
    spec.parameters.append(run.Parameter(id=9, name="large", shape=[elements]))
    # Updates are kept until the step ends.
    spec.parameter_kinds.append(tensor.TENSOR_KIND_UPDATE)
    return spec


def update():
    chunk = tensor.TensorChunk(
        tensor_id=9,
        kind=tensor.TENSOR_KIND_UPDATE,
        data_type=tensor.DATA_TYPE_FP32,
        data=bytes(16),
    )
    return service.StreamRunRequest(chunk=chunk)


@pytest.mark.parametrize("limit", ["max_stream_bytes", "max_memory_bytes"])
def test_memory(limit):
    with Server(f"--{limit}={2 << 20}") as server, Stream(server) as bystander:
        bystander.open(small_run.declaration("bystander"))
        with Stream(server) as stream:
            stream.open(large("greedy"))
            stream.send(service.StreamRunRequest(step_begin=small_run.begin(1)), update())
            error = stream.error()
            assert error.code() == RESOURCE_EXHAUSTED
            assert f"{limit} = {2 << 20}" in error.details()
        figures = bystander.step(small_run.begin(1), small_run.gradient())
        assert value(figures, "thermograd_gradient_second_moment") == 6
        assert refused(server) == 1


def test_streams():
    with Server("--max_streams=1") as server, Stream(server) as first:
        first.open(small_run.declaration("first"))
        with Stream(server) as second:
            second.send(service.StreamRunRequest(run_spec=small_run.declaration("second")))
            error = second.error()
            assert error.code() == RESOURCE_EXHAUSTED and "max_streams is 1" in error.details()
        first.step(small_run.begin(1), small_run.gradient())
        assert refused(server) == 1


def test_samples():
    with Server("--max_samples=32") as server, Stream(server) as stream:
        spec = small_run.declaration("wide")
        spec.layers.append(run.Layer(id=5, name="batch", width=1))
        stream.open(spec)
        stream.send(service.StreamRunRequest(step_begin=small_run.begin(1)))
        array = numpy.zeros((33, 1), numpy.float32)
        stream.send(
            service.StreamRunRequest(
                chunk=tensor.TensorChunk(
                    tensor_id=5,
                    kind=tensor.TENSOR_KIND_ACTIVATION,
                    data_type=tensor.DATA_TYPE_FP32,
                    shape=array.shape,
                    data=array.tobytes(),
                )
            )
        )
        error = stream.error()
        assert error.code() == RESOURCE_EXHAUSTED and "max_samples" in error.details()


def test_series():
    with Server("--max_series=5") as server, Stream(server) as stream:
        stream.open(small_run.declaration("talkative"))
        figures = stream.step(small_run.begin(1), small_run.gradient())
        assert len(figures.metrics) > 5
        samples = server.scrape()
        of_run = [
            name
            for name, labels in samples
            if ("run", "talkative") in labels and name.startswith("thermograd_gradient")
        ]
        assert len(of_run) <= 5
        assert samples["thermograd_series", frozenset()] == 5
        assert samples["thermograd_series_refused", frozenset()] == len(figures.metrics) - 5


def test_ranks_of_a_run_must_meet_on_one_server():
    with Server("--rank_seconds=1") as first, Server("--rank_seconds=1") as second:
        for rank, server in enumerate((first, second)):
            with Stream(server) as stream:
                stream.open(small_run.declaration("apart", rank=rank, world_size=2))
                figures = stream.step(small_run.begin(1), small_run.gradient())
            reason = undefined_reason(
                figures, "thermograd_parameter_gradient_second_moment", parameter="weight"
            )
            assert reason == report.UNDEFINED_REASON_INCOMPLETE_SHARDS
            samples = server.scrape()
            assert samples["thermograd_incomplete_rank_steps_total", frozenset()] == 1
            reasons = frozenset({("reason", "incomplete_shards")})
            assert samples["thermograd_undefined_total", reasons] > 0
