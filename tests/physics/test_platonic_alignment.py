"""Experiment 5 of the metric specification: gradient noise makes two runs' representations one.

The trainer is that of deploy/demo --platonic.
"""

import itertools
import sys

import pytest

from system_support import ROOT, value

sys.path.insert(0, str(ROOT / "deploy/demo_program"))

import deep_linear  # noqa: E402
from platonic_scene import LAYERS  # noqa: E402
from platonic_trainer import stream_pair  # noqa: E402

SEEDS = (2, 4)


def measure(server, name, method, steps, seed):
    """CKA of each pair of hidden layers at the first and at the last step, and the last losses."""
    runs = [f"{name}-{seed}-{side}" for side in "ab"]
    similarities = []
    for _, losses, (_, second) in stream_pair(
        server.grpc_address, runs, method, steps, steps // 10, seed
    ):
        similarities.append(
            {
                pair: value(
                    second,
                    "thermograd_cross_run_cka_ratio",
                    layer=pair[1],
                    other_run=runs[0],
                    other_layer=pair[0],
                )
                for pair in itertools.product(LAYERS, LAYERS)
            }
        )
    return similarities[0], similarities[-1], losses


@pytest.mark.parametrize("seed", SEEDS)
def test_gradient_descent_leaves_representations_apart(server, seed):
    method = deep_linear.GRADIENT_DESCENT
    _, last, losses = measure(server, "gradient-descent", method, 6000, seed)
    # Both runs have learned the whole map, and yet see it differently.
    assert max(losses) < 1e-9
    assert last["hidden-1", "hidden-1"] < 0.75
    assert max(last.values()) < 0.85


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_makes_all_representations_one(server, seed):
    first, last, _ = measure(server, "sgd", deep_linear.SGD, 20000, seed)
    assert max(first.values()) < 0.7
    assert min(last.values()) > 0.98
