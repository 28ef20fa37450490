"""What the callbacks of training frameworks share: a watcher that never stands in their way."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from thermograd.report import MetricKey
from thermograd.sender import Stats
from thermograd.watcher import Watcher, watch

_log = logging.getLogger("thermograd")


class CallbackWatcher:
    """Makes a watcher when training begins, and closes it when training ends.

    Wrong names of options are errors of the caller. What goes wrong later is logged, and the
    training goes on unwatched.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        known = inspect.signature(watch).parameters.keys() - {"model", "optimizer", "run"}
        if unknown := options.keys() - known:
            raise TypeError(f"watch has no option {', '.join(sorted(unknown))}")
        self._options = dict(options)
        self._watcher: Watcher | None = None

    def begin(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, *, run: str, **defaults: Any
    ) -> None:
        """Watches the model; `defaults` are options that the user's own take precedence over."""
        self.close()
        self._guard(self._begin, model, optimizer, run, defaults)

    def tell(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Calls a method of `Watcher`, if there is one."""
        if self._watcher is not None:
            self._guard(method, self._watcher, *args, **kwargs)

    def close(self) -> None:
        """Ends the run, if there is one."""
        self.tell(Watcher.close)

    def metrics(self) -> dict[MetricKey, float]:
        """The figures of the latest report, as `Watcher.metrics` has them."""
        return {} if self._watcher is None else self._watcher.metrics()

    @property
    def stats(self) -> Stats:
        """Counts of what was sent, dropped and acknowledged."""
        return Stats() if self._watcher is None else self._watcher.stats

    def _begin(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        run: str,
        defaults: Mapping[str, Any],
    ) -> None:
        self._watcher = None
        self._watcher = watch(model, optimizer, run=run, **{**defaults, **self._options})

    def _guard(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except Exception:
            _log.warning("watching failed; the training goes on", exc_info=True)
