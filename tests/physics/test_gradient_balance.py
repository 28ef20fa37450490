"""Experiments 2, 3 and 4 of the metric specification: what SGD balances, with and without decay."""

import numpy
import pytest

from symmetry_run import SymmetryRun
from system_support import Server, run, value

INPUTS, HIDDEN, OUTPUTS = 10, 16, 5
LEARNING_RATE = 0.02
BATCH = 8
BLOCK = 1000


def train(steps, activation, weight_decay=0.0):
    """Yields step, weights and gradients of plain SGD on a linear teacher with noisy labels."""
    random = numpy.random.default_rng(1)
    teacher = random.standard_normal((OUTPUTS, INPUTS))
    u = random.standard_normal((HIDDEN, INPUTS))
    w = 0.1 * random.standard_normal((OUTPUTS, HIDDEN))
    b = numpy.zeros(HIDDEN)
    for step in range(steps):
        if step % BLOCK == 0:
            inputs = random.standard_normal((BLOCK, BATCH, INPUTS))
            noise = random.standard_normal((BLOCK, BATCH, OUTPUTS))
        x = inputs[step % BLOCK]
        z = x @ u.T + b
        hidden = numpy.maximum(z, 0) if activation == "relu" else z
        error = hidden @ w.T - x @ teacher.T - noise[step % BLOCK]
        back = error @ w
        if activation == "relu":
            back *= z > 0
        gradients = {
            "incoming": back.T @ x / BATCH,
            "bias": back.mean(axis=0),
            "outgoing": error.T @ hidden / BATCH,
        }
        yield step, {"incoming": u, "bias": b, "outgoing": w}, gradients
        shrink = 1 - LEARNING_RATE * weight_decay
        u = shrink * u - LEARNING_RATE * gradients["incoming"]
        b = shrink * b - LEARNING_RATE * gradients["bias"]
        w = shrink * w - LEARNING_RATE * gradients["outgoing"]


def symmetries(of):
    """The hidden layer's scaling, and its rotation, which is one only without an activation."""
    first, bias, second = (of.member(name) for name in ("incoming", "bias", "outgoing"))
    return [
        run.Symmetry(
            name="layer",
            layer_rescaling=run.LayerRescaling(first=first, first_bias=bias, second=second),
        ),
        run.Symmetry(
            name="neurons",
            neuron_rescaling=run.NeuronRescaling(
                incoming=first, incoming_bias=bias, outgoing=second
            ),
        ),
        run.Symmetry(
            name="rotation",
            double_rotation=run.DoubleRotation(first=first, first_bias=bias, second=second),
        ),
    ]


def measure(server, steps, activation, weight_decay=0.0, longest=4000):
    """Figures over the last quarter of a training, or its last `longest` steps, all streamed.

    Steps in a row: what the charge does in between then cancels, and the balance is measured far
    better than from as many steps here and there.
    """
    measured = min(steps // 4, longest)
    with_weights = weight_decay > 0
    open_run = None
    for step, weights, gradients in train(steps, activation, weight_decay):
        if step < steps - measured:
            continue
        if open_run is None:
            # Opened late: a stream that is silent for long would be closed.
            open_run = SymmetryRun(
                server,
                f"balance-{activation}-{steps}-{weight_decay}",
                weights,
                symmetries,
                learning_rate=LEARNING_RATE,
                weight_decay=weight_decay,
                window_steps=measured,
                report_every_steps=measured - 1,
            )
        is_last = step == steps - 1
        open_run.send(step, gradients, weights if with_weights or is_last else None)
    with open_run:
        open_run.report()
        return open_run.report()


def quotient(figures):
    """E|g_u|^2 / E|g_w|^2 of the layer."""
    balance = value(figures, "thermograd_symmetry_gradient_balance_ratio", symmetry="layer")
    return (1 + balance) / (1 - balance)


@pytest.mark.parametrize(
    "steps, lowest, highest", [(4000, 0.2, 0.4), (40000, 0.97, 1.01), (160000, 0.995, 1.005)]
)
def test_gradients_become_equal_and_weights_do_not(server, steps, lowest, highest):
    figures = measure(server, steps, "relu")
    assert lowest < quotient(figures) < highest
    # The layers differ in norm all the while.
    assert value(figures, "thermograd_symmetry_charge", symmetry="layer") > 10


@pytest.fixture(name="patient_server")
def make_patient_server():
    """A server that allows for longer windows."""
    process = Server("--max_window_steps=8000")
    yield process
    process.close()


def test_decay_holds_the_entropic_force_at_equilibrium(patient_server):
    figures = measure(patient_server, 160000, "relu", weight_decay=1e-3, longest=8000)
    assert abs(value(figures, "thermograd_symmetry_equilibrium_gap_ratio", symmetry="layer")) < 0.01
    # (eta / 2) E[g'Ag] = gamma Q, each from its own figure.
    force = value(figures, "thermograd_symmetry_entropic_force", symmetry="layer")
    charge = value(figures, "thermograd_symmetry_charge", symmetry="layer")
    assert force == pytest.approx(1e-3 * charge, rel=0.02)
    assert force > 0.01
    # The gradients are unequal then.
    assert quotient(figures) > 1.05


def test_all_directions_become_balanced_without_an_activation(server, patient_server):
    early = measure(server, 4000, "none")
    late = measure(patient_server, 160000, "none", longest=8000)
    name = "thermograd_symmetry_gradient_balance_ratio"
    assert value(early, name, symmetry="rotation") > 0.1
    assert value(late, name, symmetry="rotation") < 0.01
    residual = "thermograd_symmetry_residual_ratio"
    assert value(late, residual, symmetry="rotation") < 1e-13
    # With ReLU it is no symmetry.
    assert value(measure(server, 4000, "relu"), residual, symmetry="rotation") > 0.1
