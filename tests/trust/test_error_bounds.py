"""The bounds that the reference page states, against exact arithmetic on data made to break them.

A test for each class of errors that has a bound: magnitudes over ten decades, cancellation, means far
larger than what varies. The references are rational numbers of the elements as they were streamed.
"""

import fractions

import numpy
import pytest

from system_support import Stream, chunks, run, tensor, value

SHAPE = (40, 50)
UNIT = 2.0**-53
MICROBATCHES = 4
# E of the reference page for one step: elements in 32 lanes, and the microbatches.
SUM_ERROR = (SHAPE[0] * SHAPE[1] / 32 + 40 + MICROBATCHES) * UNIT
FIRST, SECOND = 1, 2


def magnitudes(source, shape):
    """Log-normal over some ten decades, either sign."""
    return (source.standard_normal(shape) * 10 ** source.normal(0, 2.5, shape)).astype("float32")


def cancelling(source, shape):
    """A mean a million times what varies."""
    return (1 + 1e-6 * source.standard_normal(shape)).astype("float32")


def exact(array):
    """An array of rational numbers."""
    return numpy.array([fractions.Fraction(float(x)) for x in array.ravel()]).reshape(array.shape)


def figures(server, name, gradients, weights=None, **fields):
    """The report of one step of one or two matrices."""
    shapes = [array.shape for array in (weights or gradients[:1])]
    spec = run.RunSpec(
        run=name,
        parameters=[
            run.Parameter(id=key, name=str(key), shape=shape)
            for key, shape in enumerate(shapes, start=FIRST)
        ],
        optimizer=run.Optimizer(kind=run.OPTIMIZER_KIND_SGD),
        **fields,
    )
    begin = run.StepBegin(
        step=1, loss=1, learning_rate=0.125, microbatch_size=1, microbatches=len(gradients)
    )
    requests = []
    for key, shape in enumerate(shapes, start=FIRST):
        if weights:
            requests += chunks(key, tensor.TENSOR_KIND_WEIGHT, weights[key - FIRST])
        for number, gradient in enumerate(gradients):
            requests += chunks(key, tensor.TENSOR_KIND_GRADIENT, gradient.reshape(shape), number)
    with Stream(server) as stream:
        stream.open(spec)
        return stream.step(begin, requests)


def squared_norm(array):
    return sum(x * x for x in array.ravel())


@pytest.mark.parametrize("elements", [magnitudes, cancelling])
def test_positive_sums(server, elements):
    source = numpy.random.default_rng(1)
    gradients = [elements(source, SHAPE) for _ in range(MICROBATCHES)]
    wanted = sum(squared_norm(exact(g)) for g in gradients) / MICROBATCHES
    report = figures(server, f"positive-{elements.__name__}", gradients)
    found = fractions.Fraction(value(report, "thermograd_gradient_second_moment"))
    assert abs(found - wanted) <= SUM_ERROR * wanted


@pytest.mark.parametrize("elements", [magnitudes, cancelling])
def test_differences(server, elements):
    source = numpy.random.default_rng(2)
    gradients = [elements(source, SHAPE) for _ in range(MICROBATCHES)]
    n = MICROBATCHES
    second = sum(squared_norm(exact(g)) for g in gradients) / n
    first = squared_norm(sum(exact(g) for g in gradients) / n)
    report = figures(server, f"difference-{elements.__name__}", gradients)
    for name, wanted, terms in (
        ("covariance_trace", n * (second - first) / (n - 1), n * (second + first) / (n - 1)),
        ("mean_squared_norm", (n * first - second) / (n - 1), (n * first + second) / (n - 1)),
    ):
        found = fractions.Fraction(value(report, f"thermograd_gradient_{name}"))
        assert abs(found - wanted) <= 4 * SUM_ERROR * terms, name
        assert wanted != 0


def test_charges_that_cancel(server):
    source = numpy.random.default_rng(3)
    incoming = magnitudes(source, SHAPE)
    # Nearly in balance, so that the charge is what is left of large norms.
    outgoing = incoming.T.copy()
    outgoing[numpy.unravel_index(abs(outgoing).argmax(), outgoing.shape)] *= 1 + 2**-20
    report = figures(
        server,
        "charge",
        [magnitudes(source, SHAPE)],
        [incoming, outgoing],
        symmetries=[
            run.Symmetry(
                name="neurons",
                neuron_rescaling=run.NeuronRescaling(
                    incoming=run.Member(parameter_id=FIRST),
                    outgoing=run.Member(parameter_id=SECOND),
                ),
            )
        ],
    )
    norms = squared_norm(exact(incoming)), squared_norm(exact(outgoing))
    wanted = norms[0] - norms[1]
    found = fractions.Fraction(value(report, "thermograd_symmetry_charge", symmetry="neurons"))
    assert abs(found - wanted) <= 4 * SUM_ERROR * sum(norms)
    assert abs(wanted) > 1000 * 4 * SUM_ERROR * sum(norms)
