"""Adds to setuptools' build the step that generates the contract's stubs."""

import importlib.metadata
import pathlib
import shutil
import sys

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = pathlib.Path(__file__).resolve().parent
# Build front ends do not put the project's folder on the path.
sys.path.insert(0, str(HERE))

import generate_stubs  # noqa: E402


def stub_requirements():
    """Runtime versions that the generated stubs accept: those that their compiler asks for."""
    try:
        requirements = importlib.metadata.requires("grpcio-tools") or []
    except importlib.metadata.PackageNotFoundError:
        return ["grpcio>=1.51", "protobuf>=4.21"]
    return [r for r in requirements if r.startswith(("grpcio", "protobuf"))]


class BuildWithStubs(build_py):
    """Generates the stubs beside the package's modules."""

    def run(self):
        super().run()
        # An editable install imports from the source folder, where git ignores the stubs.
        generate_stubs.generate(HERE if self.editable_mode else pathlib.Path(self.build_lib))


class SdistWithContract(sdist):
    """Takes the contract and its page along, which lie outside the package's folder."""

    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        shutil.copy(HERE / "generate_stubs.py", base_dir)
        shutil.copy(generate_stubs.reference_page(), base_dir)
        shutil.copytree(generate_stubs.proto_root(), pathlib.Path(base_dir) / "proto")


setup(
    cmdclass={"build_py": BuildWithStubs, "sdist": SdistWithContract},
    install_requires=["numpy", *stub_requirements()],
)
