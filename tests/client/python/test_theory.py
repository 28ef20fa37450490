"""What a watched training run says of the theory, through the running server, against PyTorch."""

import pytest
import thermograd
import torch
from torch import nn

INPUTS, HIDDEN, OUTPUTS, SAMPLES = 5, 7, 3, 8


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUTPUTS)
    ).double()


def losses(model, step, microbatches):
    """Mean losses of the microbatches of a step."""
    generator = torch.Generator().manual_seed(step)
    for _ in range(microbatches):
        x = torch.randn(SAMPLES, INPUTS, generator=generator, dtype=torch.float64)
        y = torch.randn(SAMPLES, OUTPUTS, generator=generator, dtype=torch.float64)
        yield nn.functional.mse_loss(model(x), y)


def train(model, optimizer, server, run, *, steps, microbatches, **options):
    """Trains and returns the reports of all steps as values."""
    reports = []
    with thermograd.watch(
        model, optimizer, run=run, address=server.grpc_address, accumulation="mean",
        on_report=lambda report: reports.append(thermograd.report_values(report)), log_freq=1,
        **options,
    ) as watcher:  # fmt: skip
        for step in range(steps):
            optimizer.zero_grad()
            for loss in losses(model, step, microbatches):
                (loss / microbatches).backward()
                watcher.log(loss=loss)
            optimizer.step()
        assert watcher.flush()
        assert watcher.stats.hook_errors == 0
    assert len(reports) == steps
    return reports


def layer_charge(model):
    """|W_1|^2 + |b_1|^2 - |W_2|^2, the charge of the layers' rescaling."""
    first, second = model[0], model[2]
    parts = (first.weight.square().sum(), first.bias.square().sum(), -second.weight.square().sum())
    return float(sum(parts).detach())


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
def test_updates_explain_the_drift_of_charges_under_adam(server, kind):
    model = make_model()
    optimizer = kind(model.parameters(), lr=0.01, weight_decay=0.1)
    charges = []
    optimizer_step = optimizer.step

    def step():
        charges.append(layer_charge(model))
        optimizer_step()

    optimizer.step = step
    reports = train(
        model, optimizer, server, f"drift-{kind.__name__}", steps=5, microbatches=2, log="all"
    )
    symmetry = {"symmetry": "layer:0->2"}
    drift = thermograd.metric_key("thermograd_symmetry_charge_drift", **symmetry)
    predicted = thermograd.metric_key("thermograd_symmetry_charge_drift_predicted", **symmetry)
    breaking = thermograd.metric_key("thermograd_symmetry_optimizer_breaking", **symmetry)
    for number in range(1, 5):
        figures = reports[number]
        observed = charges[number] - charges[number - 1]
        assert figures[drift] == pytest.approx(observed, rel=1e-9, abs=1e-12)
        assert figures[predicted] == pytest.approx(figures[drift], rel=1e-9, abs=1e-12)
        assert abs(figures[breaking]) > 1e-3 * abs(charges[number])


def test_every_parameter_group_has_the_temperature_of_its_own_learning_rate(server):
    rates = {"first": 0.01, "second": 0.04}
    model = make_model()
    optimizer = torch.optim.SGD(
        [
            {"params": model[0].parameters(), "name": "first"},
            {"params": model[2].parameters(), "name": "second", "lr": rates["second"]},
        ],
        lr=rates["first"],
    )
    traces = {}
    for name, layer in (("first", model[0]), ("second", model[2])):
        gradients = [
            torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, [*layer.parameters()])])
            for loss in losses(model, 0, 4)
        ]
        traces[name] = float(torch.stack(gradients).var(dim=0).mean())
    (figures,) = train(model, optimizer, server, "temperatures", steps=1, microbatches=4)
    for name, rate in rates.items():
        # T = eta tr Sigma_B / (2 P), a fourth of the variance of one of four microbatches.
        key = thermograd.metric_key("thermograd_group_temperature", group=name)
        assert figures[key] == pytest.approx(rate * traces[name] / 4 / 2, rel=1e-9)


@pytest.mark.parametrize(
    "make, remembers",
    [
        (lambda p: torch.optim.RMSprop(p), False),
        (lambda p: torch.optim.SGD([{"params": p, "maximize": True}], lr=0.1), False),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5), True),
        (lambda p: torch.optim.SGD(
            [{"params": p[:1]}, {"params": p[1:], "momentum": 0.9}], lr=0.1), True),
        (lambda p: torch.optim.RMSprop(p, momentum=0.9), True),
        (lambda p: torch.optim.Adam(p, amsgrad=True), True),
        (lambda p: torch.optim.NAdam(p), True),
        (lambda p: type("Own", (torch.optim.NAdam,), {})(p), True),
        (lambda p: type("Own", (torch.optim.RMSprop,), {})(p), True),
    ],
)  # fmt: skip
def test_only_updates_without_memory_stand_for_the_preconditioner(server, make, remembers):
    """Else -<g, delta theta> is not g' Lambda g, and nothing may be said."""
    model = make_model()
    parameters = list(model.parameters())
    before = [p.detach().clone() for p in parameters]
    (figures,) = train(
        model, make(parameters), server, "memory", steps=1, microbatches=2,
        log=["gradients", "updates"],
    )  # fmt: skip
    found = figures.get(thermograd.metric_key("thermograd_entropic_loss"))
    if remembers:
        assert found is None
        return
    form = -sum(float((p.grad * (p.detach() - q)).sum()) for p, q in zip(parameters, before))
    loss = figures[thermograd.metric_key("thermograd_loss")]
    assert found == pytest.approx(loss + form / 4, rel=1e-9)


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_entropic_loss_of_momentum(server, nesterov):
    rate, momentum, microbatches = 0.01, 0.5, 4
    model = make_model()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=rate, momentum=momentum, nesterov=nesterov
    )
    gradients, mean_loss = [], 0.0
    for loss in losses(model, 0, microbatches):
        parts = torch.autograd.grad(loss, list(model.parameters()))
        gradients.append(torch.cat([part.reshape(-1) for part in parts]))
        mean_loss += float(loss.detach()) / microbatches
    (figures,) = train(
        model, optimizer, server, f"momentum-{nesterov}", steps=1, microbatches=microbatches
    )
    trace = float(torch.stack(gradients).var(dim=0).sum())
    signal = float(torch.stack(gradients).mean(dim=0).square().sum()) - trace / microbatches
    # The modified loss of momentum: theory.md section 2, as in tests/physics.
    delay = (momentum**2 if nesterov else momentum) / (1 - momentum)
    force = rate / (1 - momentum) / 4 * ((1 + 2 * delay) * signal + trace / microbatches)
    assert figures[thermograd.metric_key("thermograd_entropic_loss")] == pytest.approx(
        mean_loss + force, rel=1e-9
    )


def test_the_entropy_term_of_adam_follows_from_its_preconditioner(server):
    rate = 0.01
    model = make_model()
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, betas=(0.0, 0.9))
    logs = ["gradients", "preconditioner"]
    reports = train(
        model, optimizer, server, "preconditioned", steps=3, microbatches=2, log=logs,
        window_steps=1,
    )  # fmt: skip
    # What torch has of the last step: its gradient, and Lambda from the second moments.
    form = 0.0
    for parameter in model.parameters():
        v = optimizer.state[parameter]["exp_avg_sq"] / (1 - 0.9**3)
        form += float((rate / (v.sqrt() + 1e-8) * parameter.grad.square()).sum())
    assert reports[-1][thermograd.metric_key("thermograd_entropy_term")] == pytest.approx(
        form / 4 / rate, rel=1e-9
    )
