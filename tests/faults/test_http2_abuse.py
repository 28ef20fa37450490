"""What abuses HTTP/2 itself costs bounded memory, and no other run a figure."""

import dataclasses
import struct
import time
import zlib

import grpc
import pytest

import http2
import small_run
from balancer import HAPROXY, NGINX, Balancer
from bystander import Bystander
from http2 import END_HEADERS, Connection, frame
from system_support import Server, Stream, eventually

MIB = 1 << 20
MEMORY_BYTES = 32 * MIB
OPEN = http2.request_fields()


def ping_flood(connection):
    pings = frame(http2.PING, 0, 0, bytes(8)) * 1000
    return all(connection.send(pings) for _ in range(100))


def settings_flood(connection):
    settings = frame(http2.SETTINGS, 0, 0, struct.pack(">HI", 4, 65535)) * 1000
    return all(connection.send(settings) for _ in range(20))


def priority_flood(connection):
    frames = b"".join(
        frame(http2.PRIORITY, 0, 2 * i + 1, struct.pack(">IB", 0, 16)) for i in range(1000)
    )
    return all(connection.send(frames) for _ in range(20))


def rapid_reset(connection):
    return all(
        connection.send(
            frame(http2.HEADERS, END_HEADERS, 2 * i + 1, OPEN),
            frame(http2.RST_STREAM, 0, 2 * i + 1, struct.pack(">I", http2.CANCEL)),
        )
        for i in range(10_000)
    )


def half_messages_and_resets(connection):
    return all(
        connection.send(
            frame(http2.HEADERS, END_HEADERS, 2 * i + 1, OPEN),
            frame(http2.DATA, 0, 2 * i + 1, http2.message(bytes(1000), length=MIB)),
            frame(http2.RST_STREAM, 0, 2 * i + 1, struct.pack(">I", http2.CANCEL)),
        )
        for i in range(2_000)
    )


def large_headers(connection):
    value = "v" * 16_000
    block = OPEN + b"".join(http2.field(f"h{i}", value) for i in range(640))
    return send_block(connection, 1, block)


def endless_headers(connection):
    connection.send(frame(http2.HEADERS, 0, 1, OPEN))
    part = b"".join(http2.field(f"x{i}", "y" * 100) for i in range(100))
    return all(connection.send(frame(http2.CONTINUATION, 0, 1, part)) for _ in range(4_000))


def header_bomb(connection):
    """A field of 4 kB in the table of the server, then a byte for each time it comes again."""
    first = OPEN + http2.field("bomb", "b" * 4_000, first=0x40)
    connection.send(frame(http2.HEADERS, END_HEADERS, 1, first))
    newest = bytes([0x80 | 62])
    return all(send_block(connection, 2 * i + 3, OPEN + newest * 16_000) for i in range(20))


def window_of_nothing(connection):
    connection.send(frame(http2.HEADERS, END_HEADERS, 1, OPEN))
    return connection.send(frame(http2.WINDOW_UPDATE, 0, 1, bytes(4)))


def message_longer_than_admitted(connection):
    connection.send(frame(http2.HEADERS, END_HEADERS, 1, OPEN))
    return connection.send(
        frame(http2.DATA, 0, 1, http2.message(bytes(10_000), length=(1 << 32) - 1))
    )


def random_frames(connection):
    for i in range(5_000):
        kind = i % 12
        payload = bytes((i * 31 + j) % 256 for j in range(i % 40))
        if not connection.send(frame(kind, i % 256, i % 7, payload)):
            return False
    return True


def send_block(connection, stream, block):
    """A header block in as many frames as it takes."""
    parts = [block[i : i + 16_000] for i in range(0, len(block), 16_000)]
    for number, part in enumerate(parts):
        kind = http2.CONTINUATION if number else http2.HEADERS
        flags = END_HEADERS if number == len(parts) - 1 else 0
        if not connection.send(frame(kind, flags, stream, part)):
            return False
    return True


ABUSES = [
    ping_flood,
    settings_flood,
    priority_flood,
    rapid_reset,
    half_messages_and_resets,
    large_headers,
    endless_headers,
    header_bomb,
    window_of_nothing,
    message_longer_than_admitted,
    random_frames,
]

# What the packaged gRPC takes where nothing stands before it: the calls that wait to be cancelled,
# and the fields of a header block that never ends, which it counts too late (CVE-2023-33953).
GRPC_MEMORY_BYTES = {
    ping_flood: 128 * MIB,
    rapid_reset: 512 * MIB,
    half_messages_and_resets: 128 * MIB,
    endless_headers: 128 * MIB,
}


def is_admitted(server):
    """Whether a new run is served."""
    try:
        with Stream(server) as stream:
            stream.open(small_run.declaration("after"))
            stream.step(small_run.begin(1), small_run.gradient())
    except grpc.RpcError:
        return False
    return True


@dataclasses.dataclass
class Front:
    """A server with a bystander, and where it is abused."""

    server: Server
    bystander: Bystander
    address: str
    #: What stands before the server, if anything does.
    engine: str | None

    def memory_bytes(self, abuse):
        """What the server may take for it."""
        if self.engine is None:
            return GRPC_MEMORY_BYTES.get(abuse, MEMORY_BYTES)
        return MEMORY_BYTES


@pytest.fixture(scope="module", name="front", params=[None, NGINX, HAPROXY])
def fixture_front(request):
    # Beyond that memory new runs are refused, until what was freed has gone back to the system.
    flags = "--max_streams=64", f"--max_resident_bytes={160 * MIB}"
    with Server(*flags) as server, Bystander(server) as bystander:
        if request.param is None:
            yield Front(server, bystander, server.grpc_address, None)
        else:
            with Balancer(request.param, [server], encrypted=False) as balancer:
                yield Front(server, bystander, balancer.address, request.param)


@pytest.mark.parametrize("abuse", ABUSES, ids=lambda abuse: abuse.__name__)
def test_abuse(front, abuse):
    server, bystander = front.server, front.bystander
    before = server.resident_bytes()
    with Connection(front.address) as connection:
        abuse(connection)
        time.sleep(0.5)
        peak = server.resident_bytes()
        connection.reset()
    steps = bystander.steps
    eventually(lambda: bystander.steps > steps + 5)
    eventually(lambda: server.by_limit("thermograd_limit_used")["max_streams"] == 1)
    eventually(lambda: is_admitted(server))
    bystander.check()
    assert peak - before < front.memory_bytes(abuse)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_message_is_refused_before_it_is_inflated(encoding):
    bits = {"gzip": 31, "deflate": 15}[encoding]
    compressor = zlib.compressobj(9, zlib.DEFLATED, bits)
    # 128 MiB of zeros in 128 KiB.
    bomb = compressor.compress(bytes(128 * MIB)) + compressor.flush()
    assert len(bomb) < MIB
    with Server() as server, Bystander(server):
        before = server.resident_bytes()
        with Connection(server.grpc_address) as connection:
            connection.send(
                frame(http2.HEADERS, END_HEADERS, 1, http2.request_fields(grpc_encoding=encoding))
            )
            data = http2.message(bomb, compressed=True)
            for start in range(0, len(data), 16_000):
                connection.send(frame(http2.DATA, 0, 1, data[start : start + 16_000]))
            status = grpc_status(connection)
            peak = server.resident_bytes()
        assert status == str(grpc.StatusCode.UNIMPLEMENTED.value[0])
        assert peak - before < 5 * MIB


def grpc_status(connection):
    """The status that ends the first call."""
    while (received := connection.receive()) is not None:
        kind, _, stream, payload = received
        if kind == http2.HEADERS and stream == 1 and b"grpc-status" in payload:
            # Fields of gRPC's encoder that are new to the table come in full, unpacked.
            rest = payload.split(b"grpc-status")[1]
            return rest[1 : 1 + rest[0]].decode()
    return None
