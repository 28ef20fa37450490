"""What a server's /metrics showed of each run lately, kept for a live view."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from thermograd.report import MetricKey, metric_key

# Values kept of each figure: more than a terminal has columns for.
MEMORY = 240
_RATE_SAMPLES = 10
# Scrapes for which a figure that is no longer shown is kept: probes come in few steps.
_KEPT_SCRAPES = 60
_LAST_STEP = "thermograd_last_step"
_LIVE = "thermograd_run_live"
_NON_FINITE = "thermograd_parameter_non_finite_elements_total"


class LiveRun:
    """One run: its latest figures, and the recent past of each.

    A figure that the latest step does not have is kept for a while, but is not `fresh`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_live = False
        # None until a step is complete.
        self.step: int | None = None
        self.figures: dict[MetricKey, float] = {}
        self.curves: dict[MetricKey, deque[float]] = {}
        self.fresh: set[MetricKey] = set()
        self._absences: dict[MetricKey, int] = {}
        self._clock: deque[tuple[float, int]] = deque(maxlen=_RATE_SAMPLES)

    def update(self, figures: Mapping[MetricKey, float], now: float) -> None:
        """Takes in a scrape. The past grows only where a step has come to its end since."""
        steps = [int(value) for (name, _), value in figures.items() if name == _LAST_STEP]
        step = max(steps, default=None)
        if step is not None and self.step is not None and step < self.step:
            # The run was begun anew.
            self.curves.clear()
            self.figures.clear()
            self._clock.clear()
        if step != self.step:
            for key, value in figures.items():
                self.curves.setdefault(key, deque(maxlen=MEMORY)).append(value)
        self.step = step
        if step is not None:
            self._clock.append((now, step))
        self.fresh = set(figures)
        for key in self.figures.keys() - self.fresh:
            self._absences[key] = self._absences.get(key, 0) + 1
            if self._absences[key] > _KEPT_SCRAPES:
                del self.figures[key], self._absences[key]
        for key, value in figures.items():
            self.figures[key] = value
            self._absences.pop(key, None)
        # Of several ranks, one that streams is enough.
        self.is_live = any(value > 0 for (name, _), value in figures.items() if name == _LIVE)

    def keys(self, name: str) -> list[MetricKey]:
        """Keys of one metric, one for each set of labels."""
        return [key for key in self.figures if key[0] == name]

    def value(self, name: str, **labels: str) -> float | None:
        """The latest value of a figure."""
        return self.figures.get(metric_key(name, **labels))

    def curve(self, key: MetricKey) -> list[float]:
        """The recent past of a figure."""
        return list(self.curves.get(key, ()))

    def worst(self, name: str) -> float | None:
        """Of a metric's figures the one farthest from zero."""
        values = [self.figures[key] for key in self.keys(name)]
        return max(values, key=lambda value: abs(value)) if values else None

    def steps_per_second(self) -> float | None:
        """Speed over the latest scrapes."""
        if len(self._clock) < 2:
            return None
        (before, first), (now, last) = self._clock[0], self._clock[-1]
        return (last - first) / (now - before) if now > before else None

    def non_finite(self) -> int:
        """NaN and infinite elements that the trainer has sent."""
        return int(sum(self.figures[key] for key in self.keys(_NON_FINITE)))


class Board:
    """Every run of a server."""

    def __init__(self) -> None:
        self.runs: dict[str, LiveRun] = {}

    def update(self, samples: Mapping[MetricKey, float], now: float) -> None:
        """Takes in what was scraped at a moment, in seconds of any clock that only goes forward."""
        by_run: dict[str, dict[MetricKey, float]] = {}
        for (name, labels), value in samples.items():
            outer = dict(labels)
            run = outer.get("run")
            if run is not None:
                # Names are unique within a tenant only.
                run = f"{outer['tenant']}/{run}" if "tenant" in outer else run
                inner = tuple(label for label in labels if label[0] not in ("run", "tenant"))
                by_run.setdefault(run, {})[name, inner] = value
        for run in self.runs.keys() - by_run.keys():
            del self.runs[run]
        for run in sorted(by_run):
            self.runs.setdefault(run, LiveRun(run)).update(by_run[run], now)
