"""The bounds of counts, quotients and gradients' sums, against exact arithmetic.

Data are made to break them: magnitudes over ten decades, cancellation, means far larger than what
varies. The references are numbers of fifty digits made of the elements as they were streamed.
"""

import mpmath
import numpy
import pytest

from bounds import (
    ACTIVATION,
    GRADIENT,
    SGD,
    UNIT,
    WEIGHT,
    cancelling,
    digits,
    holds,
    magnitudes,
    parameters,
    squared_norm,
    step_of,
    within,
)
from system_support import Stream, end_step, run, service, tensor, value

SHAPE = (40, 50)
MICROBATCHES = 4
# E of the reference page for one step: elements in 32 lanes, and the microbatches.
SUM_ERROR = (SHAPE[0] * SHAPE[1] / 32 + 40 + MICROBATCHES) * UNIT
RATE = 0.1


def alike(elements):
    """Microbatches of such elements."""
    return lambda source: [elements(source, SHAPE) for _ in range(MICROBATCHES)]


def opposed(source):
    """Microbatches that take each other back, so that much of their mean is rounding of the sum."""
    there = [magnitudes(source, SHAPE).astype("float64") for _ in range(MICROBATCHES // 2)]
    return there + [-g * (1 + 1e-14 * source.standard_normal(SHAPE)) for g in there]


every_kind = pytest.mark.parametrize(
    "microbatches", [alike(magnitudes), alike(cancelling), opposed], ids=["wide", "near", "opposed"]
)


def gradient_figures(server, name, gradients, weights=(), **step):
    """The report of one step of one matrix."""
    spec = run.RunSpec(run=name, parameters=parameters(gradients[0].shape), optimizer=SGD)
    begin = run.StepBegin(
        step=1, learning_rate=RATE, microbatch_size=1, microbatches=len(gradients), **step
    )
    sent = step_of([(1, WEIGHT, weight) for weight in weights], [(1, GRADIENT, gradients)])
    with Stream(server) as stream:
        stream.open(spec)
        return stream.step(begin, sent)


@holds(
    "loss",
    "learning_rate",
    "batch_samples",
    "gradient_steps_count",
    "sampling_interval_steps",
    "sampling_parameter_elements_ratio",
    "sampling_probe_samples_ratio",
    "sampling_projection_error_ratio",
)
def test_counts_and_quotients(server):
    source = numpy.random.default_rng(1)
    steps, samples, width = 3, 12, 7
    spec = run.RunSpec(
        run="counts",
        parameters=parameters((3, 5)),
        sampling=run.Sampling(every_steps=7, model_elements=1_000_003),
        probe_sets=[run.ProbeSet(name="p", samples=samples, fingerprint=b"p", sampled_from=977)],
        layers=[run.Layer(id=9, name="h", width=width, probe_set="p", projected_from=100)],
    )
    with Stream(server) as stream:
        stream.open(spec)
        for number in range(1, steps + 1):
            begin = run.StepBegin(
                step=number * 7,
                loss=0.1 * number,
                learning_rate=0.3 / number,
                microbatch_size=33,
                microbatches=3,
            )
            gradients = [magnitudes(source, (3, 5)) for _ in range(3)]
            activations = magnitudes(source, (samples, width))
            report = stream.step(
                begin, step_of([(9, ACTIVATION, activations)], [(1, GRADIENT, gradients)])
            )
    for name, wanted in (
        ("loss", 0.1 * steps),
        ("learning_rate", 0.3 / steps),
        ("batch_samples", 99),
        ("gradient_steps_count", steps),
        ("sampling_interval_steps", 7),
    ):
        assert value(report, f"thermograd_{name}") == wanted
    for name, wanted, labels in (
        ("parameter_elements_ratio", mpmath.mpf(15) / 1_000_003, {}),
        ("probe_samples_ratio", mpmath.mpf(samples) / 977, {"probe_set": "p"}),
        ("projection_error_ratio", mpmath.sqrt(mpmath.mpf(2) / width), {"layer": "h"}),
    ):
        found = value(report, f"thermograd_sampling_{name}", **labels)
        within(name, found, wanted, 4 * UNIT * wanted)


def test_what_projections_scatter_by():
    source = numpy.random.default_rng(2)
    width, trials = 7, 20_000
    squares = (source.standard_normal((trials, width)) ** 2).mean(axis=1)
    # The standard error of this standard deviation: kurtosis 3 + 12 / k.
    scatter = numpy.sqrt((2 + 12 / width) / 4 / trials)
    assert squares.std() / numpy.sqrt(2 / width) == pytest.approx(1, abs=5 * scatter)


@holds("gradient_second_moment")
@every_kind
def test_positive_sums(server, microbatches):
    source = numpy.random.default_rng(1)
    gradients = microbatches(source)
    wanted = sum(squared_norm(digits(g)) for g in gradients) / MICROBATCHES
    report = gradient_figures(server, "positive", gradients)
    found = value(report, "thermograd_gradient_second_moment")
    within("second moment", found, wanted, SUM_ERROR * wanted)


@holds(
    "gradient_covariance_trace",
    "gradient_mean_squared_norm",
    "temperature",
    "entropy_term",
    "entropy_signal_term",
    "entropy_noise_term",
    "entropic_loss",
    "entropic_share_ratio",
)
@every_kind
def test_differences(server, microbatches):
    source = numpy.random.default_rng(2)
    gradients = microbatches(source)
    weight = magnitudes(source, SHAPE)
    n, decay, rate = MICROBATCHES, mpmath.mpf(0.01), mpmath.mpf(RATE)
    exact = [digits(g) for g in gradients]
    second = sum(squared_norm(g) for g in exact) / n
    first = squared_norm(sum(exact) / n)
    trace, trace_terms = n * (second - first) / (n - 1), 2 * n * second / (n - 1)
    signal, signal_terms = (n * first - second) / (n - 1), (n + 1) * second / (n - 1)
    decayed = decay / 2 * squared_norm(digits(weight))
    # Loss and decay cancel but for a millionth.
    loss = -float(decayed) * (1 - 1e-6)
    report = gradient_figures(
        server,
        "difference",
        gradients,
        [weight],
        loss=loss,
        weight_decay=float(decay),
    )
    free, free_terms = (
        loss + decayed + rate * first / 4,
        abs(loss) + decayed + rate * second / 4,
    )
    for name, wanted, terms in (
        ("gradient_covariance_trace", trace, trace_terms),
        ("gradient_mean_squared_norm", signal, signal_terms),
        ("temperature", *(rate * x / n / 2 / weight.size for x in (trace, trace_terms))),
        ("entropy_term", first / 4, second / 4),
        ("entropy_signal_term", signal / 4, signal_terms / 4),
        ("entropy_noise_term", trace / n / 4, trace_terms / n / 4),
        ("entropic_loss", free, free_terms),
    ):
        found = value(report, f"thermograd_{name}")
        within(name, found, wanted, 4 * SUM_ERROR * terms)
        assert wanted != 0
    # A quotient of such differences: what its parts' errors come to.
    share = rate * first / 4 / free
    error = 4 * SUM_ERROR * (rate * second / 4 + abs(share) * free_terms) / abs(free)
    within("share", value(report, "thermograd_entropic_share_ratio"), share, error * 1.01)


@holds("equipartition_index_ratio")
def test_shares_of_groups(server):
    source = numpy.random.default_rng(3)
    groups = 9
    gradients = [magnitudes(source, SHAPE) for _ in range(groups)]
    spec = run.RunSpec(
        run="shares",
        parameters=parameters(*[SHAPE] * groups, groups=[f"g{i}" for i in range(groups)]),
    )
    begin = run.StepBegin(step=1, learning_rate=RATE, microbatch_size=1, microbatches=1)
    with Stream(server) as stream:
        stream.open(spec)
        report = stream.step(
            begin, step_of([(i, GRADIENT, g) for i, g in enumerate(gradients, start=1)])
        )
    powers = [squared_norm(digits(g)) for g in gradients]
    shares = [power / sum(powers) for power in powers]
    wanted = mpmath.exp(-sum(p * mpmath.log(p) for p in shares)) / groups
    error = (SHAPE[0] * SHAPE[1] / 32 + 40 + groups) * UNIT
    found = value(report, "thermograd_equipartition_index_ratio")
    within("equipartition", found, wanted, 3 * error * (1 + mpmath.log(groups)) * wanted)


@holds("directional_curvature")
def test_curvatures_that_cancel(server):
    source = numpy.random.default_rng(4)
    before, update = magnitudes(source, SHAPE), magnitudes(source, SHAPE)
    # A gradient that the update hardly changes.
    after = (before * (1 + 1e-6 * source.standard_normal(SHAPE))).astype("float32")
    spec = run.RunSpec(
        run="curvature",
        parameters=parameters(SHAPE),
        optimizer=SGD,
        parameter_kinds=[tensor.TENSOR_KIND_UPDATE, tensor.TENSOR_KIND_GRADIENT_AFTER_UPDATE],
    )
    begin = run.StepBegin(step=1, learning_rate=RATE, microbatch_size=1, microbatches=1)
    sent = step_of(
        [
            (1, GRADIENT, before),
            (1, tensor.TENSOR_KIND_UPDATE, update),
            (1, tensor.TENSOR_KIND_GRADIENT_AFTER_UPDATE, after),
        ]
    )
    with Stream(server) as stream:
        stream.open(spec)
        report = stream.step(begin, sent)
    b, a, d = digits(before), digits(after), digits(update)
    square = squared_norm(d)
    wanted = ((a - b) * d).sum() / square
    terms = (abs(a * d)).sum() + (abs(b * d)).sum()
    error = (before.size / 32 + 40 + 3) * UNIT
    bound = (4 * error * terms / square + error * abs(wanted)) * 1.01
    within("curvature", value(report, "thermograd_directional_curvature"), wanted, bound)


@holds("gradient_noise_scale_lower_samples", "gradient_noise_scale_upper_samples")
def test_interval_covers_the_noise_scale(server):
    """Four hundred windows at once: groups of one parameter each, of known noise scale."""
    source = numpy.random.default_rng(5)
    windows, steps, size = 400, 32, 16
    signal = 0.5 * numpy.ones(size)
    spec = run.RunSpec(
        run="coverage",
        parameters=parameters(*[(size,)] * windows, groups=[f"g{i}" for i in range(windows)]),
        reporting=run.Reporting(window_steps=steps, report_every_steps=steps - 1),
    )
    true = size / squared_norm(signal)
    with Stream(server) as stream:
        stream.open(spec)
        for number in range(1, steps + 1):
            noise = source.standard_normal((windows, MICROBATCHES, size))
            begin = run.StepBegin(
                step=number, learning_rate=RATE, microbatch_size=1, microbatches=MICROBATCHES
            )
            sent = step_of(
                [], [(i + 1, GRADIENT, list(signal + noise[i])) for i in range(windows)]
            )
            opened = service.StreamRunRequest(step_begin=begin)
            stream.send(opened, *sent, end_step(number))
        stream.receive("step_report")  # of the first step
        report = stream.receive("step_report")
    figures = {
        (figure.name, label.value): figure.value
        for figure in report.metrics
        for label in figure.labels
    }
    covered = 0
    for i in range(windows):
        lower, upper = (
            figures[f"thermograd_group_gradient_noise_scale_{end}_samples", f"g{i}"]
            for end in ("lower", "upper")
        )
        covered += lower <= true <= upper
    print(f"covered {covered / windows:.3f}")
    # Four binomial standard errors about 0.94.
    assert 0.89 <= covered / windows <= 0.99
