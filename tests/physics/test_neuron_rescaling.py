"""Experiments 1 and 6 of the metric specification: conserved charges, and a false declaration."""

import numpy
import pytest

from relu_network import (
    LEARNING_RATE,
    Network,
    by_neuron,
    declaration,
    mean_gradients,
    step_chunks,
)
from system_support import Stream, report, run, undefined_reason, value

STEPS = 200
MICROBATCH_SIZE = 4
MICROBATCHES = 2


def train(server, activation, dtype, weight_decay=0.0):
    """Trains and streams; yields the step's weights, applied gradient and report."""
    network = Network(activation, seed=1)
    with Stream(server) as stream:
        stream.open(declaration(f"{activation}-{numpy.dtype(dtype).name}-{weight_decay}"))
        for step in range(STEPS):
            losses, gradients = zip(
                *(network.gradient(MICROBATCH_SIZE) for _ in range(MICROBATCHES))
            )
            weights = network.parameters
            figures = stream.step(
                run.StepBegin(
                    step=step,
                    loss=numpy.mean(losses),
                    learning_rate=LEARNING_RATE,
                    weight_decay=weight_decay,
                    microbatch_size=MICROBATCH_SIZE,
                    microbatches=MICROBATCHES,
                ),
                step_chunks(weights, gradients, dtype),
            )
            applied = mean_gradients(gradients)
            yield weights, applied, figures
            network.update(applied, weight_decay)
        assert stream.close() is None


def charges(weights):
    """||u_j||^2 - ||w_j||^2."""
    incoming, outgoing = by_neuron(weights, lambda key: weights[key] ** 2)
    return incoming - outgoing


# The charge is of the order of 100 and drifts by 1e-3 a step, so that weights rounded to float32
# leave an error of 1e-4 of the drift in the median step, and more as the gradients shrink.
@pytest.mark.parametrize(
    "dtype, median_error, maximum_error, residual",
    [(numpy.float64, 1e-12, 1e-11, 1e-15), (numpy.float32, 1e-4, 1e-3, 1e-6)],
)
def test_charge_drifts_as_the_entropic_force_predicts(
    server, dtype, median_error, maximum_error, residual
):
    errors = []
    for step, (_, _, figures) in enumerate(train(server, "relu", dtype)):
        assert value(figures, "thermograd_symmetry_residual_ratio", symmetry="hidden") <= residual
        assert (
            value(figures, "thermograd_neuron_residual_ratio", symmetry="hidden", quantile="1")
            <= residual
        )
        if step == 0:
            reason = undefined_reason(
                figures, "thermograd_symmetry_charge_drift", symmetry="hidden"
            )
            assert reason == report.UNDEFINED_REASON_NO_EARLIER_STEP
        else:
            errors.append(
                value(figures, "thermograd_symmetry_charge_drift_error_ratio", symmetry="hidden")
            )
    assert numpy.median(errors) <= median_error
    assert max(errors) <= maximum_error


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_charge_figures_agree_with_numpy(server, weight_decay):
    before = None
    predicted = None
    for weights, applied, figures in train(server, "relu", numpy.float64, weight_decay):
        now = charges(weights)
        incoming, outgoing = by_neuron(applied, lambda key: applied[key] ** 2)

        def figure(name, of=figures):
            return value(of, name, symmetry="hidden")

        assert figure("thermograd_symmetry_charge") == pytest.approx(now.sum(), rel=1e-12)
        assert figure("thermograd_symmetry_gradient_balance_ratio") == pytest.approx(
            (incoming - outgoing).sum() / (incoming + outgoing).sum(), rel=1e-9
        )
        assert figure("thermograd_symmetry_entropic_force") == pytest.approx(
            LEARNING_RATE / 2 * (incoming - outgoing).sum(), rel=1e-9
        )
        for quantile in ("0", "0.25", "0.5", "0.75", "1"):
            assert value(
                figures, "thermograd_neuron_charge", symmetry="hidden", quantile=quantile
            ) == pytest.approx(numpy.quantile(now, float(quantile)), rel=1e-12)
        if before is not None:
            assert figure("thermograd_symmetry_charge_drift") == pytest.approx(
                (now - before).sum(), rel=1e-9, abs=1e-12
            )
            assert figure("thermograd_symmetry_charge_drift_predicted") == pytest.approx(
                predicted, rel=1e-9
            )
        shrink = LEARNING_RATE * weight_decay
        predicted = (
            LEARNING_RATE**2 * (incoming - outgoing) - shrink * (2 - shrink) * now
        ).sum()
        before = now


def test_entropic_loss_is_the_loss_and_a_quarter_of_the_squared_gradient(server):
    network = Network("relu", seed=2)
    with Stream(server) as stream:
        stream.open(declaration("entropic-loss"))
        for step in range(20):
            loss, gradients = network.gradient(8)
            figures = stream.step(
                run.StepBegin(
                    step=step,
                    loss=loss,
                    learning_rate=LEARNING_RATE,
                    microbatch_size=8,
                    microbatches=1,
                ),
                step_chunks(network.parameters, [gradients], numpy.float64),
            )
            term = sum((gradient**2).sum() for gradient in gradients.values()) / 4
            entropic_loss = loss + LEARNING_RATE * term
            assert value(figures, "thermograd_loss") == loss
            assert value(figures, "thermograd_entropy_term") == pytest.approx(term, rel=1e-12)
            assert value(figures, "thermograd_entropic_loss") == pytest.approx(
                entropic_loss, rel=1e-12
            )
            assert value(figures, "thermograd_entropic_share_ratio") == pytest.approx(
                LEARNING_RATE * term / entropic_loss, rel=1e-12
            )
            network.update(gradients)


@pytest.mark.parametrize("dtype", [numpy.float64, numpy.float32])
def test_falsely_declared_symmetry_shows_in_its_residual(server, dtype):
    medians = []
    maxima = []
    for weights, applied, figures in train(server, "tanh", dtype):
        dot = by_neuron(applied, lambda key: applied[key] * weights[key])
        gradient = by_neuron(applied, lambda key: applied[key] ** 2)
        weight = by_neuron(weights, lambda key: weights[key] ** 2)
        expected = abs(dot[0] - dot[1]) / numpy.sqrt(sum(gradient) * sum(weight))
        for quantile, found in (("0.5", medians), ("1", maxima)):
            residual = value(
                figures, "thermograd_neuron_residual_ratio", symmetry="hidden", quantile=quantile
            )
            assert residual == pytest.approx(
                numpy.quantile(expected, float(quantile)), rel=1e-3, abs=1e-6
            )
            found.append(residual)
    assert 0.05 < numpy.mean(medians) < 0.2
    assert max(maxima) > 0.3
