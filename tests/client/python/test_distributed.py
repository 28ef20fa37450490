"""Several trainers of one run make the figures that one trainer makes of all microbatches."""

import json
import os
import subprocess
import sys

import pytest
import thermograd
import torch

from system_support import ROOT

# One process: `world_size` of them train the same model, each on its own part of a step's
# microbatches, accumulated by the usual recipe for DistributedDataParallel.
TRAIN = """
import contextlib, json, sys
import thermograd, torch
from torch import nn

(
    rank, world_size, rendezvous, address, run, microbatches, steps, mode, watched, is_clipped,
) = json.loads(sys.argv[1])
if world_size > 1:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size
    )
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)).double()
trained = nn.parallel.DistributedDataParallel(model) if world_size > 1 else model
optimizer = torch.optim.SGD(
    [
        {"params": model[0].parameters(), "name": "first"},
        {"params": model[2].parameters(), "name": "second", "lr": 0.05, "weight_decay": 0.01},
    ],
    lr=0.1, momentum=0.5,
)
own = microbatches // world_size
reports = []
with thermograd.watch(
    {"model": model, "trained": trained}[watched], optimizer, run=run, address=address,
    accumulation="mean", mode=mode, log_freq=1,
    log=["gradients", "parameters", "updates"],
    on_report=lambda report: reports.append(
        [[name, labels, value] for (name, labels), value
         in thermograd.report_values(report).items()]
    ),
) as watcher:
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(microbatches, 4, 5, generator=generator, dtype=torch.float64)
        y = torch.randn(microbatches, 4, 3, generator=generator, dtype=torch.float64)
        optimizer.zero_grad()
        for number in range(own):
            is_last = number == own - 1
            with contextlib.nullcontext() if world_size == 1 or is_last else trained.no_sync():
                part = rank * own + number
                loss = nn.functional.mse_loss(trained(x[part]), y[part])
                (loss / own).backward()
                watcher.log(loss=loss)
        if is_clipped:
            nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        optimizer.step()
    assert watcher.flush(60.0), watcher.stats
    assert watcher.stats.hook_errors == 0
print(json.dumps(reports))
"""


def train(
    server, rendezvous, run, world_size, *, microbatches=4, steps=3, mode="tensors",
    watched="trained", is_clipped=False,
):  # fmt: skip
    """For each rank the reports of all steps, figures by name and labels."""
    trainers = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN,
             json.dumps([rank, world_size, str(rendezvous), server.grpc_address, run, microbatches,
                         steps, mode, watched, is_clipped])],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for rank in range(world_size)
    ]  # fmt: skip
    try:
        printed = [trainer.communicate(timeout=120)[0] for trainer in trainers]
    finally:
        for trainer in trainers:
            trainer.kill()
            trainer.wait()
    assert [trainer.returncode for trainer in trainers] == [0] * world_size
    return [
        [
            {(name, tuple(map(tuple, labels))): value for name, labels, value in report}
            for report in json.loads(text)
        ]
        for text in printed
    ]


@pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this PyTorch is built without torch.distributed"
)
def test_two_trainers_make_the_figures_of_one(server, tmp_path):
    (alone,) = train(server, tmp_path / "alone", "alone", 1)
    both = train(server, tmp_path / "both", "both", 2)
    assert len(alone) == 3
    for name in ("gradient_covariance_trace", "entropic_loss"):
        assert thermograd.metric_key(f"thermograd_{name}") in alone[-1]
    for name in ("charge_drift", "charge_drift_predicted", "optimizer_breaking"):
        key = thermograd.metric_key(f"thermograd_symmetry_{name}", symmetry="layer:0->2")
        assert alone[-1][key] != 0
    for reports in both:
        for found, expected in zip(reports, alone, strict=True):
            assert found.keys() == expected.keys()
            for key, figure in expected.items():
                assert found[key] == pytest.approx(figure, rel=1e-8, abs=1e-12), key


@pytest.mark.skipif(
    not torch.distributed.is_available(), reason="this PyTorch is built without torch.distributed"
)
@pytest.mark.parametrize("watched, is_clipped", [("trained", True), ("model", False)])
def test_sums_of_two_trainers_make_the_figures_of_one(server, tmp_path, watched, is_clipped):
    """Of DistributedDataParallel the averaged gradients are looked at before they are clipped."""
    run = f"sums-{watched}"
    (alone,) = train(server, tmp_path / "alone", f"{run}-alone", 1, is_clipped=is_clipped)
    both = train(
        server, tmp_path / "both", run, 2, mode="statistics", watched=watched,
        is_clipped=is_clipped,
    )  # fmt: skip
    for reports in both:
        for found, expected in zip(reports, alone, strict=True):
            assert found.keys() == expected.keys()
            for key, figure in expected.items():
                # A drift that follows its prediction has an error of nothing but rounding.
                absolute = 1e-7 if "error_ratio" in key[0] else 1e-12
                assert found[key] == pytest.approx(figure, rel=1e-8, abs=absolute), key
