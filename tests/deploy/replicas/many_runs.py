"""Runs whose data are a function of their number, driven by the client package."""

import threading

import grpc
import numpy

import thermograd
from system_support import chunks, end_step, run, service, tensor
from thermograd.sender import Sender

STEPS = 12
WINDOW_STEPS = 4
MICROBATCHES = 2
SHAPES = {"up": (4, 3), "down": (2, 4)}
RETRY_SECONDS = 0.2
# What proto/README.md tells clients to take for a server that is gone.
TRANSIENT = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.CANCELLED,
)


def name_of(number):
    """The run's name."""
    return f"run-{number}"


def declaration(number):
    """The run's declaration."""
    return thermograd.run_spec(
        name_of(number),
        parameters=SHAPES,
        symmetries=[thermograd.NeuronRescaling("hidden", incoming="up", outgoing="down")],
        optimizer=run.Optimizer(kind=run.OPTIMIZER_KIND_SGD),
        window_steps=WINDOW_STEPS,
        # Of the first step of a stream too, otherwise, and of one in a hundred.
        spectrum_every_steps=1,
    )


class Step:
    """A step of a run, as thermograd.sender takes it."""

    def __init__(self, spec, run_number, number):
        self.spec = spec
        self.number = number
        random = numpy.random.default_rng([run_number, number])
        self.begin = run.StepBegin(
            step=number,
            loss=float(random.uniform()),
            learning_rate=0.1,
            microbatch_size=8,
            microbatches=MICROBATCHES,
        )
        #: (id, kind, microbatch, elements)
        self.tensors = []
        for parameter_id, shape in enumerate(SHAPES.values(), start=1):
            weight = random.standard_normal(shape, numpy.float32)
            self.tensors.append((parameter_id, tensor.TENSOR_KIND_WEIGHT, 0, weight))
            for microbatch in range(MICROBATCHES):
                gradient = random.standard_normal(shape, numpy.float32)
                self.tensors.append(
                    (parameter_id, tensor.TENSOR_KIND_GRADIENT, microbatch, gradient)
                )
        self.byte_size = sum(elements.nbytes for *_, elements in self.tensors)

    def requests(self, limits):
        """All messages of the step."""
        del limits
        yield service.StreamRunRequest(step_begin=self.begin)
        for parameter_id, kind, microbatch, elements in self.tensors:
            yield from chunks(parameter_id, kind, elements, microbatch)
        yield end_step(self.number)


class QueuedRun:
    """A run through the queue of `watch`; its caller puts the steps."""

    def __init__(self, number, connect):
        self._number = number
        self._spec = declaration(number)
        self._connect = connect
        #: Steps that were acknowledged when each stream began.
        self.resumed_at = []
        #: Why each stream before the present one ended.
        self.errors = []
        #: The report of each step; of one that is analysed again, the latest.
        self.reports = {}
        self._next = 0
        self._sender = Sender(self._open, 1 << 20, self._on_report)

    def _open(self):
        if self._sender.stats.last_error is not None:
            self.errors.append(self._sender.stats.last_error)
        self.resumed_at.append(self.acknowledged)
        return self._connect()

    def _on_report(self, report):
        self.reports[report.step] = report

    @property
    def acknowledged(self):
        """Steps acknowledged so far."""
        last = self._sender.stats.last_acknowledged_step
        return 0 if last is None else last + 1

    def advance(self, is_allowed):
        """Puts the next step if it is time for it."""
        if self._next < STEPS and self._next <= self.acknowledged and is_allowed(self._next):
            self._sender.put(Step(self._spec, self._number, self._next))
            self._next += 1

    def close(self):
        """Ends the run and checks the accounts of its queue."""
        assert self._sender.close(30)
        stats = self._sender.stats
        assert stats.captured_steps == stats.acknowledged_steps == STEPS
        assert stats.dropped_steps == 0 and not stats.stopped and stats.hook_errors == 0


class SynchronousRun:
    """A run through RunStream, with its own loop around it, as the documentation says."""

    def __init__(self, number, address, credentials, is_allowed):
        self._number = number
        self._address = address
        self._credentials = credentials
        self._is_allowed = is_allowed
        self.resumed_at = []
        self.errors = []
        self.reports = {}
        self._acknowledged = 0
        self._failure = None
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def advance(self, is_allowed):
        """Does nothing: the run has a thread of its own."""
    @property
    def acknowledged(self):
        """Steps acknowledged so far. Raises what ended the thread, if anything did."""
        if self._failure is not None:
            raise self._failure
        return self._acknowledged

    def _run(self):
        try:
            while not self._is_closing.wait(RETRY_SECONDS):
                try:
                    self._stream()
                except grpc.RpcError as error:
                    if error.code() not in TRANSIENT:
                        raise
                    self.errors.append(f"{error.code().name}: {error.details()}")
        except BaseException as error:
            self._failure = error

    def _stream(self):
        spec = declaration(self._number)
        if self._acknowledged:
            spec.resume_after_step = self._acknowledged - 1
        self.resumed_at.append(self._acknowledged)
        with thermograd.RunStream(
            self._address, spec, credentials=self._credentials
        ) as stream:
            while self._acknowledged < STEPS:
                while not self._is_allowed(self._acknowledged):
                    if self._is_closing.wait(0.02):
                        return
                step = Step(spec, self._number, self._acknowledged)
                stream.begin_step(
                    step.number,
                    loss=step.begin.loss,
                    learning_rate=step.begin.learning_rate,
                    microbatch_size=step.begin.microbatch_size,
                    microbatches=step.begin.microbatches,
                )
                for parameter_id, kind, microbatch, elements in step.tensors:
                    stream.send(parameter_id, kind, elements, microbatch)
                report = stream.end_step()
                assert stream.last_acknowledged_step == step.number
                self.reports[step.number] = report
                self._acknowledged += 1
            self._is_closing.wait()

    def close(self):
        """Ends the run."""
        self._is_closing.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        assert self.acknowledged == STEPS


class ManyRuns:
    """Runs side by side. None begins step `gate` before the gate is opened."""

    def __init__(self, make_runs, gate):
        self._gate = gate
        self._is_open = threading.Event()
        self._is_over = threading.Event()
        self.runs = make_runs(self._is_allowed)
        self._thread = threading.Thread(target=self._train, daemon=True)

    def _is_allowed(self, step):
        return step < self._gate or self._is_open.is_set()

    def _train(self):
        while not self._is_over.wait(0.005):
            for each in self.runs:
                each.advance(self._is_allowed)

    def open_gate(self):
        """Lets the last steps begin."""
        self._is_open.set()

    @property
    def acknowledged(self):
        """Steps of all runs that were acknowledged."""
        return sum(each.acknowledged for each in self.runs)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, exception_type, *_):
        self._is_over.set()
        self._thread.join()
        for each in self.runs:
            try:
                each.close()
            except BaseException:
                if exception_type is None:
                    raise
