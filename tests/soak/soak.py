#!/usr/bin/env python3
"""Churn of runs for as long as wanted, and a verdict: does the server stay as it was?

usage: soak.py [--minutes 30] [--seed N] [--output DIRECTORY] [--picture FILE]

README.md says what happens, and what must hold.
"""

import argparse
import csv
import json
import pathlib
import random
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / folder) for folder in ("", "end_to_end", "trust")]

import picture  # noqa: E402
import small_run  # noqa: E402
import verdict  # noqa: E402
from bystander import Bystander  # noqa: E402
from churn import Trainer  # noqa: E402
from ledger import Ledger  # noqa: E402
from system_support import ROOT, Server, Stream, eventually  # noqa: E402

TRAINERS = 8
GRACE_SECONDS, PROBE_SECONDS, RANK_SECONDS = 5, 5, 2
FLAGS = (
    # Runs and what they leave must go as fast as they come.
    f"--run_grace_seconds={GRACE_SECONDS}",
    f"--probe_seconds={PROBE_SECONDS}",
    f"--rank_seconds={RANK_SECONDS}",
)
# Nothing that clients send here is more than the server has room for.
LOSSES = (
    "thermograd_responses_dropped_total",
    "thermograd_runs_dropped_total",
    "thermograd_series_refused",
)
COUNTERS = (
    *LOSSES,
    "thermograd_streams_total",
    "thermograd_steps_total",
    "thermograd_incomplete_steps_total",
    "thermograd_incomplete_rank_steps_total",
    "thermograd_comparisons_total",
    "thermograd_received_bytes_total",
)


def sample(server, start):
    """What the process needs, and what it shows of itself."""
    # Before the scrape, whose own connection would count.
    found = {
        "seconds": time.monotonic() - start,
        "resident_bytes": server.resident_bytes(),
        "threads": server.threads(),
        "open_files": server.open_files(),
        "cpu_seconds": server.cpu_seconds(),
    }
    server.get("/")
    shown = server.scrape()
    found["series"] = len(shown)
    for name in COUNTERS:
        found[name.removeprefix("thermograd_")] = shown[name, frozenset()]
    found["rejected_total"] = sum(
        value for (name, _), value in shown.items() if name == "thermograd_rejected_total"
    )
    for (name, labels), value in sorted(shown.items(), key=str):
        if name == "thermograd_limit_used":
            found[f"used_{dict(labels)['limit']}"] = value
    return found


def is_idle(server, baseline_files):
    """Whether nothing is left of any run."""
    used = server.by_limit("thermograd_limit_used")
    is_unused = all(used[limit] == 0 for limit in verdict.LIMITS)
    return is_unused and server.open_files() <= baseline_files


def warm_up(server):
    """A first connection, for which gRPC opens what it keeps; returns the file descriptors then."""
    with Stream(server) as stream:
        stream.open(small_run.declaration("first"))
        stream.step(small_run.begin(0), small_run.gradient())
        assert stream.close() is None
    eventually(lambda: server.by_limit("thermograd_limit_used")["max_streams"] == 0)
    return server.open_files()


def churn(server, minutes, ledger, bystander, seed):
    """Runs come and go for so long; returns the samples."""
    trainers = [Trainer(server, ledger, seed, number) for number in range(TRAINERS)]
    start = time.monotonic()
    period = min(5.0, minutes)  # of minutes, as many samples as the seconds that they are apart
    samples = []
    for thread in (*trainers, bystander):
        thread.start()
    try:
        while time.monotonic() - start < 60 * minutes:
            samples.append(sample(server, start))
            time.sleep(max(0, start + period * len(samples) - time.monotonic()))
    finally:
        for trainer in trainers:
            trainer.stop()
        for trainer in trainers:
            trainer.join()
        bystander.stop()
    return samples


def judge(samples, last, ledger, bystander, baseline_files, resident_growth):
    """All findings."""
    ledger.add(streams=2, acknowledged=1 + bystander.steps)  # the first run, the bystander
    found = verdict.of_samples(samples, resident_growth)
    found += [
        verdict.is_none("errors that no client should see", ledger.unexpected),
        verdict.is_none(
            f"bits that changed in {bystander.steps:,} steps of the bystander", bystander.errors
        ),
    ]
    for name, (least, most) in ledger.expected().items():
        value = last[name.removeprefix("thermograd_")]
        found.append(verdict.lies_within(f"`{name}`", value, least, most))
    for name in LOSSES:
        value = last[name.removeprefix("thermograd_")]
        found.append(verdict.lies_within(f"`{name}`", value, 0, 0))
    for limit in verdict.LIMITS:
        found.append(verdict.lies_within(f"used of `{limit}` at rest", last[f"used_{limit}"], 0, 0))
    found.append(
        verdict.at_most("file descriptors at rest", last["open_files"], baseline_files)
    )
    return found


def write(directory, samples, summary):
    """The samples as CSV, the summary as JSON."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "samples.csv").open("w", newline="") as file:
        # Of some limits nothing is shown while no run uses them.
        names = dict.fromkeys(name for sample in samples for name in sample)
        writer = csv.DictWriter(file, names, restval=0)
        writer.writeheader()
        writer.writerows(samples)
    (directory / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")


def main():
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "build/soak")
    parser.add_argument("--picture", type=pathlib.Path, help="where to; else into --output")
    parser.add_argument(
        "--growth-mebibytes", type=float, default=10, help="of resident memory after the warm-up"
    )
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {TRAINERS} trainers, {arguments.minutes:g} minutes", flush=True)

    ledger = Ledger()
    with Server(*FLAGS) as server:
        baseline_files = warm_up(server)
        bystander = Bystander(server)
        samples = churn(server, arguments.minutes, ledger, bystander, arguments.seed)
        seconds = samples[-1]["seconds"]
        try:
            longest = GRACE_SECONDS + PROBE_SECONDS + 20
            eventually(lambda: is_idle(server, baseline_files), longest)
        except AssertionError:
            pass  # which the verdict says in figures
        last = sample(server, time.monotonic() - seconds)
    growth = arguments.growth_mebibytes * verdict.MIB
    findings = judge(samples, last, ledger, bystander, baseline_files, growth)
    counts = ledger.counts()
    summary = {
        "seed": arguments.seed,
        "minutes": arguments.minutes,
        "clients": counts,
        "bystander_steps": bystander.steps,
        "unexpected": ledger.unexpected + bystander.errors,
        "last": last,
        "passed": all(finding.passed for finding in findings),
    }
    write(arguments.output, samples, summary)
    title = (
        f"{arguments.minutes:g} minutes, {counts.get('runs', 0):,} runs, "
        f"{last['steps_total']:,.0f} steps, {last['received_bytes_total'] / 1e9:,.1f} GB"
    )
    picture.draw(samples, arguments.picture or arguments.output / "soak.png", title)
    print(f"{title}, {last['cpu_seconds'] / seconds:.2f} cores of server\n{counts}")
    for error in summary["unexpected"][:10]:
        print(error)
    print(verdict.table(findings))
    sys.exit(0 if summary["passed"] else "the server did not stay as it was")


if __name__ == "__main__":
    main()
