"""Fixed inputs on which a model is looked at while it trains."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from thermograd.declaration import ProbeSet, fingerprint
from thermograd.random_state import preserved_random_state


@dataclass(frozen=True, eq=False)
class Probe:
    """A probe set: the model's answer to the same inputs, compared across steps and runs.

    Runs are compared on probes of the same name and ids.
    """

    #: Shared by all runs that are to be compared.
    name: str
    #: What the model is called with: a tensor, a tuple of arguments, or a mapping of keywords.
    inputs: Any
    #: Names of the samples in their order.
    ids: Sequence[Any]
    #: The model is looked at every so many steps.
    every: int = 100
    #: Names of modules whose outputs are compared; default: see `watch`.
    layers: Sequence[str] | None = None
    #: So many samples, drawn once, stand for all: the same ones in every run whose probe has the
    #: same name, ids and number. Every argument that has a sample a row is drawn from.
    samples: int | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("Probe.name must not be empty")
        if self.every < 1:
            raise ValueError("Probe.every must be at least 1")
        samples = batch_size(self.inputs)
        if not samples or samples != len(self.ids):
            raise ValueError(f"Probe {self.name!r} has {samples} samples and {len(self.ids)} ids")
        if self.samples is not None and self.samples < 1:
            raise ValueError("Probe.samples must be at least 1")

    @cached_property
    def probe_set(self) -> ProbeSet:
        """What the run declares."""
        if self._drawn is None:
            return ProbeSet(self.name, self.ids)
        return ProbeSet(self.name, [self.ids[i] for i in self._drawn], len(self.ids))

    @cached_property
    def _drawn(self) -> list[int] | None:
        """Indices of the samples that were drawn; None: all."""
        if self.samples is None or self.samples >= len(self.ids):
            return None
        # By hash instead of a generator, whose numbers may change from version to version.
        seed = self.name.encode() + b"\n" + fingerprint(self.ids)
        order = sorted(
            range(len(self.ids)), key=lambda i: hashlib.sha256(seed + b"%d" % i).digest()
        )
        return sorted(order[: self.samples])

    @cached_property
    def _sampled_inputs(self) -> Any:
        if self._drawn is None:
            return self.inputs
        index = torch.tensor(self._drawn)

        def draw(tensor: torch.Tensor) -> torch.Tensor:
            if not tensor.dim() or tensor.shape[0] != len(self.ids):
                return tensor
            return tensor.index_select(0, index.to(tensor.device))

        return _mapped(self.inputs, draw)

    def run(self, model: nn.Module) -> None:
        """Calls the model in evaluation mode, leaving its mode and the random state as they were.

        Buffers that a forward pass changes in evaluation mode too are not restored.
        """
        parameter = next(model.parameters(), None)
        device = torch.device("cpu") if parameter is None else parameter.device
        inputs = _to(self._sampled_inputs, device)
        with _evaluation(model), torch.no_grad(), preserved_random_state():
            if isinstance(inputs, Mapping):
                model(**inputs)
            elif isinstance(inputs, tuple):
                model(*inputs)
            else:
                model(inputs)


def batch_size(inputs: Any) -> int | None:
    """Extent of the first dimension of the first tensor found; None if there is none."""
    if isinstance(inputs, torch.Tensor):
        return inputs.shape[0] if inputs.dim() else None
    if isinstance(inputs, Mapping):
        inputs = inputs.values()
    elif not isinstance(inputs, (tuple, list)):
        return None
    sizes = (batch_size(value) for value in inputs)
    return next((size for size in sizes if size is not None), None)


def _to(inputs: Any, device: torch.device) -> Any:
    return _mapped(inputs, lambda tensor: tensor.to(device))


def _mapped(inputs: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """The same structure with every tensor replaced."""
    if isinstance(inputs, torch.Tensor):
        return function(inputs)
    if isinstance(inputs, Mapping):
        return {key: _mapped(value, function) for key, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return type(inputs)(_mapped(value, function) for value in inputs)
    return inputs


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
