"""A step as it was captured, and its messages."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from thermograd import wire
from thermograd.v1 import report_pb2, run_pb2, tensor_pb2
from thermograd.v1 import training_analysis_service_pb2 as service

if TYPE_CHECKING:
    from thermograd.reduction import StepSums

_log = logging.getLogger("thermograd")


class TensorCopy(Protocol):
    """The values that a framework's tensor had when it was captured."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""

    @property
    def byte_size(self) -> int:
        """Bytes of its elements."""

    def elements(self) -> wire.Elements:
        """The values, once they have arrived."""

    def item(self) -> float:
        """The only value, once it has arrived."""


@dataclass
class CapturedTensor:
    """One tensor of a step."""

    tensor_id: int
    kind: tensor_pb2.TensorKind
    snapshot: TensorCopy
    microbatch: int = 0


@dataclass
class CapturedStep:
    """One step, a `sender.Step`."""

    #: The declaration that it was captured under.
    spec: run_pb2.RunSpec
    begin: run_pb2.StepBegin
    tensors: list[CapturedTensor]
    losses: list[float | TensorCopy] = field(default_factory=list)
    #: Sums in place of tensors.
    sums: StepSums | None = None
    #: What the declared loss scale is still to be multiplied with.
    loss_scale: float | TensorCopy = 1.0

    @property
    def number(self) -> int:
        """Number of the step."""
        return self.begin.step

    @property
    def byte_size(self) -> int:
        """Bytes of its tensors and sums."""
        of_sums = 0 if self.sums is None else self.sums.byte_size
        return of_sums + sum(tensor.snapshot.byte_size for tensor in self.tensors)

    def freeze(self) -> None:
        """Starts what is left to be copied: the step is to be sent as it is."""
        if self.sums is not None:
            self.sums.freeze()

    def requests(self, limits: report_pb2.StreamLimits) -> Iterator[service.StreamRunRequest]:
        """StepBegin, the sums, the chunks, StepEnd; reads all before the first of them."""
        chunk_bytes = min(
            wire.DEFAULT_CHUNK_BYTES, limits.max_chunk_bytes or wire.DEFAULT_CHUNK_BYTES
        )
        loaded = [
            (tensor, tensor.snapshot.elements())
            for tensor in self.tensors
            if _is_admitted(tensor, limits)
        ]
        statistics = (
            []
            if self.sums is None
            else list(self.sums.messages(limits.max_chunk_bytes or wire.DEFAULT_CHUNK_BYTES))
        )
        begin = run_pb2.StepBegin()
        begin.CopyFrom(self.begin)
        begin.loss_scale *= _number(self.loss_scale)
        losses = [_number(loss) for loss in self.losses]
        if losses:
            begin.loss = math.fsum(losses) / len(losses)
        yield service.StreamRunRequest(step_begin=begin)
        for sums in statistics:
            yield service.StreamRunRequest(statistics=sums)
        for tensor, elements in loaded:
            for chunk in wire.tensor_chunks(
                tensor.tensor_id, tensor.kind, elements, tensor.microbatch, chunk_bytes
            ):
                yield service.StreamRunRequest(chunk=chunk)
        yield service.StreamRunRequest(step_end=run_pb2.StepEnd(step=begin.step))


def _number(value: float | TensorCopy) -> float:
    return value if isinstance(value, (float, int)) else value.item()


def _is_admitted(tensor: CapturedTensor, limits: report_pb2.StreamLimits) -> bool:
    if tensor.kind != wire.ACTIVATION or not limits.max_samples:
        return True
    # One batch too large must not end the stream of all other figures.
    if tensor.snapshot.shape[0] > limits.max_samples:
        _warn_of_samples(limits.max_samples)
        return False
    return True


@functools.cache
def _warn_of_samples(limit: int) -> None:
    _log.warning("activations of more than %d samples, the server's limit, are left out", limit)
