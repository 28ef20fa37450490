"""HTTP/2 frames by hand (RFC 9113), for what no library would send."""

import socket
import struct

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE = range(9)
CONTINUATION = 9
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
CANCEL = 8

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
STREAM_RUN = "/thermograd.v1.TrainingAnalysisService/StreamRun"


def frame(kind, flags, stream, payload=b""):
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def integer(value, prefix_bits, first=0):
    """An integer of HPACK (RFC 7541, 5.1)."""
    most = (1 << prefix_bits) - 1
    if value < most:
        return bytes([first | value])
    out = bytearray([first | most])
    value -= most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(name, value, first=0x00):
    """A header field in full; `first` 0x40 adds it to the receiver's table."""
    name, value = name.encode(), value.encode()
    return bytes([first]) + integer(len(name), 7) + name + integer(len(value), 7) + value


def request_fields(path=STREAM_RUN, **more):
    """The header block of a gRPC call."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
        **{name.replace("_", "-"): text for name, text in more.items()},
    }
    return b"".join(field(name, text) for name, text in fields.items())


def message(data, compressed=False, length=None):
    """A message of gRPC, with the length that it claims to have."""
    return struct.pack(">BI", compressed, len(data) if length is None else length) + data


class Connection:
    """A connection on which anything may be sent."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self._socket = socket.create_connection((host, int(port)), timeout=30)
        self._received = b""
        self.send(PREFACE, frame(SETTINGS, 0, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def send(self, *frames):
        """Sends bytes; False once the server has closed the connection."""
        try:
            self._socket.sendall(b"".join(frames))
        except OSError:
            return False
        return True

    def reset(self):
        """Ends the connection as a crash would: the peer gets a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def receive(self):
        """The next frame (kind, flags, stream, payload); None at the end."""
        while len(self._received) < 9 or len(self._received) < 9 + self._length():
            try:
                data = self._socket.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                return None
            self._received += data
        end = 9 + self._length()
        kind, flags, stream = struct.unpack(">BBI", self._received[3:9])
        payload, self._received = self._received[9:end], self._received[end:]
        return kind, flags, stream, payload

    def _length(self):
        return int.from_bytes(self._received[:3], "big")
