"""Which similarities of representations the server computes, by names instead of numbers."""

from __future__ import annotations

from collections.abc import Iterable

from thermograd.v1 import representation_pb2 as representation

_PREFIX = "SIMILARITY_"
#: Names of all similarities.
SIMILARITIES = tuple(
    name.removeprefix(_PREFIX).lower()
    for name in representation.Similarity.keys()
    if name != "SIMILARITY_UNSPECIFIED"
)


def similarity_options(
    similarities: Iterable[str] = (),
    *,
    neighbours: int = 0,
    permutations: int = 0,
    rbf_bandwidth_fraction: float = 0.0,
    svcca_variance_fraction: float = 0.0,
    cca_ridge: float = 0.0,
) -> representation.SimilarityOptions:
    """Similarities with their free parameters, for `run_spec` and `watch`.

    Args:
        similarities: "cka", "cka_unbiased", "cka_rbf", "cka_rbf_unbiased", "cka_calibrated",
            "mutual_neighbours", "cknna", "cca", "svcca", "pwcca", "procrustes", "rsa"; none: the
            server's choice of cheap ones.
        neighbours: k of the nearest-neighbour figures; 0: 10.
        permutations: of the calibrated CKA; 0: 199.
        rbf_bandwidth_fraction: bandwidth as a part of the median distance; 0: 0.5.
        svcca_variance_fraction: part of the variance that SVCCA keeps; 0: 0.99.
        cca_ridge: ridge of CCA as a part of each side's largest variance.

    Raises:
        ValueError: there is no such similarity.
    """
    return representation.SimilarityOptions(
        similarities=[_similarity(name) for name in similarities],
        neighbours=neighbours,
        permutations=permutations,
        rbf_bandwidth_fraction=rbf_bandwidth_fraction,
        svcca_variance_fraction=svcca_variance_fraction,
        cca_ridge=cca_ridge,
    )


def _similarity(name: str) -> representation.Similarity:
    if name not in SIMILARITIES:
        raise ValueError(f"similarities: there is no {name!r}")
    number: representation.Similarity = representation.Similarity.Value(_PREFIX + name.upper())
    return number
