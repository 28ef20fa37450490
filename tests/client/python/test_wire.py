"""Arrays become chunks without a bit lost."""

import numpy
import pytest
import torch

from system_support import tensor
from thermograd import wire


def joined(array, chunk_bytes=7):
    """The chunks' bytes, data type and shape; checks that they are in order and whole."""
    elements = wire.Elements.of(array)
    chunks = list(wire.tensor_chunks(3, wire.GRADIENT, elements, 2, chunk_bytes))
    count = 0
    for chunk in chunks:
        assert (chunk.tensor_id, chunk.kind, chunk.microbatch) == (3, wire.GRADIENT, 2)
        assert tuple(chunk.shape) == elements.shape
        assert chunk.data_type == elements.data_type
        assert chunk.offset == count
        assert len(chunk.data) % elements.item_bytes == 0
        assert len(chunk.data) <= max(chunk_bytes, elements.item_bytes)
        count += len(chunk.data) // elements.item_bytes
    assert chunks
    return b"".join(chunk.data for chunk in chunks), elements.data_type, elements.shape


@pytest.mark.parametrize(
    "name, data_type",
    [
        ("float16", tensor.DATA_TYPE_FP16),
        ("float32", tensor.DATA_TYPE_FP32),
        ("float64", tensor.DATA_TYPE_FP64),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_types_of_numpy(name, data_type, order):
    values = numpy.array([[1.5, -0.0, numpy.nan], [numpy.inf, 6e-5, -2.0]], name)
    little = values.astype(values.dtype.newbyteorder("<"))
    given = values.astype(values.dtype.newbyteorder(order))
    assert joined(given) == (little.tobytes(), data_type, (2, 3))


@pytest.mark.parametrize(
    "dtype, data_type",
    [
        (torch.float16, tensor.DATA_TYPE_FP16),
        (torch.float32, tensor.DATA_TYPE_FP32),
        (torch.float64, tensor.DATA_TYPE_FP64),
    ],
)
def test_types_of_torch(dtype, data_type):
    values = torch.tensor([[1.5, -0.0], [float("inf"), 6e-5]], dtype=dtype, requires_grad=True)
    assert joined(values) == (values.detach().numpy().tobytes(), data_type, (2, 2))


def test_bfloat16_keeps_its_bits():
    values = torch.tensor([[1.0, -2.0, 3.140625]], dtype=torch.bfloat16)
    expected = numpy.array([0x3F80, 0xC000, 0x4049], "<u2").tobytes()
    assert joined(values) == (expected, tensor.DATA_TYPE_BF16, (1, 3))
    assert joined(values.T) == (expected, tensor.DATA_TYPE_BF16, (3, 1))
    scalar = torch.tensor(1.0, dtype=torch.bfloat16)
    assert joined(scalar) == (expected[:2], tensor.DATA_TYPE_BF16, ())


@pytest.mark.parametrize("make", [numpy.asarray, torch.from_numpy])
def test_what_is_not_contiguous_is_sent_row_by_row(make):
    values = numpy.arange(24, dtype=numpy.float32).reshape(4, 6)
    for view in (values.T, values[::2, 1::2], values[:, 3]):
        assert joined(make(view))[0] == view.copy().tobytes()
    assert joined(values[::-1])[0] == values[::-1].copy().tobytes()


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_an_empty_array_is_one_empty_chunk(shape):
    for array in (numpy.zeros(shape), torch.zeros(shape, dtype=torch.float64)):
        assert joined(array) == (b"", tensor.DATA_TYPE_FP64, shape)
        assert len(list(wire.Elements.of(array).parts(100))) == 1


def test_scalars():
    expected = numpy.float64(2.5).tobytes(), tensor.DATA_TYPE_FP64, ()
    for scalar in (2.5, numpy.float64(2.5), numpy.array(2.5), torch.tensor(2.5).double()):
        assert joined(scalar) == expected


@pytest.mark.parametrize(
    "array", [numpy.arange(3), torch.arange(3), numpy.array([True]), numpy.array([1j])]
)
def test_other_types_are_refused(array):
    with pytest.raises(TypeError, match="float32"):
        wire.Elements.of(array)


def test_snapshots_do_not_follow_the_tensor():
    from thermograd.snapshot import Snapshot

    values = torch.ones(3)
    snapshot = Snapshot(values)
    values.zero_()
    assert bytes(snapshot.elements().data) == numpy.ones(3, numpy.float32).tobytes()
    assert snapshot.byte_size == 12 and tuple(snapshot.shape) == (3,)
    sparse = torch.eye(2).to_sparse()
    assert bytes(Snapshot(sparse).elements().data) == numpy.eye(2, dtype="f4").tobytes()


@pytest.mark.parametrize(
    "run, value", [("plain-1", "plain-1"), ("a b%", "a%20b%25"), ("é\n", "%C3%A9%0A")]
)
def test_the_runs_name_as_metadata(run, value):
    assert wire.run_metadata(run) == (
        ("x-thermograd-run", value),
        ("x-thermograd-affinity", value),
    )
    assert wire.run_metadata("other", run) == (
        ("x-thermograd-run", "other"),
        ("x-thermograd-affinity", value),
    )
