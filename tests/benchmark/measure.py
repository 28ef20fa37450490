"""Runs benchmarks of an optimised build; tests/benchmark/run builds it first.

usage: measure.py [--quick] [--only GROUP ...] [--output DIRECTORY]

DIRECTORY (build/benchmark) gets GROUP.jsonl, the table, the plots, and what Google Benchmark wrote.
A group that is measured again replaces its old figures; the report is of all groups found there.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from typing import Any

import report

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROGRAMS = ROOT / "build/default/bin"
LOADER = "/lib64/ld-linux-x86-64.so.2"
ROUNDS = 5
# OpenBLAS' kernel for each level, highest first; its own choice where we use all that there is.
LEVELS = {"x86-64-v4": None, "x86-64-v3": "Haswell", "baseline": "Prescott"}
STREAM_GROUPS = ("ingest", "streams", "scaling")
PEER_GROUPS = ("similarity", "noise_scale", "tensor", "trainer")
GROUPS = ("kernels", "products", *STREAM_GROUPS, "replicas", *PEER_GROUPS)


def run(*command: str | pathlib.Path, quiet: bool = False, **variables: str) -> None:
    """Runs a program, without what the environment asks of OpenBLAS."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")
    }
    subprocess.run(
        [str(part) for part in command],
        check=True,
        env={**environment, **variables},
        stdout=subprocess.DEVNULL if quiet else None,
        stderr=subprocess.DEVNULL if quiet else None,
    )


def levels_here() -> list[str]:
    """The levels that the machine has, highest first."""
    text = subprocess.run([LOADER, "--help"], capture_output=True, text=True, check=True).stdout
    return [
        level for level in LEVELS if level == "baseline" or f"{level} (supported" in text
    ]


def google_benchmark(group: str, program: str, output: pathlib.Path, quick: bool) -> None:
    """All levels in turn, round by round; in each round the peers of a case follow each other."""
    levels = levels_here()[: 1 if quick else None]
    smallest = {"kernels": "/(16384|1048576)$", "products": "/512$"}[group]
    found: dict[str, list[dict[str, Any]]] = {level: [] for level in levels}
    for number in range(ROUNDS):
        for level in levels:
            path = output / "raw" / f"{group}.{level}.{number}.json"
            path.parent.mkdir(exist_ok=True)
            core = LEVELS[level]
            run(
                LOADER, "--glibc-hwcaps-mask", level, PROGRAMS / program,
                f"--benchmark_filter={smallest if quick else '.'}",
                "--benchmark_min_time=0.05",
                f"--benchmark_out={path}", "--benchmark_out_format=json",
                quiet=True, **({"OPENBLAS_CORETYPE": core} if core else {}),
            )  # fmt: skip
            found[level].append(json.loads(path.read_text(encoding="utf-8")))
    for level, rounds in found.items():
        labels = {benchmark["label"] for one in rounds for benchmark in one["benchmarks"]}
        if labels != {level}:
            raise SystemExit(f"measured the kernels of {labels}, not of {level}")
        report.write(output / f"{group}.jsonl", report.from_google_benchmark(group, rounds))


def streams(group: str, output: pathlib.Path, quick: bool) -> None:
    """The C++ client, and for ingest the Python client too."""
    path = output / f"{group}.jsonl"
    small = ["--quick", "--megabytes=64"] if quick else []
    seconds = ["--seconds=0.02"] if quick else []
    run(
        PROGRAMS / "stream_load", f"--rounds={ROUNDS}", f"--output={path}", *small, *seconds, group
    )
    if group == "ingest":
        run(
            sys.executable, HERE / "ingest_client.py", "--stream-load", PROGRAMS / "stream_load",
            "--server", PROGRAMS / "thermograd-server", "--output", path, *small,
        )  # fmt: skip


def replicas(output: pathlib.Path, quick: bool) -> None:
    """Several servers behind load balancers."""
    run(
        sys.executable, HERE / "replicas.py", "--stream-load", PROGRAMS / "stream_load",
        "--output", output / "replicas.jsonl", f"--rounds={ROUNDS}",
        *(["--quick", "--megabytes=256"] if quick else []),
        THERMOGRAD_SERVER=str(PROGRAMS / "thermograd-server"),
    )  # fmt: skip


def peer(group: str, output: pathlib.Path, quick: bool) -> None:
    """Other people's programs, installed into an environment of their own."""
    environment = ROOT / "build/benchmark-peers"
    run(HERE / "peers/install", environment)
    run(
        environment / "bin/python", HERE / f"peers/{group}.py",
        "--server", PROGRAMS / "thermograd-server", "--output", output / f"{group}.jsonl",
        *(["--quick"] if quick else []),
    )  # fmt: skip


def machine() -> str:
    """What the figures are of."""
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    models = [line.split(":")[1].strip() for line in text.splitlines() if "model name" in line]
    return (
        f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, "
        f"{levels_here()[0]}; load before: {os.getloadavg()[0]:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests/benchmark/run")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller cases")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, metavar="GROUP",
                        help=", ".join(GROUPS))  # fmt: skip
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "build/benchmark")
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    print(machine(), flush=True)
    begin = time.monotonic()
    for group in arguments.only:
        print(f"==> [{time.monotonic() - begin:4.0f} s] {group}", flush=True)
        (output / f"{group}.jsonl").unlink(missing_ok=True)
        if group in STREAM_GROUPS:
            streams(group, output, arguments.quick)
        elif group == "replicas":
            replicas(output, arguments.quick)
        elif group in PEER_GROUPS:
            peer(group, output, arguments.quick)
        else:
            program = {"kernels": "kernel_benchmark", "products": "product_benchmark"}[group]
            google_benchmark(group, program, output, arguments.quick)
    print(f"==> [{time.monotonic() - begin:4.0f} s] measured\n\n{machine()}\n", flush=True)
    report.report(output)


if __name__ == "__main__":
    main()
