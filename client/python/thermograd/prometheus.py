"""Reads the figures of a run back from Prometheus."""

from __future__ import annotations

import datetime
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from thermograd.history import History, Progress
from thermograd.report import MetricKey, metric_key

_TIMEOUT_SECONDS = 60.0
_DEFAULT_SPAN_SECONDS = 24 * 3600.0
# Prometheus answers a range query with at most 11,000 points a series.
_MOST_POINTS = 11_000
_DEFAULT_POINTS = 1000
_SHORTEST_INTERVAL_SECONDS = 0.25
_LAST_STEP = "thermograd_last_step"
# What Prometheus adds, and what the history is of.
_OUTER_LABELS = {"__name__", "instance", "job", "run", "tenant"}


def read_prometheus(
    url: str,
    run: str,
    *,
    start: float | None = None,
    end: float | None = None,
    points: int = _DEFAULT_POINTS,
    progress: Progress | None = None,
) -> History:
    """History of a run from a Prometheus that scrapes the server.

    The step of a figure is that of `thermograd_last_step` in the same scrape; of several scrapes of
    one step the last one counts.

    Args:
        url: of Prometheus, such as "http://localhost:9090".
        run: name of the run.
        start, end: seconds since 1970; default: the last 24 hours. Within them only the time in
            which the run was there is asked for.
        points: most points of time to read, at equal distances, at most 11,000.
        progress: told how many metrics of how many are read.

    Raises:
        ValueError: Prometheus has nothing of the run in that time, or refuses the question.
        OSError: it cannot be reached.
    """
    points = max(2, min(points, _MOST_POINTS))
    until = time.time() if end is None else end
    since = until - _DEFAULT_SPAN_SECONDS if start is None else start
    if not since < until:
        raise ValueError("the start must lie before the end")
    selector = f"{{run={json.dumps(run, ensure_ascii=False)}}}"
    # As it was scraped: at equal distances a run that lasted a minute of the day would be missed.
    span = f"{max(round((until - since) * 1000), 1)}ms"
    seen = [
        moment
        for series in _get(
            url, "query", {"query": f"{_LAST_STEP}{selector}[{span}]", "time": until}
        )["result"]
        for moment, _ in series["values"]
    ]
    if not seen:
        raise ValueError(f"Prometheus at {url} knows no run {run!r} in that time")
    since, until = min(seen), max(seen)
    interval = max((until - since) / (points - 1), _SHORTEST_INTERVAL_SECONDS)

    names = [
        name
        for name in _get(
            url, "label/__name__/values", {"match[]": selector, "start": since, "end": until}
        )
        if name.startswith("thermograd_") and name != _LAST_STEP
    ]
    steps: dict[float, int] = {}
    for series in _range(url, _LAST_STEP + selector, since, until, interval):
        for moment, value in series["values"]:
            # Ranks end a step one after the other.
            steps[moment] = max(steps.get(moment, 0), int(float(value)))

    history = History(run, url)
    for number, name in enumerate(names):
        if progress is not None:
            progress(number, len(names))
        for series in _range(url, name + selector, since, until, interval):
            key = _key(series["metric"])
            values = history.figures.setdefault(key, {})
            for moment, value in series["values"]:
                if (step := steps.get(moment)) is not None:
                    values[step] = float(value)
    history.figures = {key: values for key, values in history.figures.items() if values}
    history.steps = set(steps.values())
    history.facts["from"] = _clock(min(steps, default=since))
    history.facts["until"] = _clock(max(steps, default=until))
    history.facts["one point every"] = f"{interval:.3g} s"
    if progress is not None:
        progress(len(names), len(names))
    return history


def _key(labels: dict[str, str]) -> MetricKey:
    inner = {name: value for name, value in labels.items() if name not in _OUTER_LABELS}
    return metric_key(labels["__name__"], **inner)


def _clock(moment: float) -> str:
    local = datetime.datetime.fromtimestamp(moment).astimezone()
    return local.isoformat(sep=" ", timespec="seconds")


def _range(url: str, query: str, start: float, end: float, interval: float) -> Any:
    parameters = {"query": query, "start": start, "end": end, "step": interval}
    return _get(url, "query_range", parameters)["result"]


def _get(url: str, what: str, parameters: dict[str, Any]) -> Any:
    page = f"{url.rstrip('/')}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(page, timeout=_TIMEOUT_SECONDS) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        try:
            reason = json.load(error)["error"]
        except (ValueError, KeyError):
            reason = str(error)
        raise ValueError(f"Prometheus at {url} refused {what}: {reason}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{url} does not answer as Prometheus does") from error
