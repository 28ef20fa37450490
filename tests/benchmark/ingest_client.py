"""Gradients from the Python client into one core, beside the same bytes into nothing.

The same peers as stream_load's group `ingest`, in turn, round by round, and the same form of output.
A measurement is one step of as many tensors as make the bytes.

usage: ingest_client.py --stream-load PROGRAM --server PROGRAM --output FILE
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import system_support  # noqa: E402, F401  (puts the client package on the path)
import torch  # noqa: E402

import thermograd  # noqa: E402

TENSOR_ELEMENTS = 1 << 20
CHUNK_KIBIBYTES = (64, 256, 1024, 4096)
QUICK_CHUNK_KIBIBYTES = (64, 1024)
DATA_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Server:
    """A process on the machine's first core."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(
            ["taskset", "--cpu-list", "0", *command], stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        found = re.search(r'"grpc":"([^"]+)"', line)
        if found is None:
            raise SystemExit(f"{command[0]} did not start: {line}")
        self.address = found.group(1)

    def cpu_seconds(self) -> float:
        # What clock_getcpuclockid computes; Python does not offer it for other processes.
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def send_raw(server: Server, chunk: bytes, total_bytes: int) -> None:
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port))) as connection:
        for _ in range(total_bytes // len(chunk)):
            connection.sendall(chunk)
        connection.shutdown(socket.SHUT_WR)
        # The other side closes when it has read everything.
        assert connection.recv(1) == b""


def send_gradients(
    server: Server,
    chunk_bytes: int,
    tensor: torch.Tensor,
    total_bytes: int,
    microbatches: int,
    acknowledged: bool,
) -> None:
    tensors = total_bytes // (tensor.numel() * tensor.element_size()) // microbatches
    spec = thermograd.run_spec(
        "ingest", parameters={f"parameter{i}": tensor.shape for i in range(tensors)}
    )
    with thermograd.RunStream(server.address, spec, chunk_bytes=chunk_bytes) as stream:
        stream.begin_step(0, learning_rate=0.1, microbatches=microbatches)
        for microbatch in range(microbatches):
            for tensor_id in range(1, tensors + 1):
                stream.send(tensor_id, thermograd.GRADIENT, tensor, microbatch)
        if acknowledged:
            stream.end_step()


def measure(
    raw: Server, empty: Server, ours: Server, type_name: str, kibibytes: int, total_bytes: int
) -> dict[str, tuple[float, float]]:
    """One round: GB/s and server CPU s/GB by peer."""
    chunk_bytes = kibibytes << 10
    chunk = bytes(chunk_bytes)
    tensor = torch.full((TENSOR_ELEMENTS,), 0.25, dtype=DATA_TYPES[type_name])
    peers = {
        "raw TCP": (raw, lambda: send_raw(raw, chunk, total_bytes)),
        "empty handler": (
            empty,
            lambda: send_gradients(empty, chunk_bytes, tensor, total_bytes, 1, False),
        ),
        "thermograd": (
            ours,
            lambda: send_gradients(ours, chunk_bytes, tensor, total_bytes, 1, True),
        ),
        "thermograd, 4 microbatches": (
            ours,
            lambda: send_gradients(ours, chunk_bytes, tensor, total_bytes, 4, True),
        ),
    }
    found = {}
    for peer, (server, send) in peers.items():
        cpu, begin = server.cpu_seconds(), time.perf_counter()
        send()
        seconds = time.perf_counter() - begin
        gigabytes = 1e-9 * total_bytes
        found[peer] = (gigabytes / seconds, (server.cpu_seconds() - cpu) / gigabytes)
    return found


def records(
    rounds: list[dict[str, tuple[float, float]]], type_name: str, kibibytes: int
) -> list[dict[str, Any]]:
    series = f"Python client, {type_name}"
    written = []
    for peer in rounds[0]:
        for figure, unit in enumerate(("GB/s", "server CPU s/GB")):
            values = [found[peer][figure] for found in rounds]
            record: dict[str, Any] = {
                "group": "ingest",
                "case": f"{series}, chunks of {kibibytes} KiB",
                "peer": peer,
                "unit": unit,
                "value": statistics.median(values),
                "repetitions": values,
                "series": series,
                "x": kibibytes << 10,
                "x_name": "bytes of a chunk",
            }
            references = [name for name in ("raw TCP", "empty handler") if name != peer]
            if peer == "raw TCP":
                written.append(record)
                continue
            for reference in references:
                ratios = [found[peer][figure] / found[reference][figure] for found in rounds]
                written.append(
                    {
                        **record,
                        "ratio_to": reference,
                        "ratio": statistics.median(ratios),
                        "ratios": ratios,
                    }
                )
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stream-load", required=True, help="holds the servers that discard")
    parser.add_argument("--server", required=True)
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    raw = Server(arguments.stream_load, "--serve=raw_tcp")
    empty = Server(arguments.stream_load, "--serve=empty_handler")
    ours = Server(
        arguments.server, "--listen_address=127.0.0.1:0", "--http_address=127.0.0.1:0"
    )
    # The client stays off the servers' core where it can.
    os.sched_setaffinity(0, os.sched_getaffinity(0) - {0} or {0})
    torch.set_num_threads(1)
    try:
        with arguments.output.open("a", encoding="utf-8") as output:
            for type_name in DATA_TYPES:
                for kibibytes in QUICK_CHUNK_KIBIBYTES if arguments.quick else CHUNK_KIBIBYTES:
                    rounds = [
                        measure(raw, empty, ours, type_name, kibibytes, arguments.megabytes << 20)
                        for _ in range(arguments.rounds)
                    ]
                    for record in records(rounds, type_name, kibibytes):
                        print(json.dumps(record), file=output, flush=True)
    finally:
        for server in (raw, empty, ours):
            server.stop()


if __name__ == "__main__":
    main()
