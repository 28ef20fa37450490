"""Symmetries that the graph of torch.fx shows: which layer reads which, and through what."""

from __future__ import annotations

import copy
import enum
import inspect
import operator
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F
from torch import nn

from thermograd.declaration import (
    DoubleRotation,
    LayerRescaling,
    LogitTranslation,
    NeuronRescaling,
    ScaleInvariance,
    Symmetry,
)
from thermograd.layers import (
    LinearMap,
    affine_map,
    is_batch_norm,
    is_feature_norm,
    is_instance_norm,
    linear_map,
    parameter_name,
)
from thermograd.random_state import preserved_random_state


class _Effect(enum.Enum):
    """What an operation is to the features that it maps."""

    LINEAR = enum.auto()  # The same multiple of all: any matrix may be pulled through.
    HOMOGENEOUS = enum.auto()  # f(lambda x) = lambda f(x) for lambda > 0, each feature by itself.
    CHANNELS = enum.auto()  # The same, but of whole channels.
    FLATTENING = enum.auto()  # Channels and positions become features.


# Exact types: a subclass may differ.
_HOMOGENEOUS_MODULES = (nn.ReLU, nn.LeakyReLU)
_CHANNEL_MODULES = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d, nn.Dropout2d, nn.Dropout3d,
)  # fmt: skip
_EFFECT_OF_FUNCTION = {
    **dict.fromkeys(
        (torch.relu, torch.relu_, F.relu, F.relu_, F.leaky_relu, F.dropout), _Effect.HOMOGENEOUS
    ),
    **dict.fromkeys(
        (F.max_pool1d, F.max_pool2d, F.max_pool3d, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d,
         F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d,
         F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d),
        _Effect.CHANNELS,
    ),
}  # fmt: skip
_EFFECT_OF_METHOD = {
    **dict.fromkeys(("relu", "relu_"), _Effect.HOMOGENEOUS),
    **dict.fromkeys(("contiguous", "clone", "float", "double", "half", "bfloat16"), _Effect.LINEAR),
}
_PRODUCTS = (operator.mul, torch.mul, "mul", "mul_")
_QUOTIENTS = (operator.truediv, torch.div, "div", "div_")
_KNOWN_LAYERS = (
    ("linear1", "linear2", "activation"),
    ("fc1", "fc2", "activation_fn"),
    ("wi", "wo", "act"),
)
_KNOWN_GATED_LAYERS = (("gate_proj", "up_proj", "down_proj"), ("wi_0", "wi_1", "wo"))
_SOFTMAX_MODULES = (nn.Softmax, nn.LogSoftmax, nn.CrossEntropyLoss)
_SOFTMAX_FUNCTIONS = (
    F.softmax, F.log_softmax, F.cross_entropy, torch.softmax, torch.log_softmax, "softmax",
    "log_softmax",
)  # fmt: skip


def graph_symmetries(model: nn.Module, *, is_classifier: bool) -> Iterator[Symmetry]:
    """Symmetries of layers that read one another; `is_classifier`: the output enters a softmax."""
    yield from _known_rescalings(model)
    for part in _traced_parts(model):
        for symmetry in _symmetries_of(part, model):
            yield symmetry
        if is_classifier and part.name == "":
            yield from _output_translation(part)


def _known_rescalings(model: nn.Module) -> Iterator[Symmetry]:
    """Of modules that torch.fx does not look into or cannot trace, by the names of their layers."""
    for name, module in model.named_modules():
        if not type(module).__module__.startswith(("torch.nn.", "transformers.")):
            continue
        for first, second, activation in _KNOWN_LAYERS:
            between = getattr(module, activation, None)
            if between is F.relu or type(between) in _HOMOGENEOUS_MODULES:
                yield from _known_rescaling(name, module, first, second)
        for gate, first, second in _KNOWN_GATED_LAYERS:
            if hasattr(module, gate):
                yield from _known_rescaling(name, module, first, second)


def _known_rescaling(
    name: str, module: nn.Module, first: str, second: str
) -> Iterator[Symmetry]:
    layers = [
        linear_map(parameter_name(name, part), getattr(module, part, None))
        for part in (first, second)
    ]
    if layers[0] is not None and layers[1] is not None:
        yield from _consecutive(layers[0], layers[1], frozenset({_Effect.HOMOGENEOUS}))


@dataclass(frozen=True)
class _Part:
    """A module, traced by itself."""

    name: str
    graph: torch.fx.Graph
    modules: dict[str, nn.Module]

    def module(self, node: torch.fx.Node) -> nn.Module | None:
        """The module that the node calls."""
        if node.op != "call_module":
            return None
        return self.modules[_without_root(str(node.target))]

    def module_name(self, node: torch.fx.Node) -> str:
        """Its name in the whole model."""
        inner = _without_root(str(node.target))
        return parameter_name(self.name, inner) if inner else self.name


def _traced_parts(model: nn.Module) -> list[_Part]:
    """The largest parts of the model that can be traced.

    Parts that cannot be are opaque to those around them.
    """
    opaque: set[int] = set()

    def visit(name: str, module: nn.Module) -> list[_Part]:
        is_leaf = _Tracer(opaque).is_leaf_module(module, name)
        part = None if is_leaf else _trace(name, module, opaque)
        if part is not None:
            return [part]
        children = [
            (child, visit(parameter_name(name, key), child))
            for key, child in module.named_children()
        ]
        if not is_leaf and any(id(child) in opaque for child, _ in children):
            part = _trace(name, module, opaque)
        if part is None:
            opaque.add(id(module))
            return [inner for _, parts in children for inner in parts]
        hidden = [inner for child, parts in children if id(child) in opaque for inner in parts]
        return [part, *hidden]

    # A copy's id could come again once it is gone.
    copies = list(_copies("", model))
    return [part for name, module in copies for part in visit(name, module)]


def _copies(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """A copy without storage, or copies of the parts that can be copied.

    Tracing runs the model's Python code: on a copy, it cannot change the model's state.
    """
    memo: dict[int, Any] = {}
    for inner in module.modules():
        tensors = [*inner._parameters.values(), *inner._buffers.values(), *vars(inner).values()]
        for tensor in tensors:
            if not isinstance(tensor, torch.Tensor):
                continue
            empty = tensor.detach().to("meta")
            if isinstance(tensor, nn.Parameter):
                empty = nn.Parameter(empty, tensor.requires_grad)
            memo[id(tensor)] = empty
    try:
        yield name, copy.deepcopy(module, memo)
    except Exception:  # Whatever the model's own attributes make of being copied.
        for key, child in module.named_children():
            yield from _copies(parameter_name(name, key), child)


class _Tracer(torch.fx.Tracer):
    def __init__(self, opaque: set[int]) -> None:
        super().__init__()
        self._opaque = opaque

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return (
            id(module) in self._opaque
            or linear_map(name, module) is not None
            or is_feature_norm(module)
            or super().is_leaf_module(module, name)
        )


class _Call(nn.Module):
    """Calls a module with what it must be given; the rest has its defaults, as values."""

    def __init__(self, module: nn.Module, arguments: int) -> None:
        super().__init__()
        self.root = module
        self.arguments = arguments

    def forward(self, inputs: Any) -> Any:
        return self.root(*(inputs[i] for i in range(self.arguments)))


def _without_root(name: str) -> str:
    return name.partition(".")[2]


def _trace(name: str, module: nn.Module, opaque: set[int]) -> _Part | None:
    try:
        required = [
            parameter
            for parameter in inspect.signature(module.forward).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        with preserved_random_state(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = _Tracer(opaque).trace(_Call(module, len(required)))
    except Exception:  # Whatever the model's own code makes of being traced.
        return None
    return _Part(name, graph, dict(module.named_modules(remove_duplicate=False)))


@dataclass(frozen=True)
class _Path:
    """From a layer's output to the only operation that does not just pass it on."""

    end: torch.fx.Node
    effects: frozenset[_Effect]


def _symmetries_of(part: _Part, model: nn.Module) -> Iterator[Symmetry]:
    maps = _maps(part)
    for node, first in maps.items():
        path = _path(node, part)
        if path is None:
            continue
        second = maps.get(path.end)
        if second is not None and second.taps:
            yield from _consecutive(first, second, path.effects)
        elif first.taps and _is_softmax(path.end, part) and path.effects <= {_Effect.LINEAR}:
            yield _translation(first)
        elif first.taps and (norm := part.module(path.end)) is not None:
            yield from _normalised(first, norm, path.effects, model.training)


def _maps(part: _Part) -> dict[torch.fx.Node, LinearMap]:
    """Layers that the graph calls once and whose parameters it does not read besides."""
    uses = Counter(node.target for node in part.graph.nodes if node.op == "call_module")
    read = {
        str(node.target).rpartition(".")[0] for node in part.graph.nodes if node.op == "get_attr"
    }
    maps = {}
    for node in part.graph.nodes:
        module = part.module(node)
        if module is None or uses[node.target] > 1 or str(node.target) in read:
            continue
        name = part.module_name(node)
        found = linear_map(name, module) or affine_map(name, module)
        if found is not None:
            maps[node] = found
    return maps


def _path(node: torch.fx.Node, part: _Part) -> _Path | None:
    effects: set[_Effect] = set()
    while len(node.users) == 1:
        (user,) = node.users
        effect = _effect(user, node, part)
        if effect is None:
            # As the first argument: elsewhere it is not what the operation maps.
            return _Path(user, frozenset(effects)) if user.args[:1] == (node,) else None
        effects.add(effect)
        node = user
    return None


def _effect(user: torch.fx.Node, node: torch.fx.Node, part: _Part) -> _Effect | None:
    target: Any = user.target
    operands = user.args[:2]
    if user.op in ("call_function", "call_method"):
        if target in _PRODUCTS and len(operands) == 2:
            return _effect_of_factor(operands[1] if operands[0] is node else operands[0], node)
        if target in _QUOTIENTS and len(operands) == 2 and operands[0] is node:
            return _effect_of_factor(operands[1], node)
    if operands[:1] != (node,):
        return None
    if user.op == "call_module":
        return _effect_of_module(part.module(user))
    if user.op == "call_function":
        if target is torch.flatten:
            return _flattening(user)
        return _EFFECT_OF_FUNCTION.get(target)
    if user.op == "call_method":
        if target == "flatten":
            return _flattening(user)
        if target in ("view", "reshape") and len(user.args) == 3 and user.args[1] == -1:
            return _Effect.FLATTENING
        return _EFFECT_OF_METHOD.get(target)
    return None


def _effect_of_factor(factor: Any, node: torch.fx.Node) -> _Effect | None:
    """Of a factor that does not depend on the layer, whose output has no other user."""
    if factor is node:
        return None
    return _Effect.HOMOGENEOUS if isinstance(factor, torch.fx.Node) else _Effect.LINEAR


def _effect_of_module(module: Any) -> _Effect | None:
    kind = type(module)
    if kind is nn.Identity or (kind is nn.Dropout and module.p == 0):
        return _Effect.LINEAR
    if kind is nn.Dropout or kind in _HOMOGENEOUS_MODULES:
        return _Effect.HOMOGENEOUS
    if kind in _CHANNEL_MODULES:
        return _Effect.CHANNELS
    if kind is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
        return _Effect.FLATTENING
    return None


def _flattening(node: torch.fx.Node) -> _Effect | None:
    first = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
    return _Effect.FLATTENING if first == 1 and len(node.args) <= 2 else None


def _fit(first: LinearMap, second: LinearMap, effects: frozenset[_Effect]) -> bool:
    """Whether the features that `second` reads are those of `first`, in this order."""
    if second.groups > 1 or (_Effect.CHANNELS in effects and not first.has_channels):
        return False
    if _Effect.FLATTENING in effects and first.has_channels:
        return not second.has_channels and second.inputs % first.outputs == 0
    return first.has_channels == second.has_channels and first.outputs == second.inputs


def _consecutive(
    first: LinearMap, second: LinearMap, effects: frozenset[_Effect]
) -> Iterator[Symmetry]:
    if not _fit(first, second, effects):
        return
    members = first.rows(), second.rows()
    place = f"{first.name}->{second.name}"
    yield NeuronRescaling(f"neuron:{place}", *members, first.bias)
    yield LayerRescaling(f"layer:{place}", *members, first.bias)
    # A matrix between channels would have to mix columns that do not lie beside one another.
    if effects <= {_Effect.LINEAR} and first.taps and first.groups == 1 and second.taps == 1:
        yield DoubleRotation(f"rotation:{place}", *members, first.bias)


def _normalised(
    layer: LinearMap, norm: Any, effects: frozenset[_Effect], is_training: bool
) -> Iterator[Symmetry]:
    name = f"scale:{layer.name}"
    if _Effect.FLATTENING in effects:
        return
    if is_batch_norm(norm) or is_instance_norm(norm):
        # With statistics that are frozen while the model trains nothing is normalised.
        if is_batch_norm(norm) and is_training and not norm.training:
            return
        # The mean that is subtracted takes a bias with it only where the two are next to another.
        if norm.num_features == layer.outputs and (layer.bias is None or not effects):
            yield ScaleInvariance(name, layer.rows(), per_row=True)
    elif layer.bias is None:
        width = layer.outputs
        if (
            type(norm) is nn.GroupNorm
            and norm.num_channels == width
            or is_feature_norm(norm)
            and tuple(norm.weight.shape if norm.weight is not None else ()) in ((), (width,))
            and _Effect.CHANNELS not in effects
            and not layer.has_channels
        ):
            yield ScaleInvariance(name, layer.rows())


def _is_softmax(node: torch.fx.Node, part: _Part) -> bool:
    module: Any = part.module(node)
    if type(module) is nn.CrossEntropyLoss:
        return True
    if type(module) in _SOFTMAX_MODULES:
        return module.dim in (None, 1, -1)
    if node.target not in _SOFTMAX_FUNCTIONS:
        return False
    if node.target is F.cross_entropy:
        return True
    dim = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    return dim in (None, 1, -1)


def _translation(layer: LinearMap) -> Symmetry:
    return LogitTranslation(f"logits:{layer.name}", layer.rows(), layer.bias)


def _output_translation(part: _Part) -> Iterator[Symmetry]:
    for node, layer in _maps(part).items():
        path = _path(node, part)
        if path is None or not layer.taps or not path.effects <= {_Effect.LINEAR}:
            continue
        if path.end.op == "output":
            yield _translation(layer)
