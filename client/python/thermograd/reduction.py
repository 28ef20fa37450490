"""Sums of a training's tensors, made on their own device in place of sending the tensors.

Every element is converted to double precision before it is multiplied: products of single and half
precision are then exact, and so are their sums to about 1e-15. A sum stays on its device, a tensor
without dimensions or a short vector; nothing waits for it until a step's sums are read, together,
on the sender's thread.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from thermograd.declaration import Symmetry
from thermograd.snapshot import Snapshot
from thermograd.symmetry_sums import (
    GRADIENT,
    PRECONDITIONER,
    UPDATE,
    WEIGHT,
    Array,
    Product,
    Sums,
    SymmetrySums,
    Target,
    TranslationSums,
    summed_symmetry,
)
from thermograd.v1 import run_pb2, tensor_pb2

_log = logging.getLogger("thermograd")

# Elements converted at a time. On a CPU the doubles stay in its caches: a squared norm of 16.8 M
# elements takes 5 ms on two cores, torch.linalg.vector_norm with dtype=float64 86 ms, a copy of the
# tensor 9 ms. Elsewhere a launch costs more than the memory.
_CPU_BLOCK_ELEMENTS = 1 << 17
_BLOCK_ELEMENTS = 1 << 24

DeviceSums = dict[tuple[Product, Target], torch.Tensor]


@dataclass
class NonFinite:
    """Elements that are NaN or infinite; numbers where the sums told that there are none."""

    nan: torch.Tensor | int = 0
    infinite: torch.Tensor | int = 0

    def __add__(self, other: NonFinite) -> NonFinite:
        return NonFinite(self.nan + other.nan, self.infinite + other.infinite)


@dataclass
class GradientSums:
    """Sums over the gradients of a parameter in the microbatches so far."""

    microbatches: int
    #: sum_i |g_i|^2.
    squared_norms: torch.Tensor
    non_finite: NonFinite
    #: Products with the sum of the gradients.
    sums: DeviceSums = field(default_factory=dict)
    #: The sum itself, where products with what comes later are to be made.
    sum: torch.Tensor | None = None


class Reducer:
    """Makes the sums of the watched parameters. No method waits for a device.

    `keeps_gradients`: sums with the update or the preconditioner will be made. `is_replicated`:
    several ranks hold the parameters, so that the sum of this rank's gradients says nothing.
    """

    def __init__(
        self,
        parameters: Mapping[str, torch.nn.Parameter],
        symmetries: Sequence[Symmetry],
        *,
        with_weights: bool,
        keeps_gradients: bool,
        is_replicated: bool,
    ) -> None:
        self._parameters = parameters
        self._with_weights = with_weights
        self._keeps_gradients = keeps_gradients
        self._is_replicated = is_replicated
        shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
        summed = [summed_symmetry(symmetry, shapes) for symmetry in symmetries]
        self._symmetries = {symmetry.name: symmetry for symmetry in summed if symmetry}
        self._left_out: set[str] = set()
        self._plan()

    def _plan(self) -> None:
        self._targets: dict[str, list[Target]] = {name: [] for name in self._parameters}
        self._translated: set[str] = set()
        for symmetry in self._symmetries.values():
            for member in symmetry.members:
                if member.target not in self._targets[member.parameter]:
                    self._targets[member.parameter].append(member.target)
                if isinstance(symmetry, TranslationSums):
                    self._translated.add(member.parameter)
        self._wholes = {}
        for name, targets in self._targets.items():
            whole = _whole(self._parameters[name])
            # Any sums over all vectors make the sum over all elements.
            self._wholes[name] = next(
                (
                    target
                    for target in targets
                    if target.dimension == 1
                    and (target.rows, target.columns) == (whole.rows, whole.columns)
                ),
                whole,
            )
            if self._wholes[name] is whole:
                targets.append(whole)

    @property
    def symmetries(self) -> list[SymmetrySums]:
        """The symmetries whose sums are made."""
        return list(self._symmetries.values())

    def leave_out(self, symmetry: str) -> bool:
        """Makes no sums of a symmetry from the next step on; False if it was left out before.

        Called on the sender's thread.
        """
        is_new = symmetry not in self._left_out
        self._left_out.add(symmetry)
        return is_new

    def begin_step(self) -> None:
        """Changes what is summed, if it is to be changed: never within a step."""
        if kept_out := self._symmetries.keys() & self._left_out:
            self._symmetries = {n: s for n, s in self._symmetries.items() if n not in kept_out}
            self._plan()

    def whole(self, name: str) -> Target:
        """The target whose sums make the sum over all elements of a parameter."""
        return self._wholes[name]

    def elements(self, name: str) -> int:
        """Number of elements of a parameter."""
        return self._parameters[name].numel()

    def gradient(
        self, name: str, gradient: torch.Tensor, earlier: GradientSums | None
    ) -> GradientSums:
        """Adds the gradient of a microbatch, before it is accumulated.

        Then the parameter's `grad` is the sum of the gradients of the earlier microbatches of this
        step, if there are any. What becomes of it later, clipping for one, changes nothing.
        """
        gradient = _dense(gradient.detach())
        if earlier is None and not self._is_replicated:
            return self._gradient_sums(name, gradient, is_own=False)
        squared_norm = _total(gradient, gradient)
        found = GradientSums(1, squared_norm, _count_non_finite(gradient, squared_norm))
        if earlier is not None:
            found.microbatches += earlier.microbatches
            found.squared_norms = found.squared_norms + earlier.squared_norms
            found.non_finite += earlier.non_finite
            earlier.sum = None
        if not self._is_replicated:
            accumulated = self._parameters[name].grad
            if accumulated is not None:
                gradient = _sum(_dense(accumulated.detach()), gradient)
            whole = self._gradient_sums(name, gradient, is_own=accumulated is not None)
            found.sums, found.sum = whole.sums, whole.sum
        return found

    def reduced_gradient(self, name: str) -> GradientSums | None:
        """Sums of the gradient averaged over ranks, which the parameter's `grad` is by now."""
        gradient = self._parameters[name].grad
        if gradient is None:
            return None
        return self._gradient_sums(name, _dense(gradient.detach()), is_own=False)

    def _gradient_sums(self, name: str, gradient: torch.Tensor, is_own: bool) -> GradientSums:
        kept = None
        if self._keeps_gradients:
            # Autograd accumulates into the memory of a gradient that it delivers, where clipping
            # changes it.
            kept = gradient if is_own else gradient.clone()
        tensors = {GRADIENT: gradient}
        products: list[Product] = [(GRADIENT, GRADIENT)]
        if self._with_weights:
            tensors[WEIGHT] = self._parameters[name].detach()
            products.append((GRADIENT, WEIGHT))
        sums = self._sums(name, tensors, products)
        squared_norm = sums[(GRADIENT, GRADIENT), self._wholes[name]].sum()
        return GradientSums(
            1,
            squared_norm,
            _count_non_finite(gradient, squared_norm),
            sums,
            kept,
        )

    def weight(self, name: str) -> tuple[DeviceSums, NonFinite]:
        """Sums of the parameter's value."""
        weight = self._parameters[name].detach()
        sums = self._sums(name, {WEIGHT: weight}, [(WEIGHT, WEIGHT)])
        whole = sums[(WEIGHT, WEIGHT), self._wholes[name]].sum()
        return sums, _count_non_finite(weight, whole)

    def update(
        self, name: str, before: torch.Tensor, gradient: torch.Tensor | None
    ) -> tuple[DeviceSums, NonFinite]:
        """Sums of the update, whose weights before and whose gradient are given."""
        update = self._parameters[name].detach() - before
        tensors = {UPDATE: update}
        products: list[Product] = [(UPDATE, UPDATE)]
        if self._with_weights:
            tensors[WEIGHT] = before
            products.append((UPDATE, WEIGHT))
        sums = self._sums(name, tensors, products)
        whole = sums[(UPDATE, UPDATE), self._wholes[name]].sum()
        if gradient is not None:
            sums[(GRADIENT, UPDATE), _SCALAR] = _total(gradient, update)
        return sums, _count_non_finite(update, whole)

    def preconditioner(
        self, diagonal: torch.Tensor, gradient: torch.Tensor
    ) -> tuple[DeviceSums, NonFinite]:
        """The squared norm of a gradient with the diagonal preconditioner Lambda."""
        form = _total(gradient, gradient, diagonal)
        sums: DeviceSums = {((GRADIENT, GRADIENT, PRECONDITIONER), _SCALAR): form}
        return sums, _count_non_finite(diagonal, form)

    def _sums(
        self, name: str, tensors: Mapping[str, torch.Tensor], products: list[Product]
    ) -> DeviceSums:
        if name in self._translated:
            products = [*products, (products[0][0],)]
        return product_sums(tensors, products, self._targets[name])


# Of sums that no symmetry needs, over all elements.
_SCALAR = Target((0, 0), (0, 0), dimension=0)
_SQUARED_NORMS: Product = ("sum of squared norms",)
_NAN: Product = ("nan",)
_INFINITE: Product = ("infinite",)

_Key = tuple[str, Product, Target]


class StepSums:
    """The sums of one step, and the messages made of them.

    `parameter_ids`: the watched parameters.
    """

    def __init__(self, reducer: Reducer, parameter_ids: Mapping[str, int]) -> None:
        self._reducer = reducer
        # As they are now: what was computed follows them.
        self._symmetries = reducer.symmetries
        self._wholes = {name: reducer.whole(name) for name in parameter_ids}
        self._elements = {name: reducer.elements(name) for name in parameter_ids}
        self._ids = parameter_ids
        self._microbatches = 1
        self._has_reduced_gradient = False
        self._reduced_scale: float | Snapshot = 1.0
        self._sent_weights: set[str] = set()
        #: The sum of the gradients of each parameter, for products with what comes later.
        self.gradients: dict[str, torch.Tensor] = {}
        self._pending: dict[_Key, torch.Tensor] = {}
        self._non_finite: dict[str, NonFinite] = defaultdict(NonFinite)
        self._copies: list[tuple[list[_Key], list[int], Snapshot]] = []

    def add(self, name: str, found: tuple[DeviceSums, NonFinite]) -> None:
        """Adds sums of one parameter."""
        sums, non_finite = found
        self._non_finite[name] += non_finite
        for (product, target), value in sums.items():
            self._pending[name, product, target] = value

    def add_weights(self, sent: set[str]) -> None:
        """Adds the sums of all weights; those of `sent` come as tensors besides."""
        self._sent_weights = sent
        for name in self._ids:
            sums, non_finite = self._reducer.weight(name)
            # The elements of a tensor are counted by the server.
            self.add(name, (sums, NonFinite() if name in sent else non_finite))

    def add_gradients(
        self,
        gradients: Mapping[str, GradientSums],
        microbatches: int,
        reduced: Mapping[str, GradientSums] | None = None,
        reduced_scale: float | Snapshot = 1.0,
    ) -> None:
        """Adds the sums of parameters that had a gradient in each of the step's microbatches.

        `reduced`: those of the gradients averaged over ranks, which `reduced_scale` is missing in.
        """
        self._microbatches = microbatches
        self._has_reduced_gradient = reduced is not None
        self._reduced_scale = reduced_scale
        for name, found in gradients.items():
            if found.microbatches < microbatches:
                continue
            self._pending[name, _SQUARED_NORMS, _SCALAR] = found.squared_norms
            self._non_finite[name] += found.non_finite
            if reduced is not None:
                if name not in reduced:
                    continue
                found = reduced[name]
                self._non_finite[name] += found.non_finite
            self.add(name, (found.sums, NonFinite()))
            if found.sum is not None:
                self.gradients[name] = found.sum

    def freeze(self) -> None:
        """Starts the copy of all sums, one for each device; nothing can be added any more."""
        self.gradients = {}
        for name, counts in self._non_finite.items():
            for product, count in ((_NAN, counts.nan), (_INFINITE, counts.infinite)):
                if isinstance(count, torch.Tensor):
                    self._pending[name, product, _SCALAR] = count
        of_device: dict[torch.device, list[_Key]] = defaultdict(list)
        for key, value in self._pending.items():
            of_device[value.device].append(key)
        for keys in of_device.values():
            values = [self._pending[key].reshape(-1).double() for key in keys]
            sizes = [value.numel() for value in values]
            self._copies.append((keys, sizes, Snapshot(torch.cat(values))))
        self._pending = {}

    @property
    def byte_size(self) -> int:
        """Bytes of the sums."""
        return sum(snapshot.byte_size for _, _, snapshot in self._copies)

    def messages(self, max_bytes: int) -> Iterator[run_pb2.StepStatistics]:
        """The messages, none larger than `max_bytes`; the sums must be frozen."""
        values: dict[_Key, Array] = {}
        for keys, sizes, snapshot in self._copies:
            data = snapshot.elements().data.view("<f8")
            values.update(zip(keys, np.split(data, np.cumsum(sizes)[:-1]), strict=True))
        scale = self._reduced_scale
        factor = scale.item() if isinstance(scale, Snapshot) else scale

        def sums(name: str, product: Product, target: Target) -> Array | None:
            found = values.get((name, product, target))
            return None if found is None else found * factor ** product.count(GRADIENT)

        entries: list[tensor_pb2.ParameterStatistics | tensor_pb2.SymmetryStatistics] = [
            self._parameter(name, sums) for name in self._ids
        ]
        entries += [
            symmetry.message(sums, self._microbatches) for symmetry in self._symmetries
        ]
        message = run_pb2.StepStatistics()
        size = 0
        for entry in entries:
            entry_size = entry.ByteSize() + _ENTRY_BYTES
            if isinstance(entry, tensor_pb2.SymmetryStatistics) and entry_size > max_bytes:
                if self._reducer.leave_out(entry.symmetry):
                    _log.warning(
                        "symmetry %s is left out: its sums have %d bytes, the server's limit is %d",
                        entry.symmetry,
                        entry_size,
                        max_bytes,
                    )
                continue
            if size + entry_size > max_bytes:
                yield message
                message, size = run_pb2.StepStatistics(), 0
            if isinstance(entry, tensor_pb2.SymmetryStatistics):
                message.symmetries.append(entry)
            else:
                message.parameters.append(entry)
            size += entry_size
        if size:
            yield message

    def _parameter(self, name: str, sums: Sums) -> tensor_pb2.ParameterStatistics:
        def total(product: Product, target: Target = _SCALAR) -> float | None:
            found = sums(name, product, target)
            return None if found is None else float(found.sum())

        def of_mean(product: Product) -> float | None:
            found = total(product)
            return (
                None if found is None else found / self._microbatches ** product.count(GRADIENT)
            )

        whole = self._wholes[name]
        squared_norm = total((GRADIENT, GRADIENT), whole)
        is_reduced = self._has_reduced_gradient and squared_norm is not None
        nan, infinite = total(_NAN), total(_INFINITE)
        return tensor_pb2.ParameterStatistics(
            tensor_id=self._ids[name],
            elements=self._elements[name],
            nan_elements=int(nan or 0) + _plain(self._non_finite[name].nan),
            infinite_elements=int(infinite or 0) + _plain(self._non_finite[name].infinite),
            gradient_sum_squared_norm=total(_SQUARED_NORMS),
            gradient_squared_norm_of_sum=None if self._has_reduced_gradient else squared_norm,
            reduced_gradient_squared_norm=(
                squared_norm / self._microbatches**2
                if is_reduced and squared_norm is not None
                else None
            ),
            weight_squared_norm=(
                None if name in self._sent_weights else total((WEIGHT, WEIGHT), whole)
            ),
            update_squared_norm=total((UPDATE, UPDATE), whole),
            gradient_dot_update=of_mean((GRADIENT, UPDATE)),
            preconditioned_squared_norm=of_mean((GRADIENT, GRADIENT, PRECONDITIONER)),
        )


# The tag and the length of an entry in its message.
_ENTRY_BYTES = 8


def _plain(count: torch.Tensor | int) -> int:
    return count if isinstance(count, int) else 0


def _whole(parameter: torch.Tensor) -> Target:
    rows = parameter.shape[0] if parameter.dim() else 1
    return Target((0, rows), (0, parameter.numel() // rows), dimension=0)


def _dense(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.layout == torch.strided else tensor.to_dense()


def _sum(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a + b, in single precision at least: the sum of halves would be rounded once more."""
    if a.dtype in (torch.float16, torch.bfloat16):
        return a.float().add_(b)
    return a + b


def _on_host(tensor: torch.Tensor) -> bool:
    return tensor.device.type == "cpu"


def _block_elements(tensor: torch.Tensor) -> int:
    return _CPU_BLOCK_ELEMENTS if _on_host(tensor) else _BLOCK_ELEMENTS


def _count_non_finite(tensor: torch.Tensor, squared_norm: torch.Tensor) -> NonFinite:
    """Counts NaN and infinities; on a CPU only where a sum over all elements tells of any."""
    if _on_host(tensor) and _is_finite(squared_norm):
        return NonFinite()
    return NonFinite(tensor.isnan().sum(), tensor.isinf().sum())


def _is_finite(host_scalar: torch.Tensor) -> bool:
    # Reads memory of the host: waits for nothing.
    return math.isfinite(host_scalar.item())


class _Scratch(threading.local):
    """A thread's memory for blocks in double precision: new memory would cost more than the sums."""

    def __init__(self) -> None:
        self._buffers: list[torch.Tensor] = []

    def like(self, block: torch.Tensor, index: int = 0) -> torch.Tensor:
        """Memory of a block's shape; that of equal indices is the same."""
        while len(self._buffers) <= index:
            # Made within inference mode, it could not be written to outside.
            with torch.inference_mode(False):
                buffer = torch.empty(_CPU_BLOCK_ELEMENTS, dtype=torch.float64, device="cpu")
            self._buffers.append(buffer)
        if block.numel() > _CPU_BLOCK_ELEMENTS:
            return torch.empty(block.shape, dtype=torch.float64, device="cpu")
        return self._buffers[index][: block.numel()].view(block.shape)


_scratch = _Scratch()


def _doubles(block: torch.Tensor, index: int = 0) -> torch.Tensor:
    """A block in double precision; on a CPU until the thread asks for the same index again."""
    if _on_host(block):
        return _scratch.like(block, index).copy_(block)
    return block.to(torch.float64, copy=True)


def _total(*factors: torch.Tensor) -> torch.Tensor:
    """The sum of all products of elements, a tensor without dimensions."""
    first, *others = factors
    is_square = len(others) == 1 and first is others[0]
    if is_square and not _on_host(first):
        # One kernel that converts as it reads; a CPU's would be slow.
        norm: torch.Tensor = torch.linalg.vector_norm(first, dtype=torch.float64)
        return norm.square()
    parts = []
    size = _block_elements(first)
    for block, *more in zip(*(factor.reshape(-1).split(size) for factor in factors), strict=True):
        # Not by torch.dot: the threads of a CPU's BLAS compete with PyTorch's own.
        product = _doubles(block)
        for factor in more:
            product.mul_(product if is_square else factor)
        parts.append(product.sum())
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum()


def product_sums(
    tensors: Mapping[str, torch.Tensor], products: Sequence[Product], targets: Sequence[Target]
) -> DeviceSums:
    """The sums of each product over each target; of one tensor alone only vector by vector."""
    found: DeviceSums = {}
    rectangles: dict[tuple[tuple[int, int], tuple[int, int]], list[Target]] = defaultdict(list)
    for target in targets:
        rectangles[target.rows, target.columns].append(target)
    for (rows, columns), its_targets in rectangles.items():
        parts = {
            name: tensor.reshape(rows[1] if not tensor.dim() else tensor.shape[0], -1)[
                rows[0] : rows[1], columns[0] : columns[1]
            ]
            for name, tensor in tensors.items()
        }
        by_columns = {target.by_columns for target in its_targets if target.dimension == 1}
        if by_columns:
            vectors = _vector_sums(parts, products, by_columns)
        for target in its_targets:
            for product in products:
                if target.dimension == 1:
                    found[product, target] = vectors[product, target.by_columns]
                elif len(product) == 2:
                    left, right = (parts[name] for name in product)
                    found[product, target] = (
                        _block_products(left, right, target)
                        if target.dimension
                        else _total(left, right)
                    )
    return found


def _vector_sums(
    matrices: Mapping[str, torch.Tensor], products: Sequence[Product], directions: set[bool]
) -> dict[tuple[Product, bool], torch.Tensor]:
    """For each product the sums over each row (False) and over each column (True)."""
    some = next(iter(matrices.values()))
    size = max(_block_elements(some) // some.shape[1], 1)
    parts: dict[tuple[Product, bool], list[torch.Tensor]] = defaultdict(list)
    for first in range(0, some.shape[0], size):
        doubles = {
            name: _doubles(matrix[first : first + size], index)
            for index, (name, matrix) in enumerate(matrices.items())
        }
        for product in products:
            elements = doubles[product[0]]
            if len(product) == 2:
                out = _scratch.like(elements, len(doubles)) if _on_host(elements) else None
                elements = torch.mul(elements, doubles[product[1]], out=out)
            for by_columns in directions:
                parts[product, by_columns].append(elements.sum(0 if by_columns else 1))
    return {
        (product, by_columns): torch.stack(found).sum(0) if by_columns else torch.cat(found)
        for (product, by_columns), found in parts.items()
    }


def _block_products(left: torch.Tensor, right: torch.Tensor, target: Target) -> torch.Tensor:
    """X Y' of each r x r block, those that share an instance added."""
    if target.by_columns:
        left, right = left.T, right.T
    r, shared = target.dimension, target.shared
    shape = (-1, shared, r, left.shape[1])
    lefts, rights = left.reshape(shape), right.reshape(shape)
    size = max(_BLOCK_ELEMENTS // (shared * r * left.shape[1]), 1)
    return torch.cat(
        [
            # Blocks of an instance side by side: their products add.
            torch.matmul(a.double(), b.double().transpose(-1, -2)).sum(1)
            for a, b in zip(lefts.split(size), rights.split(size), strict=True)
        ]
    ).reshape(-1)
