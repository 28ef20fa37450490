"""`python -m thermograd watch` and `report`; `thermograd watch` and `report` come here too."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from thermograd.history import History, Progress, read_recording
from thermograd.prometheus import read_prometheus

_FAILURE = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the arguments ask for and returns the exit code: 0, 1 failure, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="thermograd", description="Shows what a server measures.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    watch = commands.add_parser(
        "watch",
        help="live view of the runs of a server in the terminal",
        description="Shows the runs of a server, or one run, in the terminal while they train.",
    )
    watch.add_argument("address", nargs="?", default="127.0.0.1:9464", metavar="ADDRESS",
                       help="the server's --http_address (default: %(default)s)")  # fmt: skip
    watch.add_argument("run", nargs="?", metavar="RUN", help="show this run in full")
    watch.add_argument("--once", action="store_true",
                       help="print one frame and end, as into a pipe")  # fmt: skip
    watch.add_argument("--interval", type=float, default=1.0, metavar="SECONDS",
                       help="time between two looks (default: %(default)s)")  # fmt: skip

    report = commands.add_parser(
        "report",
        help="one HTML page about a run",
        description="Writes one self-contained HTML page about a run, from a recording or from "
        "Prometheus.",
    )
    source = report.add_mutually_exclusive_group(required=True)
    source.add_argument("--recording", type=Path, metavar="FILE",
                        help="reports as thermograd.Recording writes them, or "
                        "`thermograd send --format=json` prints them")  # fmt: skip
    source.add_argument("--prometheus", metavar="URL", help="such as http://localhost:9090")
    report.add_argument("--run", default="", metavar="NAME",
                        help="the run; of a recording the title (default: file name)")  # fmt: skip
    report.add_argument("--start", type=_moment, metavar="TIME",
                        help="of Prometheus: ISO 8601 or seconds since 1970 (default: 24 hours "
                        "before the end)")  # fmt: skip
    report.add_argument("--end", type=_moment, metavar="TIME", help="the same (default: now)")
    report.add_argument("--output", type=Path, metavar="FILE",
                        help="the page (default: RUN.html; -: standard output)")  # fmt: skip

    options = parser.parse_args(arguments)
    if options.command == "report" and options.prometheus and not options.run:
        report.error("--prometheus needs --run")
    try:
        return _watch(options) if options.command == "watch" else _report(options)
    except ModuleNotFoundError as error:
        reason = f"{error.name} is not installed: pip install 'thermograd[seeing]'"
    except (OSError, ValueError) as error:
        reason = str(error)
    print(f"thermograd {options.command}: {reason}", file=sys.stderr)
    return _FAILURE


def _watch(options: argparse.Namespace) -> int:
    from thermograd.watching import watch_server

    if not options.interval > 0:
        raise ValueError("--interval must be positive")
    return watch_server(options.address, options.run, options.interval, once=options.once)


def _report(options: argparse.Namespace) -> int:
    from thermograd.report_page import render

    with _progress("reading") as progress:
        history = _read(options, progress)
    with _progress("drawing") as progress:
        page = render(history, progress)
    output = options.output or Path(_file_name(history.run) + ".html")
    if str(output) == "-":
        sys.stdout.write(page)
    else:
        output.write_text(page, encoding="utf-8")
        print(output)
    return 0


def _read(options: argparse.Namespace, progress: Progress) -> History:
    if options.recording is not None:
        return read_recording(options.recording, options.run, progress)
    return read_prometheus(
        options.prometheus, options.run, start=options.start, end=options.end, progress=progress
    )


def _file_name(run: str) -> str:
    """A run's name as that of a file: it may hold slashes."""
    return "".join(c if c.isalnum() or c in "-_. " else "_" for c in run).lstrip(".") or "run"


def _moment(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.datetime.fromisoformat(text).timestamp()


@contextmanager
def _progress(what: str) -> Iterator[Progress]:
    """A bar on the terminal's standard error, gone when the work is done."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with Bar(console=console, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
