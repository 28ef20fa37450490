"""Makes the shared support importable, whatever folder pytest is started from."""

import pathlib
import sys

TESTS = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TESTS), str(TESTS / "end_to_end")]
