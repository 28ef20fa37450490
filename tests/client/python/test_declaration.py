"""Declarations by name, and reports as plain values."""

import hashlib

import pytest
import thermograd
import torch

from system_support import report, run, tensor
from thermograd import (
    DoubleRotation,
    Layer,
    LayerRescaling,
    LogitTranslation,
    Member,
    NeuronPermutation,
    NeuronRescaling,
    ProbeSet,
    QueryKeyRotation,
    ScaleInvariance,
    metric_key,
)
from thermograd.declaration import parameters_of
from thermograd.v1 import representation_pb2 as representation


def test_names_become_ids():
    spec = thermograd.run_spec(
        "run",
        parameters={"a": (3, 2), "b": (3,), "c": (1, 3)},
        groups={"c": "readout"},
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
            run.Parameter(id=3, name="c", shape=[1, 3], group="readout"),
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


def test_every_kind_of_symmetry_and_member():
    spec = thermograd.run_spec(
        "run",
        parameters={"a": (8, 4), "b": (4, 8), "c": (8,)},
        symmetries=[
            DoubleRotation("vo", Member("b", transposed=True), "b", "c", heads=2),
            QueryKeyRotation(
                "qk",
                query=Member("a", rows=4),
                key=Member("a", first_row=4),
                query_bias=Member("c", rows=4),
                key_bias=Member("c", first_row=4),
                heads=2,
                rotary="halves",
            ),
            QueryKeyRotation("plain", "a", "a"),
            ScaleInvariance("norm", "a", per_row=True),
            LogitTranslation("logits", "a", "c"),
            NeuronPermutation("neurons", "a", "b", "c"),
        ],
        spectrum_every_steps=7,
    )
    assert spec.reporting.spectrum_every_steps == 7
    a, b, c = (run.Member(parameter_id=number) for number in (1, 2, 3))
    assert list(spec.symmetries) == [
        run.Symmetry(
            name="vo",
            double_rotation=run.DoubleRotation(
                first=run.Member(parameter_id=2, transposed=True),
                second=b,
                first_bias=c,
                heads=2,
            ),
        ),
        run.Symmetry(
            name="qk",
            query_key_rotation=run.QueryKeyRotation(
                query=run.Member(parameter_id=1, rows=4),
                key=run.Member(parameter_id=1, first_row=4),
                query_bias=run.Member(parameter_id=3, rows=4),
                key_bias=run.Member(parameter_id=3, first_row=4),
                heads=2,
                rotary=run.ROTARY_LAYOUT_HALVES,
            ),
        ),
        run.Symmetry(
            name="plain",
            query_key_rotation=run.QueryKeyRotation(query=a, key=a, heads=1),
        ),
        run.Symmetry(
            name="norm", scale_invariance=run.ScaleInvariance(weight=a, per_row=True)
        ),
        run.Symmetry(
            name="logits", logit_translation=run.LogitTranslation(weight=a, bias=c)
        ),
        run.Symmetry(
            name="neurons",
            neuron_permutation=run.NeuronPermutation(incoming=a, incoming_bias=c, outgoing=b),
        ),
    ]


def test_parts_of_a_run_over_several_ranks():
    spec = thermograd.run_spec(
        "run",
        parameters={"a": (8, 4), "b": (4,)},
        shards={"a": thermograd.Shard(offset=(4, 0), shape=(4, 4), replicas=2)},
        parameter_kinds=[
            thermograd.UPDATE,
            thermograd.PRECONDITIONER,
            thermograd.GRADIENT_AFTER_UPDATE,
            thermograd.REDUCED_GRADIENT,
        ],
        gradient_scope="reduced",
        rank=3,
        world_size=4,
    )
    assert spec == run.RunSpec(
        run="run",
        rank=3,
        world_size=4,
        parameters=[
            run.Parameter(
                id=1,
                name="a",
                shape=[8, 4],
                shard=run.Shard(offset=[4, 0], shape=[4, 4], replicas=2),
            ),
            run.Parameter(id=2, name="b", shape=[4]),
        ],
        parameter_kinds=[
            tensor.TENSOR_KIND_UPDATE,
            tensor.TENSOR_KIND_PRECONDITIONER,
            tensor.TENSOR_KIND_GRADIENT_AFTER_UPDATE,
            tensor.TENSOR_KIND_REDUCED_GRADIENT,
        ],
        gradient_scope=run.GRADIENT_SCOPE_REDUCED,
        reporting=run.Reporting(),
    )
    local = thermograd.run_spec("run", gradient_scope="local")
    assert local.gradient_scope == run.GRADIENT_SCOPE_LOCAL
    with pytest.raises(ValueError, match="gradient_scope: 'global'"):
        thermograd.run_spec("run", gradient_scope="global")


def test_similarities_and_weights_of_layers():
    spec = thermograd.run_spec(
        "run",
        parameters={"a": (3, 4), "b": (2, 3)},
        layers=[Layer("hidden", 3, weight="a", reader_weight="b"), Layer("plain", 3)],
        similarities=thermograd.similarity_options(
            ["svcca", "cka_rbf"],
            neighbours=3,
            permutations=20,
            rbf_bandwidth_fraction=0.25,
            svcca_variance_fraction=0.5,
            cca_ridge=0.125,
        ),
        similarity_over_window=True,
    )
    assert list(spec.layers) == [
        run.Layer(id=3, name="hidden", width=3, weight_id=1, reader_weight_id=2),
        run.Layer(id=4, name="plain", width=3),
    ]
    assert spec.reporting == run.Reporting(
        similarity=representation.SimilarityOptions(
            similarities=[representation.SIMILARITY_SVCCA, representation.SIMILARITY_CKA_RBF],
            neighbours=3,
            permutations=20,
            rbf_bandwidth_fraction=0.25,
            svcca_variance_fraction=0.5,
            cca_ridge=0.125,
        ),
        similarity_over_window=True,
    )
    named = thermograd.run_spec("run", similarities=thermograd.SIMILARITIES).reporting.similarity
    assert set(named.similarities) == set(representation.Similarity.values()) - {0}
    with pytest.raises(ValueError, match="there is no 'cosine'"):
        thermograd.run_spec("run", similarities=["cosine"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"groups": {"lost": "g"}},
        {"shards": {"lost": thermograd.Shard((0,), (1,))}},
        {"layers": [Layer("l", 1, weight="lost")]},
        {"layers": [Layer("l", 1, reader_weight="lost")]},
    ],
)
def test_an_undeclared_parameter(wrong):
    with pytest.raises(KeyError, match="lost"):
        thermograd.run_spec("run", parameters={"a": (1,)}, **wrong)


def test_parameters_of_a_symmetry():
    members = Member("a", rows=2), Member("b")
    assert parameters_of(QueryKeyRotation("q", *members, rotary="halves")) == {"a", "b"}
    assert parameters_of(LayerRescaling("l", "a", "b", "c")) == {"a", "b", "c"}


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
