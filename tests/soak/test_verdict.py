"""The verdict of a soak can be that the server failed."""

import numpy
import pytest

import verdict
from ledger import Ledger

SECONDS = numpy.arange(0, 1800, 5.0)
FULL = len(SECONDS)
MIB = verdict.MIB
ALLOWED = 10 * MIB


def noisy(level, spread):
    """A series that stays, after a warm-up in which it rises."""
    noise = numpy.random.default_rng(1).normal(0, spread, FULL)
    return level * (1 - numpy.exp(-SECONDS / 60)) + noise


def samples(**leaks):
    """Samples of a server that stays as it was, but for what leaks so much until the end."""
    values = {
        "seconds": SECONDS,
        "resident_bytes": noisy(150 * MIB, 20 * MIB),
        "threads": numpy.round(noisy(22, 1)),
        "open_files": numpy.round(noisy(20, 3)),
        "series": numpy.round(noisy(8000, 1500)),
        "used_max_streams": numpy.round(noisy(9, 3)),
        "used_max_comparisons": numpy.zeros(FULL),
        "used_max_runs": numpy.round(noisy(90, 15)),
        "used_max_memory_bytes": noisy(30 * MIB, 20 * MIB),
        "used_max_probe_bytes": noisy(2 * MIB, MIB),
    }
    for name, leak in leaks.items():
        values[name] = values[name] + leak * SECONDS / SECONDS[-1]
    return [
        {name: float(series[i]) for name, series in values.items()} for i in range(FULL)
    ]


def failed(findings):
    return [finding.what for finding in findings if not finding.passed]


def test_flat_noise_passes():
    assert not failed(verdict.of_samples(samples(), ALLOWED))


@pytest.mark.parametrize(
    ("name", "leak", "what"),
    [
        ("resident_bytes", 20 * MIB, "resident memory"),
        ("threads", 20, "threads"),
        ("open_files", 40, "file descriptors"),
        ("series", 12_000, "series of a scrape"),
        ("used_max_streams", 40, "used of `max_streams`"),
        ("used_max_comparisons", 20, "used of `max_comparisons`"),
        ("used_max_runs", 150, "used of `max_runs`"),
        ("used_max_memory_bytes", 200 * MIB, "used of `max_memory_bytes`"),
        ("used_max_probe_bytes", 10 * MIB, "used of `max_probe_bytes`"),
    ],
)
def test_a_leak_is_found(name, leak, what):
    assert failed(verdict.of_samples(samples(**{name: leak}), ALLOWED)) == [what]


def test_growth_while_warming_up_is_none():
    seconds = numpy.arange(0, 60, 0.5)
    values = numpy.minimum(seconds, 10) * 100
    assert verdict.grows_within("", seconds, values, allowed=0).passed


def test_a_short_soak_finds_what_multiplies():
    seconds = numpy.arange(0, 30, 0.5)
    noise = numpy.random.default_rng(2).normal(20, 2, len(seconds))
    assert verdict.grows_within("", seconds, noise).passed
    assert not verdict.grows_within("", seconds, noise + 4 * seconds).passed


def test_too_few_samples_are_no_verdict():
    with pytest.raises(ValueError, match="too few"):
        verdict.of_samples(samples()[:10], ALLOWED)


def test_counts_and_errors():
    assert verdict.lies_within("", 3, 3, 3).passed
    assert not verdict.lies_within("", 4, 3, 3).passed
    assert not verdict.lies_within("", 2, 3, 5).passed
    assert not verdict.at_most("", 12, 11).passed
    assert not verdict.is_none("", ["refused without a reason"]).passed
    assert "**NO**" in verdict.table([verdict.at_most("files", 12, 11)])


def test_a_lost_step_is_found():
    """What was acknowledged and not analysed, or the other way round, fits no expectation."""
    ledger = Ledger()
    ledger.add(streams=2, acknowledged=10, cut=1)
    ledger.add(perhaps_cut=1, acknowledged=5)
    expected = ledger.expected()
    assert expected["thermograd_steps_total"] == (15, 15)
    assert expected["thermograd_incomplete_steps_total"] == (1, 2)
    assert expected["thermograd_streams_total"] == (2, 2)
    assert not verdict.lies_within("", 14, *expected["thermograd_steps_total"]).passed
