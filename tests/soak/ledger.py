"""What clients did, to be held against what the server counts."""

import collections
import threading


class Ledger:
    """Counts from several threads; sums up what must be true of the server's counters.

    streams, refused, comparisons: as clients saw them.
    acknowledged: steps that ended, of each rank by itself.
    cut: steps that a refusal cut off, which were certainly open then.
    perhaps_cut: streams that broke, or were refused, where a step was perhaps open.
    left: steps that a rank ended and another did not.
    perhaps_comparisons: those that were given up before their answer.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._counts = collections.Counter()
        self.unexpected = []

    def add(self, **counts):
        """Adds to counts by name."""
        with self._lock:
            self._counts.update(counts)

    def fail(self, what):
        """Notes what no client should have seen."""
        with self._lock:
            self.unexpected.append(what)

    def counts(self):
        """All counts so far."""
        with self._lock:
            return dict(self._counts)

    def expected(self):
        """By counter of the server: the least and the most that it may show."""
        count = collections.Counter(self.counts())

        def exactly(name):
            return count[name], count[name]

        return {
            "thermograd_streams_total": exactly("streams"),
            "thermograd_steps_total": exactly("acknowledged"),
            "thermograd_incomplete_steps_total": (
                count["cut"],
                count["cut"] + count["perhaps_cut"],
            ),
            "thermograd_incomplete_rank_steps_total": exactly("left"),
            "thermograd_comparisons_total": (
                count["comparisons"],
                count["comparisons"] + count["perhaps_comparisons"],
            ),
            # A comparison that is given up lacks data, which may be found before it is cancelled.
            "thermograd_rejected_total": (
                count["refused"],
                count["refused"] + count["perhaps_comparisons"],
            ),
        }
