"""The recorded requests that every client sends, and files of length-delimited messages."""

import random
import struct

from google.protobuf.internal import decoder, encoder

from system_support import end_step, run, service, tensor

UP, DOWN, HIDDEN, OUTPUT = 1, 2, 3, 4
SHAPES = {UP: (6, 4), DOWN: (2, 6), HIDDEN: (16, 6), OUTPUT: (16, 2)}
SAMPLES = 16
MICROBATCHES = 2
STEPS = (1, 2, 3)
NAN_STEP = 3


def run_requests():
    """A run of two parameters with a symmetry and a probe set of two layers, in three steps.

    The last step's gradients hold a NaN, and its loss and weight decay are left out.
    """
    source = random.Random(0)
    yield service.StreamRunRequest(run_spec=_declaration())
    for step in STEPS:
        begin = run.StepBegin(
            step=step, learning_rate=0.1, microbatch_size=8, microbatches=MICROBATCHES
        )
        if step != NAN_STEP:
            begin.loss = 1.0 / step
            begin.weight_decay = 0.01
        yield service.StreamRunRequest(step_begin=begin)
        for parameter in (UP, DOWN):
            yield _chunk(source, parameter, tensor.TENSOR_KIND_WEIGHT, tensor.DATA_TYPE_FP32)
            for microbatch in range(MICROBATCHES):
                request = _chunk(
                    source,
                    parameter,
                    tensor.TENSOR_KIND_GRADIENT,
                    tensor.DATA_TYPE_FP64 if parameter == DOWN else tensor.DATA_TYPE_FP32,
                    microbatch,
                )
                if step == NAN_STEP and parameter == UP and microbatch == 0:
                    chunk = request.chunk
                    chunk.data = struct.pack("<f", float("nan")) + chunk.data[4:]
                yield request
        for layer in (HIDDEN, OUTPUT):
            yield _chunk(source, layer, tensor.TENSOR_KIND_ACTIVATION, tensor.DATA_TYPE_FP32)
        yield end_step(step)


def comparison_requests():
    """Two matrices of the same samples, with the options that change the answer."""
    source = random.Random(1)
    options = {"similarities": ["SIMILARITY_CKA", "SIMILARITY_CCA", "SIMILARITY_CKA_CALIBRATED"]}
    yield service.CompareRepresentationsRequest(options={**options, "permutations": 19})
    for side in (service.COMPARISON_SIDE_X, service.COMPARISON_SIDE_Y):
        yield service.CompareRepresentationsRequest(
            header=service.ComparisonHeader(
                side=side,
                samples=SAMPLES,
                features=3,
                data_type=tensor.DATA_TYPE_FP64,
                fingerprint=b"\x00\xff the same samples",
            )
        )
    for side in (service.COMPARISON_SIDE_X, service.COMPARISON_SIDE_Y):
        data = _elements(source, SAMPLES * 3, tensor.DATA_TYPE_FP64)
        yield service.CompareRepresentationsRequest(
            chunk=service.ComparisonChunk(side=side, data=data)
        )


def delimited(messages):
    """Serialised messages, each behind its length as a varint."""
    return b"".join(encoder._VarintBytes(len(message)) + message for message in messages)


def undelimited(data):
    """The serialised messages of a file."""
    messages, position = [], 0
    while position < len(data):
        length, position = decoder._DecodeVarint(data, position)
        messages.append(data[position : position + length])
        position += length
    return messages


def _declaration():
    return run.RunSpec(
        run="recorded: größer",
        optimizer=run.Optimizer(kind=run.OPTIMIZER_KIND_MOMENTUM, momentum=0.9, nesterov=True),
        parameters=[
            run.Parameter(id=UP, name="up", shape=SHAPES[UP], group="all"),
            run.Parameter(id=DOWN, name="down", shape=SHAPES[DOWN], group="all"),
        ],
        layers=[
            run.Layer(
                id=HIDDEN, name="hidden", width=6, probe_set="held-out", reader_weight_id=DOWN
            ),
            run.Layer(id=OUTPUT, name="output", width=2, probe_set="held-out"),
        ],
        probe_sets=[run.ProbeSet(name="held-out", samples=SAMPLES, fingerprint=bytes(range(32)))],
        symmetries=[
            run.Symmetry(
                name="hidden",
                neuron_rescaling=run.NeuronRescaling(
                    incoming=run.Member(parameter_id=UP), outgoing=run.Member(parameter_id=DOWN)
                ),
            )
        ],
    )


def _chunk(source, tensor_id, kind, data_type, microbatch=0):
    shape = SHAPES[tensor_id]
    return service.StreamRunRequest(
        chunk=tensor.TensorChunk(
            tensor_id=tensor_id,
            kind=kind,
            data_type=data_type,
            shape=shape,
            microbatch=microbatch,
            data=_elements(source, shape[0] * shape[1], data_type),
        )
    )


def _elements(source, count, data_type):
    code = "d" if data_type == tensor.DATA_TYPE_FP64 else "f"
    return struct.pack(f"<{count}{code}", *(source.gauss(0, 1) for _ in range(count)))
