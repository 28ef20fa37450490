"""What tests of the installed programs share: where they are built, and the machine's best level."""

import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("THERMOGRAD_BUILD", ROOT / "build/default"))
PACKAGING = ROOT / "deploy/packaging"


def best_level():
    """The instruction-set level that the loader prefers here, as the kernels call it."""
    page = subprocess.run(
        ["/lib64/ld-linux-x86-64.so.2", "--help"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    levels = re.findall(r"(x86-64-v[34]) \(supported, searched\)", page)
    return max(levels, default="baseline")


def simd_level(server):
    """The level of the kernels that a running server has loaded, by its /metrics."""
    (labels,) = (labels for name, labels in server.scrape() if name == "thermograd_build_info")
    return dict(labels)["simd"]
