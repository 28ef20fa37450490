"""What the watcher sends is what the training had, and the training is what it would be alone."""

import copy
import io
import multiprocessing
import os
import pickle
import random
import subprocess
import sys
import textwrap

import numpy
import pytest
import thermograd
import torch
from torch import nn

from recording_server import ACTIVATION, GRADIENT, PRECONDITIONER, UPDATE, WEIGHT
from system_support import ROOT, run

INPUTS, HIDDEN, OUTPUTS, SAMPLES = 5, 7, 3, 4


def make_model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUTPUTS))


def batch(seed, samples=SAMPLES):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(samples, INPUTS, generator=generator),
        torch.randn(samples, OUTPUTS, generator=generator),
    )


def loss_of(model, seed):
    x, y = batch(seed)
    return nn.functional.mse_loss(model(x), y)


def gradients_of(model, seed, factor=1.0):
    """What autograd says, on a copy that nobody watches."""
    twin = copy.deepcopy(model)
    twin.zero_grad()
    (factor * loss_of(twin, seed)).backward()
    return {name: p.grad.numpy() for name, p in twin.named_parameters()}


def sgd(model, **options):
    return torch.optim.SGD(model.parameters(), lr=0.1, **options)


def weights_of(model):
    return {name: p.detach().numpy().copy() for name, p in model.named_parameters()}


def assert_gradients(recorder, step, expected):
    """`expected`: for each microbatch, gradients by name; equal to the bit."""
    found = recorder.named(step, GRADIENT)
    assert set(found) == {(n, m) for m, each in enumerate(expected) for n in each}
    for microbatch, each in enumerate(expected):
        for name, gradient in each.items():
            numpy.testing.assert_array_equal(found[name, microbatch], gradient, err_msg=name)
    assert step.begin.microbatches == len(expected)


def test_gradients_weights_and_activations_are_those_of_the_training(recorder):
    model = make_model()
    optimizer = sgd(model, weight_decay=0.01)
    expected = []
    with thermograd.watch(
        model, optimizer, run="exact", address=recorder.address, log="all", log_freq=1
    ) as watcher:
        for number in range(3):
            x, _ = batch(number)
            hidden = torch.relu(model[0](x)).detach().numpy()
            loss = loss_of(model, number)
            expected.append(
                (weights_of(model), gradients_of(model, number), hidden, float(loss.detach()))
            )
            loss.backward()
            watcher.log(loss=loss)
            optimizer.step()
            optimizer.zero_grad()
    assert [step.begin.step for step in recorder.steps] == [0, 1, 2]
    for step, (weights, gradients, hidden, loss) in zip(recorder.steps, expected, strict=True):
        assert_gradients(recorder, step, [gradients])
        found = recorder.named(step, WEIGHT)
        assert set(found) == {(name, 0) for name in weights}
        for name, weight in weights.items():
            numpy.testing.assert_array_equal(found[name, 0], weight)
        activations = recorder.named(step, ACTIVATION)
        assert set(activations) == {("1", 0)}
        numpy.testing.assert_array_equal(activations["1", 0], hidden)
        assert step.begin.loss == loss
        assert step.begin.learning_rate == 0.1
        assert step.begin.weight_decay == 0.01
        assert step.begin.microbatch_size == SAMPLES
        assert step.begin.loss_scale == 1.0
    spec = recorder.specs[0]
    assert spec.run == "exact" and not spec.HasField("resume_after_step")
    assert {p.name: tuple(p.shape) for p in spec.parameters} == {
        name: tuple(p.shape) for name, p in model.named_parameters()
    }
    assert [(layer.name, layer.width) for layer in spec.layers] == [("1", HIDDEN)]
    assert {s.WhichOneof("kind") for s in spec.symmetries} == {
        "neuron_rescaling",
        "layer_rescaling",
    }
    assert spec.optimizer.kind == run.OPTIMIZER_KIND_SGD
    assert recorder.metadata[0]["x-thermograd-run"] == "exact"


@pytest.mark.parametrize("accumulation, loss_scale", [("sum", 1.0), ("mean", 0.5)])
def test_every_backward_pass_is_a_microbatch(recorder, accumulation, loss_scale):
    model = make_model()
    optimizer = sgd(model)
    factor = 0.5 if accumulation == "mean" else 1.0
    with thermograd.watch(
        model,
        optimizer,
        run="r",
        address=recorder.address,
        log="all",
        accumulation=accumulation,
        log_freq=1,
    ) as watcher:
        expected = [gradients_of(model, seed, factor) for seed in (1, 2)]
        losses = []
        for seed in (1, 2):
            loss = loss_of(model, seed)
            (factor * loss).backward()
            watcher.log(loss=loss)
            losses.append(float(loss.detach()))
        optimizer.step()
    (step,) = recorder.steps
    assert_gradients(recorder, step, expected)
    assert step.begin.loss_scale == loss_scale
    assert step.begin.loss == pytest.approx(sum(losses) / 2, rel=1e-12)
    assert set(recorder.named(step, ACTIVATION)) == {("1", 0), ("1", 1)}


def test_loss_scale_of_mixed_precision_is_declared(recorder):
    class Scaler:
        def get_scale(self):
            return 1024.0

    model = make_model()
    optimizer = sgd(model)
    with thermograd.watch(
        model,
        optimizer,
        run="r",
        address=recorder.address,
        scaler=Scaler(),
        accumulation="mean",
        log_freq=1,
    ):
        expected = [gradients_of(model, seed, 512.0) for seed in (1, 2)]
        for seed in (1, 2):
            (512.0 * loss_of(model, seed)).backward()
        for parameter in model.parameters():  # What GradScaler.unscale_ and clipping do.
            parameter.grad.mul_(1 / 1024.0)
        optimizer.step()
    (step,) = recorder.steps
    assert_gradients(recorder, step, expected)
    assert step.begin.loss_scale == 512.0


def test_a_step_left_out_by_the_scaler_leaves_no_gradients_behind(recorder):
    model = make_model()
    optimizer = sgd(model)
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, log="all", log_freq=1
    ) as watcher:
        loss = loss_of(model, 1)
        loss.backward()
        watcher.log(loss=1e30)
        optimizer.zero_grad()  # GradScaler has found an infinity: no optimizer.step().
        expected = gradients_of(model, 2)
        loss = loss_of(model, 2)
        loss.backward()
        watcher.log(loss=loss)
        optimizer.step()
    (step,) = recorder.steps
    assert_gradients(recorder, step, [expected])
    assert step.begin.loss == float(loss.detach())
    assert len(recorder.named(step, ACTIVATION)) == 1


def test_gradients_zeroed_between_forward_and_backward_pass(recorder):
    model = make_model()
    optimizer = sgd(model)
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, log="all", log_freq=1
    ) as watcher:
        for seed in range(2):
            loss = loss_of(model, seed)
            watcher.log(loss=loss)
            optimizer.zero_grad()
            expected = gradients_of(model, seed)
            loss.backward()
            optimizer.step()
    assert len(recorder.steps) == 2
    step = recorder.steps[-1]
    assert_gradients(recorder, step, [expected])
    assert step.begin.microbatch_size == SAMPLES
    assert step.begin.loss == float(loss.detach())
    assert set(recorder.named(step, ACTIVATION)) == {("1", 0)}


def test_log_freq_and_first_step(recorder):
    model = make_model()
    optimizer = sgd(model)
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, log_freq=3, first_step=10
    ) as watcher:
        for seed in range(7):
            optimizer.zero_grad()
            loss_of(model, seed).backward()
            optimizer.step()
        watcher.flush()
        assert watcher.stats.captured_steps == 3
    assert [step.begin.step for step in recorder.steps] == [10, 13, 16]
    assert all(step.begin.microbatches == 1 for step in recorder.steps)


@pytest.mark.parametrize(
    "options, names",
    [
        ({"include": "weight"}, {"0.weight", "2.weight"}),
        ({"exclude": "^0"}, {"2.weight", "2.bias"}),
        ({"include": "weight", "exclude": "^2"}, {"0.weight"}),
    ],
)
def test_include_and_exclude(recorder, options, names):
    model = make_model()
    optimizer = sgd(model)
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, log_freq=1, **options
    ):
        loss_of(model, 0).backward()
        optimizer.step()
    assert {parameter.name for parameter in recorder.specs[0].parameters} == names
    assert {name for name, _ in recorder.named(recorder.steps[0], GRADIENT)} == names
    # A symmetry with a member that is not streamed cannot be measured.
    assert not recorder.specs[0].symmetries


@pytest.mark.parametrize(
    "log, kinds",
    [
        ("gradients", {GRADIENT}),
        ("parameters", {WEIGHT}),
        ("activations", {ACTIVATION}),
        ("updates", {UPDATE}),
        (["gradients", "activations"], {GRADIENT, ACTIVATION}),
        ("all", {GRADIENT, WEIGHT, ACTIVATION, UPDATE}),
    ],
)
def test_log_chooses_what_is_sent(recorder, log, kinds):
    model = make_model()
    optimizer = sgd(model)
    with thermograd.watch(model, optimizer, run="r", address=recorder.address, log=log, log_freq=1):
        loss_of(model, 0).backward()
        optimizer.step()
    (step,) = recorder.steps
    sent = {kind for kind in (GRADIENT, WEIGHT, ACTIVATION, UPDATE) if step.tensors(kind)}
    assert sent == kinds
    assert list(recorder.specs[0].parameter_kinds) == sorted(kinds & {UPDATE})
    assert step.begin.microbatches == 1


def test_probes_see_the_weights_of_the_step_in_evaluation_mode(recorder):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(INPUTS, HIDDEN), nn.Dropout(0.5), nn.ReLU(), nn.Linear(HIDDEN, OUTPUTS)
    )
    model[3].eval()
    optimizer = sgd(model)
    inputs, _ = batch(99, samples=6)
    probe = thermograd.Probe("held-out", inputs, range(6), every=2, layers=["2", "3"])
    expected = []
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, probes=[probe], log_freq=1
    ) as watcher:
        for seed in range(3):
            twin = copy.deepcopy(model).eval()
            hidden = torch.relu(twin[0](inputs))
            expected.append((hidden.detach().numpy(), twin[3](hidden).detach().numpy()))
            optimizer.zero_grad()
            loss_of(model, seed).backward()
            optimizer.step()
            assert [m.training for m in model.modules()] == [True, True, True, True, False]
        assert watcher.stats.hook_errors == 0
    spec = recorder.specs[0]
    assert [(x.name, x.samples) for x in spec.probe_sets] == [("held-out", 6)]
    assert [(x.name, x.width, x.probe_set) for x in spec.layers] == [
        ("held-out:2", HIDDEN, "held-out"),
        ("held-out:3", OUTPUTS, "held-out"),
    ]
    for number, step in enumerate(recorder.steps):
        found = recorder.named(step, ACTIVATION)
        if number % 2:
            assert not found
            continue
        numpy.testing.assert_array_equal(found["held-out:2", 0], expected[number][0])
        numpy.testing.assert_array_equal(found["held-out:3", 0], expected[number][1])


def test_a_probe_that_fails_costs_nothing_else(recorder):
    model = make_model()
    optimizer = sgd(model)
    probe = thermograd.Probe("wrong", torch.zeros(4, INPUTS + 1), range(4))
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, probes=[probe], log_freq=1
    ) as watcher:
        expected = gradients_of(model, 0)
        loss_of(model, 0).backward()
        optimizer.step()
        assert watcher.stats.hook_errors == 1
    assert_gradients(recorder, recorder.steps[0], [expected])


def test_named_layers(recorder):
    model = make_model()
    optimizer = sgd(model)
    with thermograd.watch(
        model,
        optimizer,
        run="r",
        address=recorder.address,
        log="activations",
        layers=["0", "2"],
        log_freq=1,
    ):
        loss_of(model, 0).backward()
        optimizer.step()
    assert [(x.name, x.width) for x in recorder.specs[0].layers] == [("0", HIDDEN), ("2", OUTPUTS)]
    assert {name for name, _ in recorder.named(recorder.steps[0], ACTIVATION)} == {"0", "2"}


@pytest.mark.parametrize(
    "similarities, neighbours",
    [(["cknna", "svcca"], 0), (thermograd.similarity_options(["cknna", "svcca"], neighbours=3), 3)],
)
def test_similarities_are_chosen_by_name(recorder, similarities, neighbours):
    model = make_model()
    optimizer = sgd(model)
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, similarities=similarities, log_freq=1
    ):
        loss_of(model, 0).backward()
        optimizer.step()
    options = recorder.specs[0].reporting.similarity
    assert options == thermograd.similarity_options(["cknna", "svcca"], neighbours=neighbours)
    assert len(options.similarities) == 2


@pytest.mark.parametrize("as_keyword", [False, True])
def test_optimizers_that_call_a_closure(recorder, as_keyword):
    model = make_model()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=4)
    calls = []
    expected = []
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, log="all", log_freq=1
    ) as watcher:
        for seed in range(2):
            expected.append((weights_of(model), gradients_of(model, seed)))

            def closure(seed=seed):
                calls.append(seed)
                optimizer.zero_grad()
                loss = loss_of(model, seed)
                loss.backward()
                return loss

            first = optimizer.step(closure=closure) if as_keyword else optimizer.step(closure)
            first = first.detach()
            watcher.log(loss=first)
            expected[-1] += (float(first),)
        assert watcher.stats.hook_errors == 0
    assert len(calls) > 4
    assert len(recorder.steps) == 2
    for step, (weights, gradients, loss) in zip(recorder.steps, expected, strict=True):
        assert_gradients(recorder, step, [gradients])
        numpy.testing.assert_array_equal(
            recorder.named(step, WEIGHT)["0.weight", 0], weights["0.weight"]
        )
        assert step.begin.loss == loss


def test_training_without_an_optimizer_object(recorder):
    model = make_model()
    with thermograd.watch(model, run="r", address=recorder.address, log_freq=1) as watcher:
        expected = gradients_of(model, 0)
        loss_of(model, 0).backward()
        watcher.step(learning_rate=0.5, weight_decay=0.25)
    (step,) = recorder.steps
    assert_gradients(recorder, step, [expected])
    assert (step.begin.learning_rate, step.begin.weight_decay) == (0.5, 0.25)
    assert recorder.specs[0].optimizer.kind == run.OPTIMIZER_KIND_UNSPECIFIED


@pytest.mark.parametrize("seed", [0, 1])
def test_watching_changes_neither_weights_nor_random_numbers(recorder, seed):
    def train(watch):
        random.seed(seed)
        numpy.random.seed(seed)
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Linear(INPUTS, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(), nn.Dropout(0.5),
            nn.Linear(HIDDEN, OUTPUTS),
        )  # fmt: skip
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
        watcher = None
        if watch:
            probe = thermograd.Probe("p", torch.zeros(4, INPUTS), range(4), every=1)
            watcher = thermograd.watch(
                model,
                optimizer,
                run="r",
                address=recorder.address,
                log="all",
                probes=[probe],
                log_freq=1,
            )
        for _ in range(6):
            optimizer.zero_grad()
            x = torch.rand(SAMPLES, INPUTS) + random.random() + float(numpy.random.rand())
            model(x).square().mean().backward()
            optimizer.step()
            scheduler.step()
        if watcher is not None:
            assert watcher.stats.hook_errors == 0
            assert watcher.close()
        state = model.state_dict()
        return state, random.random(), float(numpy.random.rand()), float(torch.rand(()))

    alone, watched = train(False), train(True)
    assert alone[1:] == watched[1:]
    assert set(alone[0]) == set(watched[0])
    for name, value in alone[0].items():
        assert torch.equal(value, watched[0][name]), name


def test_a_probe_leaves_every_generator_as_it_was():
    class Drawing(nn.Module):
        def forward(self, x):
            return x + random.random() + float(numpy.random.rand()) + torch.rand(())

    for seed in (random.seed, numpy.random.seed, torch.manual_seed):
        seed(3)
    expected = random.random(), float(numpy.random.rand()), float(torch.rand(()))
    for seed in (random.seed, numpy.random.seed, torch.manual_seed):
        seed(3)
    thermograd.Probe("p", torch.zeros(4, 2), range(4)).run(Drawing())
    assert (random.random(), float(numpy.random.rand()), float(torch.rand(()))) == expected


def test_unwatch_leaves_no_trace(recorder):
    model = make_model()
    optimizer = sgd(model)
    before = set(vars(optimizer)), [dict(m.__dict__) for m in model.modules()]
    thermograd.watch(model, optimizer, run="r", address=recorder.address, log="all", log_freq=1)
    with pytest.raises(ValueError, match="already"):
        thermograd.watch(model, optimizer, run="r", address=recorder.address, log_freq=1)
    thermograd.unwatch(model)
    thermograd.unwatch(model)
    assert set(vars(optimizer)) == before[0]
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
    assert all(not p._backward_hooks for p in model.parameters())
    loss_of(model, 0).backward()
    optimizer.step()
    assert not recorder.steps


def test_a_watched_model_is_copied_pickled_and_saved_as_if_unwatched(recorder):
    model = make_model()
    optimizer = sgd(model)
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, log="all", log_freq=1
    ):
        loss_of(model, 0).backward()
        optimizer.step()
        copied = copy.deepcopy(model)
        data = pickle.dumps(model)
        torch.save(model, io.BytesIO())
        copy.deepcopy(optimizer)
        pickle.dumps(optimizer)
        pickled = pickle.loads(data)
        for twin in (copied, pickled):
            loss_of(twin, 1).backward()
            assert torch.equal(twin[0].weight, model[0].weight)
    assert b"thermograd" not in data
    assert len(recorder.steps) == 1


def test_wrapped_methods_keep_their_signature(recorder):
    import inspect

    model = make_model()
    optimizer = torch.optim.Adam(model.parameters())
    before = inspect.signature(optimizer.step), inspect.signature(optimizer.zero_grad)
    with thermograd.watch(model, optimizer, run="r", address=recorder.address, log_freq=1):
        assert (inspect.signature(optimizer.step), inspect.signature(optimizer.zero_grad)) == before


def test_several_losses_of_a_step_are_averaged_before_and_after_the_update(recorder):
    model = make_model()
    optimizer = sgd(model)
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, log_freq=1
    ) as watcher:
        loss_of(model, 0).backward()
        watcher.log(loss=1.0)
        optimizer.step()
        watcher.log(loss=torch.tensor(2.0))
        watcher.log(loss=6.0)
    assert recorder.steps[0].begin.loss == 3.0


def test_evaluation_between_steps_is_not_training(recorder):
    model = make_model()
    optimizer = sgd(model)
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, log="all", log_freq=1
    ):
        expected = gradients_of(model, 0)
        loss_of(model, 0).backward()
        with torch.no_grad():
            model(batch(5, samples=64)[0])
        model.eval()
        model(batch(6, samples=64)[0])
        model.train()
        optimizer.step()
    (step,) = recorder.steps
    assert_gradients(recorder, step, [expected])
    assert recorder.named(step, ACTIVATION)["1", 0].shape == (SAMPLES, HIDDEN)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_keep_their_bits(recorder, dtype):
    model = make_model().to(dtype)
    optimizer = sgd(model)
    weight = model[0].weight.detach().clone()
    with thermograd.watch(model, optimizer, run="r", address=recorder.address, log_freq=1):
        model(torch.ones(2, INPUTS, dtype=dtype)).sum().backward()
        optimizer.step()
    found = recorder.named(recorder.steps[0], WEIGHT)["0.weight", 0]
    if dtype == torch.bfloat16:
        assert numpy.array_equal(found.view(numpy.int16), weight.view(torch.int16).numpy())
    else:
        assert numpy.array_equal(found, weight.numpy())


def test_activations_beyond_the_servers_limit_are_left_out_and_said(caplog):
    from recording_server import RecordingServer
    from thermograd.capture import _warn_of_samples

    _warn_of_samples.cache_clear()
    model = make_model()
    optimizer = sgd(model)
    with (
        RecordingServer(max_samples=SAMPLES - 1) as recorder,
        thermograd.watch(
            model, optimizer, run="r", address=recorder.address, log="all", log_freq=1
        ),
    ):
        for _ in range(2):
            loss_of(model, 0).backward()
            optimizer.step()
    assert not recorder.steps[0].tensors(ACTIVATION)
    assert recorder.steps[0].tensors(GRADIENT)
    assert sum("more than 3 samples" in r.getMessage() for r in caplog.records) == 1


@pytest.mark.parametrize(
    "make, kind",
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), run.OPTIMIZER_KIND_SGD),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), run.OPTIMIZER_KIND_MOMENTUM),
        (lambda p: torch.optim.SGD([{"params": p, "momentum": 0.9}], lr=0.1),
         run.OPTIMIZER_KIND_MOMENTUM),
        (lambda p: torch.optim.SGD(
            [{"params": p[:1], "momentum": 0.9}, {"params": p[1:]}], lr=0.1),
         run.OPTIMIZER_KIND_OTHER),
        (lambda p: torch.optim.SGD(
            [{"params": p[:1], "nesterov": True}, {"params": p[1:]}], lr=0.1, momentum=0.9),
         run.OPTIMIZER_KIND_OTHER),
        (lambda p: torch.optim.SGD(p, lr=0.1, maximize=True), run.OPTIMIZER_KIND_OTHER),
        (lambda p: torch.optim.Adam(p), run.OPTIMIZER_KIND_ADAM),
        (lambda p: torch.optim.AdamW(p), run.OPTIMIZER_KIND_ADAMW),
        (lambda p: torch.optim.Adam(p, amsgrad=True), run.OPTIMIZER_KIND_OTHER),
        (lambda p: torch.optim.RMSprop(p), run.OPTIMIZER_KIND_OTHER),
        # What they remember is not known.
        (lambda p: torch.optim.NAdam(p), run.OPTIMIZER_KIND_UNSPECIFIED),
        (lambda p: type("Own", (torch.optim.RMSprop,), {})(p), run.OPTIMIZER_KIND_UNSPECIFIED),
    ],
)  # fmt: skip
def test_kind_of_optimizer(recorder, make, kind):
    model = make_model()
    optimizer = make(list(model.parameters()))
    with thermograd.watch(model, optimizer, run="r", address=recorder.address, log_freq=1):
        loss_of(model, 0).backward()
        optimizer.step()
    assert recorder.specs[0].optimizer.kind == kind


@pytest.mark.parametrize("nesterov", [False, True])
def test_nesterov_momentum_is_declared(recorder, nesterov):
    model = make_model()
    optimizer = sgd(model, momentum=0.75, nesterov=nesterov)
    with thermograd.watch(model, optimizer, run="r", address=recorder.address, log_freq=1):
        loss_of(model, 0).backward()
        optimizer.step()
    declared = recorder.specs[0].optimizer
    assert (declared.momentum, declared.nesterov) == (0.75, nesterov)


@pytest.mark.parametrize("with_closure", [False, True])
def test_updates_are_what_the_optimizer_added_to_the_weights(recorder, with_closure):
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    expected = []
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, log="updates", log_freq=2
    ) as watcher:
        for seed in range(4):
            before = weights_of(model)

            def closure(seed=seed):
                optimizer.zero_grad()
                loss = loss_of(model, seed)
                loss.backward()
                return loss

            if with_closure:
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()
            after = weights_of(model)
            if seed % 2 == 0:
                expected.append({name: after[name] - before[name] for name in after})
        assert watcher.stats.hook_errors == 0
    assert list(recorder.specs[0].parameter_kinds) == [UPDATE]
    for step, updates in zip(recorder.steps, expected, strict=True):
        found = recorder.named(step, UPDATE)
        assert set(found) == {(name, 0) for name in updates}
        for name, update in updates.items():
            assert update.any()
            numpy.testing.assert_array_equal(found[name, 0], update, err_msg=name)


def test_updates_count_against_the_queue(recorder):
    model = make_model()
    optimizer = sgd(model)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    recorder.acknowledges.clear()
    with thermograd.watch(
        model,
        optimizer,
        run="r",
        address=recorder.address,
        log=["gradients", "updates"],
        log_freq=1,
    ) as watcher:
        loss_of(model, 0).backward()
        optimizer.step()
        watcher.flush(0.0)
        assert watcher.stats.queued_bytes == 2 * size
        recorder.acknowledges.set()
        assert watcher.flush()
        assert watcher.stats.queued_bytes == 0


def test_an_update_that_fails_leaves_nothing_behind(recorder):
    class Failing(torch.optim.SGD):
        fails = True

        def step(self, closure=None):
            if self.fails:
                raise RuntimeError("no update")
            return super().step(closure)

    model = make_model()
    optimizer = Failing(model.parameters(), lr=0.1)
    with thermograd.watch(
        model,
        optimizer,
        run="r",
        address=recorder.address,
        log=["gradients", "updates"],
        log_freq=1,
    ) as watcher:
        loss_of(model, 0).backward()
        with pytest.raises(RuntimeError, match="no update"):
            optimizer.step()
        optimizer.fails = False
        optimizer.step()  # Without new gradients it is no step.
        before = weights_of(model)
        optimizer.zero_grad()
        loss_of(model, 1).backward()
        optimizer.step()
        assert watcher.stats.hook_errors == 0
    failed, made = recorder.steps
    assert not failed.tensors(UPDATE)
    found = recorder.named(made, UPDATE)
    for name, weight in weights_of(model).items():
        numpy.testing.assert_array_equal(found[name, 0], weight - before[name])


def test_a_step_sent_before_its_update_is_counted_as_it_was_sent():
    class Flushing(torch.optim.SGD):
        def step(self, closure=None):
            watcher.flush(0.0)  # As another thread may.
            return super().step(closure)

    model = make_model()
    optimizer = Flushing(model.parameters(), lr=0.1)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    watcher = thermograd.watch(
        model, optimizer, run="r", address="127.0.0.1:9", log=["gradients", "updates"], log_freq=1
    )
    loss_of(model, 0).backward()
    optimizer.step()
    assert not watcher.close()
    stats = watcher.stats
    assert (stats.hook_errors, stats.queued_bytes, stats.dropped_bytes) == (0, 0, size)


def test_updates_without_an_optimizer_object(recorder):
    model = make_model()
    with pytest.raises(ValueError, match="optimizer is needed for updates"):
        thermograd.watch(
            model, run="r", address=recorder.address, log=["gradients", "updates"], log_freq=1
        )
    with thermograd.watch(
        model, run="r", address=recorder.address, log="all", log_freq=1
    ) as watcher:
        loss_of(model, 0).backward()
        watcher.step(learning_rate=0.5)
    assert not recorder.specs[0].parameter_kinds


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_the_preconditioner_times_the_gradient_is_the_update_without_momentum(
    recorder, kind, amsgrad
):
    model = make_model().double()
    groups = [
        {"params": model[0].parameters(), "betas": (0.0, 0.9), "eps": 1e-3},
        {"params": model[2].parameters(), "lr": 0.3},
    ]
    optimizer = kind(groups, lr=0.1, betas=(0.0, 0.5), weight_decay=0.0, amsgrad=amsgrad)
    logs = ["gradients", "updates", "preconditioner"]
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, log=logs, log_freq=1
    ) as watcher:
        for seed in range(4):
            optimizer.zero_grad()
            x, y = batch(seed)
            nn.functional.mse_loss(model(x.double()), y.double()).backward()
            optimizer.step()
        assert watcher.stats.hook_errors == 0
    assert list(recorder.specs[0].parameter_kinds) == [UPDATE, PRECONDITIONER]
    assert len(recorder.steps) == 4
    for step in recorder.steps:
        gradients, updates = recorder.named(step, GRADIENT), recorder.named(step, UPDATE)
        diagonals = recorder.named(step, PRECONDITIONER)
        assert set(diagonals) == {(name, 0) for name, _ in model.named_parameters()}
        for key, diagonal in diagonals.items():
            # The update is a difference of weights of order one: absolute error 1e-16 or so.
            numpy.testing.assert_allclose(
                -diagonal * gradients[key], updates[key], rtol=1e-12, atol=1e-15, err_msg=key[0]
            )


def test_the_preconditioner_under_momentum_and_decay_is_the_second_moments(recorder):
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, weight_decay=0.1)
    expected = []
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, log="preconditioner", log_freq=1
    ) as watcher:
        for seed in range(3):
            optimizer.zero_grad()
            loss_of(model, seed).backward()
            optimizer.step()
            second_moment = optimizer.state[model[0].weight]["exp_avg_sq"].double().numpy()
            v = second_moment / (1 - 0.999 ** (seed + 1))
            expected.append(0.1 / (numpy.sqrt(v) + 1e-8))
        assert watcher.stats.hook_errors == 0
    for step, diagonal in zip(recorder.steps, expected, strict=True):
        found = recorder.named(step, PRECONDITIONER)["0.weight", 0]
        numpy.testing.assert_allclose(found, diagonal, rtol=1e-6)


def test_parameters_that_adam_did_not_update_have_no_preconditioner(recorder):
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.always, self.sometimes = nn.Linear(INPUTS, OUTPUTS), nn.Linear(INPUTS, OUTPUTS)
            self.is_whole = True

        def forward(self, x):
            return self.always(x) + (self.sometimes(x) if self.is_whole else 0.0)

    model = Branching()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, log="preconditioner", log_freq=1
    ) as watcher:
        for seed, model.is_whole in enumerate((False, True, False)):
            for parameter in model.parameters():
                parameter.grad = None
            loss_of(model, seed).backward()
            optimizer.step()
            if not seed:
                # Looking at the state of parameters has not made one.
                assert model.sometimes.weight not in optimizer.state
        assert watcher.stats.hook_errors == 0
    found = [{name for name, _ in recorder.named(s, PRECONDITIONER)} for s in recorder.steps]
    always = {"always.weight", "always.bias"}
    assert found == [always, always | {"sometimes.weight", "sometimes.bias"}, always]


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1),
        lambda p: torch.optim.RMSprop(p),
        lambda p: torch.optim.Adam(p, maximize=True),
    ],
)
def test_an_unknown_preconditioner_is_not_sent(recorder, caplog, make):
    model = make_model()
    optimizer = make(model.parameters())
    logs = ["gradients", "preconditioner"]
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, log=logs, log_freq=1
    ) as watcher:
        for seed in range(2):
            optimizer.zero_grad()
            loss_of(model, seed).backward()
            optimizer.step()
        assert watcher.stats.hook_errors == 0
    assert not recorder.specs[0].parameter_kinds
    assert len(recorder.steps) == 2
    assert not any(step.tensors(PRECONDITIONER) for step in recorder.steps)
    assert sum("no diagonal preconditioner" in r.getMessage() for r in caplog.records) == 1


def test_parameter_groups_have_their_own_learning_rate_and_decay(recorder):
    model = make_model()
    optimizer = torch.optim.SGD(
        [
            {"params": [model[0].weight], "name": "body", "weight_decay": 0.5},
            {"params": [model[0].bias, model[2].bias], "lr": 0.25},
            {"params": [model[2].weight]},
        ],
        lr=0.125,
    )
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, exclude="2.weight", log_freq=1
    ) as watcher:
        for seed in range(2):
            loss_of(model, seed).backward()
            optimizer.step()
            scheduler.step()
        assert watcher.stats.hook_errors == 0
    # The third group has no parameter that is watched: the server knows nothing of it.
    assert {p.name: p.group for p in recorder.specs[0].parameters} == {
        "0.weight": "body", "0.bias": "1", "2.bias": "1",
    }  # fmt: skip
    for step, factor in zip(recorder.steps, (1.0, 0.5), strict=True):
        assert list(step.begin.groups) == [
            run.GroupStep(group="body", learning_rate=0.125 * factor, weight_decay=0.5),
            run.GroupStep(group="1", learning_rate=0.25 * factor),
        ]
        assert step.begin.learning_rate == 0.125 * factor
        assert step.begin.weight_decay == 0.5


def test_parameters_of_a_single_group_stand_alone(recorder):
    model = make_model()
    optimizer = sgd(model)
    with thermograd.watch(model, optimizer, run="r", address=recorder.address, log_freq=1):
        loss_of(model, 0).backward()
        optimizer.step()
    assert {p.group for p in recorder.specs[0].parameters} == {""}
    assert not recorder.steps[0].begin.groups


def test_groups_of_the_same_name_are_told_apart_by_number(recorder):
    model = make_model()
    optimizer = torch.optim.SGD(
        [{"params": layer.parameters(), "name": "linear"} for layer in (model[0], model[2])], lr=0.1
    )
    with thermograd.watch(model, optimizer, run="r", address=recorder.address, log_freq=1):
        loss_of(model, 0).backward()
        optimizer.step()
    assert [p.group for p in recorder.specs[0].parameters] == ["0", "0", "1", "1"]


def test_a_group_added_after_the_first_step_does_not_end_the_run(recorder, caplog):
    model = make_model()
    optimizer = torch.optim.SGD(
        [{"params": model[0].parameters()}, {"params": [model[2].weight]}], lr=0.1
    )
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, log_freq=1
    ) as watcher:
        for seed in range(3):
            loss_of(model, seed).backward()
            optimizer.step()
            if seed == 0:
                optimizer.add_param_group({"params": [model[2].bias], "lr": 0.5})
        assert watcher.stats.hook_errors == 0
    assert len(recorder.steps) == 3
    for step in recorder.steps:
        assert [group.group for group in step.begin.groups] == ["0", "1"]
    assert sum("after the first step" in r.getMessage() for r in caplog.records) == 1


@pytest.mark.parametrize(
    "options, message",
    [
        ({"run": ""}, "run"),
        ({"accumulation": "average"}, "accumulation"),
        ({"log": "everything"}, "log"),
        ({"log_freq": 0}, "log_freq"),
        ({"include": "nothing"}, "parameter"),
        ({"layers": ["9"], "log": "all"}, "9"),
        ({"symmetries": "all"}, "symmetries"),
        ({"similarities": ["cosine"]}, "cosine"),
        ({"symmetries": [thermograd.NeuronRescaling("s", "0.weight", "x")]}, "x"),
    ],
)
def test_wrong_arguments(options, message):
    model = make_model()
    with pytest.raises(ValueError, match=message):
        thermograd.watch(model, sgd(model), **{"run": "r", **options})
    assert not model._forward_pre_hooks


def test_errors_in_hooks_never_reach_the_training(recorder, monkeypatch):
    model = make_model()
    optimizer = sgd(model)
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, log_freq=1
    ) as watcher:
        with monkeypatch.context() as patch:
            patch.setattr("thermograd.watcher.Snapshot", None)
            loss_of(model, 0).backward()
            optimizer.step()
        assert watcher.stats.hook_errors > 0
        before = watcher.stats.hook_errors
        optimizer.zero_grad()
        expected = gradients_of(model, 1)
        loss_of(model, 1).backward()
        optimizer.step()
        assert watcher.stats.hook_errors == before
    assert_gradients(recorder, recorder.steps[-1], [expected])


def _use_in_child(model, optimizer, watcher, results):
    loss_of(model, 3).backward()
    optimizer.step()
    results.put((watcher.flush(1.0), watcher.close(1.0), watcher.stats.captured_steps))


def test_a_forked_process_streams_nothing(recorder):
    model = make_model()
    optimizer = sgd(model)
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, log_freq=1
    ) as watcher:
        loss_of(model, 0).backward()
        optimizer.step()
        watcher.flush()
        context = multiprocessing.get_context("fork")
        results = context.SimpleQueue()
        # As if another thread had held them when the process forked.
        with watcher._lock, watcher._sender._changed:
            child = context.Process(target=_use_in_child, args=(model, optimizer, watcher, results))
            child.start()
        child.join(60)
        assert child.exitcode == 0
        assert results.get() == (False, False, 1)
        optimizer.zero_grad()
        loss_of(model, 1).backward()
        optimizer.step()
    assert [step.begin.step for step in recorder.steps] == [0, 1]


@pytest.mark.parametrize("is_reachable", [True, False])
def test_a_script_that_never_closes_ends_with_everything_sent(recorder, is_reachable):
    script = """
        import sys, thermograd, torch
        from torch import nn
        model = nn.Linear(2, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        watcher = thermograd.watch(model, optimizer, run="r", address=sys.argv[1], log_freq=1)
        for _ in range(20):
            optimizer.zero_grad()
            model(torch.ones(4, 2)).sum().backward()
            optimizer.step()
        print("trained")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script),
         recorder.address if is_reachable else "127.0.0.1:9"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True, text=True, timeout=120, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "trained\n"
    assert "Traceback" not in done.stderr
    assert len(recorder.steps) == (20 if is_reachable else 0)


def test_the_model_inside_data_parallel_is_watched(recorder, tmp_path):
    if not torch.distributed.is_available():
        pytest.skip("this PyTorch is built without torch.distributed")
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    try:
        model = nn.parallel.DistributedDataParallel(make_model())
        optimizer = sgd(model)
        expected = gradients_of(model.module, 0)
        with thermograd.watch(
            model, optimizer, run="r", address=recorder.address, log="all", log_freq=1
        ):
            loss_of(model, 0).backward()
            optimizer.step()
            thermograd.unwatch(model)
    finally:
        torch.distributed.destroy_process_group()
    assert_gradients(recorder, recorder.steps[0], [expected])
    assert recorder.specs[0].symmetries
    assert set(recorder.named(recorder.steps[0], ACTIVATION)) == {("1", 0)}
