"""The build context of the images: all that the build reads, and not the rest of the repository."""

import fnmatch
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[3]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")


def _context():
    """Tracked files that .dockerignore lets through."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [line[1:] for line in lines if line.startswith("!")]
    tracked = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [
        file
        for file in tracked
        if any(file == path or fnmatch.fnmatch(file, path + "/*") for path in kept)
    ]


def test_the_build_is_configured_from_the_context_alone(tmp_path):
    source = tmp_path / "source"
    for file in _context():
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_bytes((ROOT / file).read_bytes())
        (source / file).chmod((ROOT / file).stat().st_mode)
    assert not (source / "tests").exists()
    subprocess.run(["cmake", "--preset", "release"], cwd=source, check=True)
    subprocess.run(
        ["ninja", "-n"], cwd=source / "build/release", stdout=subprocess.DEVNULL, check=True
    )
    assert (source / "build/release/CPackConfig.cmake").is_file()
    subprocess.run(
        ["/usr/bin/python3", "client/python/generate_stubs.py", tmp_path / "stubs"],
        cwd=source,
        check=True,
    )
    assert (tmp_path / "stubs/thermograd/v1/run_pb2.py").is_file()


def test_what_is_copied_is_in_the_context():
    context = _context()
    copied = re.findall(r"^COPY (?!--from)(\S+) \S+$", DOCKERFILE, re.M)
    assert "." in copied
    for path in set(copied) - {"."}:
        assert any(file == path or file.startswith(path + "/") for file in context), path
