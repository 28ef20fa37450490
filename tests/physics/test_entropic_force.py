"""Section 2 of the metric specification through the running server, against numpy."""

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

DIMENSIONS = {"first": 6, "second": 4}
IDS = {name: number for number, name in enumerate(DIMENSIONS, start=1)}
LEARNING_RATE = 0.05
MICROBATCHES = 4
MICROBATCH_SIZE = 8


def spec(name, optimizer, kinds=(), window_steps=32):
    return run.RunSpec(
        run=name,
        optimizer=optimizer,
        parameters=[
            run.Parameter(id=IDS[key], name=key, shape=[size], group=key)
            for key, size in DIMENSIONS.items()
        ],
        parameter_kinds=kinds,
        reporting=run.Reporting(window_steps=window_steps),
    )


def begin(step, **fields):
    return run.StepBegin(
        step=step,
        loss=1.0,
        learning_rate=LEARNING_RATE,
        microbatch_size=MICROBATCH_SIZE,
        microbatches=MICROBATCHES,
        **fields,
    )


def microbatches(random, signal=1.5):
    """Gradients of one step: a constant and unequal noise."""
    return [
        {
            key: signal + (1 + IDS[key]) * random.standard_normal(size)
            for key, size in DIMENSIONS.items()
        }
        for _ in range(MICROBATCHES)
    ]


def requests(kind, tensors, microbatch=0):
    return [
        request
        for key, array in tensors.items()
        for request in chunks(IDS[key], kind, array, microbatch)
    ]


def gradients(parts):
    return [
        request
        for number, part in enumerate(parts)
        for request in requests(tensor.TENSOR_KIND_GRADIENT, part, number)
    ]


def mean(parts):
    return {key: sum(part[key] for part in parts) / len(parts) for key in parts[0]}


def estimates(parts, keys=tuple(DIMENSIONS)):
    """tr Sigma_b and |G|^2 of one step, by their textbook definitions."""
    stacked = numpy.array([numpy.concatenate([part[key] for key in keys]) for part in parts])
    trace = stacked.var(axis=0, ddof=1).sum()
    return trace, (stacked.mean(axis=0) ** 2).sum() - trace / len(parts)


SGD = run.Optimizer(kind=run.OPTIMIZER_KIND_SGD)


def test_groups_intervals_and_temperature(server):
    random = numpy.random.default_rng(3)
    steps = [microbatches(random) for _ in range(20)]
    with Stream(server) as stream:
        stream.open(spec("groups", SGD))
        for number, parts in enumerate(steps):
            group = run.GroupStep(group="second", learning_rate=0.5)
            figures = stream.step(begin(number, groups=[group]), gradients(parts))

    def check(prefix, keys, rates, **labels):
        pairs = numpy.array([estimates(parts, keys) for parts in steps])
        a, c = MICROBATCH_SIZE * pairs[:, 0], pairs[:, 1]
        ratio = a.sum() / c.sum()
        half_width = 1.959964 * numpy.sqrt(((a - ratio * c) ** 2).sum() / (20 * 19)) / c.mean()
        for name, expected in (
            ("gradient_noise_scale_samples", ratio),
            ("gradient_noise_scale_lower_samples", ratio - half_width),
            ("gradient_noise_scale_upper_samples", ratio + half_width),
            ("gradient_signal_to_noise", c.sum() / pairs[:, 0].sum()),
        ):
            found = value(figures, f"thermograd_{prefix}{name}", **labels)
            assert found == pytest.approx(expected, rel=1e-9), name
        heat = sum(
            rate * numpy.mean([estimates(parts, [key])[0] for parts in steps]) / MICROBATCHES
            for key, rate in zip(keys, rates)
        )
        size = sum(DIMENSIONS[key] for key in keys)
        assert value(figures, f"thermograd_{prefix}temperature", **labels) == pytest.approx(
            heat / (2 * size), rel=1e-9
        )

    check("group_", ["first"], [LEARNING_RATE], group="first")
    check("group_", ["second"], [0.5], group="second")
    check("", ["first", "second"], [LEARNING_RATE, 0.5])
    power = numpy.array(
        [numpy.mean([(p[key] ** 2).sum() for parts in steps for p in parts]) for key in DIMENSIONS]
    )
    share = power / power.sum()
    assert value(figures, "thermograd_equipartition_index_ratio") == pytest.approx(
        numpy.exp(-(share * numpy.log(share)).sum()) / 2, rel=1e-9
    )


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_has_its_own_entropy(server, nesterov):
    mu = 0.9
    parts = microbatches(numpy.random.default_rng(4))
    optimizer = run.Optimizer(
        kind=run.OPTIMIZER_KIND_MOMENTUM, momentum=mu, nesterov=nesterov
    )
    with Stream(server) as stream:
        stream.open(spec(f"momentum-{nesterov}", optimizer))
        figures = stream.step(begin(0), gradients(parts))
    trace, signal = estimates(parts)
    delay = (mu**2 if nesterov else mu) / (1 - mu)
    rate = LEARNING_RATE / (1 - mu)
    expected = 1 + rate / 4 * ((1 + 2 * delay) * signal + trace / MICROBATCHES)
    assert value(figures, "thermograd_entropic_loss") == pytest.approx(expected, rel=1e-9)


def test_adam_needs_its_preconditioner(server):
    parts = microbatches(numpy.random.default_rng(5))
    optimizer = run.Optimizer(kind=run.OPTIMIZER_KIND_ADAM, momentum=0.9, second_moment_decay=0.99)
    rates = {key: numpy.linspace(0.01, 0.1, size) for key, size in DIMENSIONS.items()}
    with Stream(server) as stream:
        stream.open(spec("adam", optimizer, [tensor.TENSOR_KIND_PRECONDITIONER], window_steps=1))
        figures = stream.step(begin(0), gradients(parts))
        reason = undefined_reason(figures, "thermograd_entropic_loss")
        assert reason == report.UNDEFINED_REASON_OPTIMIZER_NOT_COVERED
        figures = stream.step(
            begin(1), gradients(parts) + requests(tensor.TENSOR_KIND_PRECONDITIONER, rates)
        )
    form = sum((rates[key] * mean(parts)[key] ** 2).sum() for key in DIMENSIONS)
    assert value(figures, "thermograd_entropic_loss") == pytest.approx(1 + form / 4, rel=1e-12)
    assert value(figures, "thermograd_entropy_term") == pytest.approx(
        form / 4 / LEARNING_RATE, rel=1e-12
    )


def test_curvature_of_a_quadratic_along_the_update(server):
    random = numpy.random.default_rng(6)
    size = sum(DIMENSIONS.values())
    hessian = numpy.diag(random.uniform(1, 30, size))
    theta = random.standard_normal(size)
    split = list(numpy.cumsum(list(DIMENSIONS.values()))[:-1])

    def named(vector):
        return dict(zip(DIMENSIONS, numpy.split(vector, split)))

    kinds = [tensor.TENSOR_KIND_UPDATE, tensor.TENSOR_KIND_GRADIENT_AFTER_UPDATE]
    numerator = denominator = 0.0
    with Stream(server) as stream:
        stream.open(spec("quadratic", SGD, kinds))
        for number in range(5):
            gradient = hessian @ theta
            update = -LEARNING_RATE * gradient
            figures = stream.step(
                run.StepBegin(
                    step=number, learning_rate=LEARNING_RATE, microbatch_size=1, microbatches=1
                ),
                requests(tensor.TENSOR_KIND_GRADIENT, named(gradient))
                + requests(kinds[0], named(update))
                + requests(kinds[1], named(hessian @ (theta + update))),
            )
            numerator += update @ hessian @ update
            denominator += update @ update
            theta = theta + update
    curvature = numerator / denominator
    found = value(figures, "thermograd_directional_curvature")
    assert found == pytest.approx(curvature, rel=1e-9)
    assert value(figures, "thermograd_directional_stability") == pytest.approx(
        LEARNING_RATE * curvature, rel=1e-9
    )
