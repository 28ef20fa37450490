"""Which rescaling symmetries are found, and which are rightly not."""

import copy

import pytest
import thermograd
import torch
import torch.nn.functional as F
from torch import nn

from thermograd import LayerRescaling, NeuronRescaling


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
    [nn.Tanh(), nn.GELU(), nn.Sigmoid(), nn.PReLU(), nn.LayerNorm(6), nn.BatchNorm1d(6),
     nn.Softplus(), nn.ReLU6()],
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
