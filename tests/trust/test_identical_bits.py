"""Equal data, cut, mixed and timed at random, give reports that are equal to the bit."""

import contextlib
import random
import struct
import subprocess
import threading

import numpy
import pytest

from system_support import SERVER, Server, Stream, bits, chunks, run, service, tensor

UP, DOWN, ODD, FIRST, SECOND = 1, 2, 3, 11, 12
SHAPES = {UP: (48, 33), DOWN: (17, 48), ODD: (1001,)}
WIDTHS = {FIRST: 24, SECOND: 40}
SAMPLES, MICROBATCHES, STEPS = 64, 3, 3
REPETITIONS, PARALLEL = 200, 4
LOADER = "/lib64/ld-linux-x86-64.so.2"


def declaration(name, **fields):
    return run.RunSpec(
        run=name,
        optimizer=run.Optimizer(kind=run.OPTIMIZER_KIND_SGD),
        parameters=[
            run.Parameter(id=key, name=str(key), shape=shape) for key, shape in SHAPES.items()
        ],
        layers=[
            run.Layer(id=key, name=str(key), width=width, probe_set="held-out")
            for key, width in WIDTHS.items()
        ],
        probe_sets=[
            run.ProbeSet(name="held-out", samples=SAMPLES, fingerprint=name.encode().ljust(32))
        ],
        symmetries=[
            run.Symmetry(
                name="neurons",
                neuron_rescaling=run.NeuronRescaling(
                    incoming=run.Member(parameter_id=UP), outgoing=run.Member(parameter_id=DOWN)
                ),
            )
        ],
        **fields,
    )


def begin(step, microbatches=MICROBATCHES):
    return run.StepBegin(
        step=step, loss=0.7, learning_rate=0.1, microbatch_size=8, microbatches=microbatches
    )


def data():
    """Of each step, for each tensor the arrays in their order: magnitudes over ten decades."""
    source = numpy.random.default_rng(5)

    def array(shape):
        values = source.standard_normal(shape) * 10 ** source.uniform(-5, 5, shape)
        return values.astype(numpy.float32)

    return [
        {
            **{(key, tensor.TENSOR_KIND_GRADIENT): [array(s) for _ in range(MICROBATCHES)]
               for key, s in SHAPES.items()},
            **{(key, tensor.TENSOR_KIND_WEIGHT): [array(s)] for key, s in SHAPES.items()},
            **{(key, tensor.TENSOR_KIND_ACTIVATION): [
                source.standard_normal((SAMPLES, width)).astype(numpy.float32)]
               for key, width in WIDTHS.items()},
        }
        for _ in range(STEPS)
    ]  # fmt: skip


DATA = data()


def cut(source, tensor_id, kind, array, microbatch):
    """One tensor in chunks of random sizes."""
    flat, start = array.ravel(), 0
    while start < flat.size:
        size = min(flat.size - start, source.choice([1, 7, 31, 32, 33, 250, 5000]) + 20)
        yield service.StreamRunRequest(
            chunk=tensor.TensorChunk(
                tensor_id=tensor_id,
                kind=kind,
                data_type=tensor.DATA_TYPE_FP32,
                shape=array.shape,
                offset=start,
                microbatch=microbatch,
                data=flat[start : start + size].tobytes(),
            )
        )
        start += size


def mixed(source, step):
    """A step's chunks: those of a tensor in order, tensors in any."""
    queues = [
        [chunk for number, array in enumerate(arrays) for chunk in cut(source, *key, array, number)]
        for key, arrays in step.items()
    ]
    while queues:
        chosen = source.randrange(len(queues))
        yield queues[chosen].pop(0)
        if not queues[chosen]:
            del queues[chosen]


def plain(step):
    """A step's chunks as a client sends them."""
    return [
        chunk
        for key, arrays in step.items()
        for number, array in enumerate(arrays)
        for chunk in chunks(*key, array, number)
    ]


def reports(server, name, chunks_of):
    with Stream(server) as stream:
        stream.open(declaration(name))
        found = [
            bits(stream.step(begin(number), list(chunks_of(step))))
            for number, step in enumerate(DATA)
        ]
        assert stream.close() is None
    return found


@pytest.fixture(scope="module")
def expected():
    with Server("--workers=1") as server:
        found = reports(server, "plain", plain)
    names = {name for name, _ in found[-1]}
    for family in ("thermograd_entropy_term", "thermograd_symmetry_charge", "thermograd_cka_ratio"):
        assert family in names
    return found


def in_parallel(works):
    """Runs every work on a thread; raises the first error."""
    errors = []

    def guarded(work):
        try:
            work()
        except BaseException as error:  # what a thread raises would be lost
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_chunks_streams_and_workers_change_no_bit(expected, workers):
    # Three numbers of workers share the repetitions; four streams at a time interleave.
    rounds = -(-REPETITIONS // 3 // PARALLEL)
    with Server(f"--workers={workers}") as server:

        def repeat(thread):
            for number in range(rounds):
                name = f"mixed-{thread}-{number}"
                source = random.Random(f"{workers} {name}")
                assert reports(server, name, lambda step: mixed(source, step)) == expected

        in_parallel([lambda thread=thread: repeat(thread) for thread in range(PARALLEL)])


def test_the_order_in_which_ranks_end_a_step_changes_no_bit():
    def of_rank(rank, step):
        """A gradient of the rank's own; what is replicated from all."""
        return [
            chunk
            for (key, kind), arrays in step.items()
            if kind != tensor.TENSOR_KIND_ACTIVATION
            for chunk in chunks(
                key, kind, arrays[rank] if kind == tensor.TENSOR_KIND_GRADIENT else arrays[0]
            )
        ]

    def train(server, name, order):
        found = []
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(Stream(server)) for _ in range(MICROBATCHES)]
            for rank, stream in enumerate(streams):
                spec = declaration(name, rank=rank, world_size=MICROBATCHES)
                del spec.layers[:], spec.probe_sets[:]
                stream.open(spec)
            for number, step in enumerate(DATA):
                for rank in order:
                    streams[rank].send(
                        service.StreamRunRequest(step_begin=begin(number, 1)),
                        *of_rank(rank, step),
                        service.StreamRunRequest(step_end=run.StepEnd(step=number)),
                    )
                found.append([bits(stream.receive("step_report")) for stream in streams])
        return found

    with Server() as server:
        expected = train(server, "in-order", [0, 1, 2])
        assert train(server, "reversed", [2, 1, 0]) == expected
        assert train(server, "turned", [1, 2, 0]) == expected


class LevelServer(Server):
    """A server that loads the kernels of one instruction-set level."""

    def __init__(self, level, directory):
        program = directory / "server"
        program.write_text(
            f'#!/bin/sh\nexec {LOADER} --glibc-hwcaps-mask {level} {SERVER} "$@"\n'
        )
        program.chmod(0o755)
        super().__init__(program=program)


@pytest.mark.parametrize("level", ["baseline", "x86-64-v3", "x86-64-v4"])
def test_levels_agree(expected, level, tmp_path):
    supported = subprocess.run([LOADER, "--help"], capture_output=True, text=True, check=True)
    if level != "baseline" and f"{level} (supported" not in supported.stdout:
        pytest.skip(f"this machine has no {level}")
    with LevelServer(level, tmp_path) as server:
        found = reports(server, "level", plain)
    for got, wanted in zip(found, expected, strict=True):
        assert got.keys() == wanted.keys()
        for key, value in wanted.items():
            if key[0].startswith(EXACT_AT_EVERY_LEVEL) or not isinstance(value, bytes):
                assert got[key] == value, key
            else:
                number, other = (struct.unpack("<d", v)[0] for v in (value, got[key]))
                assert other == pytest.approx(number, rel=1e-9, abs=1e-12), key


# Figures of sums over elements alone.
EXACT_AT_EVERY_LEVEL = (
    "thermograd_loss",
    "thermograd_gradient_",
    "thermograd_group_gradient_",
    "thermograd_parameter_gradient_",
    "thermograd_temperature",
    "thermograd_entrop",
    "thermograd_equipartition",
)
