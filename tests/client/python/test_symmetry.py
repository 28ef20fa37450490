"""Which symmetries are found, which are rightly not, and which are withdrawn."""

import copy
import logging

import pytest
import thermograd
import torch
import torch.nn.functional as F
from torch import nn

from thermograd import (
    DoubleRotation,
    LayerRescaling,
    LogitTranslation,
    Member,
    NeuronRescaling,
    QueryKeyRotation,
    ScaleInvariance,
)
from thermograd.symmetry_residual import ResidualCheck, tolerance
from thermograd.v1 import report_pb2


def places(model):
    """Pairs of layers of the neuron symmetries; each has its layer symmetry beside it."""
    found = thermograd.symmetries(model)
    neurons = [s for s in found if isinstance(s, NeuronRescaling)]
    layers = [s for s in found if isinstance(s, LayerRescaling)]
    assert [(s.incoming, s.outgoing, s.incoming_bias) for s in neurons] == [
        (s.first, s.second, s.first_bias) for s in layers
    ]
    return [s.name.removeprefix("neuron:") for s in neurons]


def assert_symmetric(model, inputs):
    """The output stays when every neuron that was found is rescaled."""
    scaled = copy.deepcopy(model).double().eval()
    plain = copy.deepcopy(scaled)
    parameters = dict(scaled.named_parameters())
    found = [s for s in thermograd.symmetries(model) if isinstance(s, NeuronRescaling)]
    assert found
    with torch.no_grad():
        for symmetry in found:
            width = parameters[symmetry.incoming].shape[0]
            factor = torch.linspace(0.5, 2.0, width, dtype=torch.float64)
            parameters[symmetry.incoming].mul_(factor[:, None])
            parameters[symmetry.outgoing].div_(factor)
            if symmetry.incoming_bias is not None:
                parameters[symmetry.incoming_bias].mul_(factor)
        assert torch.allclose(scaled(inputs), plain(inputs), rtol=1e-12, atol=1e-12)


class Functional(nn.Module):
    def __init__(self, function=F.relu):
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.second = nn.Linear(6, 5, bias=False)
        self.third = nn.Linear(5, 2)
        self.function = function

    def forward(self, x):
        x = F.dropout(self.function(self.first(x)), 0.1, self.training)
        return self.third(self.second(x).relu())


def sequential(*between):
    return nn.Sequential(nn.Linear(4, 6), *between, nn.Linear(6, 2))


@pytest.mark.parametrize(
    "model, expected",
    [
        (sequential(), ["0->1"]),
        (sequential(nn.ReLU()), ["0->2"]),
        (sequential(nn.LeakyReLU(0.1)), ["0->2"]),
        (sequential(nn.Identity(), nn.ReLU(), nn.Dropout(0.5)), ["0->4"]),
        (sequential(nn.Sequential(nn.ReLU(), nn.Sequential(nn.Linear(6, 6)))), ["0->1.1.0",
                                                                              "1.1.0->2"]),
        (Functional(), ["first->second", "second->third"]),
        (Functional(torch.relu), ["first->second", "second->third"]),
        (Functional(lambda x: x.relu()), ["first->second", "second->third"]),
        (Functional(F.leaky_relu), ["first->second", "second->third"]),
    ],
)  # fmt: skip
def test_found_and_true(model, expected):
    assert places(model) == expected
    assert_symmetric(model, torch.randn(3, 4, dtype=torch.float64))


@pytest.mark.parametrize(
    "module",
    [nn.Tanh(), nn.GELU(), nn.Sigmoid(), nn.PReLU(), nn.LayerNorm(6), nn.Softplus(), nn.ReLU6()],
)  # fmt: skip
def test_what_is_not_homogeneous_is_not_found(module):
    assert places(sequential(module)) == []
    assert places(Functional(module)) == ["second->third"]


def test_biases_are_members():
    with_bias, without = Functional(), Functional()
    without.first = nn.Linear(4, 6, bias=False)
    assert thermograd.symmetries(with_bias)[0] == NeuronRescaling(
        "neuron:first->second", "first.weight", "second.weight", "first.bias"
    )
    assert thermograd.symmetries(without)[0].incoming_bias is None


def test_shared_weights_are_left_out():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    assert places(model) == []
    layer = nn.Linear(4, 4)
    assert places(nn.Sequential(layer, nn.ReLU(), layer)) == []
    # Shared with a layer elsewhere.
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 6))
    assert places(model) == ["0->2"]
    model[4].weight = model[0].weight
    assert places(model) == []


def test_a_hidden_value_used_twice_is_left_out():
    class Residual(Functional):
        def forward(self, x):
            x = F.relu(self.first(x))
            return self.second(x), x

    class ReadsItsWeight(Functional):
        def forward(self, x):
            return self.second(F.relu(self.first(x))) + self.first.weight.sum()

    assert places(Residual()) == []
    assert places(ReadsItsWeight()) == []


def test_computed_weights_are_left_out():
    model = sequential(nn.ReLU())
    nn.utils.weight_norm(model[0])
    assert places(model) == []


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = sequential(nn.ReLU())
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.body(x) if x.sum() > 0 else -self.body(x)


def test_of_a_model_that_cannot_be_traced_the_sequential_parts_count():
    model = Untraceable()
    assert places(model) == ["body.0->body.2"]
    # Tracing has run the model's code on a copy.
    assert model.calls == 0
    assert thermograd.symmetries(model)[0].incoming == "body.0.weight"


def test_a_model_that_is_one_layer_has_none():
    assert thermograd.symmetries(nn.Linear(2, 2)) == []


def found(model, kind=None, **options):
    """What is found of a kind, but for the names."""
    return [
        (type(s), *(value for field, value in vars(s).items() if field != "name"))
        for s in thermograd.symmetries(model, **options)
        if kind in (None, type(s))
    ]


def without_epsilon(model):
    for module in model.modules():
        if hasattr(module, "eps"):
            module.eps = 1e-14
    return model


def assert_true(model, *inputs, **options):
    """Every symmetry that is found has no residual, on a loss with a gradient for all of it."""
    torch.manual_seed(0)
    model = without_epsilon(model.double()).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    symmetries = thermograd.symmetries(model, **options)
    output = model(*(x.double() for x in inputs))
    F.cross_entropy(output.flatten(1), torch.arange(len(output)) % output[0].numel()).backward()
    residuals = thermograd.symmetry_residuals(model, symmetries)
    assert residuals.keys() == {symmetry.name for symmetry in symmetries}
    assert max(residuals.values()) < 1e-10, residuals
    return residuals


def convolutions(*between, bias=True):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=bias), *between, nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(20, 3)
    )


IMAGES = torch.randn(6, 3, 6, 6)


@pytest.mark.parametrize(
    "between",
    [(nn.ReLU(),), (nn.ReLU(), nn.MaxPool2d(1)), (nn.Dropout2d(0.2), nn.ReLU()), ()],
)
def test_convolutions(between):
    model = convolutions(*between)
    assert len(places(model)) == 2
    assert_true(model, IMAGES)
    assert found(model, DoubleRotation) == []


def test_groups_of_channels():
    grouped = convolutions(nn.ReLU(), nn.Conv2d(4, 4, 1, groups=2))
    assert places(grouped) == ["2->3", "3->5"]
    assert_true(grouped, IMAGES)
    first = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 2, 1))
    assert places(first) == ["0->1"]
    assert found(first, DoubleRotation) == []


def test_flattened_channels_belong_to_their_neuron():
    class Viewed(nn.Module):
        def __init__(self, flatten):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(64, 3)
            self.flatten = flatten

        def forward(self, x):
            return self.fc(self.flatten(F.max_pool2d(F.relu(self.conv(x)), 1)))

    for flatten in (
        lambda x: torch.flatten(x, 1),
        lambda x: x.flatten(1),
        lambda x: x.view(-1, 64),
    ):
        model = Viewed(flatten)
        assert places(model) == ["conv->fc"]
        assert_true(model, IMAGES)
    # Features of several positions that are made features of one.
    assert places(nn.Sequential(nn.Linear(4, 6), nn.Flatten(), nn.Linear(12, 2))) == []


def test_linear_maps_in_a_row():
    rotation = [(DoubleRotation, "0.weight", "2.weight", "0.bias", 1)]
    assert found(sequential(nn.Identity()), DoubleRotation) == rotation
    assert found(sequential(nn.Dropout(0.0)), DoubleRotation) == rotation
    for between in (nn.ReLU(), nn.Dropout(0.5)):
        assert found(sequential(between), DoubleRotation) == []
    assert_true(sequential(nn.Identity()), torch.randn(5, 4))
    pointwise = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1))
    assert found(pointwise, DoubleRotation) == [
        (DoubleRotation, "0.weight", "1.weight", "0.bias", 1)
    ]
    assert_true(pointwise, IMAGES)


class Gated(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 3)
        self.activation = activation

    def forward(self, x):
        return self.down(self.activation(self.gate(x)) * self.up(x) / 2)


def test_gated_layers():
    assert places(Gated(F.silu)) == ["up->down"]
    assert_true(Gated(F.silu), torch.randn(5, 4))
    # What may be scaled through the gate too.
    assert places(Gated(F.relu)) == ["gate->down", "up->down"]
    assert_true(Gated(F.relu), torch.randn(5, 4))


def test_a_squared_value_is_of_another_degree():
    class Squared(Functional):
        def forward(self, x):
            x = self.first(x)
            return self.second(x * x)

    assert places(Squared()) == []


@pytest.mark.parametrize("bias", [False, True])
def test_batch_normalisation(bias):
    model = convolutions(nn.BatchNorm2d(4), nn.ReLU(), bias=bias)
    assert found(model, ScaleInvariance) == [(ScaleInvariance, "0.weight", True)]
    # Its scale and shift are a layer.
    assert places(model) == ["1->3", "3->5"]
    assert_true(model, IMAGES)


def test_a_bias_that_is_not_subtracted_is_not_scaled_away():
    model = convolutions(nn.ReLU(), nn.BatchNorm2d(4))
    assert found(model, ScaleInvariance) == []
    assert found(convolutions(nn.ReLU(), nn.BatchNorm2d(4), bias=False), ScaleInvariance)


def test_frozen_statistics_normalise_nothing():
    model = convolutions(nn.BatchNorm2d(4))
    model[1].eval()
    assert found(model, ScaleInvariance) == []


@pytest.mark.parametrize(
    ("norm", "per_row"),
    [(nn.GroupNorm(2, 4), False), (nn.InstanceNorm2d(4), True)],
)
def test_other_normalisations_of_channels(norm, per_row):
    model = convolutions(norm, bias=False)
    assert found(model, ScaleInvariance) == [(ScaleInvariance, "0.weight", per_row)]
    assert_true(model, IMAGES)
    assert bool(found(convolutions(norm), ScaleInvariance)) == per_row


def test_layer_normalisation():
    model = sequential(nn.LayerNorm(6))
    assert found(model, ScaleInvariance) == []
    model[0] = nn.Linear(4, 6, bias=False)
    assert found(model, ScaleInvariance) == [(ScaleInvariance, "0.weight", False)]
    assert_true(model, torch.randn(5, 4))


@pytest.mark.parametrize(
    ("normalise", "parameter", "per_row"),
    [
        (nn.utils.weight_norm, "0.weight_v", True),
        (lambda m: nn.utils.weight_norm(m, dim=None), "0.weight_v", False),
        (nn.utils.spectral_norm, "0.weight_orig", False),
        (nn.utils.parametrizations.spectral_norm, "0.parametrizations.weight.original", False),
    ],
)
def test_normalised_weights(normalise, parameter, per_row):
    model = sequential(nn.Tanh())
    normalise(model[0])
    assert found(model) == [(ScaleInvariance, parameter, per_row)]
    assert_true(model, torch.randn(5, 4))


def test_parametrized_weight_normalisation():
    if not hasattr(nn.utils.parametrizations, "weight_norm"):
        pytest.skip("this PyTorch has no torch.nn.utils.parametrizations.weight_norm")
    model = sequential(nn.Tanh())
    nn.utils.parametrizations.weight_norm(model[0])
    assert found(model) == [(ScaleInvariance, "0.parametrizations.weight.original1", True)]
    assert_true(model, torch.randn(5, 4))


class Attention(nn.Module):
    """Self-attention, with as many key heads as told."""

    def __init__(self, key_heads=2):
        super().__init__()
        self.num_heads, self.head_dim = 4, 3
        self.q_proj = nn.Linear(8, 12)
        self.k_proj = nn.Linear(8, 3 * key_heads)
        self.v_proj = nn.Linear(8, 3 * key_heads, bias=False)
        self.o_proj = nn.Linear(12, 8)

    def forward(self, x):
        q, k, v = (
            layer(x).unflatten(-1, (-1, 3)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        shared = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)
        heads = (q @ k.transpose(-1, -2)).softmax(-1) @ v
        return self.o_proj(heads.transpose(1, 2).flatten(2))


SEQUENCES = torch.randn(5, 6, 8)


@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_attention_with_shared_key_heads(key_heads):
    model = Attention(key_heads)
    biases = "q_proj.bias", "k_proj.bias"
    assert found(model) == [
        (DoubleRotation, "v_proj.weight", "o_proj.weight", None, key_heads),
        (QueryKeyRotation, "q_proj.weight", "k_proj.weight", *biases, key_heads, None),
    ]
    assert_true(model, SEQUENCES)


def test_normalised_queries_and_keys_may_only_be_scaled():
    model = Attention()
    model.q_norm = model.k_norm = nn.LayerNorm(3)
    assert found(model, QueryKeyRotation) == []
    assert found(model, ScaleInvariance) == []
    model.q_proj = nn.Linear(8, 12, bias=False)
    assert found(model, ScaleInvariance) == [(ScaleInvariance, "q_proj.weight", False)]


def test_attention_whose_sizes_do_not_go_together_is_left_out():
    model = Attention()
    model.o_proj = nn.Linear(10, 8)
    assert found(model) == []


class OneInput(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x, x, x)[0]


def test_multihead_attention():
    model = OneInput(nn.MultiheadAttention(8, 4, batch_first=True))
    weight, bias = "module.in_proj_weight", "module.in_proj_bias"
    assert found(model) == [
        (DoubleRotation, Member(weight, 16, 8), "module.out_proj.weight", Member(bias, 16, 8), 4),
        (QueryKeyRotation, Member(weight, 0, 8), Member(weight, 8, 8), Member(bias, 0, 8),
         Member(bias, 8, 8), 4, None),
    ]  # fmt: skip
    assert_true(model, SEQUENCES)
    assert found(OneInput(nn.MultiheadAttention(8, 4, add_bias_kv=True))) == []


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_transformer_layers(activation):
    layer = nn.TransformerEncoderLayer(8, 4, 16, 0.0, activation, batch_first=True)
    assert len(places(layer)) == (activation == "relu")
    assert len(found(layer, QueryKeyRotation)) == len(found(layer, DoubleRotation)) == 1
    assert_true(layer, SEQUENCES)


class LowRank(nn.Module):
    """A frozen layer and its adapter, whose factors are stored in either way."""

    def __init__(self, is_transposed):
        super().__init__()
        self.base = nn.Linear(4, 4).requires_grad_(False)
        shapes = ((4, 2), (2, 4)) if is_transposed else ((2, 4), (4, 2))
        self.lora_A, self.lora_B = (nn.Parameter(torch.randn(shape)) for shape in shapes)
        self.is_transposed = is_transposed

    def forward(self, x):
        product = self.lora_A @ self.lora_B if self.is_transposed else (self.lora_B @ self.lora_A).T
        return self.base(x) + x @ product


@pytest.mark.parametrize("is_transposed", [False, True])
def test_adapters(is_transposed):
    model = LowRank(is_transposed)
    assert [s.name for s in thermograd.symmetries(model)] == ["lora:"]
    assert_true(model, torch.randn(5, 4))


def test_logits():
    translation = [(LogitTranslation, "2.weight", "2.bias")]
    assert found(sequential(nn.Tanh()), LogitTranslation) == []
    assert found(sequential(nn.Tanh()), loss=nn.CrossEntropyLoss()) == translation
    assert found(sequential(nn.Tanh()), loss=F.cross_entropy) == translation
    assert found(sequential(nn.Tanh()), loss=nn.MSELoss()) == []
    assert found(nn.Sequential(*sequential(nn.Tanh()), nn.LogSoftmax(dim=1))) == translation
    assert found(nn.Sequential(*sequential(nn.Tanh()), nn.Softmax(dim=0))) == []
    assert_true(sequential(nn.Tanh()), torch.randn(5, 4), loss=F.cross_entropy)


def test_frozen_parameters_take_no_part():
    model = Functional()
    model.first.bias.requires_grad_(False)
    assert places(model) == ["second->third"]


def test_printed_it_is_a_table():
    lines = str(thermograd.symmetries(Attention())).splitlines()
    assert lines[0].split() == ["name", "kind", "instances", "members"]
    assert lines[1].split()[:3] == ["value-output:", "DoubleRotation", "2"]
    assert lines[2].split(maxsplit=3)[3] == (
        "q_proj.weight, k_proj.weight, q_proj.bias, k_proj.bias"
    )


def test_long_names_are_shortened_to_what_a_label_takes():
    model = sequential(nn.ReLU())
    for _ in range(9):
        model = nn.ModuleDict({"a_long_name": model})
    place = ".".join(["a_long_name"] * 9)
    assert [symmetry.name for symmetry in thermograd.symmetries(model)] == [
        f"neuron:{place}.0->2",
        f"layer:{place}.0->2",
    ]
    for _ in range(3):
        model = nn.ModuleDict({"a_long_name": model})
    names = [symmetry.name for symmetry in thermograd.symmetries(model)]
    assert [(len(name), name[-5:]) for name in names] == [(128, ".0->2")] * 2
    assert [name.partition(":")[0] for name in names] == ["neuron", "layer"]


def test_what_a_server_would_refuse_is_left_out_with_a_warning(caplog):
    model = nn.Sequential(nn.Linear(2, 1025), nn.Linear(1025, 2), nn.Linear(2, 2))
    parameters = dict(model.named_parameters())
    kept = thermograd.symmetries(model).measurable(parameters)
    assert [s.name for s in kept if isinstance(s, DoubleRotation)] == ["rotation:1->2"]
    assert "1 of the 6 symmetries" in caplog.text
    assert [s.name for s in kept if isinstance(s, LayerRescaling)] == ["layer:0->1", "layer:1->2"]
    assert not thermograd.symmetries(model).measurable({"0.weight"})


# Confirmation by the gradients.


def test_residuals_tell_true_from_false():
    model = sequential(nn.GELU())
    wrong = [
        NeuronRescaling("neuron", "0.weight", "2.weight", "0.bias"),
        LayerRescaling("layer", "0.weight", "2.weight"),
        DoubleRotation("rotation", "0.weight", "2.weight", "0.bias"),
        ScaleInvariance("rows", "0.weight", per_row=True),
        LogitTranslation("logits", "2.weight"),
    ]
    assert thermograd.symmetry_residuals(model, wrong) == {}
    model(torch.randn(9, 4)).square().sum().backward()
    residuals = thermograd.symmetry_residuals(model, wrong)
    assert residuals.keys() == {symmetry.name for symmetry in wrong}
    assert min(residuals.values()) > 0.01


def test_residuals_are_those_that_the_server_reports(server):
    model = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 2))
    symmetries = [
        NeuronRescaling("neuron", "0.weight", "2.weight", "0.bias"),
        LayerRescaling("layer", "0.weight", "2.weight"),
        DoubleRotation("rotation", "0.weight", "2.weight", "0.bias", heads=3),
        QueryKeyRotation("query-key", "0.weight", Member("0.bias"), heads=3),
        QueryKeyRotation("halves", "0.weight", "0.bias", rotary="halves"),
        QueryKeyRotation("interleaved", "0.weight", "0.bias", rotary="interleaved"),
        ScaleInvariance("rows", "0.weight", per_row=True),
        ScaleInvariance("whole", "0.weight"),
        LogitTranslation("logits", "2.weight", "2.bias"),
    ]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with thermograd.watch(
        model,
        optimizer,
        run="residuals",
        address=server.grpc_address,
        symmetries=symmetries,
        log_freq=1,
    ) as watcher:
        model(torch.randn(9, 4)).square().mean().backward()
        expected = thermograd.symmetry_residuals(model, symmetries)
        optimizer.step()
        assert watcher.flush()
        figures = watcher.metrics()
    assert expected.keys() == {symmetry.name for symmetry in symmetries}
    for name, value in expected.items():
        key = thermograd.metric_key("thermograd_symmetry_residual_ratio", symmetry=name)
        assert figures[key] == pytest.approx(value, rel=1e-9)


def report(**residuals):
    return report_pb2.StepReport(
        metrics=[
            report_pb2.MetricValue(
                name="thermograd_symmetry_residual_ratio",
                labels=[report_pb2.Label(name="symmetry", value=name)],
                value=value,
            )
            for name, value in residuals.items()
        ]
    )


def test_a_symmetry_is_withdrawn_when_all_its_first_residuals_are_large():
    symmetries = [NeuronRescaling(name, "a", "b") for name in ("true", "false", "late", "once")]
    check = ResidualCheck(symmetries, 1e-3)
    assert check.withdrawn(report(true=1e-7, false=0.2, once=0.3)) == {}
    assert check.withdrawn(report(true=0.5, false=0.1, other=1.0, once=0.3)) == {}
    assert check.withdrawn(report(true=0.5, false=0.4, late=0.2, once=1e-6)) == {"false": 0.1}
    assert check.withdrawn(report(true=0.5, false=0.4, late=0.3, once=0.3)) == {}
    assert check.withdrawn(report(late=0.25)) == {"late": 0.2}


def test_half_precision_is_given_more_room():
    assert tolerance([torch.float32, torch.float64]) == 1e-3
    assert tolerance([torch.float32, torch.bfloat16]) == 5e-2
    assert tolerance([torch.float32], has_autocast=True) == 5e-2


def train(model, watcher, optimizer, steps, penalty):
    torch.manual_seed(0)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(torch.randn(8, 4)).square().mean()
        if penalty:
            loss = loss + 0.1 * model[0].weight.square().sum()
        loss.backward()
        optimizer.step()
        assert watcher.flush()


@pytest.mark.parametrize("mode", ["tensors", "statistics"])
@pytest.mark.parametrize("penalty", [False, True])
def test_what_does_not_hold_is_withdrawn_from_the_run(server, caplog, penalty, mode):
    model = nn.Sequential(*sequential(nn.ReLU()), nn.ReLU(), nn.Linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with caplog.at_level(logging.WARNING, "thermograd"), thermograd.watch(
        model,
        optimizer,
        run=f"withdrawn-{penalty}",
        address=server.grpc_address,
        mode=mode,
        log_freq=1,
    ) as watcher:
        train(model, watcher, optimizer, 6, penalty)
        measured = {
            dict(labels)["symmetry"]
            for name, labels in watcher.metrics()
            if name == "thermograd_symmetry_residual_ratio"
        }
    kept = {"neuron:2->4", "layer:2->4"}
    wrong = {"neuron:0->2", "layer:0->2"}
    assert measured == (kept if penalty else kept | wrong)
    assert {record.args[0] for record in caplog.records} == (wrong if penalty else set())
    # A change of stream costs no step, and none is sent twice.
    stats = watcher.stats
    assert stats.acknowledged_steps == stats.sent_steps == stats.captured_steps == 6
    assert stats.reconnects == int(penalty)
    assert stats.last_error is None


def test_given_symmetries_are_kept(server):
    model = sequential(nn.GELU())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    given = [NeuronRescaling("given", "0.weight", "2.weight", "0.bias")]
    with thermograd.watch(
        model, optimizer, run="given", address=server.grpc_address, symmetries=given, log_freq=1
    ) as watcher:
        train(model, watcher, optimizer, 5, False)
        key = thermograd.metric_key("thermograd_symmetry_residual_ratio", symmetry="given")
        assert watcher.metrics()[key] > 1e-3


def test_trainers_of_one_run_are_only_warned(recorder, caplog):
    model = sequential(nn.ReLU())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with thermograd.watch(
        model, optimizer, run="ranks", address=recorder.address, log_freq=1
    ) as watcher:
        train(model, watcher, optimizer, 1, False)
        # Declarations of several trainers must not come to differ.
        watcher._world_size = 2
        watcher._withdraw({"neuron:0->2": 0.5})
        train(model, watcher, optimizer, 1, False)
    assert len(recorder.specs) == 1
    assert "neuron:0->2 does not hold" in caplog.text
