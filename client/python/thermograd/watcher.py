"""Watches a PyTorch training loop by hooks and streams what it sees."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import os
import re
import threading
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import grpc
import torch
from torch import nn

from thermograd import wire
from thermograd.cadence import (
    DEFAULT_LOG_FREQ,
    changed_cadence,
    has_step,
    of_steps,
    read_cadence,
    selects,
)
from thermograd.capture import CapturedStep, CapturedTensor, TensorCopy
from thermograd.declaration import Layer, Symmetry, parameters_of, run_spec
from thermograd.optimizer import (
    describe,
    group_names,
    has_preconditioner,
    preconditioners,
)
from thermograd.probe import Probe, batch_size
from thermograd.projection import RandomProjection
from thermograd.reduction import GradientSums, Reducer, StepSums
from thermograd.report import MetricKey, report_values
from thermograd.sender import Sender, Stats
from thermograd.similarity import similarity_options
from thermograd.snapshot import Snapshot
from thermograd.symmetry import Symmetries
from thermograd.symmetry import symmetries as find_symmetries
from thermograd.symmetry_residual import ResidualCheck, is_autocast, tolerance
from thermograd.v1 import report_pb2, representation_pb2, run_pb2

_log = logging.getLogger("thermograd")

_LOGS = {
    "gradients": {"gradients"},
    "parameters": {"parameters"},
    "activations": {"activations"},
    "updates": {"updates"},
    "preconditioner": {"preconditioner"},
    "all": {"gradients", "parameters", "activations", "updates"},
}
# What is known only once a torch optimiser has made its update, and must be declared.
_AFTER_UPDATE = {"updates": wire.UPDATE, "preconditioner": wire.PRECONDITIONER}
_FLOATS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
_ACTIVATION_MODULES = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardswish, nn.LeakyReLU, nn.Mish, nn.PReLU, nn.ReLU, nn.ReLU6,
    nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Tanh,
)  # fmt: skip
_LINEAR_MODULES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_EXIT_SECONDS = 5.0
# Of all watched parameters: beyond it the copies of a step, gradients and weights of 16 MB each,
# take longer than the sums, and the server more than a few milliseconds.
_AUTO_STATISTICS_ELEMENTS = 4_000_000
# The server's default for Reporting.spectrum_every_steps.
_SPECTRUM_EVERY_STEPS = 100
# The part of the queue that the whole weights of a step may take.
_WEIGHTS_QUEUE_FRACTION = 0.25
# Several trainers change their cadence at a common step: the first multiple of this number that is
# at least as far ahead.
_COMMON_STEPS = 10

_Args = tuple[Any, ...]
_Keywords = dict[str, Any]

# A watcher and its model live until it is closed: its hooks hold both.
_watchers: dict[nn.Module, Watcher] = {}


def watch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    run: str,
    address: str = "127.0.0.1:50051",
    credentials: grpc.ChannelCredentials | None = None,
    log: str | Iterable[str] = ("gradients", "parameters"),
    mode: Literal["tensors", "statistics", "auto"] = "auto",
    log_freq: int = DEFAULT_LOG_FREQ,
    include: str | None = None,
    exclude: str | None = None,
    layers: Sequence[str] | None = None,
    cadence: str | os.PathLike[str] | run_pb2.Cadence | None = None,
    project_width: int | None = None,
    probes: Sequence[Probe] = (),
    symmetries: str | Sequence[Symmetry] = "auto",
    similarities: Iterable[str] | representation_pb2.SimilarityOptions = (),
    microbatch_size: int | None = None,
    accumulation: str = "sum",
    scaler: Any = None,
    first_step: int = 0,
    window_steps: int = 0,
    spectrum_every_steps: int = 0,
    queue_bytes: int = 256 << 20,
    on_report: Callable[[report_pb2.StepReport], None] | None = None,
) -> Watcher:
    """Streams a model's training to a Thermograd server.

    Training is never blocked by the server nor changed by the hooks. Each backward pass is one
    microbatch; a step ends when `optimizer` makes its update, and the weights are those before it.

    Args:
        model: the model; of DistributedDataParallel or torch.compile, the model inside.
        optimizer: its optimiser, whose parameter groups, if it has several, are those of the
            figures. None: call `Watcher.step` before each update instead.
        run: name of the run, unique among live runs.
        address: host:port of the server.
        credentials: gRPC credentials; none: the connection is not encrypted.
        log: what to stream: "gradients", "parameters" (weights; charges need them), "activations"
            (of training batches), "updates" (what the optimiser added to the weights), several of
            these, or "all" of these; besides, "preconditioner" (the diagonal that Adam and AdamW
            multiply the gradient with). The last two need `optimizer`.
        mode: "tensors": gradients, weights and what else `log` says are sent as they are;
            "statistics": only their sums, made where the tensors are, from which the server makes
            the same figures; "auto": the latter for more than 4 million elements.
        log_freq: every so many steps are streamed, from the first on.
        include: regular expression; only parameters in whose name it is found are streamed.
        exclude: regular expression; parameters in whose name it is found are not.
        layers: names of the modules whose outputs are the activations. Default: all modules that
            are activation functions; in a model without any, all Linear and convolution modules.
        cadence: a `thermograd.v1.Cadence` or the name of a JSON file of one, whose fields go beyond
            `log_freq`, `include`, `exclude` and `layers` where they are set; it may name a first
            and a last step besides. While the training runs the server may ask for changes of it.
            They are followed from one of the next steps on; of several trainers those of steps
            alone.
        project_width: activations of more features are multiplied by a random matrix of so many
            columns before they are sent; None: none are.
        probes: inputs on which the model is looked at while it trains.
        symmetries: those to measure; "auto": those that `thermograd.symmetries` finds and the
            gradients of the first steps confirm.
        similarities: those of representations to compute, by names as `compare` takes them, or with
            their free parameters as `similarity_options` makes them; none: the server's choice.
        microbatch_size: samples of a microbatch; None: the first dimension of the model's input.
        accumulation: how the loop scales the mean loss of each of a step's M microbatches before
            its backward pass. "sum": not at all, the gradients are sent as they are; "mean": by
            1/M, which is undone by declaring the factor 1/M.
        scaler: the GradScaler of mixed precision, whose scale is undone likewise.
        first_step: number of the first step, for training that goes on from a checkpoint.
        window_steps: steps over which the server takes ratios of sums; 0: its default.
        spectrum_every_steps: figures that need whole weights, singular values and pairs of
            neurons, are made at every so many streamed steps; 0: 100.
        queue_bytes: bound of the bytes that wait to be sent or acknowledged.
        on_report: called with each report, on the sender's thread.

    Raises:
        OSError: the file of `cadence` cannot be read.
        ValueError: an argument is wrong, or the model is being watched already.
    """
    given, model = model, _unwrapped(model)
    if model in _watchers:
        raise ValueError("the model is being watched already: call thermograd.unwatch(model) first")
    watcher = Watcher(
        model,
        optimizer,
        replicas=given if isinstance(given, nn.parallel.DistributedDataParallel) else None,
        run=run,
        address=address,
        credentials=credentials,
        logs=_logs(log, optimizer),
        mode=mode,
        log_freq=log_freq,
        include=include,
        exclude=exclude,
        layers=layers,
        cadence=read_cadence(cadence),
        project_width=project_width,
        probes=probes,
        symmetries=symmetries,
        similarities=similarities,
        microbatch_size=microbatch_size,
        accumulation=accumulation,
        scaler=scaler,
        first_step=first_step,
        window_steps=window_steps,
        spectrum_every_steps=spectrum_every_steps,
        queue_bytes=queue_bytes,
        on_report=on_report,
    )
    _watchers[model] = watcher
    return watcher


def unwatch(model: nn.Module) -> None:
    """Closes the model's watcher, if it has one."""
    if (watcher := _watchers.get(_unwrapped(model))) is not None:
        watcher.close()


def _unwrapped(model: nn.Module) -> nn.Module:
    """The model itself: its names are the same on one trainer and on many, and a probe's forward
    pass does not wait for the other trainers."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(compiled := getattr(model, "_orig_mod", None), nn.Module):
            model = compiled
        else:
            return model


def _logs(log: str | Iterable[str], optimizer: torch.optim.Optimizer | None) -> set[str]:
    names = [log] if isinstance(log, str) else list(log)
    for name in names:
        if name not in _LOGS:
            raise ValueError(f"log: {name!r} is none of {', '.join(_LOGS)}")
    logs: set[str] = set().union(*(_LOGS[name] for name in names))
    if optimizer is None:
        if named := _AFTER_UPDATE.keys() & set(names):
            raise ValueError(f"log: the optimizer is needed for {', '.join(sorted(named))}")
        logs -= _AFTER_UPDATE.keys()
    return logs


class Watcher:
    """A watched model; made by `watch`."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        *,
        replicas: nn.parallel.DistributedDataParallel | None,
        run: str,
        address: str,
        credentials: grpc.ChannelCredentials | None,
        logs: set[str],
        mode: str,
        log_freq: int,
        include: str | None,
        exclude: str | None,
        layers: Sequence[str] | None,
        cadence: run_pb2.Cadence,
        project_width: int | None,
        probes: Sequence[Probe],
        symmetries: str | Sequence[Symmetry],
        similarities: Iterable[str] | representation_pb2.SimilarityOptions,
        microbatch_size: int | None,
        accumulation: str,
        scaler: Any,
        first_step: int,
        window_steps: int,
        spectrum_every_steps: int,
        queue_bytes: int,
        on_report: Callable[[report_pb2.StepReport], None] | None,
    ) -> None:
        if not run:
            raise ValueError("run must not be empty")
        if accumulation not in ("sum", "mean"):
            raise ValueError(f"accumulation: {accumulation!r} is neither 'sum' nor 'mean'")
        if mode not in ("tensors", "statistics", "auto"):
            raise ValueError(f"mode: {mode!r} is none of 'tensors', 'statistics' and 'auto'")
        if log_freq < 1:
            raise ValueError("log_freq must be at least 1")
        if project_width is not None and project_width < 1:
            raise ValueError("project_width must be at least 1")
        if isinstance(symmetries, str) and symmetries != "auto":
            raise ValueError(f"symmetries: {symmetries!r} is neither 'auto' nor a sequence")
        self._model = model
        self._replicas = replicas
        self._optimizer = optimizer
        self._run = run
        self._connect = functools.partial(wire.open_channel, address, credentials)
        self._logs = logs
        self._mode = mode
        self._layers = layers
        self._probes = tuple(probes)
        if len({probe.name for probe in self._probes}) < len(self._probes):
            raise ValueError("two probes have the same name")
        # Made here, so that a wrong name is an error of the caller.
        self._similarities = (
            similarities
            if isinstance(similarities, representation_pb2.SimilarityOptions)
            else similarity_options(similarities)
        )
        self._microbatch_size = microbatch_size
        self._accumulation = accumulation
        self._scaler = scaler
        self._window_steps = window_steps
        self._spectrum_every_steps = spectrum_every_steps
        self._projection = None if project_width is None else RandomProjection(project_width)
        self._queue_bytes = queue_bytes
        self._user_on_report = on_report

        self._rank, self._world_size = 0, 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            self._rank = torch.distributed.get_rank()
            self._world_size = torch.distributed.get_world_size()

        # Hooks of CUDA tensors run on autograd's threads.
        self._lock = threading.RLock()
        # A forked process has no sender, and its copies of locks may be held for ever.
        self._process = os.getpid()
        self._sender: Sender | None = None
        # Ids of whatever may be or was declared: those of a name stay.
        self._trainable = _trainable_parameters(model)
        self._parameter_ids = {name: number for number, name in enumerate(self._trainable, start=1)}
        self._layer_ids: dict[str, int] = {}
        self._widths: dict[str, int] = {}
        # Parameter groups as declared: name of the group by name of the parameter.
        self._groups: dict[str, str] = {}
        self._latest_report: report_pb2.StepReport | None = None
        self._warned: set[str] = set()
        # None: what is watched has not been declared yet.
        self._spec: run_pb2.RunSpec | None = None
        self._residual_check: ResidualCheck | None = None
        self._has_autocast = False
        if (
            optimizer is not None
            and "preconditioner" in self._logs
            and not has_preconditioner(optimizer)
        ):
            self._logs = self._logs - {"preconditioner"}
            self._warn_once(
                "log: no diagonal preconditioner is known of %s, so none is sent",
                type(optimizer).__name__,
            )
        self._given_symmetries: Sequence[Symmetry] = ()
        self._found_symmetries: Symmetries | None = None
        if not isinstance(symmetries, str):
            self._given_symmetries = tuple(symmetries)
        elif logs >= {"gradients", "parameters"}:  # Charges and their drift need both.
            self._found_symmetries = find_symmetries(model)
        self._withdrawn: set[str] = set()
        # What was asked for, each with the step at which it is taken up.
        self._requests: deque[tuple[int, run_pb2.Cadence]] = deque()
        self._select(
            changed_cadence(
                run_pb2.Cadence(
                    every_steps=log_freq, first_step=first_step, include=include, exclude=exclude
                ),
                cadence,
            )
        )
        for symmetry in self._given_symmetries:
            if unknown := parameters_of(symmetry) - set(self._parameters):
                raise ValueError(f"symmetry {symmetry.name!r}: {sorted(unknown)} are not watched")

        self._hook_errors = 0
        self._is_closed = False
        self._is_paused = False

        self._step = first_step
        self._first_step = first_step
        # Made, but for its loss: `log` may still come.
        self._made: CapturedStep | None = None
        # The step whose update is being made, and the weights before it.
        self._updating: CapturedStep | None = None
        self._weights_before: dict[str, torch.Tensor] = {}
        self._probing: str | None = None
        self._begin_step()

        self._undo: list[Callable[[], None]] = []
        self._undo_selection: list[Callable[[], None]] = []
        self._install()
        self._install_selection()
        atexit.register(self.close, _EXIT_SECONDS)

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def log(self, *, loss: float | torch.Tensor) -> None:
        """Gives the mean loss of the step's batch, without decay terms.

        Call it after the step's forward pass or after its update, before the next forward pass. Of
        several losses of one step the mean is taken.
        """
        self._guard(self._log_loss, loss)

    def begin_microbatch(self, inputs: Any) -> None:
        """Says that a microbatch's forward pass begins, for loops that may not call the model.

        Such as Lightning's, which calls `training_step`. Of `inputs` the first dimension of the
        first tensor counts. A call of the model that follows belongs to this microbatch.
        """
        self._guard(self._announce, inputs)

    def discard(self) -> None:
        """Forgets the backward passes since the last update, as `optimizer.zero_grad()` does.

        For loops that leave an update out and then zero the gradients by `model.zero_grad()`.
        """
        self._guard(self._discard)

    def step(self, *, learning_rate: float = 0.0, weight_decay: float = 0.0) -> None:
        """Ends the step, just before its update; for training without a torch optimiser."""
        self._guard(self._end_step, learning_rate, weight_decay)
        self._guard(self._follow_requests)

    def flush(self, timeout: float = 30.0) -> bool:
        """Waits until the server has acknowledged every step; False if it did not in time."""
        if os.getpid() != self._process:
            return False
        self._guard(self._submit)
        return self._sender is None or self._sender.flush(timeout)

    def close(self, timeout: float = 10.0) -> bool:
        """Removes all hooks, sends what is queued and ends the run.

        Returns True if the server has acknowledged every step. An unreachable server is tried once
        more, not until `timeout`.
        """
        if os.getpid() != self._process:
            return False
        with self._lock:
            if not self._is_closed:
                self._guard(self._submit)
                self._is_closed = True
                for undo in reversed(self._undo + self._undo_selection):
                    undo()
                atexit.unregister(self.close)
                if _watchers.get(self._model) is self:
                    del _watchers[self._model]
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

    # Set-up.

    def _select(self, cadence: run_pb2.Cadence) -> None:
        """Chooses what a cadence says, of which nothing is declared yet.

        Raises, before it changes anything, ValueError or re.error where that cannot be watched.
        """
        parameters = _select_parameters(self._trainable, cadence.include, cadence.exclude)
        # Without a gradient no step would be seen.
        if not parameters:
            raise ValueError("no trainable floating-point parameter is left to be watched")
        self._modules = self._modules_to_watch(cadence)
        self._cadence = cadence
        self._parameters = parameters
        symmetries = self._given_symmetries
        if self._found_symmetries is not None:
            symmetries = self._found_symmetries.measurable(parameters)
        self._take_symmetries(symmetries)

    def _take_symmetries(self, symmetries: Iterable[Symmetry]) -> None:
        """Goes on with those of these symmetries that are watched whole and were not withdrawn."""
        self._symmetries = [
            symmetry
            for symmetry in symmetries
            if symmetry.name not in self._withdrawn
            and parameters_of(symmetry) <= self._parameters.keys()
        ]
        self._reducer = self._make_reducer()
        self._whole_weights = self._choose_whole_weights()
        self._spec = None

    def _make_reducer(self) -> Reducer | None:
        elements = sum(parameter.numel() for parameter in self._parameters.values())
        is_small = elements <= _AUTO_STATISTICS_ELEMENTS
        if self._mode == "auto" and is_small or self._mode == "tensors":
            return None
        return Reducer(
            self._parameters,
            self._symmetries,
            with_weights="parameters" in self._logs,
            keeps_gradients=bool(self._logs & _AFTER_UPDATE.keys()),
            is_replicated=self._world_size > 1,
        )

    def _choose_whole_weights(self) -> set[str]:
        """Parameters of which figures are made that no sums can make."""
        if self._reducer is None or "parameters" not in self._logs:
            return set()
        names = set().union(*(parameters_of(symmetry) for symmetry in self._symmetries))
        byte_size = sum(
            self._parameters[name].numel() * self._parameters[name].element_size()
            for name in names
        )
        if byte_size <= _WEIGHTS_QUEUE_FRACTION * self._queue_bytes:
            return names
        self._warn_once(
            "no singular values of weights and pairs of neurons are looked at: the weights have %d "
            "bytes, more than a quarter of queue_bytes",
            byte_size,
        )
        return set()

    def _modules_to_watch(self, cadence: run_pb2.Cadence) -> dict[str, set[str]]:
        """For each module the probes that look at it, "" standing for training batches.

        What a cadence says is of training batches: the probes of a run stay the same.
        """
        chosen: dict[str, set[str]] = {}
        names: Sequence[str] = ()
        if cadence.HasField("layers"):
            # The model as a whole has no name among its modules, but one as a layer.
            whole = {_layer_name("", ""): ""} if not hasattr(self._model, "output") else {}
            asked = [whole.get(name, name) for name in cadence.layers.names]
            names = _select_modules(self._model, asked)
        elif "activations" in self._logs:
            names = _select_modules(self._model, self._layers)
        for name in names:
            chosen.setdefault(name, set()).add("")
        for probe in self._probes:
            own = self._layers if probe.layers is None else probe.layers
            for name in _select_modules(self._model, own):
                chosen.setdefault(name, set()).add(probe.name)
        return chosen

    def _install(self) -> None:
        on_forward = _Hook(
            lambda module, inputs, keywords=None: self._guard(self._on_forward, inputs, keywords)
        )
        register: Callable[..., Any] = self._model.register_forward_pre_hook
        try:
            handle = register(on_forward, with_kwargs=True)
        except TypeError:  # PyTorch 1
            handle = register(on_forward)
        self._undo.append(handle.remove)
        if self._optimizer is not None:
            self._install_on_optimizer(self._optimizer)

    def _install_selection(self) -> None:
        """Puts hooks on what is selected, in place of those of the selection before."""
        for undo in self._undo_selection:
            undo()
        self._undo_selection = []
        for name, sources in self._modules.items():
            on_output = _Hook(
                lambda module, inputs, output, name=name, sources=sources: self._guard(
                    self._on_output, module, name, sources, output
                )
            )
            handle = self._model.get_submodule(name).register_forward_hook(on_output)
            self._undo_selection.append(handle.remove)
        for name, parameter in self._parameters.items():
            self._undo_selection.append(
                parameter.register_hook(
                    lambda gradient, name=name: self._guard(self._on_gradient, name, gradient)
                ).remove
            )

    def _install_on_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        def before_zero_grad(args: _Args, kwargs: _Keywords) -> None:
            self._guard(self._discard)

        # Not the pre-hooks of PyTorch 2: one way for all versions.
        before_update = functools.partial(self._before_update, optimizer)

        def after_update() -> None:
            self._guard(self._complete_step, optimizer)
            self._guard(self._follow_requests)

        self._undo.append(_wrap_method(optimizer, "step", before_update, after_update))
        self._undo.append(_wrap_method(optimizer, "zero_grad", before_zero_grad))

    # Hooks. They run inside training: nothing may be raised from them.

    def _guard(self, function: Callable[..., None], *args: Any) -> None:
        if os.getpid() != self._process:
            return
        try:
            with self._lock:
                if not self._is_closed and not self._is_paused:
                    function(*args)
        except Exception:
            if not self._hook_errors:
                _log.warning("watching failed; later errors are only counted", exc_info=True)
            self._hook_errors += 1

    def _warn_once(self, text: str, *args: object) -> None:
        if text not in self._warned:
            self._warned.add(text)
            _log.warning(text, *args)

    @contextlib.contextmanager
    def _paused(self) -> Iterator[None]:
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False

    def _begin_step(self) -> None:
        self._is_streamed = has_step(self._cadence, self._step)
        self._is_begun = False
        # For each backward pass: None for a gradient that is not to be sent; sums are those of the
        # step's backward passes so far.
        self._gradients: list[dict[str, Snapshot | GradientSums | None]] = []
        # The sums of gradients averaged over ranks.
        self._reduced: dict[str, GradientSums] = {}
        if self._projection is not None:
            self._projection.begin_step()
        # For each forward pass, the outputs of the layers.
        self._activations: list[dict[str, Snapshot]] = []
        self._losses: list[float | TensorCopy] = []
        self._batch_size: int | None = None
        # Whether a forward pass waits for its backward pass.
        self._has_new_forward = False
        # Whether `begin_microbatch` has spoken of the forward pass that comes.
        self._is_announced = False

    def _discard(self) -> None:
        """Forgets the backward passes so far: zeroed before an update, they had no effect.

        GradScaler leaves an update out when a gradient overflows. Loops that zero the gradients
        between forward and backward pass still need the former.
        """
        if self._has_new_forward:
            self._activations = self._activations[len(self._gradients) :]
            self._gradients = []
        else:
            self._begin_step()

    def _begin_training(self) -> None:
        if not self._is_begun and self._reducer is not None:
            self._reducer.begin_step()
        self._is_begun = True
        self._submit()

    def _on_forward(self, inputs: _Args, keywords: _Keywords | None) -> None:
        if self._probing is not None or not (self._model.training and torch.is_grad_enabled()):
            return
        if self._is_announced:
            self._is_announced = False
            return
        self._begin_forward(inputs, keywords)

    def _announce(self, inputs: Any) -> None:
        self._begin_forward((inputs,), None)
        self._is_announced = True

    def _begin_forward(self, inputs: _Args, keywords: _Keywords | None) -> None:
        self._begin_training()
        self._has_new_forward = True
        self._has_autocast |= is_autocast()
        self._activations.append({})
        if self._batch_size is None:
            self._batch_size = batch_size((inputs, keywords or {}))

    def _on_output(self, module: nn.Module, name: str, sources: set[str], output: Any) -> None:
        if self._probing is not None:
            source = self._probing
        elif self._is_streamed and module.training and self._activations:
            source = ""
        else:
            return
        if source not in sources:
            return
        if isinstance(output, (tuple, list)) and output:
            output = output[0]
        layer = _layer_name(name, source)
        # Of a module called several times in a pass, as when checkpointing recomputes it, the
        # first output counts.
        if layer in self._activations[-1]:
            return
        if not isinstance(output, torch.Tensor) or output.dtype not in _FLOATS or not output.dim():
            self._warn_once("layer %s: its output is no floating-point tensor", layer)
            return
        width = output[0].numel() if len(output) else 0
        if not width or self._widths.setdefault(layer, width) != width:
            self._warn_once("layer %s: samples that differ in size are left out", layer)
            return
        if self._projection is not None:
            output = self._projection.project(layer, output)
        self._activations[-1][layer] = Snapshot(output)

    def _on_gradient(self, name: str, gradient: torch.Tensor) -> None:
        self._begin_training()
        if not self._is_streamed:
            return
        # A tensor's hook runs once a backward pass: a second gradient is of another one. The
        # forward pass tells them apart where they reach different parameters.
        passes = self._gradients
        if not passes or name in passes[-1] or self._has_new_forward:
            passes.append({})
            self._has_new_forward = False
            self._await_reduction()
        if "gradients" not in self._logs:
            passes[-1][name] = None
        elif self._reducer is not None:
            earlier = self._sums_so_far(name)
            passes[-1][name] = self._reducer.gradient(name, gradient, earlier)
        else:
            passes[-1][name] = Snapshot(gradient)

    def _sums_so_far(self, name: str) -> GradientSums | None:
        for gradients in reversed(self._gradients):
            if isinstance(found := gradients.get(name), GradientSums):
                return found
        return None

    def _await_reduction(self) -> None:
        """Has the averaged gradients looked at when DistributedDataParallel has made them.

        That is before anything, such as clipping, can change them.
        """
        if self._reducer is None or "gradients" not in self._logs or self._replicas is None:
            return
        if not self._replicas.require_backward_grad_sync:
            return
        engine = torch.autograd.Variable._execution_engine
        # Run at the end of the backward pass, in order; the first one is queued before that of
        # DistributedDataParallel, the one that it queues comes after.
        engine.queue_callback(
            lambda: engine.queue_callback(lambda: self._guard(self._on_reduction))
        )

    def _on_reduction(self) -> None:
        if self._reducer is not None and self._is_streamed:
            found = {name: self._reducer.reduced_gradient(name) for name in self._parameters}
            self._reduced = {name: sums for name, sums in found.items() if sums is not None}

    def _before_update(
        self, optimizer: torch.optim.Optimizer, args: _Args, kwargs: _Keywords
    ) -> tuple[_Args, _Keywords] | None:
        closure = args[0] if args else kwargs.get("closure")
        if not callable(closure):
            self._guard(self._end_optimizer_step, optimizer)
            return None

        # The gradients come to be inside the closure. LBFGS calls it several times, the first time
        # at the weights before the update.
        is_ended = False

        def watched_closure() -> Any:
            nonlocal is_ended
            if is_ended:
                with self._paused():
                    return closure()
            result = closure()
            is_ended = True
            self._guard(self._end_optimizer_step, optimizer)
            return result

        if args:
            return (watched_closure, *args[1:]), kwargs
        return args, {**kwargs, "closure": watched_closure}

    def _end_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        names = group_names(optimizer)
        if self._spec is None:
            self._groups = self._watched_groups(optimizer, names)
        elif self._groups != self._watched_groups(optimizer, names):
            self._warn_once(
                "parameter groups that change after the first step are left out; their parameters "
                "count with the learning rate and weight decay of the first group"
            )
        own = set(self._groups.values())
        steps = [
            run_pb2.GroupStep(
                group=name,
                learning_rate=float(group["lr"]),
                weight_decay=float(group.get("weight_decay", 0.0)),
            )
            for name, group in zip(names, optimizer.param_groups, strict=True)
        ]
        own_steps = [step for step in steps if step.group in own]
        first = (own_steps or steps)[0]
        # The unnamed group is an only one: its settings are those of the whole step.
        self._end_step(
            first.learning_rate, first.weight_decay, [step for step in own_steps if step.group]
        )
        self._updating = self._made
        self._weights_before = {}
        if self._updating is not None and "updates" in self._logs:
            self._weights_before = {
                name: parameter.detach().clone() for name, parameter in self._parameters.items()
            }

    def _complete_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Adds to a step what its update has shown."""
        step, self._updating = self._updating, None
        before, self._weights_before = self._weights_before, {}
        # `flush` on another thread may have sent it: the server then reports what is missing.
        if step is None or step is not self._made:
            return
        names: dict[torch.Tensor, str] = {p: name for name, p in self._parameters.items()}
        if self._reducer is not None and step.sums is not None:
            gradients = step.sums.gradients
            for name, weight in before.items():
                step.sums.add(name, self._reducer.update(name, weight, gradients.get(name)))
            if "preconditioner" in self._logs:
                for name, diagonal in preconditioners(optimizer, names):
                    if name in gradients:
                        step.sums.add(
                            name, self._reducer.preconditioner(diagonal, gradients[name])
                        )
            step.sums.gradients = {}
            return
        for name, weight in before.items():
            # In place, so that one more copy of the weights is all that updates take.
            update = weight.neg_().add_(self._parameters[name].detach())
            step.tensors.append(
                CapturedTensor(self._parameter_ids[name], wire.UPDATE, Snapshot(update))
            )
        if "preconditioner" in self._logs:
            step.tensors += [
                CapturedTensor(self._parameter_ids[name], wire.PRECONDITIONER, Snapshot(diagonal))
                for name, diagonal in preconditioners(optimizer, names)
            ]

    def _watched_groups(
        self, optimizer: torch.optim.Optimizer, names: Sequence[str]
    ) -> dict[str, str]:
        """For each watched parameter of the optimiser the name of its group."""
        group_of = {
            id(parameter): name
            for name, group in zip(names, optimizer.param_groups, strict=True)
            for parameter in group["params"]
        }
        return {
            name: group_of[id(parameter)]
            for name, parameter in self._parameters.items()
            if id(parameter) in group_of
        }

    def _end_step(
        self,
        learning_rate: float,
        weight_decay: float,
        groups: Sequence[run_pb2.GroupStep] = (),
    ) -> None:
        self._submit()
        try:
            if self._is_streamed and self._gradients:
                self._made = self._make_step(learning_rate, weight_decay, groups)
        finally:
            self._step += 1
            self._begin_step()

    def _make_step(
        self,
        learning_rate: float,
        weight_decay: float,
        groups: Sequence[run_pb2.GroupStep],
    ) -> CapturedStep:
        microbatches = len(self._gradients)
        samples = self._microbatch_size or self._batch_size
        if not samples:
            self._warn_once("the size of microbatches is unknown: give watch(microbatch_size=...)")
        begin = run_pb2.StepBegin(
            step=self._step,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            microbatch_size=samples or 1,
            microbatches=microbatches,
            loss_scale=1 / microbatches if self._accumulation == "mean" else 1.0,
            groups=groups,
        )
        activations = self._activations
        probed = self._probe()
        spec = self._declare() if self._spec is None else self._spec

        scale = self._loss_scale()
        sums = None
        sent_weights = set(self._parameters) if "parameters" in self._logs else set()
        if self._reducer is not None:
            period = self._spectrum_every_steps or _SPECTRUM_EVERY_STEPS
            sent_weights = set() if self._streamed_steps % period else self._whole_weights
            sums = self._sum_step(self._reducer, microbatches, sent_weights, scale)
        self._streamed_steps += 1

        tensors = []
        if sent_weights:
            tensors += [
                CapturedTensor(self._parameter_ids[name], wire.WEIGHT, Snapshot(parameter))
                for name, parameter in self._parameters.items()
                if name in sent_weights
            ]
        tensors += [
            CapturedTensor(self._parameter_ids[name], wire.GRADIENT, gradient, microbatch)
            for microbatch, gradients in enumerate(self._gradients)
            for name, gradient in gradients.items()
            if isinstance(gradient, Snapshot)
        ]
        # A forward pass without a backward pass is no microbatch.
        for microbatch, outputs in enumerate(activations[:microbatches]):
            tensors += self._activation_tensors(outputs, microbatch)
        tensors += self._activation_tensors(probed, 0)
        return CapturedStep(spec, begin, tensors, self._losses, sums, scale)

    def _loss_scale(self) -> float | Snapshot:
        if self._scaler is None:
            return 1.0
        # `get_scale` would wait for the device.
        scale = getattr(self._scaler, "_scale", None)
        if isinstance(scale, torch.Tensor):
            return Snapshot(scale)
        return float(self._scaler.get_scale())

    def _sum_step(
        self,
        reducer: Reducer,
        microbatches: int,
        sent_weights: set[str],
        scale: float | Snapshot,
    ) -> StepSums:
        sums = StepSums(reducer, {name: self._parameter_ids[name] for name in self._parameters})
        if "parameters" in self._logs:
            sums.add_weights(sent_weights)
        if "gradients" not in self._logs:
            return sums
        found = {name: self._sums_so_far(name) for name in self._parameters}
        gradients = {name: own for name, own in found.items() if own is not None}
        if self._world_size == 1:
            sums.add_gradients(gradients, microbatches)
        elif self._replicas is not None:
            sums.add_gradients(gradients, microbatches, self._reduced)
        else:
            # Averaged by the loop itself, and unscaled by the scaler.
            self._on_reduction()
            sums.add_gradients(gradients, microbatches, self._reduced, scale)
        return sums

    def _activation_tensors(
        self, outputs: dict[str, Snapshot], microbatch: int
    ) -> list[CapturedTensor]:
        tensors = []
        for layer, output in outputs.items():
            if layer in self._layer_ids:
                tensors.append(
                    CapturedTensor(self._layer_ids[layer], wire.ACTIVATION, output, microbatch)
                )
            else:
                self._warn_once("layer %s: gave no output before the first step ended", layer)
        return tensors

    def _probe(self) -> dict[str, Snapshot]:
        """Outputs of the layers for the probes that are due; all are at the first step."""
        outputs: dict[str, Snapshot] = {}
        for probe in self._probes:
            if self._sender is None or self._step % probe.every == 0:
                # A probe that fails must not cost the step its gradients.
                self._guard(self._run_probe, probe, outputs)
        return outputs

    def _run_probe(self, probe: Probe, outputs: dict[str, Snapshot]) -> None:
        trained, self._activations = self._activations, [{}]
        self._probing = probe.name
        try:
            probe.run(self._model)
            answers = self._activations[-1]
        finally:
            self._probing = None
            self._activations = trained
        for layer, output in answers.items():
            if output.shape[0] == len(probe.probe_set.ids):
                outputs[layer] = output
            else:
                self._warn_once("layer %s: its output has not one row a sample", layer)
                self._widths.pop(layer, None)

    def _declare(self) -> run_pb2.RunSpec:
        """Declares what is watched; only now are the widths of the layers known."""
        probe_of = {
            _layer_name(name, probe.name): probe.name
            for probe in self._probes
            for name, _ in self._model.named_modules()
        }
        watched = {
            _layer_name(module, source)
            for module, sources in self._modules.items()
            for source in sources
        }
        widest = max(self._widths.values(), default=0)
        if self._projection is not None:
            widest = self._projection.width
        layers = [
            Layer(
                layer,
                min(width, widest),
                probe_of.get(layer, ""),
                projected_from=width if width > widest else 0,
            )
            for layer, width in self._widths.items()
            if layer in watched
        ]
        kinds = [kind for log, kind in _AFTER_UPDATE.items() if log in self._logs]
        if self._reducer is not None and self._world_size > 1 and "gradients" in self._logs:
            kinds.append(wire.REDUCED_GRADIENT)
        spec = run_spec(
            self._run,
            parameters={name: tuple(p.shape) for name, p in self._trainable.items()},
            groups=self._groups,
            layers=layers,
            symmetries=self._symmetries,
            parameter_kinds=kinds,
            probe_sets=[probe.probe_set for probe in self._probes],
            optimizer=describe(self._optimizer),
            window_steps=self._window_steps,
            spectrum_every_steps=self._spectrum_every_steps,
            similarities=self._similarities,
            rank=self._rank,
            world_size=self._world_size,
            every_steps=self._cadence.every_steps,
            model_elements=sum(p.numel() for p in self._model.parameters() if p.requires_grad),
            # The hooks see gradients before any all-reduce.
            gradient_scope="local",
        )
        parameters = [entry for entry in spec.parameters if entry.name in self._parameters]
        del spec.parameters[:]
        spec.parameters.extend(parameters)
        for layer in spec.layers:
            next_id = len(self._parameter_ids) + len(self._layer_ids) + 1
            layer.id = self._layer_ids.setdefault(layer.name, next_id)
        self._spec = spec
        # What the server has of a step before, singular values too, ended with its stream.
        self._streamed_steps = 0
        if self._residual_check is not None:
            self._residual_check.add(self._symmetries)
        elif self._found_symmetries is not None:
            dtypes = {parameter.dtype for parameter in self._trainable.values()}
            largest = tolerance(dtypes, has_autocast=self._has_autocast)
            self._residual_check = ResidualCheck(self._symmetries, largest)
        if self._sender is None:
            self._sender = Sender(
                self._connect, self._queue_bytes, self._on_report, self._on_cadence
            )
        return spec

    def _on_cadence(self, request: run_pb2.Cadence) -> None:
        with self._lock:
            first_step = 0
            if self._world_size > 1:
                if selects(request):
                    self._warn_once(
                        "trainers of one run must declare the same: of the cadence that the server "
                        "asks for, include, exclude and layers are not followed"
                    )
                    request = of_steps(request)
                first_step = self._step + 2 * _COMMON_STEPS - 1
                first_step -= first_step % _COMMON_STEPS
            self._requests.append((first_step, request))

    def _follow_requests(self) -> None:
        """Takes up what was asked for and what was found out: between two steps, not within one."""
        if any(symmetry.name in self._withdrawn for symmetry in self._symmetries):
            self._take_symmetries(self._symmetries)
        while self._requests and self._requests[0][0] <= self._step:
            _, request = self._requests.popleft()
            try:
                self._follow(request)
            except (ValueError, re.error) as error:
                _log.warning("what the server asks for is not followed: %s", error)
        self._is_streamed = has_step(self._cadence, self._step)

    def _follow(self, request: run_pb2.Cadence) -> None:
        before, cadence = self._cadence, changed_cadence(self._cadence, request)
        if selects(request):
            self._select(cadence)
            self._install_selection()
        self._cadence = cadence
        # Trainers of one run keep what they have declared: a stream of one alone would end it.
        if cadence.every_steps != before.every_steps and self._world_size == 1:
            self._spec = None
        _log.info("the server asks for another cadence: %s", " ".join(str(cadence).split()))

    def _log_loss(self, loss: float | torch.Tensor) -> None:
        value: float | Snapshot
        value = Snapshot(loss) if isinstance(loss, torch.Tensor) else float(loss)
        if not self._is_begun and self._made is not None:
            self._made.losses.append(value)
        elif self._is_begun:
            self._losses.append(value)
        elif self._is_streamed and self._step == self._first_step:
            self._warn_once("a loss given before any forward pass in training mode is left out")

    def _submit(self) -> None:
        if self._sender is not None and self._made is not None:
            self._made.freeze()
            self._sender.put(self._made)
            self._made = None

    def _on_report(self, report: report_pb2.StepReport) -> None:
        self._latest_report = report
        if self._residual_check is not None:
            with self._lock:
                residuals = self._residual_check.withdrawn(report)
            self._withdraw(residuals)
        if self._user_on_report is not None:
            self._user_on_report(report)

    def _withdraw(self, residuals: dict[str, float]) -> None:
        """Goes on without the symmetries that were found but do not hold."""
        # Trainers of one run must declare the same: they go on, and have been told.
        is_withdrawn = self._world_size == 1
        for name, residual in residuals.items():
            _log.warning(
                "symmetry %s does not hold%s: its residual is %.2g",
                name,
                " and is withdrawn" if is_withdrawn else "",
                residual,
            )
        if is_withdrawn:
            with self._lock:
                self._withdrawn |= residuals.keys()


class _Hook:
    """A module's hook that stays behind when the module is copied or pickled.

    A model must be as easily saved as without it, and loaded where this package is missing: its
    place is taken by a function of Python's library that takes anything and does nothing.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = _outside_of_compiled_graphs(function)

    def __call__(self, *args: Any) -> None:
        self._function(*args)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return getattr, (contextlib.nullcontext(), "__exit__")


def _outside_of_compiled_graphs(function: Callable[..., None]) -> Callable[..., None]:
    """The function, which torch.compile does not look into but calls between two graphs."""
    compiler = getattr(torch, "compiler", None)
    if compiler is None:  # PyTorch 1
        return function
    outside: Callable[..., None] = compiler.disable(function)
    return outside


def _trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.dtype in _FLOATS and parameter.numel()
    }


def _select_parameters(
    parameters: Mapping[str, nn.Parameter], include: str, exclude: str
) -> dict[str, nn.Parameter]:
    """Those in whose name `include` is found and `exclude`, unless it is empty, is not."""
    return {
        name: parameter
        for name, parameter in parameters.items()
        if re.search(include, name) and not (exclude and re.search(exclude, name))
    }


def _select_modules(model: nn.Module, layers: Sequence[str] | None) -> list[str]:
    modules = dict(model.named_modules())
    if layers is not None:
        if unknown := [name for name in layers if name not in modules]:
            raise ValueError(f"layers: the model has no module named {', '.join(unknown)}")
        return list(layers)
    for types_ in (_ACTIVATION_MODULES, _LINEAR_MODULES):
        if chosen := [name for name, module in modules.items() if isinstance(module, types_)]:
            return chosen
    raise ValueError(
        "layers: the model has no activation, linear or convolution module: name those to compare"
    )


def _layer_name(module: str, probe: str) -> str:
    module = module or "output"
    return f"{probe}:{module}" if probe else module


def _wrap_method(
    instance: object,
    name: str,
    before: Callable[[_Args, _Keywords], tuple[_Args, _Keywords] | None],
    after: Callable[[], None] | None = None,
) -> Callable[[], None]:
    """Calls `before` before a method of one object, `after` once it has returned.

    Returns what undoes it.
    """
    original = getattr(instance, name)

    # Of the function, as an inspected signature would else lose a second argument to `self`.
    @functools.wraps(getattr(original, "__func__", original))
    def wrapper(self: object, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = before(args, kwargs) or (args, kwargs)
        result = original(*args, **kwargs)
        if after is not None:
            after()
        return result

    # A bound method like the one it replaces: learning-rate schedulers take it apart.
    wrapped = types.MethodType(wrapper, instance)
    was_own = name in vars(instance)
    setattr(instance, name, wrapped)

    def undo() -> None:
        # Someone who wrapped it again keeps our wrapper, which does nothing once closed.
        if vars(instance).get(name) is not wrapped:
            return
        if was_own:
            setattr(instance, name, original)
        else:
            delattr(instance, name)

    return undo
