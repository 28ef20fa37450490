"""A run's declaration, by names instead of ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from thermograd.similarity import similarity_options
from thermograd.v1 import representation_pb2, run_pb2, tensor_pb2


def fingerprint(ids: Iterable[Any]) -> bytes:
    """SHA-256 of the ids joined by newlines: the contract's convention for probe sets."""
    return hashlib.sha256("\n".join(str(i) for i in ids).encode()).digest()


@dataclass(frozen=True)
class Member:
    """A parameter seen as a matrix, all dimensions but the first flattened, or some of its rows.

    `rows` rows from `first_row` on, 0 for all that are left. `transposed`: the parameter is stored
    (in x out), and rows are those of its transpose.
    """

    parameter: str
    first_row: int = 0
    rows: int = 0
    transposed: bool = False


@dataclass(frozen=True)
class NeuronRescaling:
    """Every hidden neuron between two layers may be rescaled.

    Here and below members are names of parameters, or `Member`s where only some rows take part.
    """

    name: str
    incoming: str | Member
    outgoing: str | Member
    incoming_bias: str | Member | None = None


@dataclass(frozen=True)
class LayerRescaling:
    """Two layers may be rescaled as wholes."""

    name: str
    first: str | Member
    second: str | Member
    first_bias: str | Member | None = None


@dataclass(frozen=True)
class DoubleRotation:
    """An invertible matrix may be inserted between two linear maps, or one a head.

    Consecutive linear layers, values and output projection, LoRA's A and B.
    """

    name: str
    first: str | Member
    second: str | Member
    first_bias: str | Member | None = None
    heads: int = 1


@dataclass(frozen=True)
class QueryKeyRotation:
    """An invertible matrix a key head may be inserted between queries and keys.

    `rotary`: how rotary position embedding pairs the rows of a head, "interleaved" or "halves";
    None without it.
    """

    name: str
    query: str | Member
    key: str | Member
    query_bias: str | Member | None = None
    key_bias: str | Member | None = None
    heads: int = 1
    rotary: Literal["interleaved", "halves"] | None = None


@dataclass(frozen=True)
class ScaleInvariance:
    """Weights that are read only through a normalisation, as a whole or each row by itself."""

    name: str
    weight: str | Member
    per_row: bool = False


@dataclass(frozen=True)
class LogitTranslation:
    """All rows of the last layer before a softmax may be shifted together."""

    name: str
    weight: str | Member
    bias: str | Member | None = None


@dataclass(frozen=True)
class NeuronPermutation:
    """Hidden neurons may change places: looked at for duplicate and collapsed neurons."""

    name: str
    incoming: str | Member
    outgoing: str | Member
    incoming_bias: str | Member | None = None


Symmetry = (
    NeuronRescaling
    | LayerRescaling
    | DoubleRotation
    | QueryKeyRotation
    | ScaleInvariance
    | LogitTranslation
    | NeuronPermutation
)

_GRADIENT_SCOPES = {
    None: run_pb2.GRADIENT_SCOPE_UNSPECIFIED,
    "local": run_pb2.GRADIENT_SCOPE_LOCAL,
    "reduced": run_pb2.GRADIENT_SCOPE_REDUCED,
}

_ROTARY_LAYOUTS = {
    None: run_pb2.ROTARY_LAYOUT_UNSPECIFIED,
    "interleaved": run_pb2.ROTARY_LAYOUT_INTERLEAVED,
    "halves": run_pb2.ROTARY_LAYOUT_HALVES,
}


def parameters_of(symmetry: Symmetry) -> set[str]:
    """Names of the parameters that take part in a symmetry."""
    names = set()
    for field in fields(symmetry):
        value = getattr(symmetry, field.name)
        if isinstance(value, Member):
            names.add(value.parameter)
        elif field.name not in ("name", "rotary") and isinstance(value, str):
            names.add(value)
    return names


@dataclass(frozen=True)
class Layer:
    """A place whose output is compared. Without a probe set: the output for training batches.

    `weight` (width x in) names the parameter whose output the layer is, `reader_weight`
    (out x width) the one that reads it; the layer is compared with those that are given.
    `projected_from`: features before a random projection onto `width`, 0 if there was none.
    """

    name: str
    width: int
    probe_set: str = ""
    weight: str | None = None
    reader_weight: str | None = None
    projected_from: int = 0


@dataclass(frozen=True)
class Shard:
    """The part of a parameter that this rank holds, and how many ranks hold the same part.

    `offset` and `shape` have one entry for each dimension of the whole parameter.
    """

    offset: Sequence[int]
    shape: Sequence[int]
    replicas: int = 1


@dataclass(frozen=True)
class ProbeSet:
    """A fixed set of inputs, known by the ids of its samples in their order.

    `sampled_from`: samples of the set that these were drawn from, 0 if these are all.
    """

    name: str
    ids: Sequence[Any]
    sampled_from: int = 0


def run_spec(
    run: str,
    *,
    parameters: Mapping[str, Sequence[int]] | None = None,
    groups: Mapping[str, str] | None = None,
    shards: Mapping[str, Shard] | None = None,
    layers: Sequence[Layer] = (),
    symmetries: Sequence[Symmetry] = (),
    probe_sets: Sequence[ProbeSet] = (),
    optimizer: run_pb2.Optimizer | None = None,
    parameter_kinds: Iterable[tensor_pb2.TensorKind] = (),
    window_steps: int = 0,
    report_every_steps: int = 0,
    spectrum_every_steps: int = 0,
    similarities: Iterable[str] | representation_pb2.SimilarityOptions = (),
    similarity_over_window: bool = False,
    rank: int = 0,
    world_size: int = 1,
    gradient_scope: Literal["local", "reduced"] | None = None,
    every_steps: int = 0,
    model_elements: int = 0,
) -> run_pb2.RunSpec:
    """Declares a run.

    Ids are given in order: `parameters` (name to shape) from 1, then `layers`.

    Args:
        groups: names of parameter groups by names of parameters; others stand alone.
        shards: the parts that this rank holds of parameters split over ranks, by their names.
        parameter_kinds: what will be sent of parameters besides GRADIENT and WEIGHT.
        similarities: those of representations to compute, by names as `compare` takes them, or with
            their free parameters as `similarity_options` makes them.
        similarity_over_window: also the similarities over all samples of each window.
        gradient_scope: "local" where each rank sends the gradients of its own microbatches,
            "reduced" where they are averaged over ranks before; None is read as "local".
        every_steps: every so many steps are streamed.
        model_elements: elements of all trainable parameters, streamed or not; 0: not known.

    Raises:
        KeyError: a parameter is named that is not declared.
        ValueError: there is no such similarity or gradient scope.
    """
    if gradient_scope not in _GRADIENT_SCOPES:
        raise ValueError(f"gradient_scope: {gradient_scope!r} is neither 'local' nor 'reduced'")
    if not isinstance(similarities, representation_pb2.SimilarityOptions):
        similarities = similarity_options(similarities)
    spec = run_pb2.RunSpec(
        run=run,
        rank=rank,
        world_size=world_size,
        optimizer=optimizer,
        parameter_kinds=parameter_kinds,
        gradient_scope=_GRADIENT_SCOPES[gradient_scope],
        sampling=(
            run_pb2.Sampling(every_steps=every_steps, model_elements=model_elements)
            if every_steps or model_elements
            else None
        ),
        reporting=run_pb2.Reporting(
            window_steps=window_steps,
            report_every_steps=report_every_steps,
            spectrum_every_steps=spectrum_every_steps,
            # Absent where nothing is chosen.
            similarity=similarities if similarities.ByteSize() else None,
            similarity_over_window=similarity_over_window,
        ),
    )
    ids = {}
    for number, (name, shape) in enumerate((parameters or {}).items(), start=1):
        ids[name] = number
        spec.parameters.add(id=number, name=name, shape=shape)
    for name, group in (groups or {}).items():
        spec.parameters[ids[name] - 1].group = group
    for name, shard in (shards or {}).items():
        spec.parameters[ids[name] - 1].shard.CopyFrom(
            run_pb2.Shard(offset=shard.offset, shape=shard.shape, replicas=shard.replicas)
        )
    for number, layer in enumerate(layers, start=len(ids) + 1):
        spec.layers.add(
            id=number,
            name=layer.name,
            width=layer.width,
            probe_set=layer.probe_set,
            weight_id=None if layer.weight is None else ids[layer.weight],
            reader_weight_id=None if layer.reader_weight is None else ids[layer.reader_weight],
            projected_from=layer.projected_from,
        )
    for probe_set in probe_sets:
        spec.probe_sets.add(
            name=probe_set.name,
            samples=len(probe_set.ids),
            fingerprint=fingerprint(probe_set.ids),
            sampled_from=probe_set.sampled_from,
        )
    for symmetry in symmetries:
        spec.symmetries.append(_symmetry(symmetry, ids))
    return spec


def _symmetry(symmetry: Symmetry, ids: Mapping[str, int]) -> run_pb2.Symmetry:
    def member(of: str | Member | None) -> run_pb2.Member | None:
        if of is None:
            return None
        if isinstance(of, str):
            of = Member(of)
        return run_pb2.Member(
            parameter_id=ids[of.parameter],
            first_row=of.first_row,
            rows=of.rows,
            transposed=of.transposed,
        )

    if isinstance(symmetry, NeuronRescaling):
        return run_pb2.Symmetry(
            name=symmetry.name,
            neuron_rescaling=run_pb2.NeuronRescaling(
                incoming=member(symmetry.incoming),
                incoming_bias=member(symmetry.incoming_bias),
                outgoing=member(symmetry.outgoing),
            ),
        )
    if isinstance(symmetry, LayerRescaling):
        return run_pb2.Symmetry(
            name=symmetry.name,
            layer_rescaling=run_pb2.LayerRescaling(
                first=member(symmetry.first),
                first_bias=member(symmetry.first_bias),
                second=member(symmetry.second),
            ),
        )
    if isinstance(symmetry, DoubleRotation):
        return run_pb2.Symmetry(
            name=symmetry.name,
            double_rotation=run_pb2.DoubleRotation(
                first=member(symmetry.first),
                first_bias=member(symmetry.first_bias),
                second=member(symmetry.second),
                heads=symmetry.heads,
            ),
        )
    if isinstance(symmetry, QueryKeyRotation):
        return run_pb2.Symmetry(
            name=symmetry.name,
            query_key_rotation=run_pb2.QueryKeyRotation(
                query=member(symmetry.query),
                query_bias=member(symmetry.query_bias),
                key=member(symmetry.key),
                key_bias=member(symmetry.key_bias),
                heads=symmetry.heads,
                rotary=_ROTARY_LAYOUTS[symmetry.rotary],
            ),
        )
    if isinstance(symmetry, ScaleInvariance):
        return run_pb2.Symmetry(
            name=symmetry.name,
            scale_invariance=run_pb2.ScaleInvariance(
                weight=member(symmetry.weight), per_row=symmetry.per_row
            ),
        )
    if isinstance(symmetry, LogitTranslation):
        return run_pb2.Symmetry(
            name=symmetry.name,
            logit_translation=run_pb2.LogitTranslation(
                weight=member(symmetry.weight), bias=member(symmetry.bias)
            ),
        )
    return run_pb2.Symmetry(
        name=symmetry.name,
        neuron_permutation=run_pb2.NeuronPermutation(
            incoming=member(symmetry.incoming),
            incoming_bias=member(symmetry.incoming_bias),
            outgoing=member(symmetry.outgoing),
        ),
    )
