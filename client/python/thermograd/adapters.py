"""Hands the figures of each report to the logger that a training already has."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from thermograd.report import MetricKey, report_values
from thermograd.v1 import report_pb2

_STEP = "thermograd/step"
# What MLflow admits in the name of a metric, and at once.
_NOT_FOR_MLFLOW = re.compile(r"[^/\w.\- ]")
_MOST_FOR_MLFLOW = 1000


def scalar_name(key: MetricKey) -> str:
    """Name of a figure in a logger: "thermograd/cka_ratio/layer=fc1/other=fc2"."""
    name, labels = key
    figure = "thermograd/" + name.removeprefix("thermograd_")
    return "/".join([figure, *(f"{label}={value}" for label, value in labels)])


def log_to(writer: Any, *, include: str = "") -> Callable[[report_pb2.StepReport], None]:
    """An `on_report` that hands the figures of each report to a logger.

        thermograd.watch(model, optimizer, run="my-run", on_report=thermograd.log_to(writer))

    Args:
        writer: one of these, recognised by the methods it has:

            * a TensorBoard SummaryWriter, or whatever has `add_scalar(name, value, step)`;
            * a Weights & Biases run. The figures join the row that the loop logs next, on an axis
              of their own, `thermograd/step`: a report comes after its step, and Weights & Biases
              drops what is logged for a step that is over;
            * whatever else has `log(figures, step=...)`;
            * MLflow, a Lightning logger, or whatever has `log_metrics(figures, step=...)`, with
              names in the characters that MLflow admits;
            * a function of (figures, step).
        include: regular expression; only figures in whose name it is found are handed on.

    Raises:
        TypeError: the writer is none of these.
    """
    put = _sink(writer)
    wanted = re.compile(include)

    def on_report(report: report_pb2.StepReport) -> None:
        figures = {scalar_name(key): value for key, value in report_values(report).items()}
        put({name: value for name, value in figures.items() if wanted.search(name)}, report.step)

    return on_report


def _sink(writer: Any) -> Callable[[dict[str, float], int], object]:
    if hasattr(writer, "add_scalar"):
        return lambda figures, step: _add_scalars(writer, figures, step)
    if hasattr(writer, "log_metrics"):
        return lambda figures, step: _log_metrics(writer, figures, step)
    if hasattr(writer, "define_metric"):
        writer.define_metric(_STEP)
        writer.define_metric("thermograd/*", step_metric=_STEP)
        return lambda figures, step: writer.log({_STEP: float(step), **figures}, commit=False)
    if hasattr(writer, "log"):
        return lambda figures, step: writer.log(figures, step=step)
    if callable(writer):
        return lambda figures, step: writer(figures, step)
    raise TypeError(
        f"{type(writer).__name__} has none of add_scalar, log_metrics and log, and is no function"
    )


def _add_scalars(writer: Any, figures: dict[str, float], step: int) -> None:
    for name, value in figures.items():
        writer.add_scalar(name, value, step)


def _log_metrics(writer: Any, figures: dict[str, float], step: int) -> None:
    admitted = [(_NOT_FOR_MLFLOW.sub("_", name), value) for name, value in figures.items()]
    for first in range(0, len(admitted), _MOST_FOR_MLFLOW):
        writer.log_metrics(dict(admitted[first : first + _MOST_FOR_MLFLOW]), step=step)
