"""Trainings in processes of their own, and what they must have kept."""

import json
import pathlib
import subprocess
import sys
import threading

from system_support import Server

PROGRAM = pathlib.Path(__file__).parent / "trainer.py"
# Every fault here lasts longer: a loop that waited for the server would show it.
STEP_SECONDS = 1


class Training:
    """A trainer that steps until `finish`."""

    def __init__(self, address, *flags):
        self._process = subprocess.Popen(
            [sys.executable, PROGRAM, address, *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        #: Steps so far.
        self.steps = 0
        self._record = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()

    def _read(self):
        for line in self._process.stdout:
            record = json.loads(line)
            if isinstance(record, int):
                self.steps = record
            else:
                self._record = record

    def finish(self):
        """Ends the training: its record."""
        self._process.stdin.write("stop\n")
        self._process.stdin.flush()
        return self.record()

    def record(self):
        """What an ended training was, whose client had to keep its accounts and its loop free."""
        self._reader.join(120)
        assert self._record is not None
        stats = self._record["stats"]
        assert stats["captured_steps"] == stats["acknowledged_steps"] + stats["dropped_steps"]
        assert stats["queued_bytes"] == 0 and stats["hook_errors"] == 0 and not stats["stopped"]
        assert len(self._record["seconds"]) == stats["captured_steps"]
        # The first step compiles and allocates, with or without a client.
        assert max(self._record["seconds"][1:]) < STEP_SECONDS
        return self._record


_undisturbed = None


def undisturbed(steps):
    """The record of a training of at least as many steps that met no fault."""
    global _undisturbed
    if _undisturbed is None or len(_undisturbed["weights"]) < steps:
        flags = (f"--steps={2 * steps}", "--pause=0")
        with Server() as server, Training(server.grpc_address, *flags) as training:
            _undisturbed = training.record()
        assert len(_undisturbed["reports"]) == 2 * steps
    return _undisturbed


def assert_exact(record):
    """The training is that of no fault to the bit, and so is every figure of every report.

    A step that lost its predecessor to a fault lacks what is measured between the two.
    """
    reference = undisturbed(len(record["weights"]))
    assert record["weights"] == reference["weights"][: len(record["weights"])]
    without_predecessor = 0
    for step, figures in record["reports"].items():
        expected = reference["reports"][step]
        assert figures.items() <= expected.items(), step
        without_predecessor += figures.keys() != expected.keys()
    stats = record["stats"]
    assert without_predecessor <= stats["reconnects"] + stats["dropped_steps"]
