#!/usr/bin/env python3
"""Generates the Python stubs of the Thermograd contract: generate_stubs.py OUT_DIR.

The stubs become the package OUT_DIR/thermograd/v1, and the reference page of the metrics lies with
them. With OUT_DIR and this file's folder both on
PYTHONPATH, in either order, `import thermograd` finds them.
"""

import importlib.util
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PAGE = "REFERENCE.md"


def proto_root() -> pathlib.Path:
    """Folder that holds thermograd/v1/*.proto: the repository's, or the source package's copy."""
    for root in (HERE.parents[1] / "proto", HERE / "proto"):
        if (root / "thermograd/v1").is_dir():
            return root
    raise FileNotFoundError("the contract, proto/thermograd/v1, is not beside this package")


def reference_page() -> pathlib.Path:
    """The page that describes every metric: the repository's, or the source package's copy."""
    for page in (HERE.parents[1] / "server/metrics" / PAGE, HERE / PAGE):
        if page.is_file():
            return page
    raise FileNotFoundError(f"the reference page, {PAGE}, is not beside this package")


def _compiler() -> list[str]:
    if importlib.util.find_spec("grpc_tools"):
        return [sys.executable, "-m", "grpc_tools.protoc"]
    protoc, plugin = shutil.which("protoc"), shutil.which("grpc_python_plugin")
    if protoc and plugin:
        return [protoc, f"--plugin=protoc-gen-grpc_python={plugin}"]
    raise FileNotFoundError("neither grpcio-tools nor protoc with grpc_python_plugin is installed")


def generate(out_dir: pathlib.Path) -> None:
    """Writes the stubs, their type declarations and the reference page under `out_dir`."""
    out_dir.mkdir(parents=True, exist_ok=True)
    root = proto_root()
    protos = sorted(str(path) for path in (root / "thermograd/v1").glob("*.proto"))
    subprocess.run(
        [
            *_compiler(),
            f"--proto_path={root}",
            f"--python_out={out_dir}",
            f"--pyi_out={out_dir}",
            f"--grpc_python_out={out_dir}",
            *protos,
        ],
        check=True,
    )
    # Without it setuptools and type checkers would not see a package.
    (out_dir / "thermograd/v1/__init__.py").touch()
    shutil.copy(reference_page(), out_dir / "thermograd/v1" / PAGE)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    generate(pathlib.Path(sys.argv[1]))
