"""The type hints of the package hold, strictly; pyproject.toml says how strictly."""

import os
import pathlib
import subprocess
import sys

import thermograd.v1
from system_support import ROOT

PACKAGE = ROOT / "client/python"


def check(cache, *what):
    stubs = pathlib.Path(thermograd.v1.__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", PACKAGE / "pyproject.toml",
         "--cache-dir", cache, "--namespace-packages", "--explicit-package-bases", *what],
        env={**os.environ, "MYPYPATH": f"{stubs}:{PACKAGE}"},
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip


def test_package(tmp_path):
    found = check(tmp_path, PACKAGE / "thermograd")
    assert found.returncode == 0, found.stdout + found.stderr


def test_a_user_sees_the_types(tmp_path):
    script = tmp_path / "user.py"
    script.write_text(
        "import thermograd\n"
        "spec = thermograd.run_spec('r', parameters={'w': (1,)})\n"
        "stream = thermograd.RunStream('host:1', spec)\n"
        "stream.send(1.5, thermograd.GRADIENT, [1.0])\n"
    )
    found = check(tmp_path / "cache", script)
    assert found.returncode == 1
    assert "user.py:4" in found.stdout and '"send"' in found.stdout, found.stdout
    assert "Found 1 error" in found.stdout
