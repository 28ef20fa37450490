"""Makes the shared support importable, whatever folder pytest is started from."""

import pathlib
import sys

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[2])]
