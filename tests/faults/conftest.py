"""Makes the shared support importable, whatever folder pytest is started from."""

import pathlib
import sys

TESTS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TESTS), str(TESTS / "end_to_end"), str(TESTS / "deploy/replicas")]

import system_support  # noqa: E402, F401  (puts the client package on the path)
