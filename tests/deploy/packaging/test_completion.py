"""Completion of the programs in a bash and a zsh that believe that somebody types."""

import os
import pathlib
import pty
import select
import shutil
import subprocess
import time

import pytest

from installed import PACKAGING
from system_support import SERVER, TIMEOUT_SECONDS

SHELLS = {
    "bash": (["--norc", "--noprofile", "-i"], f"source {PACKAGING}/thermograd.bash"),
    "zsh": (["-f", "-i"], f"fpath=({PACKAGING} $fpath); autoload -U compinit; compinit -u -D"),
}
READY = "ready-to-type"


class Terminal:
    """A shell in a terminal of its own."""

    def __init__(self, shell, directory):
        arguments, setup = SHELLS[shell]
        self._master, slave = pty.openpty()
        environment = os.environ | {
            "PATH": f"{pathlib.Path(SERVER).parent}:{os.environ['PATH']}",
            "HOME": str(directory),
            "PS1": "$ ",
            "TERM": "dumb",
        }
        self._process = subprocess.Popen(
            [shell, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=directory,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self.type(f"{setup}; echo {READY[:5]}''{READY[5:]}\n")
        self.wait_for(READY)

    def type(self, text):
        """Types keys."""
        os.write(self._master, text.encode())

    def wait_for(self, *texts):
        """Reads until the terminal has shown the texts."""
        shown, deadline = "", time.monotonic() + TIMEOUT_SECONDS
        while any(text not in shown for text in texts):
            left = max(0, deadline - time.monotonic())
            assert select.select([self._master], [], [], left)[0], f"{texts} never came:\n{shown}"
            shown += os.read(self._master, 65536).decode(errors="replace")

    def close(self):
        """Ends the shell."""
        self._process.kill()
        self._process.wait(TIMEOUT_SECONDS)
        os.close(self._master)


@pytest.fixture(params=SHELLS)
def terminal(request, tmp_path):
    """A shell that completes our programs."""
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    (tmp_path / "gradients.npy").touch()
    each = Terminal(request.param, tmp_path)
    yield each
    each.close()


@pytest.mark.parametrize(
    "typed, completed",
    [
        ("thermograd-server --default_win", "dow_steps="),
        ("thermograd desc", "ribe"),
        ("thermograd probe --serv", "ice="),
        ("thermograd send grad", "ients.npy"),
        ("thermograd send --weights=grad", "ients.npy"),
    ],
)
def test_the_only_possibility_is_completed(terminal, typed, completed):
    terminal.type(typed + "\t")
    terminal.wait_for(completed)


def test_commands_are_listed(terminal):
    terminal.type("thermograd \t\t")
    terminal.wait_for("cadence", "compare", "describe", "probe", "report", "send", "watch")
