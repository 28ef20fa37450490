"""What every call shares: channels, the run's metadata, and tensors cut into chunks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import numpy as np
import numpy.typing as npt

from thermograd.credentials import Credentials
from thermograd.v1 import tensor_pb2

GRADIENT = tensor_pb2.TENSOR_KIND_GRADIENT
WEIGHT = tensor_pb2.TENSOR_KIND_WEIGHT
UPDATE = tensor_pb2.TENSOR_KIND_UPDATE
ACTIVATION = tensor_pb2.TENSOR_KIND_ACTIVATION
ACTIVATION_GRADIENT = tensor_pb2.TENSOR_KIND_ACTIVATION_GRADIENT
PRECONDITIONER = tensor_pb2.TENSOR_KIND_PRECONDITIONER
GRADIENT_AFTER_UPDATE = tensor_pb2.TENSOR_KIND_GRADIENT_AFTER_UPDATE
REDUCED_GRADIENT = tensor_pb2.TENSOR_KIND_REDUCED_GRADIENT

RUN_METADATA_KEY = "x-thermograd-run"
AFFINITY_METADATA_KEY = "x-thermograd-affinity"
DEFAULT_CHUNK_BYTES = 1 << 20

# By name, because NumPy has no bfloat16 of its own.
_DATA_TYPES = {
    "bfloat16": tensor_pb2.DATA_TYPE_BF16,
    "float16": tensor_pb2.DATA_TYPE_FP16,
    "float32": tensor_pb2.DATA_TYPE_FP32,
    "float64": tensor_pb2.DATA_TYPE_FP64,
}

_CHANNEL_OPTIONS = [
    # A channel of its own connection: a new one never inherits the old one's reconnect delay.
    ("grpc.use_local_subchannel_pool", 1),
    # A peer that vanished without closing its socket is noticed within 40 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Reports of runs with thousands of parameters pass gRPC's default of 4 MiB.
    ("grpc.max_receive_message_length", 64 << 20),
]


#: What a call takes for its `credentials`.
AnyCredentials: TypeAlias = Credentials | grpc.ChannelCredentials | None


def open_channel(address: str, credentials: AnyCredentials) -> grpc.Channel:
    """A channel to a server; without credentials, with those that the environment names.

    Raises:
        OSError, ValueError: as `Credentials.channel`.
    """
    if credentials is None:
        credentials = Credentials.from_environment()
    if isinstance(credentials, Credentials):
        return credentials.channel(address, _CHANNEL_OPTIONS)
    return grpc.secure_channel(address, credentials, options=_CHANNEL_OPTIONS)


def channel_opener(address: str, credentials: AnyCredentials) -> Callable[[], grpc.Channel]:
    """What opens a channel whenever it is called.

    Raises:
        OSError, ValueError: as `open_channel`, now.
    """
    if credentials is None:
        credentials = Credentials.from_environment()
    open_channel(address, credentials).close()
    return functools.partial(open_channel, address, credentials)


def run_metadata(run: str, affinity: str | None = None) -> tuple[tuple[str, str], ...]:
    """The run's name as call metadata, and what load balancers hash on: `affinity`, else the name.

    Calls of equal affinity meet at one server.
    """
    return (
        (RUN_METADATA_KEY, _metadata_value(run)),
        (AFFINITY_METADATA_KEY, _metadata_value(affinity or run)),
    )


def _metadata_value(text: str) -> str:
    # Metadata admits printable ASCII only: every other byte, the blank and '%' are percent-encoded.
    return "".join(
        chr(byte) if 0x21 <= byte <= 0x7E and byte != 0x25 else f"%{byte:02X}"
        for byte in text.encode()
    )


@dataclass(frozen=True)
class Elements:
    """A tensor as the wire sees it: little-endian, row-major bytes and what they mean."""

    data_type: tensor_pb2.DataType
    shape: tuple[int, ...]
    data: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, array: Any) -> Elements:
        """Elements of a NumPy array or a PyTorch tensor, without conversion of their values."""
        name, host = _to_host(array)
        data_type = _DATA_TYPES.get(name)
        if data_type is None:
            raise TypeError(f"elements of type {name} cannot be sent; cast them to float32")
        shape = tuple(host.shape)
        if host.dtype.byteorder not in "=|<":
            host = host.astype(host.dtype.newbyteorder("<"))
        return cls(data_type, shape, np.ascontiguousarray(host).reshape(-1).view(np.uint8))

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        if self.data_type == tensor_pb2.DATA_TYPE_FP64:
            return 8
        return 4 if self.data_type == tensor_pb2.DATA_TYPE_FP32 else 2

    def parts(self, chunk_bytes: int) -> Iterator[tuple[int, bytes]]:
        """(index of the first element, bytes) of each chunk; one empty chunk if there is none."""
        part_bytes = max(chunk_bytes // self.item_bytes, 1) * self.item_bytes
        for start in range(0, max(len(self.data), 1), part_bytes):
            yield start // self.item_bytes, self.data[start : start + part_bytes].tobytes()


def _to_host(array: Any) -> tuple[str, npt.NDArray[Any]]:
    if not hasattr(array, "detach"):
        array = np.asarray(array)
        return array.dtype.name, array
    tensor = array.detach().cpu()
    name = str(tensor.dtype).removeprefix("torch.")
    if name == "bfloat16":
        # NumPy cannot hold the type, only its bits.
        import torch

        tensor = tensor.contiguous().view(torch.int16)
    return name, tensor.numpy()


def tensor_chunks(
    tensor_id: int,
    kind: tensor_pb2.TensorKind,
    elements: Elements,
    microbatch: int,
    chunk_bytes: int,
) -> Iterator[tensor_pb2.TensorChunk]:
    """The chunks of one tensor, in order of offset."""
    for offset, data in elements.parts(chunk_bytes):
        yield tensor_pb2.TensorChunk(
            tensor_id=tensor_id,
            kind=kind,
            data_type=elements.data_type,
            shape=elements.shape,
            offset=offset,
            microbatch=microbatch,
            data=data,
        )
