"""A run's declaration, by names instead of ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thermograd.v1 import run_pb2


def fingerprint(ids: Iterable[Any]) -> bytes:
    """SHA-256 of the ids joined by newlines: the contract's convention for probe sets."""
    return hashlib.sha256("\n".join(str(i) for i in ids).encode()).digest()


@dataclass(frozen=True)
class NeuronRescaling:
    """Every hidden neuron between two layers may be rescaled. Members are parameter names."""

    name: str
    incoming: str
    outgoing: str
    incoming_bias: str | None = None


@dataclass(frozen=True)
class LayerRescaling:
    """Two layers may be rescaled as wholes. Members are parameter names."""

    name: str
    first: str
    second: str
    first_bias: str | None = None


Symmetry = NeuronRescaling | LayerRescaling


@dataclass(frozen=True)
class Layer:
    """A place whose output is compared. Without a probe set: the output for training batches."""

    name: str
    width: int
    probe_set: str = ""


@dataclass(frozen=True)
class ProbeSet:
    """A fixed set of inputs, known by the ids of its samples in their order."""

    name: str
    ids: Sequence[Any]


def run_spec(
    run: str,
    *,
    parameters: Mapping[str, Sequence[int]] | None = None,
    layers: Sequence[Layer] = (),
    symmetries: Sequence[Symmetry] = (),
    probe_sets: Sequence[ProbeSet] = (),
    optimizer: run_pb2.Optimizer | None = None,
    window_steps: int = 0,
    report_every_steps: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> run_pb2.RunSpec:
    """Declares a run.

    Ids are given in order: `parameters` (name to shape) from 1, then `layers`.

    Raises:
        KeyError: a symmetry names a parameter that is not declared.
    """
    spec = run_pb2.RunSpec(
        run=run,
        rank=rank,
        world_size=world_size,
        optimizer=optimizer,
        reporting=run_pb2.Reporting(
            window_steps=window_steps, report_every_steps=report_every_steps
        ),
    )
    ids = {}
    for number, (name, shape) in enumerate((parameters or {}).items(), start=1):
        ids[name] = number
        spec.parameters.add(id=number, name=name, shape=shape)
    for number, layer in enumerate(layers, start=len(ids) + 1):
        spec.layers.add(
            id=number, name=layer.name, width=layer.width, probe_set=layer.probe_set
        )
    for probe_set in probe_sets:
        spec.probe_sets.add(
            name=probe_set.name,
            samples=len(probe_set.ids),
            fingerprint=fingerprint(probe_set.ids),
        )
    for symmetry in symmetries:
        spec.symmetries.append(_symmetry(symmetry, ids))
    return spec


def _symmetry(symmetry: Symmetry, ids: Mapping[str, int]) -> run_pb2.Symmetry:
    def member(name: str | None) -> run_pb2.Member | None:
        return None if name is None else run_pb2.Member(parameter_id=ids[name])

    if isinstance(symmetry, NeuronRescaling):
        return run_pb2.Symmetry(
            name=symmetry.name,
            neuron_rescaling=run_pb2.NeuronRescaling(
                incoming=member(symmetry.incoming),
                incoming_bias=member(symmetry.incoming_bias),
                outgoing=member(symmetry.outgoing),
            ),
        )
    return run_pb2.Symmetry(
        name=symmetry.name,
        layer_rescaling=run_pb2.LayerRescaling(
            first=member(symmetry.first),
            first_bias=member(symmetry.first_bias),
            second=member(symmetry.second),
        ),
    )
