"""Declarations by name, and reports as plain values."""

import hashlib

import pytest
import thermograd
import torch

from system_support import report, run
from thermograd import Layer, LayerRescaling, NeuronRescaling, ProbeSet, metric_key


def test_names_become_ids():
    spec = thermograd.run_spec(
        "run",
        parameters={"a": (3, 2), "b": (3,), "c": (1, 3)},
        layers=[Layer("hidden", 3), Layer("seen", 4, "held-out")],
        symmetries=[
            NeuronRescaling("n", "a", "c", "b"),
            NeuronRescaling("n0", "a", "c"),
            LayerRescaling("l", "a", "c", "b"),
            LayerRescaling("l0", "a", "c"),
        ],
        probe_sets=[ProbeSet("held-out", ["x", 7])],
        optimizer=run.Optimizer(kind=run.OPTIMIZER_KIND_SGD),
        window_steps=5,
        report_every_steps=2,
        rank=1,
        world_size=4,
    )
    up, bias, down = (run.Member(parameter_id=number) for number in (1, 2, 3))
    assert spec == run.RunSpec(
        run="run",
        rank=1,
        world_size=4,
        optimizer=run.Optimizer(kind=run.OPTIMIZER_KIND_SGD),
        parameters=[
            run.Parameter(id=1, name="a", shape=[3, 2]),
            run.Parameter(id=2, name="b", shape=[3]),
            run.Parameter(id=3, name="c", shape=[1, 3]),
        ],
        layers=[
            run.Layer(id=4, name="hidden", width=3),
            run.Layer(id=5, name="seen", width=4, probe_set="held-out"),
        ],
        symmetries=[
            run.Symmetry(
                name="n",
                neuron_rescaling=run.NeuronRescaling(
                    incoming=up, incoming_bias=bias, outgoing=down
                ),
            ),
            run.Symmetry(
                name="n0", neuron_rescaling=run.NeuronRescaling(incoming=up, outgoing=down)
            ),
            run.Symmetry(
                name="l",
                layer_rescaling=run.LayerRescaling(first=up, first_bias=bias, second=down),
            ),
            run.Symmetry(name="l0", layer_rescaling=run.LayerRescaling(first=up, second=down)),
        ],
        probe_sets=[
            run.ProbeSet(
                name="held-out", samples=2, fingerprint=hashlib.sha256(b"x\n7").digest()
            )
        ],
        reporting=run.Reporting(window_steps=5, report_every_steps=2),
    )


@pytest.mark.parametrize(
    "symmetry", [NeuronRescaling("n", "a", "lost"), LayerRescaling("l", "a", "a", "lost")]
)
def test_an_undeclared_member(symmetry):
    with pytest.raises(KeyError, match="lost"):
        thermograd.run_spec("run", parameters={"a": (1,)}, symmetries=[symmetry])


def test_probes_are_checked():
    for name, inputs, options in [
        ("", torch.zeros(2, 1), {}),
        ("p", torch.zeros(3, 1), {}),
        ("p", torch.zeros(2, 1), {"every": 0}),
        ("p", "text", {}),
    ]:
        with pytest.raises(ValueError):
            thermograd.Probe(name, inputs, range(2), **options)


@pytest.mark.parametrize("inputs", [
    torch.ones(2, 1), (torch.ones(2, 1),), {"x": torch.ones(2, 1)},
])  # fmt: skip
def test_a_probe_calls_the_model_as_it_is_given(inputs):
    seen = []

    class Model(torch.nn.Module):
        def forward(self, x):
            seen.append((x, self.training, torch.is_grad_enabled()))

    thermograd.Probe("p", inputs, "ab").run(Model())
    ((x, training, grad),) = seen
    assert torch.equal(x, torch.ones(2, 1)) and not training and not grad


def test_reports_as_values():
    labels = [report.Label(name="b", value="2"), report.Label(name="a", value="1")]
    figures = report.StepReport(
        step=3,
        metrics=[
            report.MetricValue(name="x", labels=labels, value=1.5),
            report.MetricValue(name="x", value=2.5),
        ],
        undefined=[report.UndefinedMetric(name="y")],
    )
    assert thermograd.report_values(figures) == {
        metric_key("x", b="2", a="1"): 1.5,
        metric_key("x"): 2.5,
    }
    assert metric_key("x", b="2", a="1") == ("x", (("a", "1"), ("b", "2")))


def test_every_public_name_exists():
    for name in thermograd.__all__:
        assert getattr(thermograd, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        thermograd.nonsense  # noqa: B018
