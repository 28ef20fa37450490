"""A callback for the Trainer of Hugging Face's transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from thermograd.integration import CallbackWatcher
from thermograd.report import MetricKey
from thermograd.sender import Stats
from thermograd.watcher import Watcher


class ThermogradCallback(TrainerCallback):
    """Streams a Trainer's run to a Thermograd server.

    ::

        trainer = Trainer(model, args, train_dataset=data,
                          callbacks=[ThermogradCallback("my-run", address="host:50051")])

    Gradient accumulation, the scheduled learning rates of the parameter groups, the loss scale of
    mixed precision and the number of a resumed step are taken from the Trainer. The loss is what it
    logs: with `logging_steps=1` that of each step, else the mean over the steps since it last
    logged, given to the last of them. Models whose parameters are split over processes (FSDP,
    DeepSpeed) are not supported.
    """

    def __init__(self, run: str | None = None, **options: Any) -> None:
        """Names the run; None: `TrainingArguments.run_name`, or else its `output_dir`.

        `options` are those of `thermograd.watch`.

        Raises:
            TypeError: `watch` has no such option.
        """
        self._run = run
        self._watcher = CallbackWatcher(options)

    def metrics(self) -> dict[MetricKey, float]:
        """The figures of the latest report, as `Watcher.metrics` has them."""
        return self._watcher.metrics()

    @property
    def stats(self) -> Stats:
        """Counts of what was sent, dropped and acknowledged."""
        return self._watcher.stats

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        optimizer: Any = None,
        **_: Any,
    ) -> None:
        """Starts watching."""
        if model is None or optimizer is None:
            return
        scaler = getattr(optimizer, "scaler", None)
        defaults: dict[str, Any] = {
            "accumulation": "mean",
            "scaler": scaler,
            "first_step": state.global_step,
        }
        if not hasattr(torch, "compile"):
            # The hooks of PyTorch 1 do not see inputs that are passed by name.
            defaults["microbatch_size"] = args.train_batch_size
        self._watcher.begin(
            model,
            # Accelerate's wrapper leaves calls out: the updates are those of the optimiser inside.
            getattr(optimizer, "optimizer", optimizer),
            run=self._run or getattr(args, "run_name", None) or args.output_dir or "huggingface",
            **defaults,
        )
        if scaler is not None:
            # The wrapper has kept the method as it was before it was watched. Restored from its
            # state it looks the method up again.
            optimizer.__setstate__(optimizer.__getstate__())

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Forgets gradients that overflowed: the Trainer zeroes them by the model."""
        self._watcher.tell(Watcher.discard)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Takes the loss."""
        if logs and "loss" in logs:
            self._watcher.tell(Watcher.log, loss=float(logs["loss"]))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Sends what is queued and ends the run."""
        self._watcher.close()
