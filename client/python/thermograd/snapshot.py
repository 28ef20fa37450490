"""Copies of tensors, taken without waiting for the accelerator."""

from __future__ import annotations

import torch

from thermograd import wire


class Snapshot:
    """The values that a tensor has now.

    Of a CUDA tensor the copy into pinned memory is only enqueued; whoever reads the elements waits
    for it.
    """

    def __init__(self, tensor: torch.Tensor) -> None:
        source = tensor.detach()
        if source.layout != torch.strided:
            source = source.to_dense()
        self._copied: torch.cuda.Event | None = None
        if source.is_cuda:
            with torch.cuda.device(source.device):
                self._host = torch.empty(source.shape, dtype=source.dtype, pin_memory=True)
                self._host.copy_(source, non_blocking=True)
                self._copied = torch.cuda.Event()
                self._copied.record()
        else:
            self._host = torch.empty(source.shape, dtype=source.dtype)
            self._host.copy_(source)

    @property
    def shape(self) -> torch.Size:
        """Shape of the tensor."""
        return self._host.shape

    @property
    def byte_size(self) -> int:
        """Bytes of its elements."""
        return self._host.numel() * self._host.element_size()

    def elements(self) -> wire.Elements:
        """The values, once they have arrived."""
        if self._copied is not None:
            self._copied.synchronize()
        return wire.Elements.of(self._host)

    def item(self) -> float:
        """The only value, once it has arrived."""
        if self._copied is not None:
            self._copied.synchronize()
        return float(self._host)
