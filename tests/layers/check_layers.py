"""Checks, from what the compiler really read, that layers depend only downwards.

usage: check_layers.py SOURCE_DIRECTORY BUILD_DIRECTORY
"""

import subprocess
import sys
from pathlib import Path

LAYERS = ("kernels", "statistics", "metrics", "service", "export")
ABOVE_FORMULAS = ("/grpc/", "/grpcpp/", "/google/protobuf/", "/absl/", "/prometheus/")
# What no file of a layer may include, however indirectly.
FORBIDDEN_PACKAGES = {
    "kernels": ABOVE_FORMULAS,
    "statistics": ABOVE_FORMULAS,
    "metrics": ABOVE_FORMULAS,
    "service": ("/prometheus/",),
    "export": (),
}


def included_files(build):
    """Yields each object file with the paths that its compilation read."""
    listing = subprocess.run(
        ["ninja", "-C", str(build), "-t", "deps"], check=True, capture_output=True, text=True
    ).stdout
    for block in listing.split("\n\n"):
        lines = block.strip().splitlines()
        if lines and ": #deps" in lines[0]:
            yield lines[0].split(":")[0], [str((build / line.strip()).resolve()) for line in lines[1:]]


def violations(source, build):
    """Yields a sentence for every inclusion that points upwards; fails on a layer without objects."""
    objects = {layer: 0 for layer in LAYERS}
    for name, paths in included_files(build):
        layer = next((layer for layer in LAYERS if name.startswith(f"server/{layer}/")), None)
        if layer is None:
            continue
        objects[layer] += 1
        higher = LAYERS[LAYERS.index(layer) + 1 :]
        forbidden = [str(source / "server" / other) + "/" for other in higher]
        forbidden += FORBIDDEN_PACKAGES[layer]
        for path in paths:
            if any(part in path for part in forbidden):
                yield f"{name} includes {path}"
    empty = [layer for layer, count in objects.items() if count == 0]
    if empty:
        yield f"no object files of {', '.join(empty)} were found: this check sees nothing"


def main():
    found = sorted(set(violations(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())))
    print("\n".join(found) or "layers point one way")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
