"""Symmetries of attention: queries with keys, values with the output projection."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from thermograd.declaration import (
    DoubleRotation,
    Member,
    QueryKeyRotation,
    ScaleInvariance,
    Symmetry,
)
from thermograd.layers import LinearMap, is_feature_norm, linear_map, member, parameter_name

_SEPARATE = (
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("q_lin", "k_lin", "v_lin"),
    ("wq", "wk", "wv"),
    ("q", "k", "v"),
)
_FUSED = ("c_attn", "qkv_proj", "qkv")
_OUTPUTS = ("o_proj", "out_proj", "c_proj", "out_lin", "dense", "proj", "wo", "o")
_HEAD_SIZES = ("head_dim", "attention_head_size", "key_value_proj_dim", "dim_per_head")
_HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head")
_KEY_HEADS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads")
# Norms between the projections and their product.
_QUERY_KEY_NORMS = (
    ("q_norm", "k_norm"),
    ("q_layernorm", "k_layernorm"),
    ("query_layernorm", "key_layernorm"),
)
_ROTATED_SIZES = ("rotary_dim", "rotary_ndims", "rotary_emb_dim")
_ROTATED_PARTS = ("partial_rotary_factor", "rotary_pct")


@dataclass(frozen=True)
class _Rows:
    """Rows of a weight with their bias."""

    weight: str | Member
    bias: str | Member | None
    count: int


@dataclass(frozen=True)
class _Attention:
    name: str
    module: nn.Module
    query: _Rows
    key: _Rows
    value: _Rows
    output: LinearMap
    head_size: int


def attention_symmetries(model: nn.Module) -> Iterator[Symmetry]:
    """Symmetries of the attention modules that are known by the names of their parts."""
    has_rotary_module = any(_is_named_rotary(type(m).__name__) for m in model.modules())
    for name, module in model.named_modules():
        attention = _attention(name, module)
        if attention is not None:
            yield from _value_output(attention)
            yield from _query_key(attention, has_rotary_module)


def _attention(name: str, module: nn.Module) -> _Attention | None:
    if type(module) is nn.MultiheadAttention:
        return _multihead_attention(name, module)
    if "atten" not in type(module).__name__.lower() and "attn" not in type(module).__name__.lower():
        return None
    return _separate(name, module) or _fused(name, module)


def _multihead_attention(name: str, module: nn.MultiheadAttention) -> _Attention | None:
    output = linear_map(parameter_name(name, "out_proj"), module.out_proj)
    # A key and a value of their own, added to every sequence, are not rotated.
    if output is None or module.bias_k is not None:
        return None
    width = module.embed_dim
    packed = isinstance(module._parameters.get("in_proj_weight"), nn.Parameter)
    if not packed and not isinstance(module._parameters.get("q_proj_weight"), nn.Parameter):
        return None
    rows: list[_Rows] = []
    for number, kind in enumerate("qkv"):
        weight = (
            member(parameter_name(name, "in_proj_weight"), number * width, width)
            if packed
            else parameter_name(name, f"{kind}_proj_weight")
        )
        bias = None
        if module.in_proj_bias is not None:
            bias = member(parameter_name(name, "in_proj_bias"), number * width, width)
        rows.append(_Rows(weight, bias, width))
    query, key, value = rows
    return _Attention(name, module, query, key, value, output, module.head_dim)


def _separate(name: str, module: nn.Module) -> _Attention | None:
    for names in _SEPARATE:
        # BERT and its kin have a module for the product, and beside it one for the output.
        for inner in ("", "self", "attention"):
            holder = getattr(module, inner, None) if inner else module
            if not isinstance(holder, nn.Module):
                continue
            prefix = parameter_name(name, inner) if inner else name
            maps = [_part(prefix, holder, part) for part in names]
            if None in maps:
                continue
            output = (
                _part(parameter_name(name, "output"), getattr(module, "output", None), "dense")
                if inner
                else _output(name, module)
            )
            if output is None:
                continue
            rows = [_Rows(m.rows(), m.bias, m.outputs) for m in maps if m is not None]
            return _checked(name, holder, rows, output)
    return None


def _fused(name: str, module: nn.Module) -> _Attention | None:
    """One layer for all three: all queries, then all keys, then all values."""
    output = _output(name, module)
    if output is None or hasattr(module, "multi_query"):
        return None
    for part in _FUSED:
        fused = _part(name, module, part)
        heads = _number(module, _HEADS)
        if fused is None or not heads:
            continue
        key_heads = _number(module, _KEY_HEADS) or heads
        size, rest = divmod(fused.outputs, heads + 2 * key_heads)
        if rest:
            continue
        rows, first = [], 0
        for count in (heads * size, key_heads * size, key_heads * size):
            rows.append(_Rows(fused.rows(first, count), fused.bias_rows(first, count), count))
            first += count
        return _checked(name, module, rows, output)
    return None


def _part(name: str, module: Any, part: str) -> LinearMap | None:
    found = getattr(module, part, None)
    if not isinstance(found, nn.Module):
        return None
    layer = linear_map(parameter_name(name, part), found)
    return None if layer is None or layer.has_channels else layer


def _output(name: str, module: nn.Module) -> LinearMap | None:
    return next((found for part in _OUTPUTS if (found := _part(name, module, part))), None)


def _checked(
    name: str, module: nn.Module, rows: list[_Rows], output: LinearMap
) -> _Attention | None:
    query, key, value = rows
    size = _number(module, _HEAD_SIZES)
    if not size:
        heads = _number(module, _HEADS)
        size = query.count // heads if heads else 0
    config = getattr(module, "config", None)
    if (
        not size
        or key.count % size
        or query.count % key.count
        or value.count % (key.count // size)
        or output.inputs * key.count != query.count * value.count
        or getattr(config, "clip_qkv", None)
    ):
        return None
    return _Attention(name, module, query, key, value, output, size)


def _number(module: nn.Module, names: tuple[str, ...]) -> int:
    """The first of the attributes that is a number, of the module or of its configuration."""
    for holder in (module, getattr(module, "config", None)):
        for name in names:
            if isinstance(value := getattr(holder, name, None), int):
                return value
    return 0


def _value_output(attention: _Attention) -> Iterator[Symmetry]:
    yield DoubleRotation(
        f"value-output:{attention.name}",
        attention.value.weight,
        attention.output.rows(),
        attention.value.bias,
        heads=attention.key.count // attention.head_size,
    )


def _query_key(attention: _Attention, has_rotary_module: bool) -> Iterator[Symmetry]:
    module, query, key = attention.module, attention.query, attention.key
    norms = [
        norm
        for names in _QUERY_KEY_NORMS
        for norm in (getattr(module, name, None) for name in names)
        if isinstance(norm, nn.Module) and type(norm) is not nn.Identity
    ]
    if norms:
        for kind, rows in (("query", query), ("key", key)):
            if rows.bias is None and all(is_feature_norm(norm) for norm in norms):
                yield ScaleInvariance(f"scale:{attention.name}.{kind}", rows.weight)
        return
    if (
        getattr(module, "position_embedding_type", None) in ("relative_key", "relative_key_query")
        # Cosines in place of products.
        or hasattr(module, "logit_scale")
    ):
        return
    rotary = _rotary(module, attention.head_size, has_rotary_module)
    if rotary == "unknown":
        return
    yield QueryKeyRotation(
        f"query-key:{attention.name}",
        query.weight,
        key.weight,
        query.bias,
        key.bias,
        heads=key.count // attention.head_size,
        rotary=rotary,
    )


_Rotary = Literal["interleaved", "halves", "unknown"]


def _rotary(module: nn.Module, head_size: int, has_rotary_module: bool) -> _Rotary | None:
    """How the source of the module pairs rows. That it may not do so is no matter: the scalings of
    pairs are symmetries without rotary embedding, too."""
    if type(module) is nn.MultiheadAttention:
        return None
    source = vars(sys.modules.get(type(module).__module__, object))
    rotate = source.get("rotate_half") or source.get("rotate_every_two")
    if rotate is None:
        is_rotary = has_rotary_module or any(_is_named_rotary(name) for name in source)
        return "unknown" if is_rotary else None
    config = getattr(module, "config", None)
    rope = getattr(config, "rope_parameters", None) or {}
    for holder in (module, config):
        sizes = [getattr(holder, name, None) for name in _ROTATED_SIZES]
        parts = [getattr(holder, name, None) for name in _ROTATED_PARTS]
        if any(size not in (None, head_size) for size in sizes):
            return "unknown"
        if any(part not in (None, 1) for part in (*parts, rope.get(_ROTATED_PARTS[0]))):
            return "unknown"
    return _layout(rotate)


def _layout(rotate: Callable[[torch.Tensor], torch.Tensor]) -> _Rotary:
    """The layout of a function that turns each pair (x, y) into (-y, x)."""
    try:
        turned = rotate(torch.arange(1.0, 5.0).reshape(1, 1, 1, 4)).flatten().tolist()
    except Exception:  # Another function of that name.
        return "unknown"
    layouts: dict[tuple[float, ...], _Rotary] = {
        (-3.0, -4.0, 1.0, 2.0): "halves",
        (-2.0, 1.0, -4.0, 3.0): "interleaved",
    }
    return layouts.get(tuple(turned), "unknown")


def _is_named_rotary(name: str) -> bool:
    name = name.lower()
    return "rotary" in name or "rope" in name.split("_") or "rotate" in name
