"""Ten thousand connections in a minute, of all kinds, leave nothing behind."""

import contextlib
import socket
import struct
import time

import grpc

import http2
import small_run
from bystander import Bystander
from system_support import Server, Stream, eventually

CONNECTIONS = 10_000
# Far faster than a minute would need, and slow enough that no call waits for others.
PAUSE_SECONDS = 0.002


def nothing(address):
    """Connects, and is gone."""
    socket.create_connection(address, timeout=30).close()


def reset(address):
    connection = socket.create_connection(address, timeout=30)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def preface(address):
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0))


def garbage(address):
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")


def opened_call(address):
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(
            http2.PREFACE
            + http2.frame(http2.SETTINGS, 0, 0)
            + http2.frame(http2.HEADERS, http2.END_HEADERS, 1, http2.request_fields())
        )


KINDS = [nothing, reset, preface, garbage, opened_call]


def test_ten_thousand_connections_in_a_minute():
    """The second half leaves nothing that the first did not."""
    with Server() as server:
        host, port = server.grpc_address.rsplit(":", 1)
        address = (host, int(port))

        def connect():
            for number in range(CONNECTIONS // 2):
                KINDS[number % len(KINDS)](address)
                time.sleep(PAUSE_SECONDS)
            eventually(lambda: server.by_limit("thermograd_limit_used")["max_streams"] == 1)
            eventually(lambda: server.open_files() < 32)
            return server.resident_bytes(), server.threads()

        begun = time.monotonic()
        with Bystander(server):
            resident, running = connect()
            resident_after, running_after = connect()
        assert time.monotonic() - begun < 60
        assert resident_after < resident + (32 << 20)
        assert running_after <= running + 5


def test_a_run_for_each_of_many_connections():
    """By a real client, each a channel of its own."""
    runs = 300
    with Server() as server, Bystander(server):
        for number in range(runs):
            with Stream(server) as stream:
                stream.open(small_run.declaration(f"short-{number}"))
                stream.step(small_run.begin(1), small_run.gradient())
                assert stream.close() is None
        counts = server.scrape()
        assert counts["thermograd_streams_total", frozenset()] == runs + 1
        assert counts["thermograd_incomplete_steps_total", frozenset()] == 0
        assert server.refusals() == {}


def test_streams_beyond_the_limit_wait_their_turn():
    """Whoever is refused hears the limit; a place that is given back is taken."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server("--max_streams=4"))
        stack.enter_context(Bystander(server))
        streams = [stack.enter_context(Stream(server)) for _ in range(3)]
        for number, stream in enumerate(streams):
            stream.open(small_run.declaration(f"kept-{number}"))
        for _ in range(20):
            with Stream(server) as late:
                error = late.error()
                assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert server.refusals() == {"max_streams": 20}
        for stream in streams:
            assert stream.close() is None
        with Stream(server) as after:
            after.open(small_run.declaration("after"))
