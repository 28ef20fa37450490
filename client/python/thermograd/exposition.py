"""Reads what the server shows on /metrics: the text format of Prometheus."""

from __future__ import annotations

import re

from thermograd.report import MetricKey

_SAMPLE = re.compile(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")


def parse(text: str) -> dict[MetricKey, float]:
    """Every sample of an exposition: {(name, ((label, value), ...)): value}.

    Raises:
        ValueError: the text is no exposition.
    """
    samples: dict[MetricKey, float] = {}
    # Not splitlines: a label's value may hold the rarer separators of Unicode.
    for line in text.split("\n"):
        if not line or line.startswith("#"):
            continue
        match = _SAMPLE.fullmatch(line)
        if match is None:
            raise ValueError(f"not a line of the Prometheus text format: {line[:80]!r}")
        name, labels, value = match.groups()
        pairs = ((label, _unescaped(text)) for label, text in _LABEL.findall(labels or ""))
        samples[name, tuple(sorted(pairs))] = float(value)
    return samples


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else match[1], text)
