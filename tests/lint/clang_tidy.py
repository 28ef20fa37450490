"""Runs clang-tidy over our own sources of a build; any finding fails.

usage: clang_tidy.py SOURCE_DIRECTORY BUILD_DIRECTORY SUBDIRECTORY...

A file found clean is not analysed again while it, what it includes, its compiler command, .clang-tidy
and clang-tidy itself are unchanged: BUILD_DIRECTORY/clang_tidy_clean has an empty file for each.
"""

import functools
import hashlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CLANG_TIDY = "clang-tidy-14"


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def included_files(build):
    """What the compiler read, by object file."""
    included = {}
    for block in output_of("ninja", "-C", str(build), "-t", "deps").split("\n\n"):
        lines = block.strip().splitlines()
        if lines and ": #deps" in lines[0]:
            included[lines[0].split(":")[0]] = [build / line.strip() for line in lines[1:]]
    return included


def own_sources(source, build, subdirectories):
    """The compilation of each own source; one of them where a file is compiled several times."""
    folders = [source / subdirectory for subdirectory in subdirectories]
    compilations = {}
    for entry in json.loads((build / "compile_commands.json").read_text(encoding="utf-8")):
        path = Path(entry["file"])
        if build not in path.parents and any(folder in path.parents for folder in folders):
            compilations.setdefault(path, entry)
    return compilations


@functools.lru_cache(maxsize=None)
def digest(path):
    return hashlib.sha256(path.read_bytes()).digest()


class Analysis:
    """Analyses files, and remembers the clean ones."""

    def __init__(self, source, build):
        self._build = build
        self._included = included_files(build)
        self._clean = build / "clang_tidy_clean"
        self._clean.mkdir(exist_ok=True)
        self._settings = output_of(CLANG_TIDY, "--version").encode() + digest(
            source / ".clang-tidy"
        )

    def findings(self, path, entry):
        """What clang-tidy says about a file; empty if it is clean."""
        mark = self._mark(entry)
        if mark is not None and mark.exists():
            return ""
        run = subprocess.run(
            # The build's compiler has warnings that clang does not know.
            [CLANG_TIDY, "-p", str(self._build), "--quiet"]
            + ["--extra-arg=-Wno-unknown-warning-option", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if run.returncode == 0:
            if mark is not None:
                mark.touch()
            return ""
        return run.stdout + run.stderr

    def _mark(self, entry):
        # What an object that is not built includes is not known, so it is analysed every time.
        included = self._included.get(os.path.relpath(self._output(entry), self._build))
        if included is None:
            return None
        state = hashlib.sha256(self._settings + entry["command"].encode())
        for path in included:
            state.update(digest(path))
        return self._clean / state.hexdigest()

    @staticmethod
    def _output(entry):
        words = entry["command"].split()
        return Path(entry["directory"]) / words[words.index("-o") + 1]


def main():
    source, build = (Path(argument).resolve() for argument in sys.argv[1:3])
    compilations = own_sources(source, build, sys.argv[3:])
    if not compilations:
        print("no sources were found: this check sees nothing")
        return 1
    begin = time.monotonic()
    analysis = Analysis(source, build)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(analysis.findings, *zip(*compilations.items())))
    found = [result for result in results if result]
    print("\n".join(found))
    print(
        f"{len(compilations)} files, {len(found)} with findings,"
        f" {time.monotonic() - begin:.0f} s"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
