"""Fixed inputs on which a model is looked at while it trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

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

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("Probe.name must not be empty")
        if self.every < 1:
            raise ValueError("Probe.every must be at least 1")
        samples = batch_size(self.inputs)
        if not samples or samples != len(self.ids):
            raise ValueError(f"Probe {self.name!r} has {samples} samples and {len(self.ids)} ids")

    def run(self, model: nn.Module) -> None:
        """Calls the model in evaluation mode, leaving its mode and the random state as they were.

        Buffers that a forward pass changes in evaluation mode too are not restored.
        """
        parameter = next(model.parameters(), None)
        device = torch.device("cpu") if parameter is None else parameter.device
        inputs = _to(self.inputs, device)
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
    if isinstance(inputs, torch.Tensor):
        return inputs.to(device)
    if isinstance(inputs, Mapping):
        return {key: _to(value, device) for key, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return type(inputs)(_to(value, device) for value in inputs)
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
