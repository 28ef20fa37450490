"""Finds the symmetries of a model."""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch.nn.functional as F
from torch import nn

from thermograd.attention import attention_symmetries
from thermograd.declaration import (
    DoubleRotation,
    LogitTranslation,
    Member,
    ScaleInvariance,
    Symmetry,
    parameters_of,
)
from thermograd.layers import linear_map, member, parameter_name
from thermograd.symmetry_graph import graph_symmetries
from thermograd.symmetry_sums import QuadraticSums, summed_symmetry

_log = logging.getLogger("thermograd")

# Endings of the names of transformers' classes whose output enters a cross entropy.
_TOKEN_MODELS = ("LMHeadModel", "ForCausalLM", "ForMaskedLM")
_LABEL_MODELS = (
    "ForSequenceClassification", "ForTokenClassification", "ForImageClassification",
)  # fmt: skip
_LABEL_LAYERS = ("classifier", "score")
_TWO_CLASSES_OR_MORE = 2
# Of the contract: a name is a label of Prometheus.
_NAME_BYTES = 128
# The server's defaults: a declaration beyond them is refused as a whole.
_MAX_SYMMETRIES = 1000
_MAX_ROTATION_ROWS = 1024
_MAX_BYTES = 1 << 30
_WINDOW_DOUBLES = 43

_Shapes = Mapping[str, Sequence[int]]


class Symmetries(list[Symmetry]):
    """Symmetries of a model; printed, a table."""

    def __init__(self, symmetries: Iterable[Symmetry] = (), shapes: _Shapes | None = None) -> None:
        super().__init__(symmetries)
        self._shapes = dict(shapes or {})

    def __repr__(self) -> str:
        rows = [("name", "kind", "instances", "members")]
        for symmetry in self:
            members = ", ".join(_member_text(of) for of in _members(symmetry))
            number = str(_extent(symmetry, self._shapes)[0])
            rows.append((symmetry.name, type(symmetry).__name__, number, members))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def measurable(self, parameters: Container[str]) -> Symmetries:
        """Those of these parameters that a server with its default limits keeps, the small first.

        What is left out of them is logged.
        """
        own = [s for s in self if all(name in parameters for name in parameters_of(s))]
        small = [s for s in own if _extent(s, self._shapes)[1] <= _MAX_ROTATION_ROWS]
        sizes = {symmetry.name: _window_bytes(symmetry, self._shapes) for symmetry in small}
        kept: set[str] = set()
        used = 0
        for name in sorted(sizes, key=lambda name: sizes[name]):
            used += sizes[name]
            if used > _MAX_BYTES or len(kept) == _MAX_SYMMETRIES:
                break
            kept.add(name)
        if len(kept) < len(own):
            _log.warning(
                "%d of the %d symmetries that were found are more than a server keeps by default "
                "and are not measured: see thermograd.symmetries",
                len(own) - len(kept),
                len(own),
            )
        return Symmetries((s for s in own if s.name in kept), self._shapes)


def symmetries(model: nn.Module, *, loss: Any = None) -> Symmetries:
    """The symmetries that follow from how a model is built; printed, a table of them.

    Looked for are rescalings of consecutive layers with nothing but ReLU and its like between them,
    the factors of a gated MLP, and the scale of a batch normalisation; matrices between linear
    layers, queries and keys, values and output projections, and the factors of LoRA; weights that
    only a normalisation reads; and the shift of a softmax's logits. Layers are followed through the
    graph of torch.fx, of the largest parts of the model that can be traced; attention is known by
    the names of its parts. Parameters that are shared, frozen or computed take part in none.

    What the model's code does besides, such as a loss that depends on the weights themselves, is
    not visible here: `watch` withdraws what the first steps' gradients do not confirm.

    Args:
        loss: the loss function, nn.CrossEntropyLoss or its function where the model ends in logits.
    """
    is_classifier = isinstance(loss, nn.CrossEntropyLoss) or loss is F.cross_entropy
    candidates = itertools.chain(
        _lora_symmetries(model),
        attention_symmetries(model),
        graph_symmetries(model, is_classifier=is_classifier),
        _normalised_weights(model),
        _logit_translations(model),
    )
    parameters = _own_parameters(model)
    found: dict[tuple[Any, ...], Symmetry] = {}
    names: set[str] = set()
    for symmetry in candidates:
        key = (type(symmetry), *_members(symmetry))
        if key in found or not parameters_of(symmetry) <= parameters.keys():
            continue
        name = _label(symmetry.name)
        if name in names:
            name = _label(f"{name}#{len(found)}")
        names.add(name)
        found[key] = replace(symmetry, name=name)
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    return Symmetries(found.values(), shapes)


def _own_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Trainable parameters that have one place in the model."""
    owners = Counter(
        id(parameter)
        for _, module in model.named_modules(remove_duplicate=False)
        for parameter in module._parameters.values()
        if parameter is not None
    )
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if owners[id(parameter)] == 1 and parameter.requires_grad
    }


def _label(name: str) -> str:
    """The name, if need be shortened to what a label takes: its end tells layers apart."""
    kind, _, place = name.partition(":")
    first, arrow, second = place.partition("->")
    if len(name.encode()) > _NAME_BYTES and arrow:
        # The second layer's name without what it shares with the first.
        pairs = zip(first.split("."), second.split("."), strict=False)
        shared = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
        place = f"{first}->{'.'.join(second.split('.')[shared:])}"
    room = _NAME_BYTES - len(f"{kind}:".encode())
    return f"{kind}:{place.encode()[-room:].decode(errors='ignore')}"


# What a symmetry is made of.


def _members(symmetry: Symmetry) -> list[Member]:
    names = [field.name for field in fields(symmetry) if field.name not in ("name", "rotary")]
    values = [getattr(symmetry, name) for name in names]
    return [Member(v) if isinstance(v, str) else v for v in values if isinstance(v, (str, Member))]


def _member_text(of: Member) -> str:
    text = of.parameter + (".T" if of.transposed else "")
    if of.rows:
        return f"{text}[{of.first_row}:{of.first_row + of.rows}]"
    return f"{text}[{of.first_row}:]" if of.first_row else text


def _extent(symmetry: Symmetry, shapes: _Shapes) -> tuple[int, int]:
    """Instances (neurons, heads, rotary pairs, rows), and r of the r x r charge of each."""
    summed = summed_symmetry(symmetry, shapes)
    return (summed.instances, summed.dimension) if isinstance(summed, QuadraticSums) else (1, 1)


def _window_bytes(symmetry: Symmetry, shapes: _Shapes) -> int:
    """About what the server keeps of a symmetry."""
    own = [shapes[name] for name in parameters_of(symmetry)]
    rows = sum(shape[0] + math.prod(shape[1:]) for shape in own)
    instances, dimension = _extent(symmetry, shapes)
    return 8 * _WINDOW_DOUBLES * instances * dimension**2 + 4 * rows


# Patterns that are a matter of single modules.


def _lora_symmetries(model: nn.Module) -> Iterator[Symmetry]:
    """The factors of low-rank adapters: lora_A and lora_B, parameters, layers or one an adapter."""
    for name, module in model.named_modules():
        for kind in ("", "embedding_"):
            first, second = (getattr(module, f"lora_{kind}{side}", None) for side in "AB")
            if isinstance(first, (nn.ModuleDict, nn.ParameterDict)) and second is not None:
                for adapter in first.keys() & second.keys():
                    names = [
                        f"{parameter_name(name, f'lora_{kind}{side}')}.{adapter}" for side in "AB"
                    ]
                    label = f"lora:{name}.{adapter}"
                    yield from _adapter(label, names, first[adapter], second[adapter])
            else:
                names = [parameter_name(name, f"lora_{kind}{side}") for side in "AB"]
                yield from _adapter(f"lora:{name}", names, first, second)


def _adapter(label: str, names: Sequence[str], first: Any, second: Any) -> Iterator[Symmetry]:
    if isinstance(first, nn.Module) and isinstance(second, nn.Module):
        a, b = (linear_map(n, m) for n, m in zip(names, (first, second), strict=True))
        if a is not None and b is not None and a.outputs == b.inputs and b.taps == 1:
            yield DoubleRotation(label, a.rows(), b.rows(), a.bias)
    elif isinstance(first, nn.Parameter) and isinstance(second, nn.Parameter):
        if not first.dim() == second.dim() == 2:
            return
        # (r x in) and (out x r), or stored the other way round; r is the smaller.
        rank, width = first.shape
        is_transposed = rank > width
        if first.shape[is_transposed] == second.shape[not is_transposed]:
            a_member, b_member = (member(name, transposed=is_transposed) for name in names)
            yield DoubleRotation(label, a_member, b_member)


def _normalised_weights(model: nn.Module) -> Iterator[Symmetry]:
    """Directions of weight normalisation, and weights divided by their spectral norm."""
    for name, module in model.named_modules():
        for hook in module._forward_pre_hooks.values():
            kind = type(hook).__name__
            if kind == "WeightNorm":
                parameter = f"{hook.name}_v"
            elif kind == "SpectralNorm":
                parameter = f"{hook.name}_orig"
            else:
                continue
            # Rows of another dimension may still be scaled as a whole.
            per_row = kind == "WeightNorm" and hook.dim == 0
            yield _direction(parameter_name(name, parameter), per_row)
        for parameter, parametrizations in getattr(module, "parametrizations", {}).items():
            if len(parametrizations) != 1:
                continue
            (parametrization,) = parametrizations
            place = parameter_name(name, f"parametrizations.{parameter}")
            if type(parametrization).__name__ == "_WeightNorm":
                yield _direction(f"{place}.original1", parametrization.dim == 0)
            elif type(parametrization).__name__ == "_SpectralNorm":
                yield _direction(f"{place}.original", False)


def _direction(parameter: str, per_row: bool) -> Symmetry:
    return ScaleInvariance(f"scale:{parameter}", parameter, per_row)


def _logit_translations(model: nn.Module) -> Iterator[Symmetry]:
    """The last layer of models of transformers, whose loss is a cross entropy."""
    for name, module in model.named_modules():
        config, kind = getattr(module, "config", None), type(module).__name__
        if config is None or getattr(config, "final_logit_softcapping", None):
            continue
        layer = None
        if kind.endswith(_TOKEN_MODELS) and hasattr(module, "get_output_embeddings"):
            layer = module.get_output_embeddings()
        elif (
            kind.endswith(_LABEL_MODELS)
            and getattr(config, "num_labels", 0) >= _TWO_CLASSES_OR_MORE
            and config.problem_type in (None, "single_label_classification")
        ):
            layer = next((getattr(module, n) for n in _LABEL_LAYERS if hasattr(module, n)), None)
            if type(layer) is nn.Sequential:
                layer = layer[-1]
        for inner_name, inner in module.named_modules(prefix=name):
            found = linear_map(inner_name, layer) if inner is layer else None
            if found is not None:
                yield LogitTranslation(f"logits:{inner_name}", found.rows(), found.bias)
