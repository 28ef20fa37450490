"""Random projection of wide activations."""

from __future__ import annotations

import os

import torch

# Rows of the random matrix that exist at a time.
_BLOCK_ROWS = 4096


class RandomProjection:
    """Multiplies activations by a random normal matrix of `width` columns, of variance 1 / width.

    Linear HSICs of the products are estimates without bias of those of the activations, as far as
    the matrices of two layers are independent. All microbatches of a step are multiplied by the
    same matrix: their samples are compared with one another. The numbers come from generators of
    its own, so that those of the training stay what they are.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self._generators: dict[torch.device, torch.Generator] = {}
        self._seeds: dict[str, int] = {}

    def begin_step(self) -> None:
        """Forgets the matrices."""
        self._seeds = {}

    def project(self, layer: str, output: torch.Tensor) -> torch.Tensor:
        """The output of a layer, samples first, or its projection if it is wider."""
        flat = output.detach().reshape(output.shape[0], -1)
        if flat.shape[1] <= self.width:
            return output
        if flat.dtype in (torch.float16, torch.bfloat16):
            flat = flat.float()
        generator = self._generators.setdefault(
            output.device, torch.Generator(device=output.device)
        )
        seed = self._seeds.setdefault(layer, int.from_bytes(os.urandom(8), "little") >> 1)
        generator.manual_seed(seed)
        projected = flat.new_zeros(flat.shape[0], self.width)
        for first in range(0, flat.shape[1], _BLOCK_ROWS):
            columns = flat[:, first : first + _BLOCK_ROWS]
            block = torch.empty(
                (columns.shape[1], self.width), dtype=flat.dtype, device=flat.device
            ).normal_(0.0, self.width**-0.5, generator=generator)
            projected += columns @ block
        return projected
