"""Streams into one, two and three servers, straight and through the shipped load balancers.

Client, balancer and servers share the machine: with less than a core for each, more servers show
what balancing costs, not what they gain.

usage: replicas.py --stream-load PROGRAM --output FILE
"""

from __future__ import annotations

import argparse
import contextlib
import json
import pathlib
import statistics
import subprocess
import sys
from typing import Any

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "deploy/replicas")]

from balancer import HAPROXY, HAPROXY_TCP, NGINX, Balancer  # noqa: E402
from system_support import Server  # noqa: E402

DIRECT = "direct"
# Name of the peer: configuration, encrypted between client and balancer.
BALANCERS = {
    "nginx": (NGINX, False),
    "HAProxy": (HAPROXY, False),
    "HAProxy, TCP mode": (HAPROXY_TCP, False),
    "nginx, TLS": (NGINX, True),
    "HAProxy, TLS": (HAPROXY, True),
    "HAProxy, TCP mode, TLS": (HAPROXY_TCP, True),
}
UNITS = ("GB/s", "balancer CPU s/GB", "server CPU s/GB")


def send(arguments: argparse.Namespace, addresses: list[str], *flags: str) -> tuple[float, float]:
    """Gigabytes, seconds."""
    said = subprocess.run(
        [arguments.stream_load, f"--send_to={','.join(addresses)}",
         f"--megabytes={arguments.megabytes}", f"--streams={arguments.streams}", *flags],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = json.loads(said.stdout)
    return 1e-9 * found["bytes"], found["seconds"]


def measure(
    arguments: argparse.Namespace, servers: list[Server], balancer: Balancer | None, encrypted: bool
) -> tuple[float, ...]:
    """The figures of UNITS, once."""
    addresses = [each.grpc_address for each in servers] if balancer is None else [balancer.address]
    flags = [f"--tls_ca_file={balancer.certificate}"] if balancer and encrypted else []
    before = sum(each.cpu_seconds() for each in servers)
    balancer_before = balancer.cpu_seconds() if balancer else 0.0
    gigabytes, seconds = send(arguments, addresses, *flags)
    balancer_seconds = balancer.cpu_seconds() - balancer_before if balancer else 0.0
    server_seconds = sum(each.cpu_seconds() for each in servers) - before
    return gigabytes / seconds, balancer_seconds / gigabytes, server_seconds / gigabytes


def records(rounds: list[dict[str, tuple[float, ...]]], servers: int) -> list[dict[str, Any]]:
    written = []
    for peer in rounds[0]:
        for figure, unit in enumerate(UNITS):
            values = [found[peer][figure] for found in rounds]
            record: dict[str, Any] = {
                "group": "replicas",
                "case": f"{servers} server{'s' * (servers > 1)}",
                "peer": peer,
                "unit": unit,
                "value": statistics.median(values),
                "repetitions": values,
                "series": peer,
                "x": servers,
                "x_name": "servers",
            }
            if peer != DIRECT and unit != "balancer CPU s/GB":
                ratios = [found[peer][figure] / found[DIRECT][figure] for found in rounds]
                record.update(ratio_to=DIRECT, ratio=statistics.median(ratios), ratios=ratios)
            if peer != DIRECT or unit != "balancer CPU s/GB":
                written.append(record)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stream-load", required=True)
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--quick", action="store_true", help="one server and three")
    arguments = parser.parse_args()
    with arguments.output.open("a", encoding="utf-8") as output:
        for count in (1, 3) if arguments.quick else (1, 2, 3):
            with contextlib.ExitStack() as stack:
                servers = [stack.enter_context(Server()) for _ in range(count)]
                peers: dict[str, tuple[Balancer | None, bool]] = {DIRECT: (None, False)}
                for peer, (name, encrypted) in BALANCERS.items():
                    balancer = stack.enter_context(Balancer(name, servers, encrypted))
                    peers[peer] = balancer, encrypted
                rounds = [
                    {
                        peer: measure(arguments, servers, balancer, encrypted)
                        for peer, (balancer, encrypted) in peers.items()
                    }
                    for _ in range(arguments.rounds)
                ]
            for record in records(rounds, count):
                print(json.dumps(record), file=output, flush=True)


if __name__ == "__main__":
    main()
