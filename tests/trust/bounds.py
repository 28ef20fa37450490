"""What tests of error bounds share: fifty digits, data made to break bounds, the register.

A test says by @holds which metrics' bounds it tests; test_stated_bounds.py sees from that whether
every bound of the catalogue has a test. `pytest -rP` shows how much of each bound was needed.
"""

import mpmath
import numpy

from system_support import chunks, run, tensor

mpmath.mp.dps = 50

UNIT = mpmath.mpf(2) ** -53
# Metrics whose bound some test holds to.
HELD = set()


def holds(*names):
    """Marks a test of the bounds that these metrics state, named without the prefix."""
    HELD.update(f"thermograd_{name}" for name in names)
    return lambda test: test


def within(name, found, wanted, bound):
    """The figure is no further from the reference than its bound, which is told beside it."""
    error = abs(mpmath.mpf(found) - wanted)
    print(f"{name}: error {mpmath.nstr(error, 2)}, of the bound {mpmath.nstr(error / bound, 2)}")
    assert error <= bound, (name, found, mpmath.nstr(wanted, 20), mpmath.nstr(bound, 5))


def digits(array):
    """The array in fifty digits, which hold every fp64."""
    array = numpy.asarray(array)
    flat = [mpmath.mpf(float(x)) for x in array.ravel()]
    exact = numpy.empty(array.size, dtype=object)
    exact[:] = flat
    return exact.reshape(array.shape)


def squared_norm(array):
    """Of all elements together."""
    return sum(x * x for x in numpy.ravel(array))


def norm(array):
    """Frobenius'."""
    return mpmath.sqrt(squared_norm(array))


def row_dots(x, y):
    """<x_i, y_i> of each row."""
    return (x * y).sum(axis=1)


def centred(x):
    """Without the means of the columns."""
    return x - x.sum(axis=0) / len(x)


def singular_values(x):
    """In decreasing order."""
    rows, columns = x.shape
    short = x if rows >= columns else x.T
    found = mpmath.svd_r(mpmath.matrix(short.tolist()), compute_uv=False)
    return [found[i] for i in range(len(found))]


def magnitudes(source, shape):
    """Log-normal over some ten decades, either sign."""
    return (source.standard_normal(shape) * 10 ** source.normal(0, 2.5, shape)).astype("float32")


def cancelling(source, shape):
    """A mean a million times what varies."""
    return (1 + 1e-6 * source.standard_normal(shape)).astype("float32")


def step_of(kinds, microbatch_lists=()):
    """Chunks of a step: (id, kind, array), and (id, kind, arrays of the microbatches)."""
    requests = []
    for key, kind, array in kinds:
        requests += chunks(key, kind, array)
    for key, kind, arrays in microbatch_lists:
        for number, array in enumerate(arrays):
            requests += chunks(key, kind, array, number)
    return requests


def parameters(*shapes, groups=()):
    """Declared parameters 1, 2 …"""
    return [
        run.Parameter(id=key, name=str(key), shape=shape, group=groups[key - 1] if groups else "")
        for key, shape in enumerate(shapes, start=1)
    ]


GRADIENT = tensor.TENSOR_KIND_GRADIENT
WEIGHT = tensor.TENSOR_KIND_WEIGHT
UPDATE = tensor.TENSOR_KIND_UPDATE
ACTIVATION = tensor.TENSOR_KIND_ACTIVATION
ACTIVATION_GRADIENT = tensor.TENSOR_KIND_ACTIVATION_GRADIENT
SGD = run.Optimizer(kind=run.OPTIMIZER_KIND_SGD)
