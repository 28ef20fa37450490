"""`python -m thermograd`."""

import sys

from thermograd.command_line import main

if __name__ == "__main__":
    sys.exit(main())
