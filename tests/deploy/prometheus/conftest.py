"""Makes the shared support importable, whatever folder pytest is started from."""

import pathlib
import sys

_TESTS = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_TESTS), str(_TESTS / "end_to_end")]
