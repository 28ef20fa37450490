"""How far gradients are from respecting a symmetry, and the withdrawal of those that do not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from thermograd.declaration import (
    DoubleRotation,
    LayerRescaling,
    LogitTranslation,
    Member,
    NeuronPermutation,
    NeuronRescaling,
    QueryKeyRotation,
    ScaleInvariance,
    Symmetry,
    parameters_of,
)
from thermograd.v1 import report_pb2

# Rounding of the gradients, and epsilons of normalisations, stay below.
_TOLERANCE = 1e-3
_HALF_TOLERANCE = 5e-2
_STEPS = 3

Tensors = Mapping[str, torch.Tensor]


def tolerance(dtypes: Iterable[torch.dtype], *, has_autocast: bool = False) -> float:
    """The residual up to which a symmetry of parameters of these types may hold."""
    is_half = any(dtype in (torch.float16, torch.bfloat16) for dtype in dtypes)
    return _HALF_TOLERANCE if is_half or has_autocast else _TOLERANCE


def is_autocast() -> bool:
    """Whether operations are now made in half precision."""
    is_enabled: Any = torch.is_autocast_enabled
    try:
        return any(is_enabled(device) for device in ("cpu", "cuda"))
    except TypeError:  # PyTorch before 2.4
        return bool(is_enabled() or torch.is_autocast_cpu_enabled())


def symmetry_residuals(model: nn.Module, symmetries: Sequence[Symmetry]) -> dict[str, float]:
    """The residual of each symmetry by its name, of the gradients that the model holds.

    Zero for every batch, but for rounding, where the symmetry is real: what the server reports as
    thermograd_symmetry_residual_ratio. Those without a defined residual are left out: parameters
    without gradients, or gradients that are all zero.
    """
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    gradients = {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    found = {}
    for symmetry in symmetries:
        if parameters_of(symmetry) <= gradients.keys():
            value = _residual(symmetry, weights, gradients)
            if value is not None:
                found[symmetry.name] = value
    return found


class ResidualCheck:
    """Looks at the residuals that the server reports of the first steps.

    A symmetry is withdrawn when all of its first residuals are too large: rounding, a step that
    overflowed or an unlikely batch is no reason.
    """

    def __init__(self, symmetries: Sequence[Symmetry], largest: float, steps: int = _STEPS) -> None:
        self._largest = largest
        self._steps = steps
        self._residuals: dict[str, list[float]] = {symmetry.name: [] for symmetry in symmetries}

    def withdrawn(self, report: report_pb2.StepReport) -> dict[str, float]:
        """The symmetries that this report shows not to hold, and their smallest residuals."""
        found = {}
        for metric in report.metrics:
            if metric.name != "thermograd_symmetry_residual_ratio":
                continue
            name = next((label.value for label in metric.labels if label.name == "symmetry"), "")
            seen = self._residuals.get(name)
            if seen is None:
                continue
            seen.append(metric.value)
            if metric.value <= self._largest:
                del self._residuals[name]
            elif len(seen) == self._steps:
                found[name] = min(self._residuals.pop(name))
        return found


def _residual(symmetry: Symmetry, weights: Tensors, gradients: Tensors) -> float | None:
    if isinstance(symmetry, LogitTranslation):
        members = [_matrix(of, gradients) for of in (symmetry.weight, symmetry.bias) if of]
        gradient = torch.cat(members, dim=1)
        return _ratio(gradient.sum(0).norm(), math.sqrt(len(gradient)) * gradient.norm())
    if isinstance(symmetry, NeuronPermutation):
        return None
    (u, w), (gu, gw) = _sides(symmetry, weights), _sides(symmetry, gradients)
    first, second = gu @ u.mT, w @ gw.mT
    if u.shape[1] > 1:
        return _ratio((first - second).norm(), first.norm() + second.norm())
    # Of every instance |<g, A theta>| and |g| |A theta|.
    gradient = gu.square().sum((1, 2)) + gw.square().sum((1, 2))
    weight = u.square().sum((1, 2)) + w.square().sum((1, 2))
    return _ratio((first - second).norm(), (gradient * weight).sum().sqrt())


def _ratio(numerator: torch.Tensor, denominator: torch.Tensor) -> float | None:
    return (numerator / denominator).item() if denominator > 0 else None


def _sides(symmetry: Symmetry, tensors: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
    """Both sides as (instances, rows of the charge, all else), of weights or of gradients."""

    def matrix(weight: str | Member, bias: str | Member | None = None) -> torch.Tensor:
        members = [_matrix(of, tensors) for of in (weight, bias) if of]
        return torch.cat(members, dim=1)

    if isinstance(symmetry, NeuronRescaling):
        u = matrix(symmetry.incoming, symmetry.incoming_bias)
        return u[:, None, :], matrix(symmetry.outgoing).T.reshape(len(u), 1, -1)
    if isinstance(symmetry, LayerRescaling):
        u = matrix(symmetry.first, symmetry.first_bias)
        return u.reshape(1, 1, -1), matrix(symmetry.second).reshape(1, 1, -1)
    if isinstance(symmetry, DoubleRotation):
        heads = symmetry.heads
        u = matrix(symmetry.first, symmetry.first_bias)
        rows = len(u) // heads
        w = matrix(symmetry.second).T
        return u.reshape(heads, rows, -1), _heads(w, heads, rows)
    if isinstance(symmetry, QueryKeyRotation):
        query = matrix(symmetry.query, symmetry.query_bias)
        key = matrix(symmetry.key, symmetry.key_bias)
        rows = len(key) // symmetry.heads
        u, w = (_pairs(_heads(x, symmetry.heads, rows), symmetry.rotary) for x in (query, key))
        return u, w
    if isinstance(symmetry, ScaleInvariance):
        u = matrix(symmetry.weight)
        u = u[:, None, :] if symmetry.per_row else u.reshape(1, 1, -1)
        return u, u.new_zeros(len(u), 1, 1)
    raise TypeError(f"{type(symmetry).__name__} has no charge")


def _matrix(of: str | Member, tensors: Tensors) -> torch.Tensor:
    whole = Member(of) if isinstance(of, str) else of
    stored = tensors[whole.parameter].detach().double()
    rows = stored.reshape(len(stored), -1)
    if whole.transposed:
        rows = rows.T
    return rows[whole.first_row :][: whole.rows or None]


def _heads(matrix: torch.Tensor, heads: int, rows: int) -> torch.Tensor:
    """(heads, rows, the rest): blocks in a row that share a head lie side by side."""
    blocks = matrix.reshape(heads, -1, rows, matrix.shape[1])
    return blocks.transpose(1, 2).reshape(heads, rows, -1)


def _pairs(heads: torch.Tensor, rotary: str | None) -> torch.Tensor:
    """With rotary embedding each pair of rows is an instance by itself."""
    if rotary is None:
        return heads
    number, rows, _ = heads.shape
    if rotary == "halves":
        heads = heads.reshape(number, 2, rows // 2, -1).transpose(1, 2)
    return heads.reshape(number * rows // 2, 1, -1)
