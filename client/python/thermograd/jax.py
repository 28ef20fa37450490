"""Taps the gradients of a JAX training loop: an Optax transformation that changes nothing."""

from __future__ import annotations

import functools
import logging
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import grpc
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import io_callback

from thermograd import wire
from thermograd.cadence import DEFAULT_LOG_FREQ
from thermograd.capture import CapturedStep, CapturedTensor
from thermograd.declaration import Symmetry, run_spec
from thermograd.report import MetricKey, report_values
from thermograd.sender import Sender, Stats
from thermograd.v1 import report_pb2, run_pb2

_log = logging.getLogger("thermograd")

_LOGS = ("gradients", "parameters", "updates")
# Callbacks may overtake one another, but no step can end many steps after the next has begun.
_OPEN_STEPS = 8


def watch(
    *,
    run: str,
    learning_rate: float | Callable[[Any], Any],
    address: str = "127.0.0.1:50051",
    credentials: grpc.ChannelCredentials | None = None,
    log: Iterable[str] = ("gradients", "parameters"),
    log_freq: int = DEFAULT_LOG_FREQ,
    include: str | None = None,
    exclude: str | None = None,
    symmetries: Sequence[Symmetry] = (),
    optimizer: run_pb2.Optimizer | None = None,
    weight_decay: float = 0.0,
    microbatch_size: int = 1,
    microbatches: int = 1,
    loss_scale: float = 1.0,
    first_step: int = 0,
    window_steps: int = 0,
    queue_bytes: int = 256 << 20,
    on_report: Callable[[report_pb2.StepReport], None] | None = None,
) -> Watcher:
    """Makes the run that `tap` streams to.

    Args:
        run: name of the run, unique among live runs.
        learning_rate: of the optimiser; a schedule is called with the step, counted from zero.
        address: host:port of the server.
        credentials: gRPC credentials; none: the connection is not encrypted.
        log: what to stream: "gradients", "parameters" (weights; charges need them), "updates" (what
            the optimiser adds to the weights; see `tap_updates`).
        log_freq: every so many steps are streamed, from the first on.
        include: regular expression; only parameters in whose name it is found are streamed.
        exclude: regular expression; parameters in whose name it is found are not.
        symmetries: those to measure. Flax stores weights (in x out): `Member(transposed=True)`.
        optimizer: the optimiser's rule; none: the server predicts no drift without updates.
        weight_decay: of the optimiser.
        microbatch_size: samples of a microbatch.
        microbatches: calls of the transformation that make a step, where gradients accumulate.
        loss_scale: factor that the gradients carry.
        first_step: number of the first step, for training that goes on from a checkpoint.
        window_steps: steps over which the server takes ratios of sums; 0: its default.
        queue_bytes: bound of the bytes that wait to be sent or acknowledged.
        on_report: called with each report, on the sender's thread.

    Raises:
        ValueError: an argument is wrong.
    """
    logs = set(log)
    if unknown := logs - set(_LOGS):
        raise ValueError(f"log: {sorted(unknown)} are none of {', '.join(_LOGS)}")
    if not run:
        raise ValueError("run must not be empty")
    if min(log_freq, microbatches, microbatch_size) < 1:
        raise ValueError("log_freq, microbatches and microbatch_size must be at least 1")
    settings = _Settings(
        logs, log_freq, include, exclude, learning_rate, microbatches, first_step
    )
    begin = run_pb2.StepBegin(
        weight_decay=weight_decay,
        microbatch_size=microbatch_size,
        microbatches=microbatches,
        loss_scale=loss_scale,
    )

    def declare(shapes: dict[str, tuple[int, ...]]) -> run_pb2.RunSpec:
        return run_spec(
            run,
            parameters=shapes,
            symmetries=symmetries,
            parameter_kinds=[wire.UPDATE] if "updates" in logs else [],
            optimizer=optimizer,
            window_steps=window_steps,
        )

    def open_run(receive: _Receiver) -> Sender:
        connect = functools.partial(wire.open_channel, address, credentials)
        return Sender(connect, queue_bytes, receive)

    return Watcher(settings, begin, declare, open_run, on_report)


class TapState(NamedTuple):
    """State of a tap: how many times it was called."""

    #: Calls so far, a microbatch each.
    count: Any


def tap(watcher: Watcher) -> optax.GradientTransformationExtraArgs:
    """An Optax transformation that hands gradients and weights to `watcher` and changes nothing.

    Place it first in `optax.chain`, before clipping, and outside of `optax.MultiSteps`; its
    `update` needs `params`, and takes the mean loss as `value`, as other transformations do::

        optimizer = optax.chain(thermograd.jax.tap(watcher), optax.clip_by_global_norm(1.0),
                                optax.sgd(0.1))
        updates, state = optimizer.update(gradients, state, params, value=loss)

    It works inside `jax.jit`, by unordered callbacks that carry the number of their step: ordered
    ones would make every step wait for the one before and are refused on several devices. Under
    `jax.pmap` and `jax.vmap` there would be a stream for each copy: neither is supported.
    """
    return _transformation(watcher, watcher._tap_gradients)


def tap_updates(watcher: Watcher) -> optax.GradientTransformationExtraArgs:
    """The like for what the optimiser adds to the weights: place it last in `optax.chain`."""
    if "updates" not in watcher._settings.logs:
        raise ValueError('tap_updates needs watch(log=[..., "updates"])')
    return _transformation(watcher, watcher._tap_updates)


def _transformation(
    watcher: Watcher, take: Callable[[Any, Any, Any, Any], None]
) -> optax.GradientTransformationExtraArgs:
    def init(params: Any) -> TapState:
        del params
        return TapState(jnp.zeros((), jnp.int32))

    def update(
        updates: Any, state: TapState, params: Any = None, *, value: Any = None, **extra: Any
    ) -> tuple[Any, TapState]:
        del extra
        watcher._guard(take, state.count, updates, params, value)
        return updates, TapState(state.count + 1)

    return optax.GradientTransformationExtraArgs(init, update)


_Receiver = Callable[[report_pb2.StepReport], None]


@dataclass(frozen=True)
class _Settings:
    logs: set[str]
    log_freq: int
    include: str | None
    exclude: str | None
    learning_rate: float | Callable[[Any], Any]
    microbatches: int
    first_step: int

    def is_watched(self, name: str) -> bool:
        return (self.include is None or re.search(self.include, name) is not None) and not (
            self.exclude is not None and re.search(self.exclude, name)
        )


class _ArraySnapshot:
    """A copy of an array: the runtime may use its memory again."""

    def __init__(self, array: Any) -> None:
        self._host = np.array(array)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._host.shape

    @property
    def byte_size(self) -> int:
        return self._host.nbytes

    def elements(self) -> wire.Elements:
        return wire.Elements.of(self._host)

    def item(self) -> float:
        return float(self._host)


@dataclass
class _OpenStep:
    """A step of which some callbacks are still to come."""

    captured: CapturedStep
    missing: int


class Watcher:
    """A watched training loop; made by `watch`."""

    def __init__(
        self,
        settings: _Settings,
        begin: run_pb2.StepBegin,
        declare: Callable[[dict[str, tuple[int, ...]]], run_pb2.RunSpec],
        open_run: Callable[[_Receiver], Sender],
        on_report: _Receiver | None,
    ) -> None:
        self._settings = settings
        self._begin = begin
        self._declare = declare
        self._open_run = open_run
        self._user_on_report = on_report
        # Callbacks come on threads of the runtime.
        self._lock = threading.Lock()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._spec = run_pb2.RunSpec()
        self._sender: Sender | None = None
        self._open: dict[int, _OpenStep] = {}
        self._hook_errors = 0
        self._latest_report: report_pb2.StepReport | None = None
        # Callbacks that make a step.
        self._callbacks = (
            settings.microbatches + ("parameters" in settings.logs) + ("updates" in settings.logs)
        )

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def flush(self, timeout: float = 30.0) -> bool:
        """Waits until the server has acknowledged every step; False if it did not in time."""
        jax.effects_barrier()
        return self._sender is None or self._sender.flush(timeout)

    def close(self, timeout: float = 10.0) -> bool:
        """Sends what is queued and ends the run; True if the server has acknowledged every step."""
        jax.effects_barrier()
        return self._sender is None or self._sender.close(timeout)

    def metrics(self) -> dict[MetricKey, float]:
        """The figures of the latest report: {(name, ((label, value), ...)): value}."""
        report = self._latest_report
        return {} if report is None else report_values(report)

    @property
    def stats(self) -> Stats:
        """Counts of what was sent, dropped and acknowledged."""
        stats = Stats() if self._sender is None else self._sender.stats
        return replace(stats, hook_errors=stats.hook_errors + self._hook_errors)

    # While JAX traces the training step.

    def _tap_gradients(self, count: Any, gradients: Any, params: Any, loss: Any) -> None:
        settings = self._settings
        step = count // settings.microbatches
        rate = settings.learning_rate(step) if callable(settings.learning_rate) else (
            settings.learning_rate
        )
        shown = self._named(gradients) if "gradients" in settings.logs else {}
        facts = {"rate": jnp.asarray(rate, jnp.float32)}
        if loss is not None:
            facts["loss"] = jnp.asarray(loss)
        self._call(self._receive_gradients, count, count >= 0, (facts, shown))
        if "parameters" in settings.logs:
            if params is None:
                raise ValueError("update needs params to stream them")
            self._call(
                functools.partial(self._receive_tensors, wire.WEIGHT),
                count,
                count % settings.microbatches == 0,
                self._named(params),
            )

    def _tap_updates(self, count: Any, updates: Any, params: Any, loss: Any) -> None:
        # Of accumulated gradients the last call of a step makes the update.
        last = self._settings.microbatches - 1
        self._call(
            functools.partial(self._receive_tensors, wire.UPDATE),
            count,
            count % self._settings.microbatches == last,
            self._named(updates),
        )

    def _call(
        self, receive: Callable[..., None], count: Any, is_due: Any, payload: Any
    ) -> None:
        """Calls `receive` on the host where the step is streamed and the call is due."""
        settings = self._settings

        def call(count: Any, payload: Any) -> None:
            io_callback(functools.partial(self._guard, receive), None, count, payload)

        if settings.microbatches == settings.log_freq == 1:
            call(count, payload)
            return
        is_streamed = count // settings.microbatches % settings.log_freq == 0
        jax.lax.cond(
            jnp.logical_and(is_streamed, is_due), call, lambda *_: None, count, payload
        )

    def _named(self, tree: Any) -> dict[str, Any]:
        """The watched leaves of a tree by their names; the first tree declares the run."""
        leaves = {
            _name(path): leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
            if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.size
        }
        named = {name: leaf for name, leaf in leaves.items() if self._settings.is_watched(name)}
        shapes = {name: tuple(leaf.shape) for name, leaf in named.items()}
        with self._lock:
            if not self._shapes:
                if not shapes:
                    raise ValueError("no floating-point parameter is left to be watched")
                self._spec = self._declare(shapes)
                self._shapes = shapes
            elif self._shapes != shapes:
                raise ValueError("a watcher streams one training: its parameters have changed")
        return named

    # On the host, while the training runs: nothing may be raised, nothing waited for.

    def _guard(self, function: Callable[..., None], *args: Any) -> None:
        try:
            function(*args)
        except Exception:
            if not self._hook_errors:
                _log.warning("watching failed; later errors are only counted", exc_info=True)
            self._hook_errors += 1

    def _receive_gradients(self, count: Any, payload: Any) -> None:
        facts, gradients = payload
        step, microbatch = divmod(int(count), self._settings.microbatches)
        tensors = self._tensors(wire.GRADIENT, gradients, microbatch)
        with self._lock:
            captured = self._opened(step).captured
            captured.begin.learning_rate = float(facts["rate"])
            if "loss" in facts:
                captured.losses.append(float(facts["loss"]))
            self._add(step, tensors)

    def _receive_tensors(self, kind: Any, count: Any, named: Any) -> None:
        tensors = self._tensors(kind, named, 0)
        with self._lock:
            self._add(int(count) // self._settings.microbatches, tensors)

    def _tensors(self, kind: Any, named: dict[str, Any], microbatch: int) -> list[CapturedTensor]:
        ids = {name: number for number, name in enumerate(self._shapes, start=1)}
        return [
            CapturedTensor(ids[name], kind, _ArraySnapshot(array), microbatch)
            for name, array in named.items()
        ]

    def _opened(self, step: int) -> _OpenStep:
        if step not in self._open:
            begin = run_pb2.StepBegin()
            begin.CopyFrom(self._begin)
            begin.step = self._settings.first_step + step
            self._open[step] = _OpenStep(CapturedStep(self._spec, begin, []), self._callbacks)
        return self._open[step]

    def _add(self, step: int, tensors: list[CapturedTensor]) -> None:
        opened = self._opened(step)
        opened.captured.tensors += tensors
        opened.missing -= 1
        # In the order of steps; one that never becomes whole must not hold the others back.
        while self._open:
            first = min(self._open)
            if not self._open[first].missing:
                if self._sender is None:
                    self._sender = self._open_run(self._on_report)
                self._sender.put(self._open.pop(first).captured)
            elif len(self._open) > _OPEN_STEPS:
                del self._open[first]
                raise RuntimeError(f"step {first} has not become whole")
            else:
                return

    def _on_report(self, report: report_pb2.StepReport) -> None:
        self._latest_report = report
        if self._user_on_report is not None:
            self._user_on_report(report)


def _name(path: Sequence[Any]) -> str:
    """As `jax.tree_util.keystr(path, simple=True, separator="/")`, which older JAX lacks."""
    parts = []
    for entry in path:
        for attribute in ("key", "name", "idx"):
            if hasattr(entry, attribute):
                parts.append(str(getattr(entry, attribute)))
                break
    return "/".join(parts) or "parameters"
