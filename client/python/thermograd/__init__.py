"""Thermograd's client: streams a training run to a server and returns its figures.

`watch`, `symmetries` and `symmetry_residuals` need PyTorch, `frame` pandas and `plot` matplotlib,
which are imported when one of them is first used; the rest needs only NumPy and gRPC.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any

# The stubs of the contract are generated, so they may lie under another entry of the path.
__path__ = pkgutil.extend_path(__path__, __name__)

from thermograd.adapters import log_to  # noqa: E402
from thermograd.comparison import compare  # noqa: E402
from thermograd.credentials import Credentials  # noqa: E402
from thermograd.declaration import (  # noqa: E402
    DoubleRotation,
    Layer,
    LayerRescaling,
    LogitTranslation,
    Member,
    NeuronPermutation,
    NeuronRescaling,
    ProbeSet,
    QueryKeyRotation,
    ScaleInvariance,
    Shard,
    run_spec,
)
from thermograd.recording import Recording  # noqa: E402
from thermograd.report import metric_key, report_values  # noqa: E402
from thermograd.sender import Stats  # noqa: E402
from thermograd.similarity import SIMILARITIES, similarity_options  # noqa: E402
from thermograd.stream import RunStream  # noqa: E402
from thermograd.wire import (  # noqa: E402
    ACTIVATION,
    ACTIVATION_GRADIENT,
    GRADIENT,
    GRADIENT_AFTER_UPDATE,
    PRECONDITIONER,
    REDUCED_GRADIENT,
    UPDATE,
    WEIGHT,
)

if TYPE_CHECKING:
    from thermograd.notebook import frame, plot
    from thermograd.probe import Probe
    from thermograd.symmetry import Symmetries, symmetries
    from thermograd.symmetry_residual import symmetry_residuals
    from thermograd.watcher import Watcher, unwatch, watch

__all__ = [
    "ACTIVATION",
    "ACTIVATION_GRADIENT",
    "GRADIENT",
    "GRADIENT_AFTER_UPDATE",
    "PRECONDITIONER",
    "REDUCED_GRADIENT",
    "SIMILARITIES",
    "UPDATE",
    "WEIGHT",
    "Credentials",
    "DoubleRotation",
    "Layer",
    "LayerRescaling",
    "LogitTranslation",
    "Member",
    "NeuronPermutation",
    "NeuronRescaling",
    "Probe",
    "ProbeSet",
    "QueryKeyRotation",
    "Recording",
    "RunStream",
    "ScaleInvariance",
    "Shard",
    "Stats",
    "Symmetries",
    "Watcher",
    "compare",
    "frame",
    "log_to",
    "metric_key",
    "plot",
    "report_values",
    "run_spec",
    "similarity_options",
    "symmetries",
    "symmetry_residuals",
    "unwatch",
    "watch",
]

_LAZY = {
    "Probe": "thermograd.probe",
    "Symmetries": "thermograd.symmetry",
    "Watcher": "thermograd.watcher",
    "frame": "thermograd.notebook",
    "plot": "thermograd.notebook",
    "symmetries": "thermograd.symmetry",
    "symmetry_residuals": "thermograd.symmetry_residual",
    "unwatch": "thermograd.watcher",
    "watch": "thermograd.watcher",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
