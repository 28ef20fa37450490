"""Layers whose weights multiply their input: what is called what, and how it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from thermograd.declaration import Member

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class LinearMap:
    """A linear layer or convolution, or the scale and shift of a batch normalisation."""

    name: str
    weight: str
    bias: str | None
    inputs: int
    outputs: int
    #: The weight is stored (in x out).
    is_transposed: bool = False
    #: Features are the second dimension of the activations, not the last.
    has_channels: bool = False
    groups: int = 1
    #: Elements of the weight between one input and one output; 0 where there is no matrix.
    taps: int = 1

    def rows(self, first: int = 0, count: int = 0) -> str | Member:
        """The weight, or some of its rows."""
        return member(self.weight, first, count, self.is_transposed)

    def bias_rows(self, first: int = 0, count: int = 0) -> str | Member | None:
        """The bias of these rows."""
        return None if self.bias is None else member(self.bias, first, count)


def member(
    parameter: str, first_row: int = 0, rows: int = 0, transposed: bool = False
) -> str | Member:
    """A member of a symmetry, just the name where it is the whole parameter as it is stored."""
    if not (first_row or rows or transposed):
        return parameter
    return Member(parameter, first_row, rows, transposed)


def parameter_name(module: str, parameter: str) -> str:
    """Name of a module's parameter or of a module inside it."""
    return f"{module}.{parameter}" if module else parameter


def linear_map(name: str, module: Any) -> LinearMap | None:
    """The module as a linear map; None if it is none, or if its weights are computed.

    Exact types: a subclass may compute something else.
    """
    # Not as attributes: while a model is traced, looking at one counts as the model's reading it.
    parameters = {} if module is None else module._parameters
    stored = parameters.get("weight")
    if stored is None or "bias" not in parameters:
        return None
    weight = parameter_name(name, "weight")
    bias = None if parameters["bias"] is None else parameter_name(name, "bias")
    kind = type(module)
    if kind is nn.Linear or kind is nn.modules.linear.NonDynamicallyQuantizableLinear:
        return LinearMap(name, weight, bias, module.in_features, module.out_features)
    if kind in _CONVOLUTIONS:
        return LinearMap(
            name,
            weight,
            bias,
            module.in_channels,
            module.out_channels,
            has_channels=True,
            groups=module.groups,
            taps=stored[0, 0].numel(),
        )
    if kind.__name__ == "Conv1D" and kind.__module__.startswith("transformers."):
        inputs, outputs = stored.shape
        return LinearMap(name, weight, bias, inputs, outputs, is_transposed=True)
    return None


def is_batch_norm(module: nn.Module) -> bool:
    """Whether each feature is normalised over the batch."""
    return type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def is_instance_norm(module: Any) -> bool:
    """Whether each feature of a sample is normalised over its positions."""
    kinds = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
    return type(module) in kinds and not bool(module.track_running_stats)


def is_feature_norm(module: nn.Module) -> bool:
    """Whether the features of one position are normalised together."""
    return type(module) is nn.LayerNorm or type(module).__name__.endswith("RMSNorm")


def affine_map(name: str, module: Any) -> LinearMap | None:
    """Scale and shift of a batch normalisation, which multiply each feature by itself."""
    if not is_batch_norm(module) or module._parameters.get("weight") is None:
        return None
    return LinearMap(
        name,
        parameter_name(name, "weight"),
        parameter_name(name, "bias"),
        module.num_features,
        module.num_features,
        has_channels=type(module) is not nn.BatchNorm1d,
        taps=0,
    )
