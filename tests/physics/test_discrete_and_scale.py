"""Experiment 8 of the metric specification, and the angular steps of scale-invariant weights."""

import numpy
import pytest

from symmetry_run import SymmetryRun
from system_support import run, value

LEARNING_RATE = 0.02


def test_equal_neurons_stay_equal_while_their_charges_move(server):
    inputs, hidden, outputs, batch = 6, 5, 3, 8
    random = numpy.random.default_rng(8)
    teacher = random.standard_normal((outputs, inputs))
    u = random.standard_normal((hidden, inputs))
    w = 0.3 * random.standard_normal((outputs, hidden))
    u[1], w[:, 1] = u[0], w[:, 0]

    def symmetries(of):
        members = {"incoming": of.member("incoming"), "outgoing": of.member("outgoing")}
        return [
            run.Symmetry(
                name="permutation", neuron_permutation=run.NeuronPermutation(**members)
            ),
            run.Symmetry(name="scaling", neuron_rescaling=run.NeuronRescaling(**members)),
        ]

    charges = []
    with SymmetryRun(
        server,
        "equal-neurons",
        {"incoming": u, "outgoing": w},
        symmetries,
        learning_rate=LEARNING_RATE,
    ) as stream:
        for step in range(301):
            x = random.standard_normal((batch, inputs))
            # Sums in one fixed order for every neuron, so that equal ones see equal rounding.
            z = numpy.einsum("bi,hi->bh", x, u)
            activity = numpy.maximum(z, 0)
            error = (
                numpy.einsum("bh,oh->bo", activity, w)
                - x @ teacher.T
                - random.standard_normal((batch, outputs))
            )
            back = numpy.einsum("bo,oh->bh", error, w) * (z > 0)
            gradients = {
                "incoming": numpy.einsum("bh,bi->hi", back, x) / batch,
                "outgoing": numpy.einsum("bo,bh->oh", error, activity) / batch,
            }
            figures = stream.step(step, gradients, {"incoming": u, "outgoing": w})
            charges.append(value(figures, "thermograd_symmetry_charge", symmetry="scaling"))
            u = u - LEARNING_RATE * gradients["incoming"]
            w = w - LEARNING_RATE * gradients["outgoing"]
    assert abs(u[1] - u[0]).max() == 0
    assert abs(w[:, 1] - w[:, 0]).max() == 0
    assert abs(charges[-1] - charges[0]) > 0.1
    # Looked at last at step 300.
    assert value(figures, "thermograd_near_duplicate_neurons", symmetry="permutation") == 2
    assert value(figures, "thermograd_collapsed_neurons", symmetry="permutation") == 0
    norms = numpy.linalg.norm
    strength = norms(u, axis=1) * norms(w, axis=0)
    assert value(figures, "thermograd_effective_neurons", symmetry="permutation") == pytest.approx(
        strength.sum() ** 2 / (strength**2).sum(), rel=0.05
    )
    singular = numpy.linalg.svd(u, compute_uv=False)
    assert value(figures, "thermograd_parameter_stable_rank", parameter="incoming") == (
        pytest.approx((singular**2).sum() / singular[0] ** 2, rel=0.05)
    )


def train_normalised(steps, learning_rate, weight_decay):
    """Yields step, weights and gradients of regression by w / |w|, plain SGD."""
    inputs, batch = 20, 4
    random = numpy.random.default_rng(9)
    target = random.standard_normal(inputs)
    target /= numpy.linalg.norm(target)
    w = random.standard_normal((1, inputs))
    for step in range(steps):
        x = random.standard_normal((batch, inputs))
        norm = numpy.linalg.norm(w)
        direction = w[0] / norm
        error = x @ (direction - target) - random.standard_normal(batch)
        slope = error @ x / batch
        gradient = ((slope - (slope @ direction) * direction) / norm)[None, :]
        yield step, {"w": w}, {"w": gradient}
        w = w - learning_rate * (gradient + weight_decay * w)


def scale_invariance(of):
    """The normalised weights."""
    return [
        run.Symmetry(
            name="norm", scale_invariance=run.ScaleInvariance(weight=of.member("w"))
        )
    ]


def test_norm_of_scale_invariant_weights_grows_by_the_squared_step(server):
    learning_rate = 0.1
    before = None
    training = train_normalised(100, learning_rate, 0.0)
    step, weights, gradients = next(training)
    with SymmetryRun(
        server, "scale", weights, scale_invariance, learning_rate=learning_rate
    ) as stream:
        while True:
            figures = stream.step(step, gradients, weights)
            assert value(figures, "thermograd_symmetry_residual_ratio", symmetry="norm") < 1e-14
            charge = value(figures, "thermograd_symmetry_charge", symmetry="norm")
            growth = learning_rate**2 * (gradients["w"] ** 2).sum()
            assert value(
                figures, "thermograd_symmetry_entropic_breaking", symmetry="norm"
            ) == pytest.approx(growth, rel=1e-12)
            if before is not None:
                assert charge - before[0] == pytest.approx(before[1], rel=1e-9)
                error = "thermograd_symmetry_charge_drift_error_ratio"
                assert value(figures, error, symmetry="norm") < 1e-9
            before = charge, growth
            try:
                step, weights, gradients = next(training)
            except StopIteration:
                break
    assert step == 99


def test_decay_makes_the_angular_step_the_learning_rate(server):
    learning_rate, weight_decay = 0.05, 0.02
    steps, measured = 20000, 4000
    stream = None
    for step, weights, gradients in train_normalised(steps, learning_rate, weight_decay):
        if step < steps - measured:
            continue
        if stream is None:
            stream = SymmetryRun(
                server,
                "angular-step",
                weights,
                scale_invariance,
                learning_rate=learning_rate,
                weight_decay=weight_decay,
                window_steps=measured,
                report_every_steps=measured - 1,
            )
        stream.send(step, gradients, weights)
    with stream:
        stream.report()
        figures = stream.report()

    def figure(name):
        return value(figures, f"thermograd_symmetry_{name}", symmetry="norm")

    predicted = figure("angular_step_predicted_radians")
    assert predicted == pytest.approx(numpy.sqrt(2 * learning_rate * weight_decay), rel=1e-12)
    assert figure("angular_step_radians") == pytest.approx(predicted, rel=0.03)
    assert figure("equilibrium_norm") == pytest.approx(numpy.sqrt(figure("charge")), rel=0.1)
    assert abs(figure("equilibrium_gap_ratio")) < 0.03
