"""Step time of a real PyTorch job over that of the same job unwatched, at intervals 1, 16 and 64.

This is the form in which Cockpit published its own figures. Every alternative trains a copy of the
model; blocks of its steps alternate with blocks of the unwatched copy. A block's time holds what it
leaves to be done when its last step ends, so that nobody's work is counted as another's: of
Thermograd the figures of the last step are waited for, TensorBoard's file is flushed; W&B's process
offers nothing to wait for. Trainer, server and W&B's process share the cores, as on a laptop; where
the server runs elsewhere only the trainer's share matters, so its CPU time stands beside.
"""

from __future__ import annotations

import inspect
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import common

#: Steps of a block by the interval between the steps that are looked at.
BLOCK_STEPS = {1: 4, 16: 32, 64: 64}
UNWATCHED_STEPS = 8


@dataclass
class Block:
    """Seconds a step that a block of steps took."""

    wall: float
    median_step: float
    thread_cpu: float
    process_cpu: float
    other_cpu: float


class Job:
    """A copy of a model in training, unwatched."""

    def __init__(self, kind: str) -> None:
        import torch

        torch.manual_seed(0)
        self.model, self.inputs, self.targets = KINDS[kind]()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)
        self.criterion = torch.nn.CrossEntropyLoss()
        self.number = 0

    def loss(self) -> Any:
        """Of the batch."""
        outputs = self.model(self.inputs)
        return self.criterion(outputs.flatten(0, -2), self.targets.flatten())

    def step(self) -> None:
        """One training step."""
        loss = self.loss()
        loss.backward()
        self.watch(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.number += 1

    def watch(self, loss: Any) -> None:
        """What a watcher does between the backward pass and the update."""

    def finish(self) -> None:
        """Waits for what the steps so far have left to be done."""

    def close(self) -> dict[str, Any]:
        """Ends the watching; what to say of it."""
        return {}


class Thermograd(Job):
    """Streams the gradients."""

    def __init__(self, kind: str, interval: int, address: str, **keywords: Any) -> None:
        super().__init__(kind)
        import thermograd

        mode = keywords.get("mode", "tensors")
        self._watcher = thermograd.watch(
            self.model,
            self.optimizer,
            run=f"{kind}-{mode}-{interval}",
            address=address,
            log="gradients",
            log_freq=interval,
            microbatch_size=len(self.inputs),
            **keywords,
        )

    def watch(self, loss: Any) -> None:
        self._watcher.log(loss=loss)

    def finish(self) -> None:
        assert self._watcher.flush(), self._watcher.stats

    def close(self) -> dict[str, Any]:
        stats = self._watcher.stats
        self._watcher.close()
        return {"sent_bytes": stats.sent_bytes, "dropped_steps": stats.dropped_steps}


class WeightsAndBiases(Job):
    """W&B's histograms of gradients, offline."""

    def __init__(self, kind: str, interval: int) -> None:
        super().__init__(kind)
        import wandb

        self._wandb = wandb
        wandb.watch(self.model, log="gradients", log_freq=interval, idx=id(self))

    def watch(self, loss: Any) -> None:
        self._wandb.log({"loss": loss.item()})


class TensorBoard(Job):
    """TensorBoard's histograms of gradients.

    By the writer that torch.utils.tensorboard is a copy of: PyTorch 1.13's own fails with the NumPy
    that Debian has beside it.
    """

    def __init__(self, kind: str, interval: int, directory: str) -> None:
        super().__init__(kind)
        from tensorboardX import SummaryWriter

        self._interval = interval
        self._writer = SummaryWriter(os.path.join(directory, f"{kind}-{interval}"))

    def watch(self, loss: Any) -> None:
        if self.number % self._interval == 0:
            self._writer.add_scalar("loss", loss.item(), self.number)
            for name, parameter in self.model.named_parameters():
                self._writer.add_histogram(name, parameter.grad, self.number)

    def finish(self) -> None:
        self._writer.flush()

    def close(self) -> dict[str, Any]:
        self._writer.close()
        return {}


class Cockpit(Job):
    """Cockpit's configuration "economy"; it has no Transformers."""

    def __init__(self, kind: str, interval: int) -> None:
        super().__init__(kind)
        import torch
        from backpack import extend
        from cockpit import Cockpit as Instruments
        from cockpit.utils.configuration import configuration
        from cockpit.utils.schedules import linear

        extend(self.model)
        extend(self.criterion)
        self._each = torch.nn.CrossEntropyLoss(reduction="none")
        self._instruments = Instruments(
            self.model.parameters(), quantities=configuration("economy", linear(interval))
        )

    def step(self) -> None:
        outputs = self.model(self.inputs)
        loss = self.criterion(outputs, self.targets)
        info = {
            "batch_size": len(self.targets),
            "individual_losses": self._each(outputs, self.targets),
            "loss": loss,
            "optimizer": self.optimizer,
        }
        with self._instruments(self.number, info=info):
            loss.backward(create_graph=self._instruments.create_graph(self.number))
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.number += 1


def perceptron() -> tuple[Any, Any, Any]:
    """10 M parameters, 128 samples a step."""
    import torch

    width = 2048
    model = torch.nn.Sequential(
        torch.nn.Linear(784, width),
        torch.nn.ReLU(),
        torch.nn.Linear(width, width),
        torch.nn.ReLU(),
        torch.nn.Linear(width, width),
        torch.nn.ReLU(),
        torch.nn.Linear(width, 10),
    )
    return model, torch.randn(128, 784), torch.randint(10, (128,))


def small_perceptron() -> tuple[Any, Any, Any]:
    """0.7 M parameters, 128 samples a step."""
    import torch

    model = torch.nn.Sequential(
        torch.nn.Linear(784, 512),
        torch.nn.ReLU(),
        torch.nn.Linear(512, 512),
        torch.nn.ReLU(),
        torch.nn.Linear(512, 10),
    )
    return model, torch.randn(128, 784), torch.randint(10, (128,))


def transformer() -> tuple[Any, Any, Any]:
    """A GPT of 10 M parameters, four sequences of 64 tokens a step."""
    import torch

    vocabulary, width, layers, length = 4096, 320, 6, 64

    class Transformer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = torch.nn.Embedding(vocabulary, width)
            self.positions = torch.nn.Parameter(torch.randn(length, width) * 0.02)
            self.blocks = torch.nn.Sequential(
                *(
                    torch.nn.TransformerEncoderLayer(
                        width, 5, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
                    )
                    for _ in range(layers)
                )
            )
            self.norm = torch.nn.LayerNorm(width)
            self.head = torch.nn.Linear(width, vocabulary, bias=False)
            mask = torch.full((length, length), float("-inf")).triu(1)
            self.register_buffer("mask", mask)

        def forward(self, tokens: Any) -> Any:
            states = self.tokens(tokens) + self.positions
            for block in self.blocks:
                states = block(states, self.mask)
            return self.head(self.norm(states))

    text = torch.randint(vocabulary, (4, length + 1))
    return Transformer(), text[:, :-1], text[:, 1:]


KINDS = {
    "small perceptron": small_perceptron,
    "perceptron": perceptron,
    "transformer": transformer,
}
# Cockpit's economy holds the gradient of every sample of a batch: 5 GB of the larger perceptron.
WITHOUT_COCKPIT = {
    "perceptron": "it holds the gradient of every sample, 5 GB, and takes over a minute a step",
    "transformer": "BackPACK, on which it builds, has no attention",
}


def others_cpu() -> float:
    """CPU seconds of the processes that this one has started."""
    import psutil

    times = (child.cpu_times() for child in psutil.Process().children(recursive=True))
    return sum(time.user + time.system for time in times)


def block(job: Job, steps: int) -> Block:
    """Trains for some steps."""
    walls = []
    before = others_cpu(), time.process_time(), time.thread_time(), time.perf_counter()
    for _ in range(steps):
        walls.append(common.seconds(job.step))
    job.finish()
    after = time.perf_counter(), time.thread_time(), time.process_time(), others_cpu()
    wall, thread, process, others = (b - a for a, b in zip(reversed(before), after, strict=True))
    return Block(
        wall / steps, statistics.median(walls), thread / steps, process / steps, others / steps
    )


def alternatives(
    kind: str, address: str, directory: str
) -> dict[str, Callable[[int], Job] | str]:
    """How to make each by the interval; a text says why there is none."""
    import thermograd

    result: dict[str, Callable[[int], Job] | str] = {}
    modes = "mode" in inspect.signature(thermograd.watch).parameters
    for mode in ("tensors", "statistics") if modes else ("tensors",):
        keywords = {"mode": mode} if modes else {}
        result[f"thermograd, {mode}"] = lambda interval, keywords=keywords: Thermograd(
            kind, interval, address, **keywords
        )
    missing = "not installed"
    result["wandb"] = (
        (lambda interval: WeightsAndBiases(kind, interval)) if common.peer("wandb") else missing
    )
    result["tensorboardX"] = (
        (lambda interval: TensorBoard(kind, interval, directory))
        if common.peer("tensorboardX")
        else missing
    )
    if kind in WITHOUT_COCKPIT:
        result["cockpit, economy"] = WITHOUT_COCKPIT[kind]
    else:
        result["cockpit, economy"] = (
            (lambda interval: Cockpit(kind, interval)) if common.peer("cockpit") else missing
        )
    return result


def compare(
    report: common.Report, kind: str, name: str, make: Callable[[int], Job], quick: bool
) -> None:
    """One alternative at every interval."""
    unwatched = Job(kind)
    block(unwatched, 3)
    size = sum(parameter.numel() for parameter in unwatched.model.parameters()) / 1e6
    for interval, steps in BLOCK_STEPS.items():
        if quick and interval > 1:
            break
        job = make(interval)
        # The first step declares the run, allocates, and is looked at: step 0.
        block(job, interval)
        repetitions = 1 if quick else common.REPETITIONS
        pairs = [(block(unwatched, UNWATCHED_STEPS), block(job, steps)) for _ in range(repetitions)]

        def ratio(field: str, pairs: list[tuple[Block, Block]] = pairs) -> float:
            return statistics.median(getattr(b, field) / getattr(a, field) for a, b in pairs)

        report.write(
            {
                "case": f"{kind}, {size:.2g} M parameters, every {interval} steps",
                "peer": name,
                "unit": "s",
                "value": statistics.median(b.wall for _, b in pairs),
                "repetitions": [b.wall for _, b in pairs],
                "ratio_to": "the same job, unwatched",
                "ratio": ratio("wall"),
                "ratios": [b.wall / a.wall for a, b in pairs],
                "ratio_of_median_steps": ratio("median_step"),
                "ratio_of_thread_cpu": ratio("thread_cpu"),
                "ratio_of_process_cpu": ratio("process_cpu"),
                "other_processes_cpu": statistics.median(b.other_cpu for _, b in pairs),
                "unwatched": statistics.median(a.wall for a, _ in pairs),
                **job.close(),
            }
        )


def main() -> None:
    """Runs every case."""
    options = common.arguments(__doc__)
    support = common.server_support()
    report = common.Report("trainer", options.output)
    logging.getLogger("wandb").setLevel(logging.ERROR)
    with (
        tempfile.TemporaryDirectory(prefix="thermograd-peers-") as directory,
        support.Server() as server,
    ):
        wandb = common.peer("wandb")
        if wandb is not None:
            os.environ |= {"WANDB_SILENT": "true", "WANDB_DIR": directory}
            wandb.init(project="peers", mode="offline", dir=directory)
        for kind in KINDS:
            made = alternatives(kind, server.grpc_address, directory)
            for name, make in made.items():
                if isinstance(make, str):
                    report.not_run(kind, name, make)
                else:
                    compare(report, kind, name, make, options.quick)
        if wandb is not None:
            wandb.finish()


if __name__ == "__main__":
    main()
