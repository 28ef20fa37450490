"""Which sums of a parameter's tensors a declared symmetry needs, and its message made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
)
from thermograd.v1 import tensor_pb2

Array = npt.NDArray[np.float64]

#: Tensors whose elements are multiplied with one another, by what they are.
Product = tuple[str, ...]
#: Sum of microbatch gradients (or the reduced gradient), weight, update, preconditioner.
GRADIENT, WEIGHT, UPDATE, PRECONDITIONER = "gradient", "weight", "update", "preconditioner"


@dataclass(frozen=True)
class Target:
    """What a product is summed over: vectors of a rectangle of the parameter's stored matrix.

    The stored matrix has all dimensions but the first flattened into columns. Each row of the
    rectangle, or each column, is a vector; r of them in a row make an r x r matrix of products of
    vectors, and for r = 1 a sum a vector.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    by_columns: bool = False
    #: r; 0: one sum over the whole rectangle.
    dimension: int = 1
    #: So many matrices in a row are added, if r > 1.
    shared: int = 1


@dataclass(frozen=True)
class SummedMember:
    """A member of a symmetry: the target, and for r = 1 the instance of each of its vectors."""

    parameter: str
    target: Target
    instance_of_vector: npt.NDArray[np.int64] | None = None


#: The sums of a parameter over a target; None where a tensor is not known.
Sums = Callable[[str, Product, Target], Array | None]


@dataclass(frozen=True)
class QuadraticSums:
    """A symmetry with a quadratic charge."""

    name: str
    first: tuple[SummedMember, ...]
    second: tuple[SummedMember, ...]
    instances: int
    dimension: int = 1

    @property
    def members(self) -> tuple[SummedMember, ...]:
        """The members of both sides."""
        return self.first + self.second

    def message(self, sums: Sums, microbatches: int) -> tensor_pb2.SymmetryStatistics:
        """The message; `microbatches` gradients were summed."""
        return tensor_pb2.SymmetryStatistics(
            symmetry=self.name,
            first=self._side(self.first, sums, microbatches),
            second=self._side(self.second, sums, microbatches) if self.second else None,
        )

    def _side(
        self, members: Sequence[SummedMember], sums: Sums, microbatches: int
    ) -> tensor_pb2.SideStatistics:
        def total(product: Product) -> Array:
            size = self.instances * self.dimension**2
            whole = np.zeros(size)
            for member in members:
                part = sums(member.parameter, product, member.target)
                if part is None:
                    return np.zeros(0)
                if member.instance_of_vector is None:
                    whole += part
                else:
                    whole += np.bincount(member.instance_of_vector, part, size)
            whole /= microbatches ** product.count(GRADIENT)
            return whole

        return tensor_pb2.SideStatistics(
            gradient_gradient=total((GRADIENT, GRADIENT)),
            weight_weight=total((WEIGHT, WEIGHT)),
            gradient_weight=total((GRADIENT, WEIGHT)),
            update_weight=total((UPDATE, WEIGHT)),
            update_update=total((UPDATE, UPDATE)),
        )


@dataclass(frozen=True)
class TranslationSums:
    """A translation of rows: the vectors of a member's target are its columns."""

    name: str
    members: tuple[SummedMember, ...]

    def message(self, sums: Sums, microbatches: int) -> tensor_pb2.SymmetryStatistics:
        """The message; `microbatches` gradients were summed."""

        def columns(kind: str) -> Array:
            parts = [sums(member.parameter, (kind,), member.target) for member in self.members]
            known = [part for part in parts if part is not None]
            return np.concatenate(known) if len(known) == len(parts) else np.zeros(0)

        def squared_norm(kind: str) -> float:
            parts = [sums(m.parameter, (kind, kind), m.target) for m in self.members]
            return math.fsum(float(part.sum()) for part in parts if part is not None)

        return tensor_pb2.SymmetryStatistics(
            symmetry=self.name,
            translation=tensor_pb2.TranslationStatistics(
                gradient=columns(GRADIENT) / microbatches,
                weight=columns(WEIGHT),
                update=columns(UPDATE),
                gradient_squared_norm=squared_norm(GRADIENT) / microbatches**2,
                update_squared_norm=squared_norm(UPDATE),
            ),
        )


SymmetrySums = QuadraticSums | TranslationSums


def summed_symmetry(
    symmetry: Symmetry, shapes: Mapping[str, Sequence[int]]
) -> SymmetrySums | None:
    """The sums that a symmetry needs; None for a NeuronPermutation, which needs the weights.

    Raises:
        ValueError: the shapes of the members do not go together.
    """
    if isinstance(symmetry, NeuronPermutation):
        return None
    return _Builder(symmetry.name, shapes).build(symmetry)


@dataclass(frozen=True)
class _View:
    """A member as a matrix: its rows are rows of the stored matrix, or columns."""

    parameter: str
    rows: tuple[int, int]
    columns: tuple[int, int]
    is_transposed: bool

    @property
    def length(self) -> int:
        """Number of rows of the view."""
        first, end = self.columns if self.is_transposed else self.rows
        return end - first

    def transposed(self) -> _View:
        return _View(self.parameter, self.rows, self.columns, not self.is_transposed)

    def target(self, dimension: int = 1, shared: int = 1) -> Target:
        return Target(self.rows, self.columns, self.is_transposed, dimension, shared)

    def summed(self, instances: npt.NDArray[np.int64]) -> SummedMember:
        return SummedMember(self.parameter, self.target(), instances)

    def blocks(self, dimension: int, shared: int = 1) -> SummedMember:
        """Consecutive r x r matrices; for r = 1 each vector belongs to an instance."""
        if dimension == 1:
            return self.summed(np.arange(self.length) // shared)
        return SummedMember(self.parameter, self.target(dimension, shared))


class _Builder:
    """Mirrors the checks of the server's declaration of symmetries."""

    def __init__(self, name: str, shapes: Mapping[str, Sequence[int]]) -> None:
        self._name = name
        self._shapes = shapes

    def build(self, symmetry: Symmetry) -> SymmetrySums:
        if isinstance(symmetry, NeuronRescaling):
            return self._neurons(symmetry)
        if isinstance(symmetry, LayerRescaling):
            views = self._views(symmetry.first, symmetry.first_bias)
            # Both directions make the same sum; this one NeuronRescaling needs too.
            second = self._view(symmetry.second).transposed()
            return QuadraticSums(self._name, _whole(views), _whole([second]), instances=1)
        if isinstance(symmetry, DoubleRotation):
            return self._double_rotation(symmetry)
        if isinstance(symmetry, QueryKeyRotation):
            return self._query_key(symmetry)
        if isinstance(symmetry, ScaleInvariance):
            view = self._view(symmetry.weight)
            if symmetry.per_row:
                return QuadraticSums(self._name, (view.blocks(1),), (), instances=view.length)
            return QuadraticSums(self._name, _whole([view]), (), instances=1)
        if isinstance(symmetry, LogitTranslation):
            # Summed over rows: the vectors are the columns.
            members = [view.transposed() for view in self._views(symmetry.weight, symmetry.bias)]
            return TranslationSums(
                self._name, tuple(SummedMember(m.parameter, m.target()) for m in members)
            )
        raise ValueError(f"symmetry {self._name!r}: {type(symmetry).__name__} has no sums")

    def _view(self, of: str | Member) -> _View:
        member = Member(of) if isinstance(of, str) else of
        shape = self._shapes[member.parameter]
        rows = shape[0] if shape else 1
        stored = _View(member.parameter, (0, rows), (0, math.prod(shape[1:])), member.transposed)
        first, end = member.first_row, stored.length
        if member.rows:
            end = first + member.rows
        if not 0 <= first < end <= stored.length:
            raise ValueError(
                f"symmetry {self._name!r}: rows {first} to {end} of {member.parameter!r}, which "
                f"has {stored.length}"
            )
        if member.transposed:
            return _View(member.parameter, stored.rows, (first, end), True)
        return _View(member.parameter, (first, end), stored.columns, False)

    def _views(self, weight: str | Member, bias: str | Member | None) -> list[_View]:
        views = [self._view(weight)]
        if bias is not None:
            views.append(self._view(bias))
            if views[1].length != views[0].length:
                raise ValueError(
                    f"symmetry {self._name!r}: a bias of {views[1].length} elements for "
                    f"{views[0].length} rows"
                )
        return views

    def _quotient(self, whole: int, part: int, what: str) -> int:
        if part < 1 or whole % part:
            raise ValueError(f"symmetry {self._name!r}: {part} do not divide {whole} {what}")
        return whole // part

    def _neurons(self, symmetry: NeuronRescaling) -> QuadraticSums:
        incoming = self._views(symmetry.incoming, symmetry.incoming_bias)
        outgoing = self._view(symmetry.outgoing).transposed()
        hidden = incoming[0].length
        shared = self._quotient(outgoing.length, hidden, "columns of outgoing")
        return QuadraticSums(
            self._name,
            tuple(view.blocks(1) for view in incoming),
            (outgoing.blocks(1, shared),),
            instances=hidden,
        )

    def _double_rotation(self, symmetry: DoubleRotation) -> QuadraticSums:
        first = self._views(symmetry.first, symmetry.first_bias)
        second = self._view(symmetry.second).transposed()
        heads = symmetry.heads or 1
        rows = self._quotient(first[0].length, heads, "rows of first")
        shared = self._quotient(second.length, first[0].length, "columns of second")
        return QuadraticSums(
            self._name,
            tuple(view.blocks(rows) for view in first),
            (second.blocks(rows, shared),),
            instances=heads,
            dimension=rows,
        )

    def _query_key(self, symmetry: QueryKeyRotation) -> QuadraticSums:
        query = self._views(symmetry.query, symmetry.query_bias)
        key = self._views(symmetry.key, symmetry.key_bias)
        heads = symmetry.heads or 1
        rows = self._quotient(key[0].length, heads, "rows of key")
        shared = self._quotient(query[0].length, key[0].length, "rows of query")
        if symmetry.rotary is None:
            return QuadraticSums(
                self._name,
                tuple(view.blocks(rows, shared) for view in query),
                tuple(view.blocks(rows) for view in key),
                instances=heads,
                dimension=rows,
            )
        pairs = self._quotient(rows, 2, "rows of a head")

        def instances(length: int, shared_by: int) -> npt.NDArray[np.int64]:
            row = np.arange(length)
            in_head = row % rows
            pair = in_head // 2 if symmetry.rotary == "interleaved" else in_head % pairs
            return row // rows // shared_by * pairs + pair

        return QuadraticSums(
            self._name,
            tuple(view.summed(instances(view.length, shared)) for view in query),
            tuple(view.summed(instances(view.length, 1)) for view in key),
            instances=heads * pairs,
        )


def _whole(views: Sequence[_View]) -> tuple[SummedMember, ...]:
    return tuple(view.summed(np.zeros(view.length, np.int64)) for view in views)
