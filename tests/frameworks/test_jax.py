"""A real training of JAX and Optax streams what it does, and does the same without the tap."""

import logging

import numpy
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402
import thermograd  # noqa: E402
import thermograd.jax  # noqa: E402
from thermograd.v1 import run_pb2  # noqa: E402

import streamed_run  # noqa: E402
from recording_server import GRADIENT, UPDATE, WEIGHT  # noqa: E402
from system_support import value  # noqa: E402

SGD = run_pb2.Optimizer(kind=run_pb2.OPTIMIZER_KIND_SGD)


def initial():
    random = numpy.random.default_rng(0)
    return {
        "first": {"kernel": jnp.asarray(random.normal(size=(6, 8)), jnp.float32)},
        "second": {"kernel": jnp.asarray(random.normal(size=(8, 3)), jnp.float32)},
        "steps": jnp.asarray(0.0),
    }


def loss_of(params, x, y):
    hidden = jax.nn.relu(x @ params["first"]["kernel"])
    return jnp.mean((hidden @ params["second"]["kernel"] - y) ** 2)


def train(optimizer, steps, *, jit=jax.jit):
    """The losses and the final parameters."""
    random = numpy.random.default_rng(1)

    @jit
    def step(params, state, x, y):
        loss, gradients = jax.value_and_grad(loss_of)(params, x, y)
        updates, state = optimizer.update(gradients, state, params, value=loss)
        return optax.apply_updates(params, updates), state, loss

    params = initial()
    state = optimizer.init(params)
    losses = []
    for _ in range(steps):
        x = random.normal(size=(4, 6)).astype(numpy.float32)
        y = random.normal(size=(4, 3)).astype(numpy.float32)
        params, state, loss = step(params, state, x, y)
        losses.append(float(loss))
    return losses, params


def names(params):
    return {
        "first/kernel": numpy.asarray(params["first"]["kernel"]),
        "second/kernel": numpy.asarray(params["second"]["kernel"]),
    }


@pytest.mark.parametrize("jit", [jax.jit, lambda function: function])
def test_every_call_is_a_step(recorder, jit):
    schedule = optax.exponential_decay(0.05, 1, 0.9)
    with thermograd.jax.watch(
        run="jax", address=recorder.address, learning_rate=schedule, microbatch_size=4,
        exclude="steps", first_step=3, log_freq=1,
    ) as watcher:  # fmt: skip
        losses, params = train(
            optax.chain(thermograd.jax.tap(watcher), optax.sgd(schedule)), 6, jit=jit
        )
    assert watcher.stats.hook_errors == 0
    assert [step.begin.step for step in recorder.steps] == [3, 4, 5, 6, 7, 8]
    streamed_run.check_plain_sgd(recorder, names(params))
    assert [step.begin.loss for step in recorder.steps] == pytest.approx(losses)
    rates = [step.begin.learning_rate for step in recorder.steps]
    assert rates == pytest.approx([0.05 * 0.9**number for number in range(6)])


def test_accumulated_gradients_are_microbatches(recorder):
    with thermograd.jax.watch(
        run="jax", address=recorder.address, learning_rate=0.05, microbatch_size=4,
        microbatches=3, exclude="steps", log=["gradients", "parameters", "updates"], log_freq=1,
    ) as watcher:  # fmt: skip
        losses, params = train(
            optax.chain(
                thermograd.jax.tap(watcher),
                optax.MultiSteps(optax.sgd(0.05), 3).gradient_transformation(),
                thermograd.jax.tap_updates(watcher),
            ),
            12,
        )
    assert watcher.stats.hook_errors == 0
    assert [step.begin.microbatches for step in recorder.steps] == [3, 3, 3, 3]
    streamed_run.check_plain_sgd(recorder, names(params))
    means = numpy.reshape(losses, (4, 3)).mean(1)
    assert [step.begin.loss for step in recorder.steps] == pytest.approx(means)
    for step in recorder.steps:
        gradients = streamed_run.applied_gradients(recorder, step)
        for (name, _), update in recorder.named(step, UPDATE).items():
            numpy.testing.assert_allclose(update, -0.05 * gradients[name], rtol=1e-4, atol=1e-7)


def test_log_freq(recorder):
    with thermograd.jax.watch(
        run="jax", address=recorder.address, learning_rate=0.05, microbatches=2, log_freq=3
    ) as watcher:
        train(optax.chain(thermograd.jax.tap(watcher), optax.sgd(0.05)), 14)
    assert watcher.stats.hook_errors == 0
    assert [step.begin.step for step in recorder.steps] == [0, 3, 6]
    for step in recorder.steps:
        assert len(step.tensors(GRADIENT)) == 6
        assert len(step.tensors(WEIGHT)) == 3


@pytest.mark.parametrize("make", [lambda: optax.sgd(0.05), lambda: optax.adamw(1e-2)])
def test_training_is_bit_identical_with_and_without(recorder, make):
    with thermograd.jax.watch(
        run="jax", address=recorder.address, learning_rate=0.05, log_freq=1
    ) as watcher:
        tapped = optax.chain(thermograd.jax.tap(watcher), optax.clip_by_global_norm(1.0), make())
        watched = train(tapped, 8)
    alone = train(optax.chain(optax.clip_by_global_norm(1.0), make()), 8)
    assert watched[0] == alone[0]
    for one, other in zip(
        jax.tree_util.tree_leaves(watched[1]), jax.tree_util.tree_leaves(alone[1]), strict=True
    ):
        assert (one == other).all()
    assert len(recorder.steps) == 8


def test_figures_arrive(server):
    reports = []
    hidden = thermograd.NeuronRescaling(
        "hidden",
        incoming=thermograd.Member("first/kernel", transposed=True),
        outgoing=thermograd.Member("second/kernel", transposed=True),
    )
    with thermograd.jax.watch(
        run="jax-figures", address=server.grpc_address, learning_rate=0.05, optimizer=SGD,
        microbatch_size=4, microbatches=2, exclude="steps", symmetries=[hidden],
        on_report=reports.append, log_freq=1,
    ) as watcher:  # fmt: skip
        train(
            optax.chain(
                thermograd.jax.tap(watcher),
                optax.MultiSteps(optax.sgd(0.05), 2).gradient_transformation(),
            ),
            12,
        )
        assert watcher.flush()
        found = watcher.metrics()
    assert found[thermograd.metric_key("thermograd_gradient_covariance_trace")] > 0
    drift = {"name": "thermograd_symmetry_charge_drift", "symmetry": "hidden"}
    residual = value(reports[-1], "thermograd_symmetry_residual_ratio", symmetry="hidden")
    assert residual < 1e-5
    observed = value(reports[-1], **drift)
    drift["name"] += "_predicted"
    assert value(reports[-1], **drift) == pytest.approx(observed, rel=0.02)


def test_large_arrays_pass(recorder):
    """Callbacks that wait for their arguments have been seen to stop the runtime."""
    params = {"w": jnp.ones((1500, 1500))}
    with thermograd.jax.watch(
        run="jax", address=recorder.address, learning_rate=0.1, log_freq=1
    ) as watcher:
        optimizer = optax.chain(thermograd.jax.tap(watcher), optax.sgd(0.1))
        state = optimizer.init(params)

        @jax.jit
        def step(params, state):
            gradients = jax.grad(lambda p: jnp.sum(jnp.tanh(p["w"] @ p["w"])))(params)
            updates, state = optimizer.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        for _ in range(2):
            params, state = step(params, state)
    assert watcher.stats.acknowledged_steps == 2


def test_errors_never_reach_the_training(recorder, caplog):
    with pytest.raises(ValueError, match="speed"):
        thermograd.jax.watch(run="jax", learning_rate=0.1, log=["speed"], log_freq=1)
    with caplog.at_level(logging.WARNING, "thermograd"):
        with thermograd.jax.watch(
            run="jax", address=recorder.address, learning_rate=0.1, include="absent", log_freq=1
        ) as watcher:
            losses, _ = train(optax.chain(thermograd.jax.tap(watcher), optax.sgd(0.05)), 3)
        assert watcher.stats.hook_errors
    assert len(losses) == 3
    assert "no floating-point parameter is left" in caplog.text
