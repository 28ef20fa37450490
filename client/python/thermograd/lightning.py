"""A callback for Lightning's Trainer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ModuleNotFoundError:  # The same under the name of the older package.
    from pytorch_lightning import Callback, LightningModule, Trainer

from thermograd.integration import CallbackWatcher
from thermograd.report import MetricKey
from thermograd.sender import Stats
from thermograd.watcher import Watcher

_log = logging.getLogger("thermograd")


class ThermogradCallback(Callback):
    """Streams a Trainer's run to a Thermograd server.

    ::

        trainer = Trainer(callbacks=[ThermogradCallback("my-run", address="host:50051")])

    Gradient accumulation, the scheduled learning rates of the parameter groups, the loss scale of
    mixed precision and the number of a resumed step are taken from the Trainer; the loss is what
    `training_step` returns. Modules with several optimisers and strategies that split parameters
    over processes are not supported.
    """

    def __init__(self, run: str, **options: Any) -> None:
        """Names the run; `options` are those of `thermograd.watch`.

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

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts watching."""
        if len(trainer.optimizers) != 1:
            _log.warning(
                "not watched: the module has %d optimisers; use thermograd.watch for one of them",
                len(trainer.optimizers),
            )
            return
        self._watcher.begin(
            pl_module,
            trainer.optimizers[0],
            run=self._run,
            # Of manual optimisation the loop is the user's own.
            accumulation="mean" if pl_module.automatic_optimization else "sum",
            scaler=getattr(trainer.precision_plugin, "scaler", None),
            first_step=trainer.global_step,
        )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Says that a microbatch begins: `training_step` need not call the module itself."""
        self._watcher.tell(Watcher.begin_microbatch, batch)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Takes the loss."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, torch.Tensor):
            return
        if pl_module.automatic_optimization:
            # Lightning hands out the loss that it has divided.
            loss = loss * trainer.accumulate_grad_batches
        self._watcher.tell(Watcher.log, loss=loss)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Sends what is queued and ends the run."""
        self._watcher.close()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Ends the run of a training that is broken off."""
        self._watcher.close()
