"""Storms of NaN, steps of nothing, numbers at the edge: counted, and no figure of anybody else."""

import math

import numpy
import pytest

import small_run
from bystander import Bystander
from system_support import Server, Stream, chunks, run, tensor, undefined_reason, value

STEPS = 200
LARGEST = numpy.finfo(numpy.float32).max


def test_a_storm_of_nan():
    """Of a run that has diverged every step and every element is NaN, or infinite."""
    values = [math.nan, math.inf, -math.inf]
    with Server() as server, Bystander(server), Stream(server) as stream:
        stream.open(small_run.declaration("diverged"))
        for step in range(1, STEPS + 1):
            gradient = numpy.full((2, 3), values[step % 3], numpy.float32)
            features = numpy.full((small_run.SAMPLES, small_run.WIDTH), math.nan, numpy.float32)
            begin = small_run.begin(step)
            begin.loss = math.nan
            figures = stream.step(
                begin, [*small_run.gradient(gradient), *small_run.activations(features)]
            )
            # Nothing that is reported is NaN: what is, is withheld with its reason.
            assert all(math.isfinite(figure.value) for figure in figures.metrics)
            assert figures.undefined
            undefined_reason(figures, "thermograd_gradient_second_moment")
        counted = {
            (dict(labels)["parameter"], dict(labels)["class"]): count
            for (name, labels), count in server.scrape().items()
            if name == "thermograd_parameter_non_finite_elements_total"
            and ("run", "diverged") in labels
        }
        of_nan = sum(math.isnan(values[step % 3]) for step in range(1, STEPS + 1))
        assert counted == {
            ("weight", "nan"): 6 * of_nan,
            ("weight", "inf"): 6 * (STEPS - of_nan),
            ("hidden", "nan"): small_run.SAMPLES * small_run.WIDTH * STEPS,
            ("hidden", "inf"): 0,
        }
        assert all(math.isfinite(sample) for sample in server.scrape().values())


def test_a_run_that_recovers():
    """After a step of NaN come figures again, those of a run that never saw it."""
    good = numpy.arange(6, dtype=numpy.float32).reshape(2, 3)
    with Server() as server, Stream(server) as stream, Stream(server) as other:
        stream.open(small_run.declaration("recovers", reporting=run.Reporting(window_steps=1)))
        other.open(small_run.declaration("sound", reporting=run.Reporting(window_steps=1)))
        stream.step(
            small_run.begin(1), small_run.gradient(numpy.full((2, 3), math.nan, numpy.float32))
        )
        other.step(small_run.begin(1), small_run.gradient(good))
        found = stream.step(small_run.begin(2), small_run.gradient(good))
        sound = other.step(small_run.begin(2), small_run.gradient(good))
        assert {(f.name, f.value) for f in found.metrics} == {
            (f.name, f.value) for f in sound.metrics
        }


def test_steps_of_nothing():
    """No microbatch, no tensor: a report that says why there are no figures."""
    with Server() as server, Bystander(server), Stream(server) as stream:
        stream.open(small_run.declaration("idle"))
        for step in range(1, STEPS + 1):
            begin = small_run.begin(step)
            begin.microbatches = 0
            figures = stream.step(begin, [])
            assert not any(figure.name.endswith("second_moment") for figure in figures.metrics)
            undefined_reason(figures, "thermograd_gradient_second_moment")
        assert stream.close() is None


def test_microbatches_that_do_not_come():
    """Of four that were announced one came: figures of four are withheld, and the step is over."""
    with Server() as server, Bystander(server), Stream(server) as stream:
        stream.open(small_run.declaration("short"))
        begin = small_run.begin(1)
        begin.microbatches = 4
        figures = stream.step(begin, small_run.gradient())
        undefined_reason(figures, "thermograd_gradient_covariance_trace")
        figures = stream.step(small_run.begin(2), small_run.gradient())
        assert value(figures, "thermograd_gradient_second_moment") == 6


@pytest.mark.parametrize("element", [LARGEST, 1e-45, -0.0, 1e38])
def test_numbers_at_the_edge(element):
    """What fp32 can hold is exact: its squares are sums of fp64."""
    gradient = numpy.full((2, 3), element, numpy.float32)
    exact = 6 * float(numpy.float32(element)) ** 2
    with Server() as server, Bystander(server), Stream(server) as stream:
        stream.open(small_run.declaration("edge"))
        figures = stream.step(small_run.begin(1), chunks(1, tensor.TENSOR_KIND_GRADIENT, gradient))
        found = value(figures, "thermograd_gradient_second_moment")
        assert found == pytest.approx(exact, rel=1e-14)
