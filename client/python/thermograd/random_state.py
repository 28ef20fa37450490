"""Keeps the random numbers of training what they would be if nobody looked on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Restores the generators of Python, NumPy and PyTorch, of all its devices in use, at exit."""
    # Asking for the state of CUDA's generators would initialise CUDA.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    python_state = random.getstate()
    numpy_state = np.random.get_state()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
