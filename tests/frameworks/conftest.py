"""Makes the shared support importable, whatever folder pytest is started from."""

import pathlib
import sys

import pytest

sys.path[:0] = [
    str(pathlib.Path(__file__).resolve().parent.parent),
    str(pathlib.Path(__file__).resolve().parent.parent / "client/python"),
]

from system_support import server  # noqa: E402, F401

from recording_server import RecordingServer  # noqa: E402


@pytest.fixture
def recorder():
    """A server that keeps what it is sent."""
    with RecordingServer() as recording:
        yield recording
