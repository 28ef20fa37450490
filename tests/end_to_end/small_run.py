"""A run of one 2 x 3 parameter and one probed layer, small enough to be spoiled by hand."""

import hashlib

import numpy

from system_support import chunks, run, tensor

WEIGHT = 1
LAYER = 2
SAMPLES = 32
WIDTH = 4


def fingerprint(sample_ids):
    """Fingerprint of a probe set, by the contract's convention."""
    return hashlib.sha256("\n".join(map(str, sample_ids)).encode()).digest()


def declaration(name, sample_ids=range(SAMPLES), **fields):
    """The run's declaration."""
    return run.RunSpec(
        run=name,
        parameters=[run.Parameter(id=WEIGHT, name="weight", shape=[2, 3])],
        layers=[run.Layer(id=LAYER, name="hidden", width=WIDTH, probe_set="held-out")],
        probe_sets=[
            run.ProbeSet(
                name="held-out", samples=SAMPLES, fingerprint=fingerprint(sample_ids)
            )
        ],
        **fields,
    )


def begin(step):
    """Opens a step of one microbatch."""
    return run.StepBegin(
        step=step, loss=1.0, learning_rate=0.1, microbatch_size=8, microbatches=1
    )


def gradient(array=None):
    """The step's only gradient."""
    array = numpy.ones((2, 3), numpy.float32) if array is None else array
    return chunks(WEIGHT, tensor.TENSOR_KIND_GRADIENT, array)


def activations(array):
    """The probed layer's output."""
    return chunks(LAYER, tensor.TENSOR_KIND_ACTIVATION, array)
