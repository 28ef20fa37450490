"""One expensive stream does not hold up many cheap ones."""

import contextlib

import numpy

import small_run
from system_support import (
    Server,
    Stream,
    chunks,
    end_step,
    eventually,
    run,
    service,
    tensor,
    value,
)
from thermograd.v1 import representation_pb2 as representation

SAMPLES, WIDTH, LAYERS = 768, 512, 4
CHEAP = 8
STEPS = 5


def expensive(name):
    """Layers whose every similarity is asked for: seconds of analysis in a step."""
    return run.RunSpec(
        run=name,
        layers=[run.Layer(id=i + 1, name=f"h{i}", width=WIDTH) for i in range(LAYERS)],
        reporting=run.Reporting(
            similarity=representation.SimilarityOptions(
                similarities=[
                    number for number in representation.Similarity.values() if number != 0
                ]
            )
        ),
    )


def activations():
    values = numpy.random.default_rng(0).standard_normal((SAMPLES, WIDTH)).astype("<f4")
    for layer in range(LAYERS):
        yield from chunks(layer + 1, tensor.TENSOR_KIND_ACTIVATION, values + layer)


def cheap(name):
    """Two small matrices whose symmetry is for a worker too."""
    rescaling = run.NeuronRescaling(
        incoming=run.Member(parameter_id=1), outgoing=run.Member(parameter_id=2)
    )
    return run.RunSpec(
        run=name,
        parameters=[
            run.Parameter(id=1, name="incoming", shape=[2, 2]),
            run.Parameter(id=2, name="outgoing", shape=[2, 2]),
        ],
        symmetries=[run.Symmetry(name="hidden", neuron_rescaling=rescaling)],
    )


def gradients():
    ones = numpy.ones((2, 2), numpy.float32)
    return [
        chunk for number in (1, 2) for chunk in chunks(number, tensor.TENSOR_KIND_GRADIENT, ones)
    ]


def test_cheap_streams_go_on_while_an_expensive_step_is_analysed():
    def counter(name):
        return server.scrape()[name, frozenset()]

    with Server("--workers=1") as server, Stream(server, timeout=None) as heavy:
        heavy.open(expensive("heavy"))
        messages = list(activations())
        heavy.send(service.StreamRunRequest(step_begin=small_run.begin(1)), *messages)
        heavy.send(end_step(1))
        eventually(lambda: counter("thermograd_chunks_total") == len(messages))
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(Stream(server)) for _ in range(CHEAP)]
            for number, stream in enumerate(streams):
                stream.open(cheap(f"cheap {number}"))
            for step in range(1, STEPS + 1):
                for stream in streams:
                    figures = stream.step(small_run.begin(step), gradients())
                    assert value(figures, "thermograd_gradient_second_moment") == 8
            # The expensive step is not among them: it was still being analysed.
            assert counter("thermograd_steps_total") == CHEAP * STEPS
        assert heavy.receive("step_report").step == 1
