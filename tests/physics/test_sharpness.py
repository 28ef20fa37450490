"""Experiment 9 of the metric specification: the gradient balance decides between sharp and flat."""

import numpy
import pytest

from symmetry_run import SymmetryRun
from system_support import run, value

INPUTS, WIDTH, OUTPUTS = 4, 6, 2
LEARNING_RATE = 0.02
BATCH = 4
STEPS = 20000
WATCHED = 1000
FLATTEST = (INPUTS / OUTPUTS) ** 0.25  # a of W1 = a u v', W2 = e u' / a
ISOTROPIC, SIGNAL, OTHER = (1.0, 1.0), (1.0, 0.0), (0.0, 1.0)


def train(a, noise_scale):
    """Yields step, weights and gradients of plain SGD on y = (v x, 0) with output noise."""
    random = numpy.random.default_rng(3)
    v = random.standard_normal(INPUTS)
    v /= numpy.linalg.norm(v)
    direction = random.standard_normal(WIDTH)
    direction /= numpy.linalg.norm(direction)
    first = a * numpy.outer(direction, v) + 1e-3 * random.standard_normal((WIDTH, INPUTS))
    second = numpy.zeros((OUTPUTS, WIDTH))
    second[0] = direction / a
    second += 1e-3 * random.standard_normal((OUTPUTS, WIDTH))
    inputs = random.standard_normal((STEPS, BATCH, INPUTS))
    noise = random.standard_normal((STEPS, BATCH, OUTPUTS)) * noise_scale
    for step in range(STEPS):
        x = inputs[step]
        hidden = x @ first.T
        error = hidden @ second.T - noise[step]
        error[:, 0] -= x @ v
        gradients = {
            "first": second.T @ error.T @ x / BATCH,
            "second": error.T @ hidden / BATCH,
        }
        yield step, {"first": first, "second": second}, gradients
        first = first - LEARNING_RATE * gradients["first"]
        second = second - LEARNING_RATE * gradients["second"]


def sharpness(weights):
    """Trace of the Gauss-Newton matrix at the minimum."""
    return OUTPUTS * (weights["first"] ** 2).sum() + INPUTS * (weights["second"] ** 2).sum()


# Sharpness at the start and over the last quarter, and where the charge goes: with a it grows.
@pytest.mark.parametrize(
    "name, a, noise_scale, start, lowest, highest, direction",
    [
        ("isotropic", FLATTEST, ISOTROPIC, 5.66, 5.5, 5.75, 0),
        ("signal", FLATTEST, SIGNAL, 5.66, 5.8, 6.1, 1),
        ("other", FLATTEST, OTHER, 5.66, 7.4, 7.8, -1),
        ("sharp-signal", 2 * FLATTEST, SIGNAL, 12.0, 6.0, 6.4, -1),
        ("sharp-isotropic", 2 * FLATTEST, ISOTROPIC, 12.0, 5.5, 5.8, -1),
    ],
)
def test_balance_at_the_start_predicts_the_direction(
    server, name, a, noise_scale, start, lowest, highest, direction
):
    late = []
    for step, weights, gradients in train(a, noise_scale):
        if step >= STEPS * 3 // 4:
            late.append(sharpness(weights))
        if step == 0:
            stream = SymmetryRun(
                server,
                f"sharpness-{name}",
                weights,
                lambda of: [
                    run.Symmetry(
                        name="layers",
                        layer_rescaling=run.LayerRescaling(
                            first=of.member("first"), second=of.member("second")
                        ),
                    )
                ],
                learning_rate=LEARNING_RATE,
                window_steps=WATCHED,
                report_every_steps=WATCHED - 1,
            )
            assert sharpness(weights) == pytest.approx(start, abs=0.1)
        if step < WATCHED:
            stream.send(step, gradients, weights if step == 0 else None)
        if step == WATCHED - 1:
            initial = value(stream.report(), "thermograd_symmetry_charge", symmetry="layers")
            watched = stream.report()
    assert lowest < numpy.mean(late) < highest
    with stream:
        for step in range(STEPS, STEPS + WATCHED - 1):
            is_last = step == STEPS + WATCHED - 2
            stream.send(step, gradients, weights if is_last else None)
        final = value(stream.report(), "thermograd_symmetry_charge", symmetry="layers")
    balance = value(watched, "thermograd_symmetry_gradient_balance_ratio", symmetry="layers")
    force = value(watched, "thermograd_symmetry_entropic_force", symmetry="layers")
    if direction == 0:
        assert abs(balance) < 0.05
        assert abs(final - initial) < 0.2
    else:
        assert balance * direction > 0.1
        assert force * direction > 0
        assert (final - initial) * direction > 0.2
