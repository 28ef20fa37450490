#!/usr/bin/python3
"""Counts the instructions of fixed work and compares them with instructions.json.

The kernels are those of x86-64-v3, whatever the machine has, so that the counts are comparable.
Without --write the exit code is 1 where a count is more than 5 % above or below the recorded one
(faster code, too, must be recorded, or its loss would go unnoticed), and 77 on machines without
x86-64-v3.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
RECORDED = pathlib.Path(__file__).resolve().parent / "instructions.json"
LOADER = "/lib64/ld-linux-x86-64.so.2"
LEVEL = "x86-64-v3"
TOLERANCE = 0.05


def count(program: pathlib.Path) -> dict[str, int]:
    """Instructions of each scenario."""
    with tempfile.TemporaryDirectory() as directory:
        finished = subprocess.run(
            ["valgrind", "--tool=callgrind", "--collect-atstart=no",
             f"--callgrind-out-file={directory}/counts",
             LOADER, "--glibc-hwcaps-mask", LEVEL, str(program)],
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if finished.returncode != 0:
            raise SystemExit(finished.stdout + finished.stderr)
        if finished.stdout.strip() != LEVEL:
            raise SystemExit(f"counted the kernels of {finished.stdout.strip()}, not of {LEVEL}")
        counts = {}
        for dump in pathlib.Path(directory).iterdir():
            text = dump.read_text(encoding="utf-8")
            name = re.search(r"^desc: Trigger: Client Request: (.+)$", text, re.MULTILINE)
            total = re.search(r"^(?:totals|summary): (\d+)$", text, re.MULTILINE)
            if name and total:
                counts[name.group(1)] = int(total.group(1))
    if not counts or not all(counts.values()):
        raise SystemExit(f"nothing was counted: {counts}\n{finished.stderr}")
    return counts


def compare(counts: dict[str, int], recorded: dict[str, int]) -> bool:
    """Prints both counts of every scenario; true where all are close enough."""
    good = True
    for name in sorted(counts.keys() | recorded.keys()):
        now, before = counts.get(name), recorded.get(name)
        if now is None or before is None:
            verdict = "NOT RECORDED" if before is None else "NOT COUNTED"
        else:
            change = now / before - 1
            far = abs(change) > TOLERANCE
            verdict = f"{change:+8.2%}" + ("  TOO FAR" if far else "")
        good = good and verdict.endswith("%")
        print(f"{name:<50}{before or 0:>14,}{now or 0:>14,}  {verdict}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="record the counts of this build")
    parser.add_argument(
        "--program", type=pathlib.Path, default=ROOT / "build/default/bin/instruction_scenarios"
    )
    arguments = parser.parse_args()
    levels = subprocess.run([LOADER, "--help"], capture_output=True, text=True, check=True).stdout
    if f"{LEVEL} (supported" not in levels:
        print(f"skipped: this machine has no {LEVEL}")
        return 77
    counts = count(arguments.program)
    if arguments.write:
        RECORDED.write_text(json.dumps(counts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return 0
    if compare(counts, json.loads(RECORDED.read_text(encoding="utf-8"))):
        return 0
    print(
        "\nThe work of some code has changed by more than "
        f"{TOLERANCE:.0%}. If it should have:\n  tests/benchmark/instructions/count.py --write"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
