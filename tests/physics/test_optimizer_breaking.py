"""Charges under momentum and Adam: the streamed update splits their drift exactly."""

import numpy
import pytest

from symmetry_run import SymmetryRun
from system_support import run, undefined_reason, report, value
from test_gradient_balance import LEARNING_RATE, symmetries, train

STEPS = 50


class Sgd:
    kind = run.OPTIMIZER_KIND_SGD

    def update(self, gradient):
        return -LEARNING_RATE * gradient


class Momentum:
    kind = run.OPTIMIZER_KIND_MOMENTUM

    def __init__(self):
        self._velocity = 0

    def update(self, gradient):
        self._velocity = 0.9 * self._velocity + gradient
        return -LEARNING_RATE * self._velocity


class Adam:
    kind = run.OPTIMIZER_KIND_ADAM

    def __init__(self):
        self._mean = self._square = self._steps = 0

    def update(self, gradient):
        self._steps += 1
        self._mean = 0.9 * self._mean + 0.1 * gradient
        self._square = 0.999 * self._square + 0.001 * gradient**2
        mean = self._mean / (1 - 0.9**self._steps)
        return -LEARNING_RATE * mean / (
            numpy.sqrt(self._square / (1 - 0.999**self._steps)) + 1e-8
        )


def test_streamed_updates_predict_the_drift_of_every_optimiser(server):
    breaking = {}
    for optimizer in (Sgd, Momentum, Adam):
        states = {}
        stream = None
        # The gradients are those along SGD's path: the identity holds whatever the optimiser does
        # with them.
        for step, weights, gradients in train(STEPS, "none"):
            if stream is None:
                own = {key: array.copy() for key, array in weights.items()}
                states = {key: optimizer() for key in weights}
                stream = SymmetryRun(
                    server,
                    f"updates-{optimizer.__name__}",
                    weights,
                    symmetries,
                    learning_rate=LEARNING_RATE,
                    optimizer=optimizer.kind,
                    sends_updates=True,
                )
            updates = {key: states[key].update(gradients[key]) for key in own}
            figures = stream.step(step, gradients, own, updates)
            own = {key: own[key] + updates[key] for key in own}
            if step == 0:
                continue
            for symmetry in ("layer", "neurons", "rotation"):
                error = "thermograd_symmetry_charge_drift_error_ratio"
                assert value(figures, error, symmetry=symmetry) < 1e-9
                for norm in ("", "_norm"):
                    assert value(
                        figures,
                        f"thermograd_symmetry_charge_drift_predicted{norm}",
                        symmetry=symmetry,
                    ) == pytest.approx(
                        value(
                            figures,
                            f"thermograd_symmetry_charge_drift{norm}",
                            symmetry=symmetry,
                        ),
                        rel=1e-7,
                        abs=1e-12,
                    )
        with stream:
            pass
        breaking[optimizer] = abs(
            value(
                figures, "thermograd_symmetry_optimizer_breaking_norm", symmetry="rotation"
            )
        ) / value(figures, "thermograd_symmetry_entropic_breaking_norm", symmetry="rotation")
    assert breaking[Sgd] < 1e-9
    assert breaking[Momentum] > 0.1
    assert breaking[Adam] > 0.1


def test_without_updates_other_optimisers_are_not_covered(server):
    training = train(2, "none")
    step, weights, gradients = next(training)
    with SymmetryRun(
        server,
        "no-updates",
        weights,
        symmetries,
        learning_rate=LEARNING_RATE,
        optimizer=run.OPTIMIZER_KIND_ADAM,
    ) as stream:
        figures = stream.step(step, gradients, weights)
    for name in ("optimizer_breaking", "entropic_breaking"):
        assert (
            undefined_reason(figures, f"thermograd_symmetry_{name}", symmetry="layer")
            == report.UNDEFINED_REASON_OPTIMIZER_NOT_COVERED
        )
