"""The wall clock jumps by years, forth and back: nothing ends, waits or counts differently."""

import os
import pathlib
import time

import pytest

import small_run
from bystander import Bystander
from system_support import SERVER, Server, Stream, eventually

LIBRARIES = sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
DAY_SECONDS = 86_400


class ClockServer(Server):
    """A server whose wall clock goes as `set` says; what counts durations goes on as it did."""

    def __init__(self, folder, *flags):
        self._offset = folder / "offset"
        self.set(0)
        program = folder / "server"
        program.write_text(
            "#!/bin/sh\n"
            f"export LD_PRELOAD={LIBRARIES[0]} FAKETIME_TIMESTAMP_FILE={self._offset}\n"
            "export FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1\n"
            f'exec {SERVER} "$@"\n'
        )
        program.chmod(0o755)
        super().__init__(*flags, program=program)

    def set(self, seconds):
        """Moves the wall clock to so many seconds from the true time."""
        following = self._offset.with_suffix(".new")
        following.write_text(f"{seconds:+d}s\n")
        os.replace(following, self._offset)

    def last_step_seconds(self, run):
        """When the run's last step was, by the server's wall clock, from the true time."""
        key = frozenset({("run", run)})
        return self.scrape()["thermograd_last_step_timestamp_seconds", key] - time.time()


@pytest.fixture(scope="module", name="has_faketime", autouse=True)
def fixture_has_faketime():
    assert LIBRARIES, "deploy/install-dependencies test installs libfaketime"


def test_a_clock_that_jumps(tmp_path):
    flags = ("--step_seconds=5", "--idle_seconds=5", "--keepalive_seconds=1",
             "--self_probe_seconds=1", "--run_grace_seconds=600")  # fmt: skip
    with ClockServer(tmp_path, *flags) as server:
        with Stream(server) as stream:
            stream.open(small_run.declaration("ended"))
            stream.step(small_run.begin(1), small_run.gradient())
            assert stream.close() is None
        with Bystander(server) as bystander:
            for days in (1, -1, 3650, 0, -3650, 0):
                server.set(days * DAY_SECONDS)
                steps = bystander.steps
                eventually(lambda steps=steps: bystander.steps > steps + 20)
                # The jump was one, for the server too.
                found = server.last_step_seconds("bystander")
                assert abs(found - days * DAY_SECONDS) < 60
                time.sleep(1.5)
        assert server.refusals() == {}
        runs = {dict(labels).get("run") for _, labels in server.scrape()}
        # Neither was its grace over, nor did it begin anew.
        assert {"ended", "bystander"} <= runs


def test_certificates_and_tokens_are_none_of_the_clocks_business(tmp_path):
    """A clock that stands decades back does not keep the server from its work."""
    with ClockServer(tmp_path) as server:
        server.set(-20 * 365 * DAY_SECONDS)
        with Bystander(server) as bystander:
            eventually(lambda: bystander.steps > 20)
