"""`pip install client/python` gives a package that works, outside the repository."""

import os
import subprocess
import sys
import zipfile

import pytest

from recording_server import GRADIENT
from system_support import ROOT

STREAM_ONE_STEP = """
import pathlib, sys
import numpy
import thermograd
assert pathlib.Path(thermograd.__file__).is_relative_to(sys.prefix), thermograd.__file__
spec = thermograd.run_spec("installed", parameters={"w": (3,)})
with thermograd.RunStream(sys.argv[1], spec) as stream:
    stream.begin_step(7)
    stream.send("w", thermograd.GRADIENT, numpy.arange(3.0))
    assert stream.end_step().step == 7
"""


def run(*command, cwd):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel. Debian's compiler makes the stubs, so nothing is downloaded."""
    folder = tmp_path_factory.mktemp("wheel")
    # A copy, because setuptools builds inside the source folder.
    source = folder / "source"
    run("cp", "-r", "--parents", "client", "proto", "server/metrics/REFERENCE.md",
        f"{_made(source)}/", cwd=ROOT)  # fmt: skip
    run(
        sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index",
        "--wheel-dir", folder, source / "client/python", cwd=folder,
    )  # fmt: skip
    (built,) = folder.glob("thermograd-*.whl")
    return built


def _made(folder):
    folder.mkdir()
    return folder


def test_wheel_holds_the_modules_the_stubs_and_the_marker_of_types(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = (ROOT / "client/python/thermograd").glob("*.py")
    contract = (ROOT / "proto/thermograd/v1").glob("*.proto")
    modules = {f"thermograd/{path.name}" for path in sources}
    stubs = {f"thermograd/v1/{path.stem}_pb2.py" for path in contract}
    assert stubs and modules | stubs | {"thermograd/py.typed", "thermograd/v1/__init__.py"} <= names
    assert "thermograd/v1/REFERENCE.md" in names
    assert all(name.startswith("thermograd") for name in names)


def test_an_installed_package_streams(wheel, recorder, tmp_path):
    run(sys.executable, "-m", "venv", "--system-site-packages", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv/bin/python"
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    run(python, "-c", STREAM_ONE_STEP, recorder.address, cwd=tmp_path)
    (step,) = recorder.steps
    assert step.begin.step == 7
    assert step.tensors(GRADIENT)[1, 0].tolist() == [0.0, 1.0, 2.0]
