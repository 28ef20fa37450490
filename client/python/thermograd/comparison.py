"""One comparison of two matrices of representations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import grpc

from thermograd import wire
from thermograd.declaration import fingerprint
from thermograd.report import MetricKey, report_values
from thermograd.v1 import training_analysis_service_pb2 as service
from thermograd.v1 import training_analysis_service_pb2_grpc as service_grpc


def compare(
    x: Any,
    y: Any,
    *,
    address: str = "127.0.0.1:50051",
    ids: Iterable[Any] | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    timeout: float = 60.0,
) -> dict[MetricKey, float]:
    """Similarities of two representations of the same samples.

    Args:
        x: NumPy array or PyTorch tensor, samples first; further dimensions are flattened.
        y: the same, with as many samples.
        address: host:port of the server.
        ids: names of the samples in their order, sent as a fingerprint.
        credentials: gRPC credentials; none: the connection is not encrypted.
        timeout: seconds until DEADLINE_EXCEEDED.

    Returns:
        The figures that are defined, as `report_values` returns them.

    Raises:
        grpc.RpcError: the server refused or could not be reached.
    """
    sides = [
        (service.COMPARISON_SIDE_X, wire.Elements.of(x)),
        (service.COMPARISON_SIDE_Y, wire.Elements.of(y)),
    ]
    for _, elements in sides:
        if not elements.shape:
            raise ValueError("a representation needs a dimension of samples")
    marker = b"" if ids is None else fingerprint(ids)
    with wire.open_channel(address, credentials) as channel:
        stub = service_grpc.TrainingAnalysisServiceStub(channel)
        return report_values(
            stub.CompareRepresentations(_requests(sides, marker), timeout=timeout)
        )


def _requests(
    sides: list[tuple[service.ComparisonSide, wire.Elements]], marker: bytes
) -> Iterator[service.CompareRepresentationsRequest]:
    for side, elements in sides:
        count = len(elements.data) // elements.item_bytes
        samples = elements.shape[0]
        yield service.CompareRepresentationsRequest(
            header=service.ComparisonHeader(
                side=side,
                samples=samples,
                features=count // samples if samples else 0,
                data_type=elements.data_type,
                fingerprint=marker,
            )
        )
    for side, elements in sides:
        for offset, data in elements.parts(wire.DEFAULT_CHUNK_BYTES):
            yield service.CompareRepresentationsRequest(
                chunk=service.ComparisonChunk(side=side, offset=offset, data=data)
            )
