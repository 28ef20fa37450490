"""One gradient of 16.8 M elements: norms, statistics and histograms in the trainer, and our stream.

The peers give the trainer a number or a histogram; ours gives the server all figures of a gradient.
What all can be checked on is the Euclidean norm. In the trainer, what `thermograd.watch` adds to a
backward pass that yields the tensor stands beside, in each of its modes.
"""

from __future__ import annotations

import inspect
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import common

ELEMENTS = 1 << 24
QUICK_ELEMENTS = 1 << 20
# fp32 sums of 16.8 M squares, as PyTorch 1.13 makes them, are off by 7e-4.
TOLERANCE = 2e-3


def torch_norm(tensor: Any) -> float:
    """What `clip_grad_norm_` takes of every gradient."""
    return float(tensor.norm())


def six_statistics(tensor: Any) -> float:
    """Transformer Engine's LogTensorStats: its six default statistics, as it takes them."""
    values = [
        tensor.min(), tensor.max(), tensor.mean(), tensor.std(), tensor.norm(p=1), tensor.norm(p=2)
    ]  # fmt: skip
    return float(values[-1])


def numpy_norm(tensor: Any) -> float:
    """NumPy's, of fp32."""
    import numpy

    return float(numpy.linalg.norm(tensor.numpy()))


def wandb_histogram(run: Any) -> Callable[[Any], None]:
    """What `wandb.watch` does with a gradient."""
    from wandb.integration.torch.wandb_torch import TorchHistory

    history = TorchHistory()

    def function(tensor: Any) -> None:
        history.log_tensor_stats(tensor, "gradient")
        run.log({})

    # It looks for PyTorch only when something is watched.
    import torch
    import wandb.integration.torch.wandb_torch as module

    module.torch = torch
    return function


def tensorboard_histogram(directory: str) -> Callable[[Any], None]:
    """What a callback does that gives TensorBoard a histogram of each gradient."""
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(directory)

    def function(tensor: Any) -> None:
        # NumPy, to which it goes, has no bfloat16.
        writer.add_histogram("gradient", tensor.float(), 0)
        writer.flush()

    return function


class Stream:
    """A run whose only parameter is the tensor; one gradient a step."""

    def __init__(self, server: Any, name: str, elements: int) -> None:
        import thermograd

        self._thermograd = thermograd
        self._server = server
        spec = thermograd.run_spec(name, parameters={"weight": (elements,)})
        self._stream = thermograd.RunStream(server.grpc_address, spec, timeout=300)
        self._step = 0
        #: CPU seconds of the server and of this process in each step.
        self.server_cpu: list[float] = []
        self.client_cpu: list[float] = []

    def close(self) -> None:
        """Ends the run."""
        self._stream.close()

    def norm(self, tensor: Any) -> float:
        """Streams the gradient; its norm out of the step's report."""
        self._step += 1
        before = time.process_time(), self._cpu()
        self._stream.begin_step(self._step, loss=1.0)
        self._stream.send("weight", self._thermograd.GRADIENT, tensor)
        report = self._stream.end_step()
        self.client_cpu.append(time.process_time() - before[0])
        self.server_cpu.append(self._cpu() - before[1])
        values = self._thermograd.report_values(report)
        key = self._thermograd.metric_key("thermograd_gradient_second_moment")
        return math.sqrt(values[key])

    def _cpu(self) -> float:
        import psutil

        [times] = [
            child.cpu_times()
            for child in psutil.Process().children()
            if child.name().startswith("thermograd-serv")
        ]
        return float(times.user + times.system)


def watched(report: common.Report, server: Any, case: str, tensor: Any, quick: bool) -> None:
    """What `watch` adds to the backward pass and until the figures are there, in each mode."""
    import thermograd
    import torch

    class Weight(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros_like(tensor))

        def forward(self, gradient: Any) -> Any:
            return (self.weight * gradient).sum()

    has_modes = "mode" in inspect.signature(thermograd.watch).parameters
    for mode in ("tensors", "statistics") if has_modes else ("tensors",):
        plain, model = Weight(), Weight()
        watcher = thermograd.watch(
            model,
            run=f"{mode} {case}",
            address=server.grpc_address,
            log="gradients",
            log_freq=1,
            microbatch_size=1,
            queue_bytes=1 << 30,
            **({"mode": mode} if has_modes else {}),
        )

        def unwatched(model: Any = plain) -> None:
            model.weight.grad = None
            model(tensor).backward()

        def with_figures(model: Any = model, watcher: Any = watcher) -> None:
            model.weight.grad = None
            model(tensor).backward()
            watcher.step()
            assert watcher.flush(), watcher.stats

        with_figures()
        times = common.alternate(unwatched, with_figures, 0.0, quick)
        added = [b - a for a, b in zip(*times, strict=True)]
        key = thermograd.metric_key("thermograd_gradient_second_moment")
        norm = math.sqrt(watcher.metrics()[key])
        difference = abs(norm / float(tensor.double().norm()) - 1)
        assert difference < TOLERANCE, difference
        report.write(
            {
                "case": case,
                "peer": f"thermograd.watch, {mode}: added to a backward pass",
                "unit": "s",
                "value": statistics.median(added),
                "repetitions": added,
                "relative_difference": difference,
                "sent_bytes": watcher.stats.sent_bytes,
            }
        )
        watcher.close()


def main() -> None:
    """Runs every case."""
    options = common.arguments(__doc__)
    support = common.server_support()
    report = common.Report("tensor", options.output)
    import torch

    torch.set_num_threads(common.THREADS)
    torch.manual_seed(0)
    elements = QUICK_ELEMENTS if options.quick else ELEMENTS
    with (
        tempfile.TemporaryDirectory(prefix="thermograd-peers-") as directory,
        support.Server() as server,
    ):
        functions: dict[str, Callable[[Any], float | None]] = {
            "torch, norm": torch_norm,
            "torch, six statistics": six_statistics,
            "numpy, norm": numpy_norm,
        }
        wandb = common.peer("wandb")
        if wandb is not None:
            os.environ |= {"WANDB_SILENT": "true", "WANDB_DIR": directory}
            run = wandb.init(project="peers", mode="offline", dir=directory)
            functions["wandb, histogram"] = wandb_histogram(run)
        if common.peer("tensorboardX") is not None:
            functions["tensorboardX, histogram"] = tensorboard_histogram(directory)
        for data_type in (torch.float32, torch.bfloat16):
            name = str(data_type).removeprefix("torch.")
            case = f"one gradient of {elements / 1e6:.1f} M elements, {name}"
            tensor = (torch.randn(elements) * 1e-3).to(data_type)
            exact = float(tensor.double().norm())
            stream = Stream(server, f"tensor-{name}", elements)
            assert math.isclose(stream.norm(tensor), exact, rel_tol=1e-9)
            for peer, function in functions.items():
                if peer.startswith("numpy") and data_type == torch.bfloat16:
                    report.not_run(case, peer, "NumPy has no bfloat16")
                    continue
                start = time.perf_counter()
                value = function(tensor)
                first = time.perf_counter() - start
                more = {}
                if value is not None:
                    more["relative_difference"] = abs(value / exact - 1)
                    # Sums of bfloat16 in bfloat16 lose digits.
                    tolerance = TOLERANCE if data_type == torch.float32 else 0.01
                    assert more["relative_difference"] < tolerance, (peer, more)
                stream.server_cpu.clear()
                stream.client_cpu.clear()
                ours, theirs = common.alternate(
                    lambda stream=stream, tensor=tensor: stream.norm(tensor),
                    lambda function=function, tensor=tensor: function(tensor),
                    first,
                    options.quick,
                )
                report.compared(
                    case,
                    peer,
                    ours,
                    theirs,
                    server_cpu=statistics.median(stream.server_cpu),
                    client_cpu=statistics.median(stream.client_cpu),
                    **more,
                )
            stream.close()
            watched(report, server, case, tensor, options.quick)
        if wandb is not None:
            wandb.finish()


if __name__ == "__main__":
    main()
