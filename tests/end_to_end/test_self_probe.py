"""A process whose gRPC listener is dead ends by itself; one whose listener lives does not."""

import contextlib
import resource
import socket
import time

import small_run
from system_support import Server, Stream


def connect(address, connections):
    """Connections, all open at the same time."""
    host, port = address.rsplit(":", 1)
    with contextlib.ExitStack() as stack:
        for _ in range(connections):
            connection = stack.enter_context(socket.socket())
            connection.setblocking(False)
            connection.connect_ex((host, int(port)))
        time.sleep(2)


def test_a_dead_listener_ends_the_process():
    server = Server("--self_probe_seconds=1", "--drain_seconds=1")
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (256, 256))
    connect(server.grpc_address, 500)
    assert server.wait() == 1
    assert "unresponsive" in [event["event"] for event in server.events()]


def test_a_living_listener_is_left_alone():
    with Server("--self_probe_seconds=1") as server, Stream(server) as stream:
        stream.open(small_run.declaration("steady"))
        # Long enough for three failures.
        time.sleep(5)
        stream.step(small_run.begin(1), small_run.gradient())
