"""A run streamed synchronously: one report for each step."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import grpc

from thermograd import wire
from thermograd.v1 import report_pb2, run_pb2, tensor_pb2
from thermograd.v1 import training_analysis_service_pb2 as service
from thermograd.v1 import training_analysis_service_pb2_grpc as service_grpc

# Messages between the caller and gRPC: enough to overlap encoding and sending, at 1 MiB each.
_QUEUED_REQUESTS = 8
# Seconds after which a caller blocked by back-pressure looks whether the call has ended.
_POLL_SECONDS = 0.1


class RunStream:
    """A live run: one StreamRun call, for one thread at a time.

    Methods raise grpc.RpcError with the server's reason once the call has ended, and TimeoutError
    when the server does not answer within `timeout` seconds. Nothing is retried: a run goes on in
    another stream whose RunSpec.resume_after_step is `last_acknowledged_step`.
    """

    def __init__(
        self,
        address: str,
        spec: run_pb2.RunSpec,
        *,
        credentials: wire.AnyCredentials = None,
        affinity: str | None = None,
        chunk_bytes: int = wire.DEFAULT_CHUNK_BYTES,
        timeout: float = 60.0,
        on_notice: Callable[[report_pb2.Notice], None] | None = None,
        on_cadence: Callable[[run_pb2.Cadence], None] | None = None,
    ) -> None:
        """Declares the run and waits until the server accepts it.

        `credentials`: `thermograd.Credentials`, or gRPC's; none: those that the environment names.
        `affinity`: what load balancers hash on; None: the run's name.
        `on_notice`, `on_cadence`: called with the server's notices and with what it asks the client
        to stream, by the thread that waits for an answer; it is the caller's to follow.
        """
        self._timeout = timeout
        self._on_notice = on_notice
        self._on_cadence = on_cadence
        self._ids = {entry.name: entry.id for entry in (*spec.layers, *spec.parameters)}
        self._open_step: int | None = None
        #: The last step whose figures the server has completed.
        self.last_acknowledged_step: int | None = None
        self._requests: queue.Queue[service.StreamRunRequest | None] = queue.Queue(
            _QUEUED_REQUESTS
        )
        self._responses: queue.SimpleQueue[service.StreamRunResponse | grpc.RpcError | None] = (
            queue.SimpleQueue()
        )
        self._channel = wire.open_channel(address, credentials)
        self._call = service_grpc.TrainingAnalysisServiceStub(self._channel).StreamRun(
            iter(self._requests.get, None), metadata=wire.run_metadata(spec.run, affinity)
        )
        threading.Thread(target=self._read, daemon=True).start()
        try:
            self._put(service.StreamRunRequest(run_spec=spec))
            #: Window and limits that the server announced.
            self.accepted: report_pb2.RunAccepted = self._answer("run_accepted").run_accepted
        except BaseException:
            self._abort()
            raise
        limit = self.accepted.limits.max_chunk_bytes
        self._chunk_bytes = min(chunk_bytes, limit) if limit else chunk_bytes

    def __enter__(self) -> RunStream:
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        if exception_type is None:
            self.close()
        else:
            self._abort()

    def begin_step(
        self,
        step: int,
        *,
        loss: float | None = None,
        learning_rate: float = 0.0,
        weight_decay: float = 0.0,
        microbatch_size: int = 1,
        microbatches: int = 1,
        loss_scale: float = 1.0,
        reduced_batch_size: int = 0,
        groups: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        """Opens a step; the arguments are the fields of StepBegin.

        `groups`: (learning rate, weight decay) of the parameter groups that have their own.
        """
        self._put(
            service.StreamRunRequest(
                step_begin=run_pb2.StepBegin(
                    step=step,
                    loss=loss,
                    learning_rate=learning_rate,
                    weight_decay=weight_decay,
                    microbatch_size=microbatch_size,
                    microbatches=microbatches,
                    loss_scale=loss_scale,
                    reduced_batch_size=reduced_batch_size,
                    groups=[
                        run_pb2.GroupStep(group=group, learning_rate=rate, weight_decay=decay)
                        for group, (rate, decay) in (groups or {}).items()
                    ],
                )
            )
        )
        self._open_step = step

    def send(
        self,
        tensor_id: int | str,
        kind: tensor_pb2.TensorKind,
        array: Any,
        microbatch: int = 0,
    ) -> None:
        """Sends a NumPy array or PyTorch tensor of the open step, values unchanged, in chunks.

        `tensor_id` is the id or the name of a declared parameter or layer.
        """
        number = self._ids[tensor_id] if isinstance(tensor_id, str) else tensor_id
        elements = wire.Elements.of(array)
        for chunk in wire.tensor_chunks(number, kind, elements, microbatch, self._chunk_bytes):
            self._put(service.StreamRunRequest(chunk=chunk))

    def end_step(self) -> report_pb2.StepReport | None:
        """Closes the open step and waits until the server has completed it.

        Returns its report; None where RunSpec.reporting leaves this step out.
        """
        if self._open_step is None:
            raise ValueError("no step is open")
        step, self._open_step = self._open_step, None
        self._put(service.StreamRunRequest(step_end=run_pb2.StepEnd(step=step)))
        report = None
        while True:
            response = self._answer("step_report", "acknowledgement")
            if response.WhichOneof("message") == "step_report":
                report = response.step_report
            elif response.acknowledgement.step >= step:
                self.last_acknowledged_step = response.acknowledgement.step
                return report

    def close(self) -> None:
        """Says that nothing more comes and waits for the server to end the call."""
        try:
            if self._call.is_active():
                self._put(None)
            deadline = time.monotonic() + self._timeout
            while (response := self._next(deadline)) is not None:
                self._note(response)
        finally:
            self._abort()

    def _abort(self) -> None:
        self._call.cancel()
        self._channel.close()
        # Ends gRPC's thread that waits for requests; where the queue is full, none waits.
        with contextlib.suppress(queue.Full):
            self._requests.put_nowait(None)

    def _read(self) -> None:
        try:
            for response in self._call:
                self._responses.put(response)
            self._responses.put(None)
        except grpc.RpcError as error:
            self._responses.put(error)

    def _put(self, request: service.StreamRunRequest | None) -> None:
        deadline = time.monotonic() + self._timeout
        while self._call.is_active():
            try:
                self._requests.put(request, timeout=_POLL_SECONDS)
                return
            except queue.Full:
                if time.monotonic() > deadline:
                    raise TimeoutError("the server does not read") from None
        # The call is over: the answers hold the reason.
        while (response := self._next(deadline)) is not None:
            self._note(response)
        raise ConnectionError("the server has ended the stream")

    def _next(self, deadline: float) -> service.StreamRunResponse | None:
        try:
            response = self._responses.get(timeout=max(deadline - time.monotonic(), 0.0))
        except queue.Empty:
            raise TimeoutError("the server did not answer in time") from None
        if response is None or isinstance(response, grpc.RpcError):
            # Whoever asks again must see the end again.
            self._responses.put(response)
        if isinstance(response, grpc.RpcError):
            raise response
        return response

    def _note(self, response: service.StreamRunResponse) -> None:
        which = response.WhichOneof("message")
        if self._on_notice is not None and which == "notice":
            self._on_notice(response.notice)
        elif self._on_cadence is not None and which == "cadence":
            self._on_cadence(response.cadence)

    def _answer(self, *kinds: str) -> service.StreamRunResponse:
        deadline = time.monotonic() + self._timeout
        while True:
            response = self._next(deadline)
            if response is None:
                raise ConnectionError("the server has ended the stream")
            if response.WhichOneof("message") in kinds:
                return response
            self._note(response)
