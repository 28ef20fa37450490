"""Turns measurements into a table and plots.

usage: report.py DIRECTORY

Reads DIRECTORY/*.jsonl, one measurement a line:

  group, case, peer, unit   what was measured, on whom, in what
  value, repetitions        the median, and what it is the median of
  not_run                   in place of those two: why it was not measured; a line without any of
                            them is a remark and is left out here
  ratio_to, ratio, ratios   optional: the peer it was measured in alternation with; value / its value,
                            pair by pair, and the median; one line for each such peer
  series, x, x_name         optional: the curve of the plot that the case belongs to, its place there,
                            and of what quantity that is

Writes the table to stdout and to DIRECTORY/report.md, and DIRECTORY/GROUP.png for each group.
"""

from __future__ import annotations

import collections
import json
import pathlib
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Record = dict[str, Any]

# Of a group's records in Google Benchmark's form, WHAT:WHOSE/SIZE.
READ_ONLY = "read-only sweep"


def _size(group: str, size: int) -> str:
    if group != "kernels":
        return f"{size} x {size}"
    return f"{size >> 20} MiB" if size >> 20 else f"{size >> 10} KiB"


def from_google_benchmark(group: str, rounds: Sequence[Mapping[str, Any]]) -> list[Record]:
    """Records from the JSON output of the same benchmarks, once a round.

    In the group `kernels` the reference of everything is the sweep over as many bytes; in others
    Thermograd is compared with each other peer in the same case.
    """
    key, unit = ("bytes_per_second", "GB/s") if group == "kernels" else ("flops", "GFLOP/s")
    core = rounds[0]["context"].get("openblas_core")
    values: dict[tuple[str, str, int], list[float]] = collections.defaultdict(list)
    level = ""
    for found in rounds:
        for benchmark in found["benchmarks"]:
            what, rest = benchmark["name"].split(":")
            whose, size = rest.split("/")
            level = benchmark["label"]
            values[what, whose, int(size)].append(1e-9 * benchmark[key])
    records = []
    for (what, whose, size), repetitions in values.items():
        peer = f"OpenBLAS ({core})" if whose == "OpenBLAS" else whose
        record = {
            "group": group,
            "case": f"{what}, {_size(group, size)}, {level}",
            "peer": peer,
            "unit": unit,
            "value": statistics.median(repetitions),
            "repetitions": repetitions,
            "series": f"{what}, {level}",
            "x": size,
            "x_name": "bytes" if group == "kernels" else "rows",
        }
        references = [
            (other, reference)
            for (other_what, other, other_size), reference in values.items()
            if other_size == size
            and whose == "thermograd"
            and (other == READ_ONLY if group == "kernels" else other_what == what)
            and other != whose
        ]
        for other, reference in references:
            ratios = [own / its for own, its in zip(repetitions, reference, strict=True)]
            other = f"OpenBLAS ({core})" if other == "OpenBLAS" else other
            records.append(
                {**record, "ratio_to": other, "ratio": statistics.median(ratios), "ratios": ratios}
            )
        if not references:
            records.append(record)
    return records


def write(path: pathlib.Path, records: Iterable[Record]) -> None:
    """Appends records to a file."""
    with path.open("a", encoding="utf-8") as file:
        for record in records:
            print(json.dumps(record), file=file)


def read(directory: pathlib.Path) -> dict[str, list[Record]]:
    """All records, by group."""
    groups: dict[str, list[Record]] = collections.defaultdict(list)
    for path in sorted(directory.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            if isinstance(record.get("value"), int | float) or "not_run" in record:
                groups[record["group"]].append(record)
    return groups


def _range(values: Sequence[float]) -> str:
    if not values:
        return "once"
    return f"{min(values):.3g} to {max(values):.3g}, n = {len(values)}"


def table(groups: Mapping[str, Sequence[Record]]) -> str:
    """Markdown. Records that differ in their reference alone share a row."""
    lines = []
    for group, records in groups.items():
        rows: dict[tuple[str, str, str], list[Record]] = collections.defaultdict(list)
        for record in records:
            rows[record["case"], record["peer"], record["unit"]].append(record)
        lines += [f"## {group}", ""]
        lines += ["| case | peer | median | unit | range | median ratio |"]
        lines += ["|---|---|---:|---|---|---|"]
        for (case, peer, unit), same in rows.items():
            ratios = "; ".join(
                f"{record['ratio']:.3g} x {record['ratio_to']} "
                f"({_range(record.get('ratios', []))})"
                for record in same
                if record.get("ratio") is not None and "ratio_to" in record
            )
            if "not_run" in same[0]:
                lines.append(f"| {case} | {peer} | not run | | {same[0]['not_run']} | |")
                continue
            spread = _range(same[0].get("repetitions", []))
            lines.append(
                f"| {case} | {peer} | {same[0]['value']:.4g} | {unit} | {spread} | {ratios} |"
            )
        lines.append("")
    return "\n".join(lines)


def _plot_curves(axes: Any, records: Sequence[Record], colours: Any) -> None:
    """Colours tell series apart, dashes peers."""
    curves: dict[tuple[str, str], dict[float, float]] = collections.defaultdict(dict)
    for record in records:
        curves[record["series"], record["peer"]][record["x"]] = record["value"]
    all_series = list(dict.fromkeys(series for series, _ in curves))
    all_peers = list(dict.fromkeys(peer for _, peer in curves))
    for (series, peer), points in curves.items():
        axes.plot(
            list(points),
            list(points.values()),
            marker=".",
            color=colours(all_series.index(series) % 20),
            linestyle=("-", "--", ":", "-.")[all_peers.index(peer) % 4],
            label=f"{series}: {peer}",
        )
    axes.set_xscale("log", base=2)
    axes.set_xlabel(records[0]["x_name"])
    values = [record["value"] for record in records]
    if min(values) > 0 and max(values) > 30 * min(values):
        axes.set_yscale("log")
    axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))


def _plot_bars(axes: Any, records: Sequence[Record]) -> None:
    values = {f"{record['case']}: {record['peer']}": record["value"] for record in records}
    axes.barh(list(values), list(values.values()))
    if min(values.values()) > 0 and max(values.values()) > 30 * min(values.values()):
        axes.set_xscale("log")
    axes.tick_params(axis="y", labelsize=6)
    axes.invert_yaxis()


def plot(group: str, records: Sequence[Record], path: pathlib.Path) -> None:
    """A picture with axes for each unit: curves where the cases lie on one, else bars."""
    import matplotlib  # type: ignore[import]

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt  # type: ignore[import]

    units = list(dict.fromkeys(record["unit"] for record in records))
    figure, all_axes = plt.subplots(
        len(units), 1, figsize=(11, 4.5 * len(units)), squeeze=False, layout="constrained"
    )
    for axes, unit in zip(all_axes[:, 0], units, strict=True):
        own = [record for record in records if record["unit"] == unit]
        curves = [record for record in own if "series" in record]
        if curves:
            _plot_curves(axes, curves, plt.get_cmap("tab20"))
        else:
            _plot_bars(axes, own)
        axes.set_title(f"{group}: {unit}", loc="left")
        axes.grid(alpha=0.25)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def report(directory: pathlib.Path) -> None:
    """Everything that the directory holds."""
    groups = read(directory)
    text = table(groups)
    (directory / "report.md").write_text(text, encoding="utf-8")
    print(text)
    for group, records in groups.items():
        measured = [record for record in records if "not_run" not in record]
        plot(group, measured, directory / f"{group}.png")


if __name__ == "__main__":
    report(pathlib.Path(sys.argv[1]))
