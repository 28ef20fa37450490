"""Representations of two live runs through the running server: reports and Prometheus."""

import math

import numpy
import pytest

from system_support import (
    Stream,
    chunks,
    report,
    run,
    tensor,
    undefined_reason,
    value,
)
from thermograd.v1 import representation_pb2 as representation

SAMPLES, WIDTH = 40, 6
LAYERS = {10: "h1", 11: "h2"}
ALL = [value for value in representation.Similarity.values() if value]


def spec(name, similarities=()):
    """A run with two layers on one probe set, between which a weight matrix stands."""
    return run.RunSpec(
        run=name,
        optimizer=run.Optimizer(kind=run.OPTIMIZER_KIND_SGD),
        parameters=[run.Parameter(id=1, name="w", shape=[WIDTH, WIDTH])],
        probe_sets=[run.ProbeSet(name="held-out", samples=SAMPLES, fingerprint=b"ids")],
        layers=[
            run.Layer(id=10, name="h1", width=WIDTH, probe_set="held-out", reader_weight_id=1),
            run.Layer(id=11, name="h2", width=WIDTH, probe_set="held-out", weight_id=1),
        ],
        reporting=run.Reporting(
            similarity=representation.SimilarityOptions(
                similarities=similarities, neighbours=4, permutations=39
            )
        ),
    )


def step(stream, number, activations, gradient=None, weight=None):
    """One step with the activations by layer id."""
    begin = run.StepBegin(step=number, learning_rate=0.1, microbatch_size=1)
    sent = []
    for layer, values in activations.items():
        sent += chunks(layer, tensor.TENSOR_KIND_ACTIVATION, values)
    if gradient is not None:
        sent += chunks(11, tensor.TENSOR_KIND_ACTIVATION_GRADIENT, gradient)
    if weight is not None:
        sent += chunks(1, tensor.TENSOR_KIND_WEIGHT, weight)
    return stream.step(begin, sent)


def normal(seed, *shape):
    return numpy.random.default_rng(seed).standard_normal(shape).astype(numpy.float32)


def test_everything_of_a_probe_set_is_reported_and_scraped(server):
    x, y = normal(1, SAMPLES, WIDTH), normal(2, SAMPLES, WIDTH)
    first, second = Stream(server), Stream(server)
    first.open(spec("first", ALL))
    second.open(spec("second", ALL))

    figures = step(first, 1, {10: x, 11: x + y})
    pair = {"layer": "h1", "other": "h2"}
    assert 0 < value(figures, "thermograd_cka_ratio", **pair) < 1
    assert value(figures, "thermograd_cka_p_value_ratio", **pair) == 1 / 40
    for name in ("cca_mean", "svcca", "pwcca", "procrustes", "rsa", "cknna", "cka_rbf"):
        assert 0 < value(figures, f"thermograd_{name}_ratio", **pair) < 1
    earlier = {"layer": "h1", "reference": "previous"}
    assert (
        undefined_reason(figures, "thermograd_earlier_step_cka_ratio", **earlier)
        == report.UNDEFINED_REASON_NO_EARLIER_STEP
    )

    figures = step(first, 2, {10: 2 * x, 11: y})
    for name in ("cka", "cka_unbiased", "cka_rbf", "mutual_neighbours", "cca_mean", "rsa"):
        figure = value(figures, f"thermograd_earlier_step_{name}_ratio", **earlier)
        assert figure == pytest.approx(1, abs=1e-6)
    assert value(figures, "thermograd_earlier_step_cka_ratio", layer="h2", reference="first") < 0.99

    figures = step(second, 1, {10: x})
    other = {"layer": "h1", "other_run": "first", "other_layer": "h1"}
    assert value(figures, "thermograd_cross_run_procrustes_ratio", **other) == pytest.approx(1)
    best = {"probe_set": "held-out", "other_run": "first"}
    assert value(figures, "thermograd_cross_run_maximum_cka_ratio", **best) == pytest.approx(1)
    assert value(figures, "thermograd_cross_run_maximum_cka_p_value_ratio", **best) == 1 / 40

    scraped = server.scrape()
    label = frozenset({("run", "second"), *other.items()})
    assert scraped["thermograd_cross_run_procrustes_ratio", label] == pytest.approx(1)
    assert all(math.isfinite(sample) for sample in scraped.values())
    assert first.close() is None
    assert second.close() is None


def test_canonical_alignments_follow_their_definition(server):
    x, gradient, weight = normal(1, SAMPLES, WIDTH), normal(2, SAMPLES, WIDTH), normal(3, WIDTH, WIDTH)
    stream = Stream(server)
    stream.open(spec("aligned"))
    figures = step(stream, 1, {10: x, 11: x @ weight.T}, gradient, weight)

    def cosine(a, b):
        return (a * b).sum() / numpy.linalg.norm(a) / numpy.linalg.norm(b)

    h = x @ weight.T
    expected = {
        ("representation_gradient", "h2", None): cosine(h.T @ h, gradient.T @ gradient),
        ("representation_weight", "h2", "forward"): cosine(h.T @ h, weight @ weight.T),
        ("gradient_weight", "h2", "forward"): cosine(gradient.T @ gradient, weight @ weight.T),
        ("representation_weight", "h1", "backward"): cosine(x.T @ x, weight.T @ weight),
    }
    for (name, layer, direction), alignment in expected.items():
        labels = {"layer": layer} | ({"direction": direction} if direction else {})
        assert value(figures, f"thermograd_alignment_{name}_ratio", **labels) == pytest.approx(
            alignment, abs=1e-5
        )
    # Without the weights there is a reason.
    figures = step(stream, 2, {11: h})
    labels = {"layer": "h2", "direction": "forward"}
    assert (
        undefined_reason(figures, "thermograd_alignment_representation_weight_ratio", **labels)
        == report.UNDEFINED_REASON_MISSING_TENSOR
    )
    assert stream.close() is None


def test_nan_is_a_reason_and_no_figure(server):
    x = normal(1, SAMPLES, WIDTH)
    x[3, 2] = numpy.nan
    stream = Stream(server)
    stream.open(spec("broken"))
    figures = step(stream, 1, {10: x})
    assert (
        undefined_reason(figures, "thermograd_effective_rank", layer="h1")
        == report.UNDEFINED_REASON_NON_FINITE_INPUT
    )
    assert stream.notices[0].kind == report.NOTICE_KIND_NON_FINITE
    assert not any("nan" in name for name, _ in server.scrape() if name.startswith("thermograd_cka"))
    assert stream.close() is None
