"""What no client should send ends its own stream with a reason, and disturbs no other."""

import itertools

import grpc
import numpy
import pytest

import small_run
from system_support import Stream, end_step, run, service, tensor, value

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


def declare(**fields):
    spec = small_run.declaration("broken")
    spec.MergeFrom(run.RunSpec(**fields))
    return service.StreamRunRequest(run_spec=spec)


def begin(step=1):
    return service.StreamRunRequest(step_begin=small_run.begin(step))


def chunk(**fields):
    """A chunk of the whole gradient, but for `fields`."""
    message = service.StreamRunRequest()
    message.CopyFrom(small_run.gradient()[0])
    for name, field in fields.items():
        if name == "shape":
            message.chunk.shape[:] = field
        else:
            setattr(message.chunk, name, field)
    return message


def rescaling(incoming):
    return run.Symmetry(
        name="hidden",
        neuron_rescaling=run.NeuronRescaling(
            incoming=run.Member(parameter_id=incoming), outgoing=run.Member(parameter_id=1)
        ),
    )


def empty_name():
    message = declare()
    message.run_spec.run = ""
    return message


MAX_CHUNK_BYTES = 4 * 2**20  # the server's default
HALF = numpy.ones(3, numpy.float32).tobytes()
TWICE = numpy.ones(12, numpy.float32).tobytes()

# Name: requests, status code, the field that the message must name.
BAD_INPUT = {
    "garbage": ([b"\xff" * 16], INVALID_ARGUMENT, "StreamRunRequest"),
    "nothing set": ([service.StreamRunRequest()], INVALID_ARGUMENT, "message"),
    "step before declaration": ([begin()], INVALID_ARGUMENT, "run_spec"),
    "second declaration": ([declare(), declare()], INVALID_ARGUMENT, "run_spec"),
    "run without name": ([empty_name()], INVALID_ARGUMENT, "run_spec.run"),
    "run name with control character": (
        [declare(run="two\nlines")],
        INVALID_ARGUMENT,
        "run_spec.run",
    ),
    "run name too long": ([declare(run="n" * 100_000)], RESOURCE_EXHAUSTED, "run_spec.run"),
    "run name not UTF-8": (
        [declare(run="@@").SerializeToString().replace(b"@@", b"\xc3\x28")],
        INVALID_ARGUMENT,
        "UTF-8",
    ),
    "duplicate parameter id": (
        [declare(parameters=[run.Parameter(id=1, name="other", shape=[3])])],
        INVALID_ARGUMENT,
        "id",
    ),
    "id of a parameter and a layer": (
        [declare(layers=[run.Layer(id=1, name="other", width=3)])],
        INVALID_ARGUMENT,
        "id",
    ),
    "duplicate parameter name": (
        [declare(parameters=[run.Parameter(id=9, name="weight", shape=[3])])],
        INVALID_ARGUMENT,
        "name",
    ),
    "parameter whose size overflows": (
        [declare(parameters=[run.Parameter(id=9, name="huge", shape=[2**63, 4])])],
        RESOURCE_EXHAUSTED,
        "shape",
    ),
    "layer of an undeclared probe set": (
        [declare(layers=[run.Layer(id=9, name="other", width=3, probe_set="none")])],
        INVALID_ARGUMENT,
        "probe_set",
    ),
    "symmetry of an unknown parameter": (
        [declare(symmetries=[rescaling(77)])],
        INVALID_ARGUMENT,
        "incoming",
    ),
    "symmetry of unequal widths": (
        [
            declare(
                parameters=[run.Parameter(id=9, name="other", shape=[5, 7])],
                symmetries=[rescaling(9)],
            )
        ],
        INVALID_ARGUMENT,
        "outgoing",
    ),
    "chunk before step": ([declare(), chunk()], INVALID_ARGUMENT, "chunk"),
    "unknown tensor": ([declare(), begin(), chunk(tensor_id=77)], INVALID_ARGUMENT, "chunk.tensor_id"),
    "unknown kind": ([declare(), begin(), chunk(kind=0)], INVALID_ARGUMENT, "chunk.kind"),
    "unknown data type": ([declare(), begin(), chunk(data_type=0)], INVALID_ARGUMENT, "chunk.data_type"),
    "update, which is not analysed yet": (
        [declare(), begin(), chunk(kind=tensor.TENSOR_KIND_UPDATE)],
        INVALID_ARGUMENT,
        "chunk.kind",
    ),
    "data type of a later release": (
        [declare(), begin(), chunk(data_type=99)],
        INVALID_ARGUMENT,
        "chunk.data_type",
    ),
    "gradient scope of a later release": (
        [declare(gradient_scope=99)],
        INVALID_ARGUMENT,
        "run_spec.gradient_scope",
    ),
    "data type changed within a tensor": (
        [declare(), begin(), chunk(data=HALF), chunk(offset=3, data_type=tensor.DATA_TYPE_FP64)],
        INVALID_ARGUMENT,
        "chunk.data_type",
    ),
    "part of an element": ([declare(), begin(), chunk(data=b"123")], INVALID_ARGUMENT, "chunk.data"),
    "more than the tensor holds": (
        [declare(), begin(), chunk(data=TWICE)],
        INVALID_ARGUMENT,
        "chunk.data",
    ),
    "gap between chunks": (
        [declare(), begin(), chunk(data=HALF[:8]), chunk(offset=3, data=HALF)],
        INVALID_ARGUMENT,
        "chunk.offset",
    ),
    "first chunk not at the start": (
        [declare(), begin(), chunk(offset=3, data=HALF)],
        INVALID_ARGUMENT,
        "chunk.offset",
    ),
    "offset beyond any tensor": (
        [declare(), begin(), chunk(offset=2**64 - 1, data=HALF)],
        INVALID_ARGUMENT,
        "chunk.offset",
    ),
    "other shape than declared": (
        [declare(), begin(), chunk(shape=[3, 2])],
        INVALID_ARGUMENT,
        "chunk.shape",
    ),
    "microbatch out of range": (
        [declare(), begin(), chunk(microbatch=1)],
        INVALID_ARGUMENT,
        "chunk.microbatch",
    ),
    "step within a step": ([declare(), begin(1), begin(2)], INVALID_ARGUMENT, "step"),
    "step goes backwards": (
        [declare(), begin(5), chunk(), end_step(5), begin(4)],
        INVALID_ARGUMENT,
        "step",
    ),
    "step repeated": (
        [declare(), begin(5), chunk(), end_step(5), begin(5)],
        INVALID_ARGUMENT,
        "step",
    ),
    "step already acknowledged": (
        [declare(resume_after_step=5), begin(5)],
        INVALID_ARGUMENT,
        "step",
    ),
    "end of another step": ([declare(), begin(1), chunk(), end_step(2)], INVALID_ARGUMENT, "step"),
    "end without begin": ([declare(), end_step(1)], INVALID_ARGUMENT, "step"),
    "statistics outside a step": (
        [declare(), service.StreamRunRequest(statistics=run.StepStatistics())],
        INVALID_ARGUMENT,
        "statistics",
    ),
    "chunk over the limit": (
        [
            declare(parameters=[run.Parameter(id=9, name="large", shape=[2**22])]),
            begin(),
            chunk(tensor_id=9, shape=[2**22], data=bytes(MAX_CHUNK_BYTES + 4)),
        ],
        RESOURCE_EXHAUSTED,
        "chunk.data",
    ),
    # The transport refuses it before any field is known.
    "message over the limit": (
        [declare(), begin(), chunk(data=bytes(2 * MAX_CHUNK_BYTES))],
        RESOURCE_EXHAUSTED,
        "message",
    ),
}


@pytest.fixture(scope="module", name="bystander")
def fixture_bystander(server):
    """Streams one good step, on a stream that is open all the while."""
    with Stream(server) as stream:
        stream.open(small_run.declaration("bystander"))
        steps = itertools.count(1)

        def take_step():
            step = next(steps)
            figures = stream.step(small_run.begin(step), small_run.gradient())
            assert value(figures, "thermograd_gradient_second_moment") == 6

        yield take_step
        assert stream.close() is None


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_ends_its_own_stream_only(server, bystander, case):
    requests, code, field = BAD_INPUT[case]
    with Stream(server) as stream:
        stream.send(*requests)
        error = stream.close()
        bystander()
    assert error is not None
    assert error.code() == code
    assert field in error.details()


def test_refusals_are_counted(server):
    def refused():
        reason = frozenset({("reason", "invalid_argument")})
        return server.scrape()["thermograd_rejected_total", reason]

    before = refused()
    with Stream(server) as stream:
        stream.send(begin())
        assert stream.close().code() == INVALID_ARGUMENT
    assert refused() == before + 1
