"""One comparison of two matrices of representations."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any

from thermograd import wire
from thermograd.declaration import fingerprint
from thermograd.report import MetricKey, report_values
from thermograd.similarity import similarity_options
from thermograd.v1 import representation_pb2 as representation
from thermograd.v1 import training_analysis_service_pb2 as service
from thermograd.v1 import training_analysis_service_pb2_grpc as service_grpc


def compare(
    x: Any,
    y: Any,
    *,
    address: str = "127.0.0.1:50051",
    ids: Iterable[Any] | None = None,
    similarities: Iterable[str] = (),
    neighbours: int = 0,
    permutations: int = 0,
    rbf_bandwidth_fraction: float = 0.0,
    svcca_variance_fraction: float = 0.0,
    cca_ridge: float = 0.0,
    credentials: wire.AnyCredentials = None,
    timeout: float = 60.0,
) -> dict[MetricKey, float]:
    """Similarities of two representations of the same samples.

    Args:
        x: NumPy array or PyTorch tensor, samples first; further dimensions are flattened.
        y: the same, with as many samples.
        address: host:port of the server.
        ids: names of the samples in their order, sent as a fingerprint.
        similarities, neighbours, permutations, rbf_bandwidth_fraction, svcca_variance_fraction,
            cca_ridge: what to compute, as `similarity_options` takes them.
        credentials: `thermograd.Credentials`, or gRPC's; none: those that the environment names,
            without which the connection is not encrypted.
        timeout: seconds until DEADLINE_EXCEEDED.

    Returns:
        The figures that are defined, as `report_values` returns them.

    Raises:
        OSError: a file of `credentials` cannot be read.
        ValueError: an argument is not what it should be.
        grpc.RpcError: the server refused or could not be reached.
    """
    sides = [
        (service.COMPARISON_SIDE_X, wire.Elements.of(x)),
        (service.COMPARISON_SIDE_Y, wire.Elements.of(y)),
    ]
    for _, elements in sides:
        if not elements.shape:
            raise ValueError("a representation needs a dimension of samples")
    options = similarity_options(
        similarities,
        neighbours=neighbours,
        permutations=permutations,
        rbf_bandwidth_fraction=rbf_bandwidth_fraction,
        svcca_variance_fraction=svcca_variance_fraction,
        cca_ridge=cca_ridge,
    )
    marker = b"" if ids is None else fingerprint(ids)
    with wire.open_channel(address, credentials) as channel:
        stub = service_grpc.TrainingAnalysisServiceStub(channel)
        return report_values(
            stub.CompareRepresentations(_requests(options, sides, marker), timeout=timeout)
        )


def _requests(
    options: representation.SimilarityOptions,
    sides: list[tuple[service.ComparisonSide, wire.Elements]],
    marker: bytes,
) -> Iterator[service.CompareRepresentationsRequest]:
    yield service.CompareRepresentationsRequest(options=options)
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
    # Merged by the share of the matrix that came before: of many samples the server keeps only
    # those of which it has seen one side.
    for _, _, request in heapq.merge(*(_chunks(side, elements) for side, elements in sides)):
        yield request


def _chunks(
    side: service.ComparisonSide, elements: wire.Elements
) -> Iterator[tuple[float, int, service.CompareRepresentationsRequest]]:
    total = max(len(elements.data), 1)
    for offset, data in elements.parts(wire.DEFAULT_CHUNK_BYTES):
        chunk = service.ComparisonChunk(side=side, offset=offset, data=data)
        share = offset * elements.item_bytes / total
        yield share, side, service.CompareRepresentationsRequest(chunk=chunk)
