"""Pictures of figures over the steps, by matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from thermograd.history import History
from thermograd.report import MetricKey

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

# What to look at first, by family.
MAIN_METRICS = (
    "thermograd_loss",
    "thermograd_entropic_loss",
    "thermograd_entropic_share_ratio",
    "thermograd_gradient_noise_scale_samples",
    "thermograd_gradient_signal_to_noise",
    "thermograd_temperature",
    "thermograd_group_temperature",
    "thermograd_equipartition_index_ratio",
    "thermograd_directional_stability",
    "thermograd_symmetry_residual_ratio",
    "thermograd_symmetry_charge",
    "thermograd_symmetry_charge_drift",
    "thermograd_symmetry_charge_drift_predicted",
    "thermograd_symmetry_gradient_balance_ratio",
    "thermograd_symmetry_equilibrium_gap_ratio",
    "thermograd_cka_unbiased_ratio",
    "thermograd_cka_ratio",
    "thermograd_cka_minibatch_ratio",
    "thermograd_earlier_step_cka_unbiased_ratio",
    "thermograd_cross_run_cka_unbiased_ratio",
    "thermograd_effective_rank",
)

# By labels, the steps and values of one curve each.
Curves = Mapping[str, tuple[Any, Any]]

# Okabe and Ito's colours, which the colour-blind tell apart.
_COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C",
)  # fmt: skip
STYLE = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "svg.fonttype": "none",
    # Any: but without one the ids of an SVG, and so its bytes, differ from run to run.
    "svg.hashsalt": "thermograd",
}
_MOST_CURVES = len(_COLOURS)
_MOST_POINTS = 500
_LOGARITHMIC_FROM = 100.0
_MOST_NAMED_CELLS = 24
_MOST_NUMBERED_CELLS = 10


def figure(
    rows: int = 1,
    columns: int = 1,
    *,
    width: float = 4.0,
    height: float = 2.4,
    is_fitted: bool = True,
) -> tuple[matplotlib.figure.Figure, list[matplotlib.axes.Axes]]:
    """A figure that belongs to no window, and its axes in reading order.

    Args:
        rows, columns: of axes.
        width, height: of one of them, in inches.
        is_fitted: whether the margins are made to fit the labels, which takes as long as drawing.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        layout = "constrained" if is_fitted else None
        made = Figure(figsize=(width * columns, height * rows), layout=layout)
        if not is_fitted:
            made.subplots_adjust(left=0.17, bottom=0.18, right=0.98, top=0.93)
        axes = made.subplots(rows, columns, squeeze=False)
    return made, list(axes.ravel())


def small_multiples(curves: Mapping[str, Curves], *, columns: int = 3) -> matplotlib.figure.Figure:
    """A picture for each metric, side by side."""
    import matplotlib

    # Only with it loaded does a notebook show a figure that is the value of a cell.
    import matplotlib.pyplot  # noqa: F401

    columns = max(1, min(columns, len(curves)))
    rows = max(1, math.ceil(len(curves) / columns))
    made, axes = figure(rows, columns)
    with matplotlib.rc_context(STYLE):
        for axis, (name, of_metric) in zip(axes, curves.items()):
            draw_curves(axis, of_metric)
            axis.set_title(name.removeprefix("thermograd_"))
        for axis in axes[len(curves) :]:
            axis.set_axis_off()
    return made


def draw_curves(axis: matplotlib.axes.Axes, curves: Curves) -> int:
    """Draws the curves of one metric over the steps, and returns how many.

    Of more curves than there are colours those are drawn whose last values are the largest.
    """
    filled = {labels: xy for labels, xy in curves.items() if len(xy[0])}
    chosen = sorted(filled, key=lambda labels: -abs(float(filled[labels][1][-1])))[:_MOST_CURVES]
    ranked = [labels for labels in filled if labels in chosen]
    values: list[npt.NDArray[np.float64]] = []
    for place, (colour, labels) in enumerate(zip(_COLOURS, ranked)):
        x, y = thinned(*filled[labels])
        # A single point would be no line.
        marker = "o" if len(x) == 1 else None
        # The later ones are thinner: a curve under another that says the same is seen.
        width = 1.1 + 1.3 * (len(ranked) - 1 - place) / _MOST_CURVES
        axis.plot(x, y, color=colour, linewidth=width, label=_shortened(labels), marker=marker)
        values.append(y)
    if values:
        together = np.concatenate(values)
        low, high = together.min(), together.max()
        if low > 0 and high / low > _LOGARITHMIC_FROM:
            axis.set_yscale("log")
    if any(ranked):
        axis.legend(loc="best", handlelength=1.2)
    axis.set_xlabel("step")
    return len(ranked)


def thinned(x: Any, y: Any) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """A curve of at most so many points that looks the same: extremes are kept."""
    steps, values = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(steps) <= _MOST_POINTS:
        return steps, values
    kept = {0, len(steps) - 1}
    for part in np.array_split(np.arange(len(steps)), _MOST_POINTS // 2 - 1):
        kept |= {int(part[values[part].argmin()]), int(part[values[part].argmax()])}
    indices = sorted(kept)
    return steps[indices], values[indices]


def draw_matrix(
    axis: matplotlib.axes.Axes, names: Sequence[str], matrix: npt.NDArray[np.float64]
) -> None:
    """Draws a matrix of similarities as a heat map; what is NaN stays white."""
    image = axis.imshow(matrix, vmin=min(0.0, float(np.nanmin(matrix))), vmax=1.0, cmap="viridis")
    axis.grid(False)
    axis.figure.colorbar(image, ax=axis)
    if len(names) > _MOST_NAMED_CELLS:
        return
    ticks = range(len(names))
    axis.set_yticks(ticks, [_shortened(name) for name in names])
    axis.set_xticks(ticks, [_shortened(name) for name in names], rotation=60, ha="right")
    if len(names) > _MOST_NUMBERED_CELLS:
        return
    for row in ticks:
        for column in ticks:
            if not math.isnan(value := float(matrix[row, column])):
                axis.text(
                    column, row, f"{value:.2f}", ha="center", va="center", fontsize=6,
                    color="black" if value > 0.6 else "white",
                )  # fmt: skip


def similarity_matrix(values: Mapping[MetricKey, float]) -> tuple[list[str], Any]:
    """Layers and the matrix of their similarities, from figures labelled `layer` and `other`.

    Each pair is reported once, the earlier layer of the model as `layer`; a layer is like itself.
    """
    pairs = {
        (labels["layer"], labels["other"]): value
        for labels, value in ((dict(key[1]), value) for key, value in values.items())
        if labels.keys() >= {"layer", "other"}
    }
    layers = list(dict.fromkeys(layer for pair in pairs for layer in pair))
    compared = {layer: {layer} for layer in layers}
    later = dict.fromkeys(layers, 0)
    for layer, other in pairs:
        compared[layer].add(other)
        compared[other].add(layer)
        later[layer] += 1
    # In the order of the model, which Prometheus forgets; layers that are not compared with each
    # other, of two probe sets, apart.
    layers.sort(key=lambda layer: (min(compared[layer]), -later[layer]))
    places = {layer: place for place, layer in enumerate(layers)}
    matrix = np.full((len(layers), len(layers)), np.nan)
    np.fill_diagonal(matrix, 1.0)
    for (layer, other), value in pairs.items():
        matrix[places[layer], places[other]] = matrix[places[other], places[layer]] = value
    return layers, matrix


def latest_values(history: History, name: str) -> dict[MetricKey, float]:
    """The latest value of each figure of a metric."""
    latest = ((key, history.latest(key)) for key in history.keys(name))
    return {key: value for key, value in latest if value is not None}


def _shortened(text: str, length: int = 34) -> str:
    return text if len(text) <= length else text[: length // 2 - 1] + "…" + text[-length // 2 :]
