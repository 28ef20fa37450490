"""The figures of a run for a notebook: a pandas frame, and plots of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thermograd import plots
from thermograd.history import History, label_text, of_reports, read_recording
from thermograd.prometheus import read_prometheus
from thermograd.v1 import report_pb2

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas

Source = History | str | Path | Iterable[report_pb2.StepReport]


def history_of(
    source: Source, *, run: str = "", start: float | None = None, end: float | None = None
) -> History:
    """History of a run from the address of a Prometheus, a recording's path, or reports."""
    if isinstance(source, History):
        return source
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        if not run:
            raise ValueError("run must name the run to read from Prometheus")
        return read_prometheus(source, run, start=start, end=end)
    if isinstance(source, (str, Path)):
        return read_recording(source, run)
    return of_reports(source, run)


def frame(
    source: Source, *, run: str = "", start: float | None = None, end: float | None = None
) -> pandas.DataFrame:
    """The figures of a run as a pandas frame.

    Args:
        source: reports, the path of a recording, or the URL of a Prometheus.
        run: name of the run; needed for Prometheus.
        start, end: of Prometheus, seconds since 1970; default: the last 24 hours.

    Returns:
        A frame with a row for each step and a column for each figure. Columns have two levels,
        `metric` and `labels`: `frame["thermograd_cka_ratio"]["layer=1, other=3"]`, and
        `frame["thermograd_loss"]` for a figure without labels. A figure that a step did not define
        is NaN.
    """
    import pandas

    history = history_of(source, run=run, start=start, end=end)
    keys = sorted(history.figures)
    columns = pandas.MultiIndex.from_tuples(
        [(name, label_text((name, labels))) for name, labels in keys], names=["metric", "labels"]
    )
    index = pandas.Index(sorted(history.steps), name="step", dtype="int64")
    values = [pandas.Series(history.figures[key], dtype="float64").reindex(index) for key in keys]
    if not values:
        return pandas.DataFrame(index=index, columns=columns, dtype="float64")
    table = pandas.concat(values, axis=1)
    table.columns = columns
    return table


def plot(
    figures: pandas.DataFrame, metrics: str | Sequence[str] | None = None, *, columns: int = 3
) -> matplotlib.figure.Figure:
    """Plots the figures of a frame over the steps, a small picture for each metric.

    Args:
        figures: what `frame` returned.
        metrics: names of the metrics, with or without "thermograd_"; default: those that matter.
        columns: pictures in a row.

    Raises:
        KeyError: the frame has no such metric.
    """
    there: dict[str, dict[str, tuple[Any, Any]]] = {}
    for place, (name, labels) in enumerate(figures.columns):
        values = figures.iloc[:, place].dropna()
        there.setdefault(name, {})[labels] = values.index.to_numpy(), values.to_numpy()
    if metrics is None:
        names = [name for name in plots.MAIN_METRICS if name in there] or list(there)
    else:
        names = [
            name if name.startswith("thermograd_") else f"thermograd_{name}"
            for name in ([metrics] if isinstance(metrics, str) else metrics)
        ]
    for name in names:
        if name not in there:
            raise KeyError(f"the frame has no metric {name}")
    return plots.small_multiples({name: there[name] for name in names}, columns=columns)
