"""Writes a program's manual page, so that what --help says stands in one place, the program.

usage: manual_page.py PROGRAM TEXT VERSION OUTPUT

TEXT is the page's frame; a line `@FLAGS@` stands for the flags of the program, `@COMMANDS@` for
its commands with theirs.
"""

import pathlib
import re
import subprocess
import sys
from typing import Iterator, NamedTuple


class Flag(NamedTuple):
    """A flag as --help shows it."""

    name: str
    default: str
    text: str


class Command(NamedTuple):
    """A command of the program as its --help shows it."""

    name: str
    summary: str


def help_page(*command: str) -> str:
    """What the command prints for --help."""
    # Abseil's exit code of --help depends on its version.
    return subprocess.run(
        [*command, "--help"], stdout=subprocess.PIPE, text=True, check=False
    ).stdout


def server_flags(page: str) -> Iterator[Flag]:
    """Flags of a page in Abseil's form: `--name (text); default: value;`, broken into lines."""
    flat = re.sub(r"\s+", " ", page)
    for name, text, default in re.findall(r" --(\w+) \((.*?)\); default: (.*?);(?= |$)", flat):
        yield Flag(name, default, text)


def command_flags(page: str) -> Iterator[Flag]:
    """Flags of a command's page: `--name=default`, or `--name` alone, and below it the text."""
    for name, default, text in re.findall(r"^  --(\w+)(?:=(.*))?\n      (.*)$", page, re.M):
        yield Flag(name, default, text)


def commands(page: str) -> Iterator[Command]:
    """Commands of the program's page."""
    for name, summary in re.findall(r"^  ([a-z]+) +(\S.*)$", page, re.M):
        yield Command(name, summary)


def description(page: str) -> str:
    """Text of a command's page between its synopsis and its flags."""
    return page.split("\n\n", 1)[1].split("\n\nFlags:\n")[0]


def escaped(text: str) -> str:
    """The text in roff: nothing in it is a request or an escape."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join(f"\\&{line}" if line[:1] in (".", "'") else line for line in text.split("\n"))


def flag_items(flags: Iterator[Flag]) -> str:
    """The flags as a list of the page."""
    lines = []
    for flag in flags:
        value = f"={flag.default}" if flag.default else ""
        lines += [".TP", f".B \\-\\-{escaped(flag.name + value)}", escaped(flag.text)]
    return "\n".join(lines)


def command_sections(program: str) -> str:
    """A subsection for each command."""
    lines = []
    for command in commands(help_page(program)):
        lines += [f".SS {command.name}", escaped(command.summary)]
        # The Python package's commands have their own --help, where that package is installed.
        if "Python package" in command.summary:
            continue
        page = help_page(program, command.name)
        synopsis = page.split("\n", 1)[0].removeprefix("Usage: ")
        lines += [".PP", f".B {escaped(synopsis)}", ".PP", escaped(description(page))]
        lines.append(flag_items(command_flags(page)))
    return "\n".join(lines)


def main() -> None:
    program, text, version, output = sys.argv[1:]
    page = pathlib.Path(text).read_text(encoding="utf-8").replace("@VERSION@", version)
    if "@FLAGS@" in page:
        page = page.replace("@FLAGS@", flag_items(server_flags(help_page(program))))
    if "@COMMANDS@" in page:
        page = page.replace("@COMMANDS@", command_sections(program))
    pathlib.Path(output).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
