"""A server that keeps what it is sent, and answers as a test tells it to."""

import threading
from concurrent import futures

import grpc
import numpy

from system_support import report, service, service_grpc, tensor

WEIGHT = tensor.TENSOR_KIND_WEIGHT
GRADIENT = tensor.TENSOR_KIND_GRADIENT
UPDATE = tensor.TENSOR_KIND_UPDATE
PRECONDITIONER = tensor.TENSOR_KIND_PRECONDITIONER
ACTIVATION = tensor.TENSOR_KIND_ACTIVATION

NUMPY_TYPES = {
    # NumPy has no bfloat16: its bits.
    tensor.DATA_TYPE_BF16: "<u2",
    tensor.DATA_TYPE_FP16: "<f2",
    tensor.DATA_TYPE_FP32: "<f4",
    tensor.DATA_TYPE_FP64: "<f8",
}


class Step:
    """A step as it arrived."""

    def __init__(self, begin):
        self.begin = begin
        #: Messages of sums.
        self.statistics = []
        #: Bytes of all its messages.
        self.byte_size = 0
        self._parts = {}

    def add(self, chunk):
        """Takes a chunk."""
        key = chunk.tensor_id, chunk.kind, chunk.microbatch
        data_type, shape, parts = self._parts.setdefault(
            key, (chunk.data_type, tuple(chunk.shape), [])
        )
        assert (chunk.data_type, tuple(chunk.shape)) == (data_type, shape)
        assert chunk.offset == sum(map(len, parts)) // numpy.dtype(NUMPY_TYPES[data_type]).itemsize
        parts.append(chunk.data)

    def sums(self):
        """{id: ParameterStatistics}, {name: SymmetryStatistics}."""
        parameters = [entry for message in self.statistics for entry in message.parameters]
        symmetries = [entry for message in self.statistics for entry in message.symmetries]
        found = {p.tensor_id: p for p in parameters}, {s.symmetry: s for s in symmetries}
        assert (len(found[0]), len(found[1])) == (len(parameters), len(symmetries))
        return found

    def tensors(self, kind):
        """{(id, microbatch): array} of one kind."""
        return {
            (number, microbatch): numpy.frombuffer(b"".join(parts), NUMPY_TYPES[data_type]).reshape(
                shape
            )
            for (number, its_kind, microbatch), (data_type, shape, parts) in self._parts.items()
            if its_kind == kind
        }


class RecordingServer(service_grpc.TrainingAnalysisServiceServicer):
    """Keeps every declaration and every whole step."""

    def __init__(self, **limits):
        self._limits = report.StreamLimits(**limits)
        #: Declarations, one a stream.
        self.specs = []
        #: Whole steps, in the order of their arrival.
        self.steps = []
        #: Metadata of each stream.
        self.metadata = []
        #: Steps are acknowledged while this is set.
        self.acknowledges = threading.Event()
        self.acknowledges.set()
        #: The status, a code and a text, that ends every new stream; None: streams are accepted.
        self.refusal = None
        #: The same after the given number of steps of a stream: (steps, code, text).
        self.end_after = None
        #: Cadences to ask a stream for, each once its step of that number has arrived.
        self.cadences = {}
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        service_grpc.add_TrainingAnalysisServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"

    def __enter__(self):
        self._server.start()
        return self

    def __exit__(self, *_):
        self.acknowledges.set()
        self._server.stop(None).wait()

    def StreamRun(self, requests, context):  # noqa: N802
        """The contract's method."""
        if self.refusal:
            context.abort(*self.refusal)
        self.metadata.append(dict(context.invocation_metadata()))
        self.specs.append(next(requests).run_spec)
        yield service.StreamRunResponse(run_accepted=report.RunAccepted(limits=self._limits))
        count = 0
        for request in requests:
            which = request.WhichOneof("message")
            if which == "step_begin":
                step = Step(request.step_begin)
            step.byte_size += request.ByteSize()
            if which == "chunk":
                step.add(request.chunk)
            elif which == "statistics":
                step.statistics.append(request.statistics)
            elif which == "step_end":
                assert request.step_end.step == step.begin.step
                self.steps.append(step)
                count += 1
                if self.end_after and count >= self.end_after[0]:
                    context.abort(*self.end_after[1:])
                self.acknowledges.wait()
                yield service.StreamRunResponse(
                    step_report=report.StepReport(
                        step=step.begin.step,
                        metrics=[
                            report.MetricValue(
                                name="loss",
                                labels=[report.Label(name="b", value="2"),
                                        report.Label(name="a", value="1")],
                                value=step.begin.loss,
                            )
                        ],
                    )
                )
                if cadence := self.cadences.get(step.begin.step):
                    yield service.StreamRunResponse(cadence=cadence)
                yield service.StreamRunResponse(
                    acknowledgement=report.Acknowledgement(step=step.begin.step)
                )

    def named(self, step, kind):
        """{(name, microbatch): array} of one kind, by the latest declaration."""
        spec = self.specs[-1]
        names = {entry.id: entry.name for entry in (*spec.parameters, *spec.layers)}
        return {
            (names[number], microbatch): array
            for (number, microbatch), array in step.tensors(kind).items()
        }
