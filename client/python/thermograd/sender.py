"""Sends steps from a thread of its own, within a bound of bytes, whatever the server does."""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import grpc

from thermograd import wire
from thermograd.v1 import report_pb2, run_pb2
from thermograd.v1 import training_analysis_service_pb2 as service
from thermograd.v1 import training_analysis_service_pb2_grpc as service_grpc

_log = logging.getLogger("thermograd")

# The server may accept the same bytes later. Every other status would only come again; after
# ABORTED, another trainer streams a run of this name, and the two would oust each other for ever.
_TRANSIENT = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
    }
)
# Trailing metadata by which gRPC's servers say that a call may succeed later: this one is full now.
_PUSHBACK = "grpc-retry-pushback-ms"
_ACCEPT_SECONDS = 20.0
_CANCEL_SECONDS = 1.0
_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 30.0

_Message = TypeVar("_Message")


class Step(Protocol):
    """A step to be sent. It may be sent more than once."""

    @property
    def spec(self) -> run_pb2.RunSpec:
        """The declaration that it belongs to; that of another step is the same object or another
        declaration."""

    @property
    def number(self) -> int:
        """Number of the step."""

    @property
    def byte_size(self) -> int:
        """Bytes of its tensors and sums."""

    def requests(self, limits: report_pb2.StreamLimits) -> Iterator[service.StreamRunRequest]:
        """StepBegin, the sums, the chunks, StepEnd. An error must come before the first of them."""


@dataclass(frozen=True)
class Stats:
    """Counts of a watched run since its start.

    Every captured step is acknowledged, dropped, or still on its way.
    """

    #: Steps taken from the training.
    captured_steps: int = 0
    #: Steps whose figures the server has completed.
    acknowledged_steps: int = 0
    #: Steps handed to gRPC whole, and bytes of their tensors and sums; a step sent again counts
    #: again.
    sent_steps: int = 0
    sent_bytes: int = 0
    #: Steps that the server will never see, and bytes of their tensors and sums.
    dropped_steps: int = 0
    dropped_bytes: int = 0
    #: Bytes of tensors kept now, sent but unacknowledged ones included.
    queued_bytes: int = 0
    #: Times that the server accepted the run again.
    reconnects: int = 0
    #: The last step whose figures the server has completed.
    last_acknowledged_step: int | None = None
    #: Why the latest connection ended, or why a step could not be sent.
    last_error: str | None = None
    #: True once the server has refused the run for good.
    stopped: bool = False
    #: Exceptions inside hooks and callbacks, which training never sees.
    hook_errors: int = 0


@dataclass(eq=False)
class _SentStep:
    number: int
    byte_size: int
    # None once dropped to make room: it cannot be sent again.
    step: Step | None


class _Session:
    """One call: what its two threads tell each other, under the sender's lock."""

    def __init__(self) -> None:
        self.accepted: report_pb2.RunAccepted | None = None
        self.is_over = False


class Sender:
    """A queue of whole steps and the thread that empties it.

    `put` neither blocks nor raises: when the queue is full the oldest steps are dropped. A step
    stays in the queue until it is acknowledged, so that it can be sent again over a new
    connection; of the steps to be dropped, those that were already sent go first. A step whose
    declaration is not that of the step before it begins a stream of its own, once the one before
    has ended in order.
    """

    def __init__(
        self,
        connect: Callable[[], grpc.Channel],
        queue_bytes: int,
        on_report: Callable[[report_pb2.StepReport], None],
        on_cadence: Callable[[run_pb2.Cadence], None] | None = None,
        affinity: str | None = None,
    ) -> None:
        self._connect = connect
        self._queue_bytes = queue_bytes
        self._on_report = on_report
        self._on_cadence = on_cadence
        self._affinity = affinity

        # Guards everything below.
        self._changed = threading.Condition()
        self._waiting: deque[Step] = deque()
        self._sent: deque[_SentStep] = deque()
        # The step whose messages are on their way: it cannot be dropped halfway.
        self._transmitting: _SentStep | None = None
        self._stats = Stats()
        self._connections = 0
        self._failures = 0
        self._is_closing = False
        self._is_given_up = False
        self._has_overflowed = False
        self._call: grpc.Call | None = None
        self._noticed: set[report_pb2.NoticeKind] = set()

        self._thread = threading.Thread(target=self._run, name="thermograd-sender", daemon=True)
        self._thread.start()

    @property
    def stats(self) -> Stats:
        """Counts so far."""
        # Without the lock, which a forked process may have inherited locked: it is replaced whole.
        return self._stats

    def put(self, step: Step) -> None:
        """Queues a step."""
        with self._changed:
            self._add(captured_steps=1)
            if self._stats.stopped or self._is_closing:
                self._count_dropped(step.byte_size)
                return
            self._waiting.append(step)
            self._add(queued_bytes=step.byte_size)
            self._make_room()
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Waits until the server has acknowledged every step; False if it did not in time.

        Called by `on_report`, it cannot wait.
        """
        if threading.current_thread() is self._thread:
            timeout = 0.0
        with self._changed:
            self._changed.wait_for(lambda: self._is_idle() or self._stats.stopped, timeout)
            return self._is_idle() and not self._stats.stopped

    def close(self, timeout: float) -> bool:
        """Sends what is queued and ends the run; True if every step was acknowledged.

        Where the connection breaks meanwhile the rest goes over another, but a server that does
        not accept the run is tried once more, not until `timeout`. Called by `on_report`, it
        cannot wait and returns False.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if threading.current_thread() is self._thread:
            return False
        self._thread.join(timeout)
        with self._changed:
            self._is_given_up = True
            self._changed.notify_all()
            call = self._call
        if call is not None:
            call.cancel()
        self._thread.join(_CANCEL_SECONDS)
        with self._changed:
            self._requeue()
            while self._waiting:
                self._drop_waiting()
            return not self._stats.dropped_steps

    def _is_idle(self) -> bool:
        return not self._waiting and not self._sent

    def _add(self, **counts: int) -> None:
        self._stats = replace(
            self._stats,
            **{name: getattr(self._stats, name) + count for name, count in counts.items()},
        )

    def _count_dropped(self, byte_size: int) -> None:
        self._add(dropped_steps=1, dropped_bytes=byte_size)

    def _drop_waiting(self) -> None:
        step = self._waiting.popleft()
        self._add(queued_bytes=-step.byte_size)
        self._count_dropped(step.byte_size)

    def _make_room(self) -> None:
        for sent in self._sent:
            if self._stats.queued_bytes <= self._queue_bytes:
                return
            if sent.step is not None and sent is not self._transmitting:
                sent.step = None
                self._add(queued_bytes=-sent.byte_size)
        while self._waiting and self._stats.queued_bytes > self._queue_bytes:
            if not self._has_overflowed:
                self._has_overflowed = True
                _log.warning(
                    "the queue of %d bytes is full: whole steps are dropped (a step has %d bytes)",
                    self._queue_bytes,
                    self._waiting[0].byte_size,
                )
            self._drop_waiting()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closing)
                if not self._waiting or self._is_given_up:
                    return
                spec = self._waiting[0].spec
                connections = self._connections
            try:
                code, details, is_transient = self._stream_once(spec)
            except OSError as error:  # Such as a certificate that is just being replaced.
                code, details, is_transient = grpc.StatusCode.UNAVAILABLE, str(error), True
            except Exception as error:  # Such as credentials of the wrong type: would only recur.
                code, details, is_transient = grpc.StatusCode.INVALID_ARGUMENT, repr(error), False
            with self._changed:
                self._requeue()
                self._changed.notify_all()
                if code is not grpc.StatusCode.OK:
                    reason = f"{code.name}: {details}"
                    self._stats = replace(self._stats, last_error=reason)
                    if not is_transient:
                        self._stop(reason)
                if self._stats.stopped:
                    return
                is_in_order = code is grpc.StatusCode.OK
                if is_in_order and self._waiting and self._waiting[0].spec is not spec:
                    continue
                was_closing = self._is_closing
                was_refused = self._connections == connections
                if was_closing and (was_refused or not self._waiting):
                    return
                self._failures += 1
                delay = min(
                    _FIRST_DELAY_SECONDS * 2.0 ** min(self._failures - 1, 16),
                    _LONGEST_DELAY_SECONDS,
                )
                # Trainers that lost the same server must not all come back at once.
                self._changed.wait_for(
                    lambda: self._is_given_up or self._is_closing != was_closing,
                    delay * random.uniform(0.5, 1.0),
                )

    def _stop(self, reason: str) -> None:
        _log.error("the server refused the run, which is no longer streamed: %s", reason)
        self._stats = replace(self._stats, stopped=True)
        while self._waiting:
            self._drop_waiting()

    def _requeue(self) -> None:
        """Makes the steps that a connection now over left unacknowledged wait again."""
        self._transmitting = None
        while self._sent:
            sent = self._sent.pop()
            if sent.step is None:
                self._count_dropped(sent.byte_size)
            else:
                self._waiting.appendleft(sent.step)

    def _stream_once(self, spec: run_pb2.RunSpec) -> tuple[grpc.StatusCode, str, bool]:
        session = _Session()
        channel = self._connect()
        call = service_grpc.TrainingAnalysisServiceStub(channel).StreamRun(
            self._requests(session, spec), metadata=wire.run_metadata(spec.run, self._affinity)
        )
        with self._changed:
            self._call = call
            if self._is_given_up:
                call.cancel()
        # The stream as a whole has no deadline; its beginning has.
        deadline = threading.Timer(_ACCEPT_SECONDS, call.cancel)
        deadline.daemon = True
        deadline.start()
        try:
            for response in call:
                self._receive(session, response)
                if session.accepted is not None:
                    deadline.cancel()
            return grpc.StatusCode.OK, "", True
        except grpc.RpcError as error:
            code = error.code()
            trailers = {key for key, _ in error.trailing_metadata() or ()}
            return code, error.details(), code in _TRANSIENT or _PUSHBACK in trailers
        finally:
            deadline.cancel()
            with self._changed:
                self._call = None
                session.is_over = True
                self._changed.notify_all()
            channel.close()

    def _requests(
        self, session: _Session, spec: run_pb2.RunSpec
    ) -> Iterator[service.StreamRunRequest]:
        """All messages of one call. Runs on a thread of gRPC, which asks for the next message when
        the one before is on its way: this is how the server's back-pressure reaches the queue.
        """
        declaration = run_pb2.RunSpec()
        declaration.CopyFrom(spec)
        if (acknowledged := self.stats.last_acknowledged_step) is not None:
            declaration.resume_after_step = acknowledged
        yield service.StreamRunRequest(run_spec=declaration)
        with self._changed:
            self._changed.wait_for(lambda: session.accepted is not None or session.is_over)
            if session.accepted is None:
                return
            limits = session.accepted.limits
        while True:
            with self._changed:
                if session.is_over:
                    return
                self._transmitting = None
                self._make_room()
                self._changed.wait_for(
                    lambda: session.is_over or self._waiting or self._is_closing
                )
                if session.is_over or not self._waiting or self._waiting[0].spec is not spec:
                    return
                step = self._waiting.popleft()
                # Before its messages, because its acknowledgement may overtake their completion.
                sent = _SentStep(step.number, step.byte_size, step)
                self._sent.append(sent)
                self._transmitting = sent
            try:
                yield from step.requests(limits)
            except Exception as error:  # Of user data: the step is lost, the run is not.
                _log.warning("step %d cannot be sent", step.number, exc_info=True)
                with self._changed:
                    if sent in self._sent:
                        self._sent.remove(sent)
                        self._add(queued_bytes=-step.byte_size)
                        self._count_dropped(step.byte_size)
                        self._stats = replace(self._stats, last_error=str(error))
                        self._changed.notify_all()
            else:
                with self._changed:
                    self._add(sent_steps=1, sent_bytes=step.byte_size)

    def _receive(self, session: _Session, response: service.StreamRunResponse) -> None:
        which = response.WhichOneof("message")
        if which == "run_accepted":
            with self._changed:
                session.accepted = response.run_accepted
                if self._connections:
                    self._add(reconnects=1)
                self._connections += 1
                self._changed.notify_all()
        elif which == "acknowledgement":
            with self._changed:
                self._acknowledge(response.acknowledgement.step)
                self._changed.notify_all()
        elif which == "step_report":
            self._call_back(self._on_report, response.step_report)
        elif which == "cadence" and self._on_cadence is not None:
            self._call_back(self._on_cadence, response.cadence)
        elif which == "notice":
            # A gradient that has become NaN brings one with every step.
            is_new = response.notice.kind not in self._noticed
            self._noticed.add(response.notice.kind)
            _log.log(
                logging.WARNING if is_new else logging.DEBUG,
                "the server says: %s",
                response.notice.text,
            )

    def _acknowledge(self, number: int) -> None:
        # Only progress makes a retry cheap: a step that ends every stream must not be sent fast.
        self._failures = 0
        self._stats = replace(self._stats, last_acknowledged_step=number)
        while self._sent and self._sent[0].number <= number:
            sent = self._sent.popleft()
            self._add(acknowledged_steps=1)
            if sent.step is not None:
                self._add(queued_bytes=-sent.byte_size)

    def _call_back(self, function: Callable[[_Message], None], message: _Message) -> None:
        try:
            function(message)
        except Exception:
            with self._changed:
                if not self._stats.hook_errors:
                    _log.warning("a callback raised; later errors are only counted", exc_info=True)
                self._add(hook_errors=1)
