"""The figures of one run over its steps, wherever they were kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from thermograd.report import MetricKey, metric_key, report_values
from thermograd.v1 import report_pb2

# Told how far a long reading has come: (done, total).
Progress = Callable[[float, float], None]


class History:
    """Figures of one run: for each metric and labels its value by step, in ascending order."""

    def __init__(self, run: str = "", source: str = "") -> None:
        self.run = run
        self.source = source
        self.steps: set[int] = set()
        self.figures: dict[MetricKey, dict[int, float]] = {}
        # Why the latest step has no such figure.
        self.undefined: dict[MetricKey, str] = {}
        # Further things to tell about the run, as text.
        self.facts: dict[str, str] = {}

    def add(
        self,
        step: int,
        values: Mapping[MetricKey, float],
        undefined: Mapping[MetricKey, str] | None = None,
    ) -> None:
        """Takes in one step; a step that comes again replaces what it said before."""
        self.steps.add(step)
        for key, value in values.items():
            self.figures.setdefault(key, {})[step] = value
        self.undefined = dict(undefined or {})

    def points(self, key: MetricKey) -> tuple[list[int], list[float]]:
        """Steps and values of one figure, by step."""
        pairs = sorted(self.figures.get(key, {}).items())
        return [step for step, _ in pairs], [value for _, value in pairs]

    def latest(self, key: MetricKey) -> float | None:
        """The figure's value in the latest step that has one."""
        values = self.figures.get(key)
        return values[max(values)] if values else None

    def keys(self, name: str) -> list[MetricKey]:
        """Keys of one metric, one for each set of labels."""
        return [key for key in self.figures if key[0] == name]

    def names(self) -> list[str]:
        """Names of the metrics that have figures."""
        return sorted({name for name, _ in self.figures})


def of_reports(reports: Iterable[report_pb2.StepReport], run: str = "") -> History:
    """History of the reports of one run."""
    history = History(run, "reports")
    for report in reports:
        history.add(report.step, report_values(report), _reasons_of(report))
    return history


def read_recording(path: str | Path, run: str = "", progress: Progress | None = None) -> History:
    """History of a recorded stream: one StepReport in JSON on each line.

    That is what `Recording` writes, and what `thermograd send --format=json` prints.

    Raises:
        ValueError: a line is no StepReport. An unfinished last line, of a recording that is being
            written or was cut short, is passed over.
    """
    path = Path(path)
    history = History(run or path.stem, path.name)
    total = path.stat().st_size
    done = 0
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            done += len(line)
            if progress is not None:
                progress(done, total)
            if not line.strip():
                continue
            try:
                # Not json_format.Parse, which takes a minute for a thousand reports.
                report = json.loads(line)
                history.add(
                    int(report.get("step", 0)),
                    {_json_key(m): float(m.get("value", 0.0)) for m in report.get("metrics", ())},
                    {_json_key(m): _json_reason(m) for m in report.get("undefined", ())},
                )
            except (ValueError, AttributeError, KeyError, TypeError) as error:
                if not line.endswith("\n"):
                    break
                raise ValueError(f"{path}:{number}: not a StepReport in JSON: {error}") from error
    return history


def _json_key(metric: Any) -> MetricKey:
    return metric_key(
        metric["name"],
        **{label["name"]: label.get("value", "") for label in metric.get("labels", ())},
    )


def _json_reason(metric: Any) -> str:
    return reason_words(metric.get("reason", ""))


def _reasons_of(report: report_pb2.StepReport) -> dict[MetricKey, str]:
    known = report_pb2.UndefinedReason.values()
    return {
        metric_key(metric.name, **{label.name: label.value for label in metric.labels}): (
            reason_words(report_pb2.UndefinedReason.Name(metric.reason))
            if metric.reason in known
            else f"reason {metric.reason}"
        )
        for metric in report.undefined
    }


def reason_words(name: object) -> str:
    """UNDEFINED_REASON_TOO_FEW_SAMPLES as "too few samples"."""
    return str(name).removeprefix("UNDEFINED_REASON_").replace("_", " ").lower()


def label_text(key: MetricKey) -> str:
    """The labels of a figure as text: "layer=fc1, other=fc2"; empty where there are none."""
    return ", ".join(f"{name}={value}" for name, value in key[1])
