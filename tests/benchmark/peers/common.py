"""What the benchmarks against peers share: arguments, the server, pairwise timing, their report.

A program writes one JSON object a line for each measurement: `value` is the median of the seconds
in `repetitions`, `ratio` the median of `ratios`, each of which divides a peer's time by that of
Thermograd measured just before it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pathlib
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, TextIO

# A kernel or a cache size that someone forces would handicap NumPy; BLAS reads these when loaded.
for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(name, None)
THREADS = 2
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = str(THREADS)

TESTS = pathlib.Path(__file__).resolve().parents[2]
REPETITIONS = 5
#: Where one of the sides takes longer than LONG_SECONDS.
LONG_REPETITIONS = 3
LONG_SECONDS = 10.0
#: A peer that is expected to take longer is not run.
LIMIT_SECONDS = 30.0


def arguments(description: str | None) -> argparse.Namespace:
    """The command line, and with it the server's program for `server_support`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--server", required=True, type=pathlib.Path, help="thermograd-server")
    parser.add_argument("--output", required=True, type=pathlib.Path, help="JSON lines, appended")
    parser.add_argument("--quick", action="store_true", help="that it runs, not how fast")
    options = parser.parse_args()
    os.environ["THERMOGRAD_SERVER"] = str(options.server.resolve())
    warnings.simplefilter("ignore")
    return options


def server_support() -> ModuleType:
    """`system_support`, which also puts the client and its stubs on the path."""
    sys.path.insert(0, str(TESTS))
    return importlib.import_module("system_support")


def peer(name: str) -> Any:
    """A peer's module; None, said aloud, where it is not installed or does not run here."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        print(f"{name}: left out, {type(error).__name__}: {error}", file=sys.stderr)
        return None


class Report:
    """The file that measurements are appended to, and the table that shows them."""

    def __init__(self, group: str, path: pathlib.Path) -> None:
        self._group = group
        self._file: TextIO = path.open("a", encoding="utf-8")
        print(group, *blas_kernels(), sep=": ", flush=True)

    def write(self, measurement: dict[str, Any]) -> None:
        """Adds a measurement."""
        line = {"group": self._group, **measurement}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        shown = {
            key: f"{value:.4g}" if isinstance(value, float) else value
            for key, value in measurement.items()
            if key not in ("repetitions", "ratios", "ratio_to")
        }
        print(self._group, shown, flush=True)

    def not_run(self, case: str, name: str, reason: str) -> None:
        """Says that a peer was not measured, and why."""
        self.write({"case": case, "peer": name, "unit": "s", "not_run": reason})

    def compared(
        self, case: str, name: str, ours: list[float], theirs: list[float], **more: Any
    ) -> None:
        """Adds both sides of a comparison whose repetitions alternated."""
        self.write(
            {
                "case": case,
                "peer": "thermograd",
                "unit": "s",
                "value": statistics.median(ours),
                "repetitions": ours,
                "beside": name,
            }
        )
        ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
        self.write(
            {
                "case": case,
                "peer": name,
                "unit": "s",
                "value": statistics.median(theirs),
                "repetitions": theirs,
                "ratio_to": "thermograd",
                "ratio": statistics.median(ratios),
                "ratios": ratios,
                **more,
            }
        )


def seconds(function: Callable[[], Any]) -> float:
    """Wall-clock time of a call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def alternate(
    ours: Callable[[], Any], theirs: Callable[[], Any], first: float, quick: bool
) -> tuple[list[float], list[float]]:
    """Times of ours and theirs in alternation; `first` is how long the slower one took before."""
    repetitions = 1 if quick else LONG_REPETITIONS if first > LONG_SECONDS else REPETITIONS
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(repetitions)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def blas_kernels() -> list[str]:
    """Which kernels the linear algebra in this process uses, and on how many threads."""
    import numpy  # noqa: F401  Loads its library.
    from threadpoolctl import threadpool_info

    return [
        f"{info['internal_api']} {info['version']} {info.get('architecture', '')}"
        f" on {info['num_threads']} threads"
        for info in threadpool_info()
    ]


def largest_difference(a: Any, b: Iterable[Any]) -> float:
    """Largest absolute difference of two arrays."""
    import numpy

    return float(numpy.abs(numpy.asarray(a) - numpy.asarray(b)).max())
