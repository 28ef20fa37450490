"""Whether what was sampled during a soak stayed where it was."""

import dataclasses

import numpy

MIB = 2**20
# Of the time; buffers, caches and the allocator's arenas grow while they are filled first.
WARM_UP = 1 / 6
# Of what a run may use of limits, the declarations of those that are live decide; of these, the
# service.
LIMITS = ("max_streams", "max_comparisons", "max_runs", "max_memory_bytes", "max_probe_bytes")
# Growth that is too small to be one.
FLOOR = 2
# Seconds after which what is seen no longer tells of what was seen before: runs have come and gone.
TURN = 10


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was looked at, what it was, what it might be."""

    what: str
    found: str
    allowed: str
    passed: bool

    def row(self):
        """A row of a Markdown table."""
        passed = "yes" if self.passed else "**NO**"
        return f"| {self.what} | {self.found} | {self.allowed} | {passed} |"


def thirds(seconds, values):
    """After the warm-up: the seconds and values of the first third, the values of the last."""
    seconds, values = numpy.asarray(seconds, float), numpy.asarray(values, float)
    begin = seconds[0] + WARM_UP * (seconds[-1] - seconds[0])
    third = (seconds[-1] - begin) / 3
    is_first = (seconds >= begin) & (seconds < begin + third)
    first, last = values[is_first], values[seconds >= seconds[-1] - third]
    if len(first) < 5 or len(last) < 5:
        raise ValueError(f"{len(seconds)} samples are too few")
    return seconds[is_first], first, last


def spread(seconds, values):
    """Within which four fifths of the values lie, around a line that rises as they do."""
    rest = values - numpy.polyval(numpy.polyfit(seconds, values, 1), seconds)
    lower, upper = numpy.percentile(rest, (10, 90))
    return upper - lower


def grows_within(what, seconds, values, allowed=None, unit=1, name=""):
    """The median of the last third is not more than `allowed` above that of the first.

    Where nothing is given, `allowed` is the spread of the first third; several times that in a
    short soak, whose medians scatter more because it sees few turns of the churn.
    """
    first_seconds, first, last = thirds(seconds, values)
    if allowed is None:
        turns = (first_seconds[-1] - first_seconds[0]) / TURN
        allowed = spread(first_seconds, first) * max(1, 4 / turns**0.5) + FLOOR
    before, after = numpy.median(first), numpy.median(last)
    return Finding(
        what,
        f"{before / unit:,.1f} → {after / unit:,.1f}{name}",
        f"+{allowed / unit:,.1f}{name}",
        bool(after - before <= allowed),
    )


def lies_within(what, value, least, most):
    """A count, and between which it should be."""
    allowed = f"{least:,.0f}" if least == most else f"{least:,.0f} to {most:,.0f}"
    return Finding(what, f"{value:,.0f}", allowed, bool(least <= value <= most))


def at_most(what, value, most):
    """A count, and what it should not exceed."""
    return Finding(what, f"{value:,.0f}", f"at most {most:,.0f}", bool(value <= most))


def is_none(what, errors):
    """Errors that nobody should have seen."""
    return Finding(what, f"{len(errors):,}", "0", not errors)


def of_samples(samples, resident_growth):
    """Growth of all that should not grow: a list of samples, each value by name."""
    seconds = [sample["seconds"] for sample in samples]

    def values(name):
        return [sample[name] for sample in samples]

    found = [
        grows_within(
            "resident memory", seconds, values("resident_bytes"), resident_growth, MIB, " MiB"
        ),
        grows_within("threads", seconds, values("threads")),
        grows_within("file descriptors", seconds, values("open_files")),
        grows_within("series of a scrape", seconds, values("series")),
    ]
    for limit in LIMITS:
        unit, suffix = (MIB, " MiB") if limit.endswith("_bytes") else (1, "")
        found.append(
            grows_within(
                f"used of `{limit}`", seconds, values(f"used_{limit}"), None, unit, suffix
            )
        )
    return found


def table(findings):
    """Markdown."""
    head = "| | found | allowed | passed |\n|---|---|---|---|\n"
    return head + "".join(finding.row() + "\n" for finding in findings)
