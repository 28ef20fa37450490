"""The Python package, fed with the recording: its RunStream, and the generated stub's comparison.

thermograd.compare gives figures, not the answer that they came in.
"""

import grpc
import numpy

import recording
from system_support import TIMEOUT_SECONDS, report, service, service_grpc, tensor
from thermograd import RunStream

ELEMENTS = {tensor.DATA_TYPE_FP32: "<f4", tensor.DATA_TYPE_FP64: "<f8"}


def converse(address, requests, answers):
    """Sends the requests of a folder and writes the answers into another."""
    run = _stream_run(address, _read(requests / "run.binpb", service.StreamRunRequest))
    _write(answers / "run.binpb", run)
    with grpc.insecure_channel(address) as channel:
        similarities = service_grpc.TrainingAnalysisServiceStub(channel).CompareRepresentations(
            _read(requests / "comparison.binpb", service.CompareRepresentationsRequest),
            timeout=TIMEOUT_SECONDS,
        )
    _write(answers / "comparison.binpb", [similarities])


def _stream_run(address, requests):
    notices = []
    stream = RunStream(address, next(requests).run_spec, on_notice=notices.append)
    with stream:
        yield service.StreamRunResponse(run_accepted=stream.accepted)
        for request in requests:
            kind = request.WhichOneof("message")
            if kind == "step_begin":
                begin = request.step_begin
                stream.begin_step(
                    begin.step,
                    loss=begin.loss if begin.HasField("loss") else None,
                    learning_rate=begin.learning_rate,
                    weight_decay=begin.weight_decay,
                    microbatch_size=begin.microbatch_size,
                    microbatches=begin.microbatches,
                )
            elif kind == "chunk":
                chunk = request.chunk
                array = numpy.frombuffer(chunk.data, ELEMENTS[chunk.data_type])
                stream.send(
                    chunk.tensor_id, chunk.kind, array.reshape(chunk.shape), chunk.microbatch
                )
            else:
                figures = stream.end_step()
                yield from (service.StreamRunResponse(notice=notice) for notice in notices)
                notices.clear()
                yield service.StreamRunResponse(step_report=figures)
                yield service.StreamRunResponse(
                    acknowledgement=report.Acknowledgement(step=stream.last_acknowledged_step)
                )


def _read(path, message):
    return map(message.FromString, recording.undelimited(path.read_bytes()))


def _write(path, messages):
    path.write_bytes(
        recording.delimited([message.SerializeToString() for message in messages])
    )
