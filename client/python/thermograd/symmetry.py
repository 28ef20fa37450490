"""Finds the rescaling symmetries of a model."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator

import torch
import torch.fx
import torch.nn.functional as F
from torch import nn

from thermograd.declaration import LayerRescaling, NeuronRescaling, Symmetry
from thermograd.random_state import preserved_random_state

# f(lambda x) = lambda f(x) for lambda > 0, element by element. Exact types: a subclass may differ.
_HOMOGENEOUS_MODULES = (nn.ReLU, nn.LeakyReLU, nn.Identity, nn.Dropout)
_HOMOGENEOUS_FUNCTIONS = (torch.relu, torch.relu_, F.relu, F.relu_, F.leaky_relu, F.dropout)
_HOMOGENEOUS_METHODS = ("relu", "relu_")


def symmetries(model: nn.Module) -> list[Symmetry]:
    """Rescaling symmetries of consecutive nn.Linear layers, of each neuron and of whole layers.

    Two layers are consecutive when only ReLU, LeakyReLU, Identity or Dropout lie between them. The
    graph is taken from torch.fx, or, where the model cannot be traced, from its nn.Sequential
    parts. Layers whose parameters are shared or computed (weight norm, pruning) are left out. A
    loss that depends on the weights themselves breaks the symmetry, which is not visible here.
    """
    pairs = _traced_pairs(model)
    if pairs is None:
        pairs = _sequential_pairs(model)
    owners = Counter(
        id(parameter)
        for module in model.modules()
        for parameter in module._parameters.values()
        if parameter is not None
    )
    found: list[Symmetry] = []
    for first_name, second_name in pairs:
        first, second = model.get_submodule(first_name), model.get_submodule(second_name)
        members = [first.weight, second.weight]
        if first.bias is not None:
            members.append(first.bias)
        if first.out_features != second.in_features or not all(
            isinstance(member, nn.Parameter) and owners[id(member)] == 1 for member in members
        ):
            continue
        weights = _parameter_name(first_name, "weight"), _parameter_name(second_name, "weight")
        bias = None if first.bias is None else _parameter_name(first_name, "bias")
        place = f"{first_name}->{second_name}"
        found.append(NeuronRescaling(f"neuron:{place}", *weights, bias))
        found.append(LayerRescaling(f"layer:{place}", *weights, bias))
    return found


def _parameter_name(module: str, parameter: str) -> str:
    return f"{module}.{parameter}" if module else parameter


def _sequential_pairs(model: nn.Module) -> list[tuple[str, str]]:
    chains = list(_chains(model, ""))
    uses = Counter(id(module) for chain in chains for _, module in chain)
    pairs: list[tuple[str, str]] = []
    for chain in chains:
        before = None
        for name, module in chain:
            if type(module) is nn.Linear and uses[id(module)] == 1:
                if before is not None:
                    pairs.append((before, name))
                before = name
            elif type(module) not in _HOMOGENEOUS_MODULES:
                before = None
    return pairs


def _chains(module: nn.Module, name: str) -> Iterator[list[tuple[str, nn.Module]]]:
    """The longest sequences of modules that are called one after the other."""
    if type(module) is nn.Sequential:
        chain = list(_flattened(module, name))
        yield chain
        inner = [(n, m) for n, m in chain if type(m) not in (nn.Linear, *_HOMOGENEOUS_MODULES)]
    else:
        inner = [(_parameter_name(name, n), m) for n, m in module.named_children()]
    for inner_name, inner_module in inner:
        yield from _chains(inner_module, inner_name)


def _flattened(sequence: nn.Sequential, name: str) -> Iterator[tuple[str, nn.Module]]:
    for key, module in sequence._modules.items():
        inner_name = _parameter_name(name, key)
        if type(module) is nn.Sequential:
            yield from _flattened(module, inner_name)
        else:
            yield inner_name, module


def _traced_pairs(model: nn.Module) -> list[tuple[str, str]] | None:
    """Consecutive Linear layers of the traced graph; None where tracing fails."""
    try:
        # Tracing runs the model's Python code: on a copy, it cannot change the model's state. Its
        # tensors have no storage.
        memo = {}
        for tensor in (*model.parameters(), *model.buffers()):
            empty = tensor.detach().to("meta")
            if isinstance(tensor, nn.Parameter):
                empty = nn.Parameter(empty, tensor.requires_grad)
            memo[id(tensor)] = empty
        with preserved_random_state():
            traced = torch.fx.symbolic_trace(copy.deepcopy(model, memo))
    except Exception:  # Whatever the model's own code makes of being traced.
        return None
    uses = Counter(node.target for node in traced.graph.nodes if node.op == "call_module")
    modules = dict(traced.named_modules())
    # A weight that the model also reads by itself is not rescaled there.
    read = {node.target.rpartition(".")[0] for node in traced.graph.nodes if node.op == "get_attr"}

    def is_linear(node: torch.fx.Node) -> bool:
        return (
            node.op == "call_module"
            and type(modules[node.target]) is nn.Linear
            and uses[node.target] == 1
            and node.target not in read
        )

    pairs = []
    for node in traced.graph.nodes:
        if not is_linear(node):
            continue
        after = _only_user(node)
        while after is not None and _is_homogeneous(after, modules):
            after = _only_user(after)
        if after is not None and is_linear(after):
            pairs.append((str(node.target), str(after.target)))
    return pairs


def _only_user(node: torch.fx.Node) -> torch.fx.Node | None:
    users = list(node.users)
    # As the first argument: elsewhere it is not what the operation maps.
    return users[0] if len(users) == 1 and users[0].args[:1] == (node,) else None


def _is_homogeneous(node: torch.fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return type(modules[str(node.target)]) in _HOMOGENEOUS_MODULES
    if node.op == "call_function":
        return node.target in _HOMOGENEOUS_FUNCTIONS
    return node.op == "call_method" and node.target in _HOMOGENEOUS_METHODS
