"""Sums in place of tensors: the figures are the same, and training is not waited for."""

import math

import pytest
import thermograd
import torch
from thermograd import reduction
from torch import nn

from recording_server import GRADIENT, WEIGHT
from system_support import report as report_pb2

WIDTHS = (6, 8, 8, 3)
SAMPLES = 5


class Scaler:
    """What the watcher asks of a GradScaler."""

    def get_scale(self):
        return 8.0


def make_model(dtype=torch.float32, widths=WIDTHS):
    torch.manual_seed(0)
    layers = []
    for before, after in zip(widths, widths[1:]):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).to(dtype)


def loss_of(model, seed):
    generator = torch.Generator().manual_seed(seed)
    first = next(model.parameters())
    x = torch.randn(SAMPLES, first.shape[1], generator=generator).to(first.dtype)
    outputs = model(x).float()
    # Random targets, so that gradients differ from microbatch to microbatch.
    return (outputs - torch.randn(outputs.shape, generator=generator)).square().mean()


def clip(model, scale=1.0):
    """In place, after the backward pass: what a loop does to gradients, by norm and by value."""
    for parameter in model.parameters():
        parameter.grad.mul_(1 / scale)
        parameter.grad.clamp_(-0.01, 0.01)


def reports_of(
    server, run, model, optimizer, loss, *, steps=3, microbatches=1, scale=1.0, **options
):  # fmt: skip
    """Every figure of every report, defined or not: a value, or the reason."""
    reports = []

    def keep(report):
        figures = thermograd.report_values(report)
        for missing in report.undefined:
            labels = {label.name: label.value for label in missing.labels}
            reason = report_pb2.UndefinedReason.Name(missing.reason)
            figures[thermograd.metric_key(missing.name, **labels)] = reason
        reports.append(figures)

    with thermograd.watch(
        model, optimizer, run=run, address=server.grpc_address, on_report=keep,
        accumulation="mean", microbatch_size=SAMPLES, **{"log_freq": 1, **options},
    ) as watcher:  # fmt: skip
        for step in range(steps):
            optimizer.zero_grad()
            for microbatch in range(microbatches):
                value = loss(model, 100 * step + microbatch)
                (scale * value / microbatches).backward()
                watcher.log(loss=value)
            clip(model, scale)
            optimizer.step()
        assert watcher.flush(), watcher.stats
        assert watcher.stats.hook_errors == 0
    assert len(reports) == steps
    return reports


def assert_same(found, expected, tolerance, absolute=1e-7):
    """`tolerance`: relative, of a figure by its name."""
    assert found.keys() == expected.keys()
    for key, figure in expected.items():
        relative = tolerance(key[0])
        if isinstance(figure, str):
            assert found[key] == figure, key
        else:
            assert found[key] == pytest.approx(figure, rel=relative, abs=absolute), key


def of_single_precision(name):
    """The sum of microbatches is accumulated in single precision, which differences amplify: the
    interval of the noise scale is made of differences of differences."""
    return 1e-4 if "_lower_" in name or "_upper_" in name else 1e-5


def both_modes(server, run, make, loss, optimizer, tolerance, absolute=1e-7, **options):
    """The reports of the statistics, once they are equal to those of the tensors."""
    found = {}
    for mode in ("tensors", "statistics"):
        model = make()
        found[mode] = reports_of(
            server, f"{run}-{mode}", model, optimizer(model.parameters()), loss, mode=mode,
            **options,
        )  # fmt: skip
    for sums, tensors in zip(found["statistics"], found["tensors"], strict=True):
        assert_same(sums, tensors, tolerance, absolute)
    return found["statistics"]


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.01),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
}


@pytest.mark.parametrize("microbatches", [1, 3])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_the_figures_are_those_of_tensors(server, kind, microbatches):
    log = ["gradients", "parameters", "updates"] + ["preconditioner"] * (kind == "adam")
    reports = both_modes(
        server, f"same-{kind}-{microbatches}", make_model, loss_of, OPTIMIZERS[kind],
        of_single_precision,
        microbatches=microbatches, log=log, scale=8.0, scaler=Scaler(),
    )  # fmt: skip
    key = thermograd.metric_key("thermograd_symmetry_charge_drift", symmetry="layer:0->2")
    assert abs(reports[-1][key]) > 1e-6
    # A residual of a true symmetry is rounding of the gradient alone.
    for name in ("neuron:0->2", "layer:2->4"):
        residual = thermograd.metric_key("thermograd_symmetry_residual_ratio", symmetry=name)
        assert reports[0][residual] <= 1e-6


@pytest.mark.parametrize(
    "microbatches, tolerance, absolute",
    [
        (1, lambda name: 1e-6, 1e-7),
        (2, lambda name: 1e-5, 1e-6),
        # 2e-3 of a gradient's norm, which differences of norms amplify.
        (3, lambda name: 0.05, 5e-3),
    ],
)
def test_bfloat16(server, microbatches, tolerance, absolute):
    """The sum of the earlier microbatches is the trainer's own: of two or more it was rounded to
    8 bits."""
    both_modes(
        server, f"bfloat16-{microbatches}", lambda: make_model(torch.bfloat16), loss_of,
        OPTIMIZERS["sgd"], tolerance, absolute,
        microbatches=microbatches, steps=2, log=["gradients", "parameters", "updates"],
    )  # fmt: skip


def test_a_deep_network(server):
    both_modes(
        server, "deep", lambda: make_model(widths=(16,) * 13), loss_of, OPTIMIZERS["sgd"],
        of_single_precision, microbatches=2, log=["gradients", "parameters", "updates"],
    )  # fmt: skip


@pytest.mark.parametrize("microbatches", [1, 3])
def test_the_way_of_an_accelerator(server, monkeypatch, microbatches):
    """There whatever is not finite is counted in every step, and squared norms are one kernel."""
    monkeypatch.setattr(reduction, "_on_host", lambda tensor: False)
    monkeypatch.delattr(reduction, "_is_finite")
    both_modes(
        server, f"accelerator-{microbatches}", make_model, loss_of, OPTIMIZERS["adam"],
        of_single_precision, microbatches=microbatches,
        log=["gradients", "parameters", "updates", "preconditioner"],
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
# More elements than a block has; and more in a row.
@pytest.mark.parametrize("shape", [(1200, 1000), (5, 300_000)])
@pytest.mark.parametrize("is_on_host", [True, False])
def test_sums_are_exact_to_rounding_of_doubles(monkeypatch, dtype, shape, is_on_host):
    """And leave what they are made of as it is."""
    monkeypatch.setattr(reduction, "_on_host", lambda tensor: is_on_host)
    # A CPU's vector_norm, which stands for an accelerator's here, adds one element after the other.
    relative = 1e-14 if is_on_host else 1e-12
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    before = x.clone(), y.clone()
    for factors in ((x, x), (x, y), (x, x, y)):
        products = torch.stack([factor.double() for factor in factors]).prod(0)
        assert float(reduction._total(*factors)) == pytest.approx(
            math.fsum(products.reshape(-1).tolist()), abs=relative * float(products.abs().sum())
        )
    rows, columns = (1, shape[0] - 1), (0, shape[1])
    targets = [
        reduction.Target(rows, columns),
        reduction.Target(rows, columns, by_columns=True),
    ]
    for product in (("x",), ("x", "x"), ("x", "y")):
        found = reduction.product_sums({"x": x, "y": y}, [product], targets)
        products = torch.stack([{"x": x, "y": y}[name].double() for name in product]).prod(0)
        for target, axis in zip(targets, (1, 0), strict=True):
            torch.testing.assert_close(
                found[product, target],
                products[slice(*rows)].sum(axis),
                rtol=0,
                atol=relative * float(products.abs().sum()),
            )
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


class Members(nn.Module):
    """Parameters for every kind of symmetry, in every way that members may lie."""

    SHAPES = {
        "up": (4, 5), "up_bias": (4,), "down": (3, 8),
        "first": (4, 3), "first_bias": (4,), "second": (2, 8),
        "query": (16, 5), "query_bias": (16,), "key": (8, 5), "key_bias": (8,),
        "rotary_query": (16, 3), "rotary_key": (8, 3), "halves_query": (8, 3), "halves_key": (8, 3),
        "fused": (12, 4), "stored_in_out": (5, 6), "kernel": (4, 2, 3, 3),
        "scaled": (3, 7), "whole_scaled": (2, 3, 2), "logits": (4, 3), "logits_bias": (4,),
        "logits_in_out": (3, 5), "lora_a": (2, 6), "lora_b": (5, 2), "scalar": (),
    }  # fmt: skip

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        for name, shape in self.SHAPES.items():
            setattr(self, name, nn.Parameter(torch.randn(shape, generator=generator)))

    def forward(self, seed):
        generator = torch.Generator().manual_seed(int(seed))
        return sum(
            (parameter * torch.randn(parameter.shape, generator=generator)).sum().square()
            + (parameter**3 * torch.randn(parameter.shape, generator=generator)).sum()
            for parameter in self.parameters()
        ) * 1e-3  # fmt: skip


MEMBER = thermograd.Member
SYMMETRIES = [
    thermograd.NeuronRescaling("neurons", "up", "down", "up_bias"),
    thermograd.LayerRescaling("layers", "up", "down", "up_bias"),
    thermograd.NeuronRescaling(
        "in_out", MEMBER("stored_in_out", 1, 4, transposed=True), MEMBER("fused", 2, 5)
    ),
    thermograd.NeuronRescaling("convolution", "kernel", MEMBER("down", 0, 2)),
    thermograd.DoubleRotation("rotation", "first", "second", "first_bias", heads=2),
    thermograd.DoubleRotation("lora", "lora_a", "lora_b"),
    thermograd.DoubleRotation("values", MEMBER("fused", 8, 4), MEMBER("second", 1, 1)),
    thermograd.QueryKeyRotation("queries", "query", "key", "query_bias", "key_bias", heads=2),
    thermograd.QueryKeyRotation(
        "interleaved", "rotary_query", "rotary_key", heads=2, rotary="interleaved"
    ),
    thermograd.QueryKeyRotation("halves", "halves_query", "halves_key", heads=2, rotary="halves"),
    thermograd.ScaleInvariance("rows", "scaled", per_row=True),
    thermograd.ScaleInvariance("whole", "whole_scaled"),
    thermograd.LogitTranslation("translation", "logits", "logits_bias"),
    thermograd.LogitTranslation("translation_in_out", MEMBER("logits_in_out", transposed=True)),
    thermograd.NeuronPermutation("permutation", "up", "down", "up_bias"),
]


@pytest.mark.parametrize("microbatches", [1, 2])
def test_every_kind_of_symmetry(server, microbatches):
    reports = both_modes(
        server, f"symmetries-{microbatches}", Members, lambda model, seed: model(seed),
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.5), of_single_precision, 1e-6,
        microbatches=microbatches, log=["gradients", "parameters", "updates"],
        symmetries=SYMMETRIES,
    )  # fmt: skip
    defined = {
        dict(labels).get("symmetry") for (_, labels), value in reports[-1].items()
        if not isinstance(value, str)
    }  # fmt: skip
    assert defined >= {symmetry.name for symmetry in SYMMETRIES}


def test_symmetries_whose_shapes_do_not_fit_are_refused():
    model = Members()
    wrong = [
        thermograd.NeuronRescaling("s", "first", "logits"),
        thermograd.NeuronRescaling("s", "up", "down", "query_bias"),
        thermograd.DoubleRotation("s", "first", "second", heads=3),
        thermograd.ScaleInvariance("s", MEMBER("scaled", 2, 2)),
    ]
    for symmetry in wrong:
        with pytest.raises(ValueError, match="symmetry 's'"):
            thermograd.watch(model, run="r", mode="statistics", symmetries=[symmetry], log_freq=1)


def test_non_finite_elements_are_counted_and_spoil_no_other_parameter(server, recorder):
    def loss(model, seed):
        value = loss_of(model, seed)
        if seed != 1:
            return value
        # Adds NaN to three elements of a gradient, and infinities to two.
        bad = torch.zeros(model[4].weight.shape)
        bad[0, :3], bad[1, :2] = math.nan, math.inf
        return value + (model[4].weight * bad).sum()

    both_modes(
        server, "non-finite", make_model, loss, lambda p: torch.optim.SGD(p, lr=0.0),
        of_single_precision,
        microbatches=2, steps=1,
    )  # fmt: skip
    model = make_model()
    with thermograd.watch(
        model, run="r", address=recorder.address, mode="statistics", log_freq=1
    ) as watcher:
        for seed in (0, 1):
            loss(model, seed).backward()
        watcher.step()
    sums, _ = recorder.steps[0].sums()
    ids = {p.name: p.id for p in recorder.specs[0].parameters}
    counts = {name: (sums[n].nan_elements, sums[n].infinite_elements) for name, n in ids.items()}
    assert counts.pop("4.weight") == (3, 2)
    assert set(counts.values()) == {(0, 0)}


def test_nothing_waits_for_the_device_within_a_step(recorder, monkeypatch):
    reads = []

    def forbid(name):
        original = getattr(torch.Tensor, name)

        def read(self, *args):
            import traceback

            caller = traceback.extract_stack(limit=2)[0]
            # The one that is documented: a CPU's own sum, to see whether to count.
            if "thermograd" in caller.filename and caller.name != "_is_finite":
                reads.append((name, caller.name))
            return original(self, *args)

        monkeypatch.setattr(torch.Tensor, name, read)

    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.cuda.amp.GradScaler(enabled=False)
    scaler._scale = torch.tensor(1.0)
    log = ["gradients", "parameters", "updates", "activations"]
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, mode="statistics", log=log,
        scaler=scaler, project_width=4, log_freq=1,
    ) as watcher:  # fmt: skip
        for name in ("item", "__bool__", "__float__", "__int__", "tolist", "cpu", "numpy"):
            forbid(name)
        # Without the loop's own thread: what is sent is read on another one.
        monkeypatch.setattr(watcher, "_submit", lambda: None)
        for seed in (0, 1):
            loss = loss_of(model, seed)
            loss.backward()
            watcher.log(loss=loss)
        optimizer.step()
        assert reads == []
        assert watcher._made.sums._pending
        monkeypatch.undo()
        assert watcher._made.loss_scale.item() == 1.0


def test_gradients_left_by_an_earlier_step_are_not_added(recorder):
    """zero_grad(set_to_none=False) and stale gradients: the first microbatch is the sum itself."""
    model = make_model()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    with thermograd.watch(
        model, run="r", address=recorder.address, mode="statistics", log_freq=1
    ) as watcher:
        loss_of(model, 0).backward()
        watcher.step()
    twin = make_model()
    loss_of(twin, 0).backward()
    sums, _ = recorder.steps[0].sums()
    for number, parameter in enumerate(twin.parameters(), start=1):
        expected = float(parameter.grad.double().square().sum())
        assert sums[number].gradient_sum_squared_norm == pytest.approx(expected, rel=1e-12)
        assert sums[number].gradient_squared_norm_of_sum == pytest.approx(expected, rel=1e-12)


def test_whole_weights_come_only_when_they_are_due(recorder):
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, mode="statistics",
        spectrum_every_steps=3, log_freq=1,
    ):  # fmt: skip
        for seed in range(4):
            loss_of(model, seed).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert recorder.specs[0].reporting.spectrum_every_steps == 3
    for number, step in enumerate(recorder.steps):
        assert not step.tensors(GRADIENT)
        whole = {name for name, _ in recorder.named(step, WEIGHT)}
        # All but the last bias are members of a symmetry.
        due = {n for n, _ in model.named_parameters()} - {"4.bias"} if number % 3 == 0 else set()
        assert whole == due
        sums, symmetries = step.sums()
        assert len(symmetries) == 4
        names = {p.id: p.name for p in recorder.specs[0].parameters}
        for number, entry in sums.items():
            assert entry.HasField("weight_squared_norm") == (names[number] not in whole)


def test_messages_keep_within_a_chunk_and_larger_symmetries_are_left_out(caplog):
    from recording_server import RecordingServer

    model = make_model(widths=(6, 400, 8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    limit = 600
    with RecordingServer(max_chunk_bytes=limit) as server:
        with thermograd.watch(
            model, optimizer, run="r", address=server.address, mode="statistics", log_freq=1
        ) as watcher:
            for seed in range(3):
                loss_of(model, seed).backward()
                optimizer.step()
                assert watcher.flush()
                assert watcher.stats.hook_errors == 0
            # Nor are its sums made any more.
            assert "neuron:0->2" not in {s.name for s in watcher._reducer.symmetries}
        for step in server.steps:
            assert max(message.ByteSize() for message in step.statistics) <= limit
            sums, symmetries = step.sums()
            assert len(sums) == 6
            assert set(symmetries) == {"layer:0->2", "neuron:2->4", "layer:2->4"}
        assert len(server.steps[0].statistics) > 1
    left_out = [r for r in caplog.records if "symmetry neuron:0->2 is left out" in r.getMessage()]
    assert len(left_out) == 1


@pytest.mark.parametrize(
    "log", ["gradients", "parameters", "updates", ["gradients", "updates"], ["gradients"]]
)
def test_log_chooses_what_is_summed(recorder, log):
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, mode="statistics", log=log, log_freq=1
    ) as watcher:
        loss_of(model, 0).backward()
        optimizer.step()
    assert watcher.stats.hook_errors == 0
    (step,) = recorder.steps
    for entry in step.sums()[0].values():
        assert entry.HasField("gradient_sum_squared_norm") == ("gradients" in log)
        assert entry.HasField("gradient_squared_norm_of_sum") == ("gradients" in log)
        assert entry.HasField("update_squared_norm") == ("updates" in log)
        assert entry.HasField("gradient_dot_update") == (log == ["gradients", "updates"])
    assert not step.tensors(WEIGHT)
    assert any(e.HasField("weight_squared_norm") for e in step.sums()[0].values()) == (
        "parameters" in log
    )


@pytest.mark.parametrize("width, is_reduced", [(100, False), (2100, True)])
def test_auto_is_statistics_for_large_models(recorder, width, is_reduced):
    model = nn.Linear(width, 2000)
    with thermograd.watch(model, run="r", address=recorder.address, log_freq=1) as watcher:
        model(torch.ones(1, width)).sum().backward()
        watcher.step()
    stats = watcher.stats
    (step,) = recorder.steps
    assert bool(step.statistics) == is_reduced
    assert bool(step.tensors(GRADIENT)) != is_reduced
    if is_reduced:
        assert 0 < stats.sent_bytes < 1000


def test_a_hundred_million_parameters_take_a_hundredth_of_the_bytes(recorder):
    """The same model as above, wider; `test_the_figures_are_those_of_tensors` has its figures."""
    torch.manual_seed(0)
    model = make_model(widths=(2890,) * 13)
    elements = sum(p.numel() for p in model.parameters())
    assert elements > 100_000_000
    with thermograd.watch(
        model, run="r", address=recorder.address, log=["gradients", "parameters"], log_freq=1
    ) as watcher:
        for seed in range(2):
            model.zero_grad(set_to_none=True)
            loss_of(model, seed).backward()
            watcher.step()
        assert watcher.flush(120.0), watcher.stats
    of_tensors = 2 * elements * 4
    for step in recorder.steps:
        sums, symmetries = step.sums()
        assert len(sums) == 24 and len(symmetries) == 22
        assert step.byte_size <= 0.01 * of_tensors
        print(f"bytes: {step.byte_size} of {of_tensors} ({step.byte_size / of_tensors:.2e})")
