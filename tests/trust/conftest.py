"""Makes the shared support importable, whatever folder pytest is started from."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from system_support import server  # noqa: E402, F401
