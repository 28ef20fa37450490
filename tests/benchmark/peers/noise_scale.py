"""The gradient noise scale of a step beside gns-pytorch: the same value, and what it costs.

With one sample a microbatch both divide the same unbiased estimates, so the values agree. For users
the cost matters: gns-pytorch takes gradients of single samples besides the training step; we take
those of the microbatches that gradient accumulation has anyway. Times are of whole training steps,
ratios to a step of the same accumulation that nobody watches.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable
from typing import Any

import common

FEATURES, HIDDEN, CLASSES, BATCH = 784, 1024, 10, 32
TOLERANCE = 1e-3


class Job:
    """A small classifier that learns labels which its inputs half explain."""

    def __init__(self, microbatches: int) -> None:
        import torch

        torch.manual_seed(0)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(FEATURES, HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Linear(HIDDEN, HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Linear(HIDDEN, CLASSES),
        )
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)
        self.inputs = torch.randn(BATCH, FEATURES)
        self.targets = (self.inputs[:, :CLASSES] + torch.randn(BATCH, CLASSES)).argmax(dim=1)
        self._microbatches = microbatches

    def losses(self, start: int = 0, count: int = BATCH) -> Any:
        """Loss of each sample."""
        import torch

        part = slice(start, start + count)
        return torch.nn.functional.cross_entropy(
            self.model(self.inputs[part]), self.targets[part], reduction="none"
        )

    def backward(self, before: Callable[[Any], None] = lambda losses: None) -> None:
        """Accumulates the gradient of the batch; `before` sees the losses of each microbatch."""
        self.optimizer.zero_grad()
        size = BATCH // self._microbatches
        for start in range(0, BATCH, size):
            losses = self.losses(start, size)
            before(losses)
            (losses.mean() / self._microbatches).backward()

    def step(self, before: Callable[[Any], None] = lambda losses: None) -> None:
        """A training step."""
        self.backward(before)
        self.optimizer.step()


class Watched:
    """A job that Thermograd watches."""

    def __init__(self, address: str, run: str, microbatches: int) -> None:
        import thermograd

        self._thermograd = thermograd
        self.job = Job(microbatches)
        self.watcher = thermograd.watch(
            self.job.model,
            self.job.optimizer,
            run=run,
            address=address,
            log="gradients",
            accumulation="mean",
            window_steps=1,
            queue_bytes=1 << 30, log_freq=1,
        )

    def step(self) -> None:
        """A training step, until its figures are there."""
        self.job.step()
        assert self.watcher.flush(), "the server did not acknowledge"

    def noise_scale(self) -> float:
        """Of the latest step, in samples."""
        key = self._thermograd.metric_key("thermograd_gradient_noise_scale_samples")
        return float(self.watcher.metrics()[key])


def main() -> None:
    """Runs every case."""
    options = common.arguments(__doc__)
    support = common.server_support()
    report = common.Report("noise_scale", options.output)
    package = common.peer("gns_pytorch")
    if package is None:
        report.not_run("noise scale", "gns-pytorch", "not installed")
    repetitions = 2 if options.quick else 9
    with support.Server() as server:
        numbers = itertools.count()

        def watched(microbatches: int) -> Watched:
            return Watched(server.grpc_address, f"noise-{next(numbers)}", microbatches)

        def whole(losses: Any, job: Job) -> float:
            # All parameters and samples: its defaults take a part at random.
            return float(package.compute_gns(losses, job.model, 1.0, 1.0))

        if package is not None:
            mine = watched(BATCH)
            mine.step()
            job = Job(1)
            ours, theirs = mine.noise_scale(), whole(job.losses(), job)
            assert math.isclose(ours, theirs, rel_tol=TOLERANCE), (ours, theirs)
            report.write(
                {
                    "case": f"value, {BATCH} samples of one step",
                    "peer": "gns-pytorch",
                    "unit": "samples",
                    "value": theirs,
                    "repetitions": [theirs],
                    "thermograd": ours,
                    "difference": theirs - ours,
                }
            )
            mine.watcher.close()

        # Alternatives beside the step that nobody watches, by name: microbatches, step.
        alternatives: dict[str, tuple[int, Callable[[], None]]] = {}
        closing = []
        for microbatches in (4, BATCH):
            mine = watched(microbatches)
            closing.append(mine.watcher.close)
            alternatives[f"thermograd, {microbatches} microbatches"] = microbatches, mine.step
        if package is not None:
            every, part = Job(1), Job(1)
            alternatives["gns-pytorch, every sample and parameter"] = (
                1,
                lambda: every.step(lambda losses: whole(losses, every) and None),
            )
            alternatives["gns-pytorch, its defaults (a quarter of the samples, 1 %)"] = (
                1,
                lambda: part.step(lambda losses: package.compute_gns(losses, part.model) and None),
            )
        for name, (microbatches, step) in alternatives.items():
            plain = Job(microbatches)
            plain.step()
            step()
            pairs = [
                (common.seconds(plain.step), common.seconds(step)) for _ in range(repetitions)
            ]
            bare = [a for a, _ in pairs]
            times = [b for _, b in pairs]
            ratios = [b / a for a, b in pairs]
            report.write(
                {
                    "case": f"step of {BATCH} samples, {count(plain.model):.1f} M parameters",
                    "peer": name,
                    "unit": "s",
                    "value": statistics.median(times),
                    "repetitions": times,
                    "ratio_to": "the same step, unwatched",
                    "ratio": statistics.median(ratios),
                    "ratios": ratios,
                    "added": statistics.median(times) - statistics.median(bare),
                }
            )
        for close in closing:
            close()


def count(model: Any) -> float:
    """Millions of parameters."""
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


if __name__ == "__main__":
    main()
