"""The loop of the live view: asks the server, draws, and listens to the keys."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import os
import queue
import select
import signal
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.live import Live

from thermograd.exposition import parse
from thermograd.report import MetricKey
from thermograd.terminal import View, clean

_TIMEOUT_SECONDS = 5.0
_KEY_SECONDS = 0.2
_REFRESH_SECONDS = 1.0
# Of an output that is no terminal, where COLUMNS says nothing.
_PIPE_COLUMNS = 120


def watch_server(address: str, run: str | None, interval: float, *, once: bool) -> int:
    """Shows a server's runs, or one run, until a key or an interrupt ends it.

    Raises:
        OSError, ValueError: with `once`, the server does not answer or knows no such run.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Not every output has characters for curves and for the names of runs.
        sys.stdout.reconfigure(errors="replace")
    console = Console()
    if once or not console.is_terminal:
        if not console.is_terminal and "COLUMNS" not in os.environ:
            console = Console(width=_PIPE_COLUMNS)
        return _print_frame(console, address, run, interval)
    view = View(address, run)
    # A terminal is given back as it was even so.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with contextlib.suppress(KeyboardInterrupt):
        _run(console, view, _Feed(address, interval))
    return 0


def scrape(address: str) -> dict[MetricKey, float]:
    """Every sample of a server's /metrics.

    THERMOGRAD_HTTP_CREDENTIALS_FILE names a file of `USER PASSWORD`, where the server asks for
    them; THERMOGRAD_CA_FILE the authorities that may have signed the certificate of an https
    address.

    Raises:
        OSError: it does not answer.
        ValueError: the answer is no exposition.
    """
    base = address if "://" in address else f"http://{address}"
    url = base if base.endswith("/metrics") else base.rstrip("/") + "/metrics"
    try:
        with urllib.request.urlopen(
            _request(url), timeout=_TIMEOUT_SECONDS, context=_tls(url)
        ) as page:
            return parse(page.read().decode("utf-8"))
    except urllib.error.HTTPError as error:
        raise OSError(f"HTTP {error.code}") from error
    except urllib.error.URLError as error:
        raise OSError(getattr(error.reason, "strerror", None) or str(error.reason)) from error
    except http.client.HTTPException as error:
        raise OSError(f"it does not speak HTTP: {error!r}") from error


def _request(url: str) -> urllib.request.Request:
    request = urllib.request.Request(url)
    if file := os.environ.get("THERMOGRAD_HTTP_CREDENTIALS_FILE"):
        lines = (line.split() for line in Path(file).read_text(encoding="utf-8").splitlines())
        users = (words for words in lines if words and not words[0].startswith("#"))
        user = next(users, None)
        if user is None or len(user) != 2:
            raise ValueError(f"{file} does not hold a name and a password")
        credentials = base64.b64encode(":".join(user).encode()).decode()
        # It must not follow a redirection to another host.
        request.add_unredirected_header("Authorization", f"Basic {credentials}")
    return request


def _tls(url: str) -> ssl.SSLContext | None:
    file = os.environ.get("THERMOGRAD_CA_FILE")
    return ssl.create_default_context(cafile=file) if file and url.startswith("https:") else None


def _print_frame(console: Console, address: str, run: str | None, interval: float) -> int:
    view = View(address, run)
    # Twice: a speed needs two looks.
    for look in range(2):
        if look:
            time.sleep(interval)
        try:
            samples = scrape(address)
        except (OSError, ValueError) as error:
            raise OSError(f"{address} does not answer: {error}") from error
        view.receive(samples, time.monotonic())
    if run is not None and run not in view.board.runs:
        known = ", ".join(map(clean, view.board.runs)) or "none"
        raise ValueError(f"the server at {address} has no run {run}; it has: {known}")
    console.print(view.render(console, height=None))
    return 0


class _Feed:
    """Asks the server on a thread of its own, so that keys are heard while it is slow."""

    def __init__(self, address: str, interval: float) -> None:
        self.answers: queue.SimpleQueue[Mapping[MetricKey, float] | Exception] = queue.SimpleQueue()
        self._address = address
        self._interval = interval
        threading.Thread(target=self._ask, daemon=True).start()

    def _ask(self) -> None:
        while True:
            try:
                self.answers.put(scrape(self._address))
            except (OSError, ValueError) as error:
                self.answers.put(error)
            time.sleep(self._interval)


def _run(console: Console, view: View, feed: _Feed) -> None:
    with _keys() as read_key, Live(console=console, screen=True, auto_refresh=False) as live:
        drawn = 0.0
        while True:
            now = time.monotonic()
            changed = False
            while not feed.answers.empty():
                answer = feed.answers.get()
                if isinstance(answer, Exception):
                    view.fail(str(answer), now)
                else:
                    view.receive(answer, now)
                changed = True
            if changed or now - drawn > _REFRESH_SECONDS:
                live.update(view.render(console, height=console.height), refresh=True)
                drawn = now
            key = read_key(_KEY_SECONDS)
            if key in ("q", "Q"):
                return
            if key in ("\t", "a"):
                view.turn(to_overview=key == "a")
                drawn = 0.0


class _KeyReader:
    """Single key presses of the terminal; without one it only waits."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def __call__(self, seconds: float) -> str:
        """The key that is pressed within a time, "" if none is."""
        if self._descriptor is None:
            time.sleep(seconds)
            return ""
        if not select.select([self._descriptor], [], [], seconds)[0]:
            return ""
        pressed = os.read(self._descriptor, 16).decode("utf-8", "replace")
        if not pressed:
            # The terminal is gone; asked again it would answer so at once, for ever.
            return "q"
        return pressed if len(pressed) == 1 else ""


@contextlib.contextmanager
def _keys() -> Iterator[_KeyReader]:
    if not sys.stdin.isatty():
        yield _KeyReader(None)
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield _KeyReader(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
