"""Starts a scene's trainers, shows progress, and draws what the server reported.

The server is started too, unless one that runs already is named.
"""

import argparse
import json
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import digits_scene
import platonic_scene

STARTUP_SECONDS = 20
STOP_SECONDS = 15


class Stopped(Exception):
    """A signal asked the demo to stop."""


def _stop(number, _frame):
    # The clean-up that follows is not to be cut short.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise Stopped(number)


def _start(command, **arguments):
    # In a session of its own: Ctrl-C reaches this program only, which stops the others in order.
    return subprocess.Popen(command, start_new_session=True, **arguments)


def _end(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(port):
    """The server's usual port if it is free, else port 0, which stands for any."""
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            port = 0
    return f"127.0.0.1:{port}"


def _start_server(binary, log):
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as stderr:
        server = _start(
            [binary, f"--listen_address={_address(50051)}", f"--http_address={_address(9464)}"],
            stderr=stderr,
        )
    try:
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline and server.poll() is None:
            for line in log.read_text().splitlines():
                event = json.loads(line)
                if event["event"] == "listening":
                    return server, event
            time.sleep(0.05)
    except BaseException:
        _end(server)
        raise
    _end(server)
    sys.exit(f"The server did not start:\n{log.read_text()}")


def _scrape(http_address):
    """/metrics as Prometheus gets it: lines by the text before their value."""
    with urllib.request.urlopen(f"http://{http_address}/metrics", timeout=5) as response:
        lines = response.read().decode().splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))


def _show_progress(http_address, trainers, scene):
    """Repeats the latest figures of /metrics until the trainers have ended."""
    is_terminal = sys.stdout.isatty()
    next_line = 0.0
    while any(trainer.poll() is None for trainer in trainers):
        time.sleep(0.25)
        if time.monotonic() < next_line:
            continue
        next_line = time.monotonic() + (1 if is_terminal else 5)
        samples = _scrape(http_address)
        parts = []
        for run in scene.RUNS:
            shown = []
            for title, name, labels, pattern in scene.progress(run):
                labels = {"run": run} | labels
                pairs = ",".join(f'{label}="{value}"' for label, value in labels.items())
                if (key := f"{name}{{{pairs}}}") in samples:
                    shown.append(f"{title} {pattern.format(float(samples[key]))}")
            if shown:
                parts.append(f"{run}: " + ", ".join(shown))
        if parts:
            text = " | ".join(parts)
            print(f"\r{text}\033[K" if is_terminal else text, end="" if is_terminal else "\n")
            sys.stdout.flush()
    if is_terminal:
        print()


def _train(server_addresses, directory, scene):
    outputs = [directory / f"{number}.json" for number in range(len(scene.TRAINERS))]
    trainers = []
    try:
        for (script, arguments), output in zip(scene.TRAINERS, outputs):
            trainers.append(
                _start(
                    [sys.executable, pathlib.Path(__file__).with_name(script), *arguments]
                    + ["--address", server_addresses["grpc"], "--output", output]
                )
            )
        _show_progress(server_addresses["http"], trainers, scene)
    finally:
        for process in trainers:
            _end(process)
    if any(process.returncode for process in trainers):
        sys.exit("A trainer failed; its message stands above.")
    return [json.loads(output.read_text()) for output in outputs]


def _show_scene(addresses, scene, pictures):
    """Trains once; prints the table and draws the picture."""
    with tempfile.TemporaryDirectory(prefix="thermograd-demo-") as directory:
        histories = _train(addresses, pathlib.Path(directory), scene)
    print()
    scene.print_table(histories)
    pictures.mkdir(parents=True, exist_ok=True)
    picture = pictures / scene.PICTURE
    scene.draw(histories, picture)
    print(f"\nPicture: {picture}", flush=True)


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    server = parser.add_mutually_exclusive_group(required=True)
    server.add_argument("--server", help="program of the server that is started")
    server.add_argument(
        "--running",
        nargs=2,
        metavar=("GRPC_ADDRESS", "HTTP_ADDRESS"),
        help="addresses of a server that runs already",
    )
    parser.add_argument("--log", type=pathlib.Path, help="where --server's log is written")
    parser.add_argument("--pictures", required=True, type=pathlib.Path)
    parser.add_argument("--platonic", action="store_true")
    parser.add_argument("--keep", action="store_true", help="leave the server of --server running")
    parser.add_argument("--repeat", action="store_true", help="train again and again")
    arguments = parser.parse_args()
    if arguments.server and not arguments.log:
        parser.error("--server needs --log")
    return arguments


def main():
    arguments = _arguments()
    scene = platonic_scene if arguments.platonic else digits_scene
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)

    server = None
    is_kept = False
    try:
        if arguments.running:
            addresses = dict(zip(("grpc", "http"), arguments.running))
        else:
            server, addresses = _start_server(arguments.server, arguments.log)
            print(
                f"Server: gRPC on {addresses['grpc']}, http://{addresses['http']}/ lists the runs, "
                f"instruction set {addresses['simd']}."
            )
        _show_scene(addresses, scene, arguments.pictures)
        while arguments.repeat:
            _show_scene(addresses, scene, arguments.pictures)
        is_kept = arguments.keep and server is not None
        if is_kept:
            print(
                f"The server goes on: http://{addresses['http']}/metrics; "
                f"stop it with: kill {server.pid}"
            )
    except Stopped as stopped:
        print("\nStopped.")
        sys.exit(128 + stopped.args[0])
    finally:
        if server is not None and not is_kept:
            _end(server)


if __name__ == "__main__":
    main()
