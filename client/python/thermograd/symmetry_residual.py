"""How far gradients are from respecting a symmetry, and the withdrawal of those that do not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from thermograd.declaration import Symmetry, parameters_of
from thermograd.reduction import product_sums
from thermograd.symmetry_sums import (
    GRADIENT,
    UPDATE,
    WEIGHT,
    Array,
    Product,
    QuadraticSums,
    Target,
    TranslationSums,
    summed_symmetry,
)
from thermograd.v1 import report_pb2, tensor_pb2

# Rounding of the gradients, and epsilons of normalisations, stay below.
_TOLERANCE = 1e-3
_HALF_TOLERANCE = 5e-2
_STEPS = 3


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
    parameters = dict(model.named_parameters())
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}

    def sums(name: str, product: Product, target: Target) -> Array | None:
        gradient = parameters[name].grad
        if UPDATE in product or gradient is None:
            return None
        tensors = {GRADIENT: gradient.detach(), WEIGHT: parameters[name].detach()}
        found = product_sums(tensors, [product], [target])
        array: Array = found[product, target].cpu().numpy()
        return array

    found = {}
    for symmetry in symmetries:
        summed = summed_symmetry(symmetry, shapes)
        if summed is None or any(parameters[n].grad is None for n in parameters_of(symmetry)):
            continue
        message = summed.message(sums, 1)
        if isinstance(summed, TranslationSums):
            parts = _translation_residual(message.translation, summed.members[0].target)
        else:
            parts = _quadratic_residual(message, summed)
        numerator, denominator = parts
        if denominator > 0:
            found[symmetry.name] = float(numerator / denominator)
    return found


def _translation_residual(
    sums: tensor_pb2.TranslationStatistics, target: Target
) -> tuple[float, float]:
    """|sum_k g_k| and sqrt(K) |g|."""
    rows = target.rows if target.by_columns else target.columns
    norm = np.sqrt((rows[1] - rows[0]) * sums.gradient_squared_norm)
    return float(np.linalg.norm(sums.gradient)), float(norm)


def _quadratic_residual(
    message: tensor_pb2.SymmetryStatistics, summed: QuadraticSums
) -> tuple[float, float]:
    """Of rotations |g1 X1' - X2 g2'| and |g1 X1'| + |X2 g2'|; of scalings |<g, A theta>| and
    |g| |A theta|, root sums of squares over the instances."""
    r = summed.dimension
    u, w = message.first, message.second
    first = np.reshape(u.gradient_weight, (-1, r, r))
    if not summed.second:
        products = np.multiply(u.gradient_gradient, u.weight_weight)
        return float(np.linalg.norm(first)), float(np.sqrt(products.sum()))
    second = np.reshape(w.gradient_weight, (-1, r, r)).transpose(0, 2, 1)
    difference = float(np.linalg.norm(first - second))
    if r > 1:
        return difference, float(np.linalg.norm(first) + np.linalg.norm(second))
    gradients = np.add(u.gradient_gradient, w.gradient_gradient)
    weights = np.add(u.weight_weight, w.weight_weight)
    return difference, float(np.sqrt(gradients @ weights))


class ResidualCheck:
    """Looks at the residuals that the server reports of the first steps.

    A symmetry is withdrawn when all of its first residuals are too large: rounding, a step that
    overflowed or an unlikely batch is no reason.
    """

    def __init__(self, symmetries: Sequence[Symmetry], largest: float, steps: int = _STEPS) -> None:
        self._largest = largest
        self._steps = steps
        self._known: set[str] = set()
        self._residuals: dict[str, list[float]] = {}
        self.add(symmetries)

    def add(self, symmetries: Sequence[Symmetry]) -> None:
        """Looks also at those of these symmetries that it has not been given before."""
        names = {symmetry.name for symmetry in symmetries} - self._known
        self._known |= names
        self._residuals.update((name, []) for name in names)

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
