"""A run of random shape: what it declares, and one step as bytes that are sent again and again."""

import functools

import numpy

from system_support import chunks, run, service, tensor
from thermograd.v1 import representation_pb2 as representation

WIDTHS = (4, 8, 16, 32, 64, 128)
# Shared by all runs, so that they are compared: samples by name.
PROBE_SETS = {"held-out": 32, "held-out-large": 64}
SIMILARITIES = [number for number in representation.Similarity.values() if number]
KINDS = (
    tensor.TENSOR_KIND_UPDATE,
    tensor.TENSOR_KIND_PRECONDITIONER,
    tensor.TENSOR_KIND_GRADIENT_AFTER_UPDATE,
    tensor.TENSOR_KIND_REDUCED_GRADIENT,
)
LARGE_ELEMENTS = 1 << 18


@functools.cache
def _numbers():
    """What tensors are cut from: drawing numbers would cost more than sending them."""
    return numpy.random.default_rng(0).standard_normal(2 * LARGE_ELEMENTS).astype("<f4")


class RandomTraining:
    """A run of one or two ranks. `specs` by rank, `bodies` too: a step's serialised messages."""

    def __init__(self, source, name, ranks=None):
        self._source = source
        self._microbatches = source.randint(1, 3)
        self.is_sums = source.random() < 0.25
        ranks = ranks or source.choice((1, 1, 1, 1, 2))
        spec = run.RunSpec(
            run=name,
            world_size=ranks,
            optimizer=run.Optimizer(kind=source.choice(run.OptimizerKind.values())),
            gradient_scope=source.choice(
                (run.GRADIENT_SCOPE_LOCAL, run.GRADIENT_SCOPE_REDUCED)
            ),
            parameter_kinds=source.sample(KINDS, source.randint(0, 2)),
            sampling=run.Sampling(every_steps=source.choice((0, 1, 16))),
            reporting=run.Reporting(
                window_steps=source.choice((0, 1, 4, 16)),
                spectrum_every_steps=source.choice((0, 1, 8)),
                similarity_over_window=source.random() < 0.25,
                similarity=representation.SimilarityOptions(
                    similarities=source.sample(SIMILARITIES, source.randint(0, 4)),
                    neighbours=4,
                    permutations=19,
                ),
            ),
        )
        for number in range(source.randint(1, 3)):
            self._add_block(spec, number)
        if source.random() < 0.25:
            spec.parameters.add(id=900, name="large", shape=[LARGE_ELEMENTS])
        self.specs = [self._of_rank(spec, rank) for rank in range(ranks)]
        self.bodies = [self._body(spec) for spec in self.specs]

    def begin(self, step):
        """Opens a step."""
        message = run.StepBegin(
            step=step,
            loss=1 / (1 + step),
            learning_rate=0.1,
            weight_decay=0.01,
            microbatch_size=8,
            microbatches=self._microbatches,
        )
        return service.StreamRunRequest(step_begin=message).SerializeToString()

    def _add_block(self, spec, number):
        """Two matrices and what may lie between them."""
        source = self._source
        inputs, hidden, outputs = (source.choice(WIDTHS) for _ in range(3))
        up, bias, down = (10 * number + i for i in (1, 2, 3))
        group = source.choice(("", f"block{number}"))
        for key, name, shape in (
            (up, "up", (hidden, inputs)),
            (bias, "bias", (hidden,)),
            (down, "down", (outputs, hidden)),
        ):
            spec.parameters.add(id=key, name=f"{name}{number}", shape=shape, group=group)
        kinds = _symmetries(source, *(run.Member(parameter_id=key) for key in (up, bias, down)))
        for kind in source.sample(sorted(kinds), source.randint(0, 3)):
            spec.symmetries.add(name=f"{kind}{number}", **{kind: kinds[kind]})
        if source.random() < 0.4:
            layer = spec.layers.add(id=10 * number + 4, name=f"batch{number}", width=hidden)
            if source.random() < 0.5:
                layer.weight_id, layer.reader_weight_id = up, down
        if source.random() < 0.4:
            name = source.choice(sorted(PROBE_SETS))
            spec.layers.add(
                id=10 * number + 5, name=f"probed{number}", width=hidden, probe_set=name
            )
            if name not in [probes.name for probes in spec.probe_sets]:
                # Some runs had other samples under the same name: they are told, not compared.
                fingerprint = source.choice((b"ids", b"ids", b"ids", b"other ids"))
                spec.probe_sets.add(
                    name=name, samples=PROBE_SETS[name], fingerprint=fingerprint
                )

    def _of_rank(self, spec, rank):
        own = run.RunSpec()
        own.CopyFrom(spec)
        own.rank = rank
        if spec.world_size > 1 and not spec.symmetries:
            for parameter in own.parameters:
                rows = parameter.shape[0] // spec.world_size
                parameter.shard.offset[:] = [rank * rows] + [0] * (len(parameter.shape) - 1)
                parameter.shard.shape[:] = [rows, *parameter.shape[1:]]
        return own

    def _body(self, spec):
        messages = []
        for parameter in spec.parameters:
            shape = parameter.shard.shape if parameter.HasField("shard") else parameter.shape
            if self.is_sums:
                messages.append(self._sums(parameter.id, int(numpy.prod(shape))))
                continue
            messages += self._tensor(
                parameter.id, tensor.TENSOR_KIND_GRADIENT, shape, self._microbatches
            )
            for kind in (tensor.TENSOR_KIND_WEIGHT, *spec.parameter_kinds):
                messages += self._tensor(parameter.id, kind, shape)
        for layer in spec.layers:
            samples = PROBE_SETS.get(layer.probe_set) or self._source.choice((4, 16, 48))
            batches = 1 if layer.probe_set else self._microbatches
            for kind in (tensor.TENSOR_KIND_ACTIVATION, tensor.TENSOR_KIND_ACTIVATION_GRADIENT):
                messages += self._tensor(layer.id, kind, (samples, layer.width), batches)
        return [message.SerializeToString() for message in messages]

    def _sums(self, key, elements):
        sums = tensor.ParameterStatistics(
            tensor_id=key,
            elements=elements,
            gradient_sum_squared_norm=self._microbatches * elements,
            gradient_squared_norm_of_sum=self._microbatches * elements,
            weight_squared_norm=elements,
        )
        return service.StreamRunRequest(statistics=run.StepStatistics(parameters=[sums]))

    def _tensor(self, key, kind, shape, microbatches=1):
        """Chunks of one tensor, of one type, in each microbatch."""
        data_type = self._source.choice(tensor.DataType.values()[1:])
        is_spoiled = self._source.random() < 0.01
        return [
            chunk
            for microbatch in range(microbatches)
            for chunk in chunks(
                key, kind, self._array(shape, data_type, is_spoiled), microbatch, data_type
            )
        ]

    def _array(self, shape, data_type, is_spoiled):
        elements = int(numpy.prod(shape))
        start = self._source.randrange(LARGE_ELEMENTS)
        values = _numbers()[start : start + elements].reshape(shape)
        if is_spoiled:
            values = values.copy()
            values.flat[0] = numpy.nan
        if data_type == tensor.DATA_TYPE_BF16:
            # The upper half of a binary32.
            return (values.view("<u4") >> 16).astype("<u2")
        of_type = {tensor.DATA_TYPE_FP16: "<f2", tensor.DATA_TYPE_FP64: "<f8"}
        return values.astype(of_type.get(data_type, "<f4"))


def _symmetries(source, up, bias, down):
    """The kinds of symmetry that a block may have, by the field that declares them."""
    return {
        "neuron_rescaling": run.NeuronRescaling(incoming=up, incoming_bias=bias, outgoing=down),
        "layer_rescaling": run.LayerRescaling(first=up, first_bias=bias, second=down),
        "double_rotation": run.DoubleRotation(
            first=up, second=down, heads=source.choice((1, 2, 4))
        ),
        "scale_invariance": run.ScaleInvariance(
            weight=up, per_row=source.random() < 0.5
        ),
        "logit_translation": run.LogitTranslation(weight=down),
        "neuron_permutation": run.NeuronPermutation(
            incoming=up, incoming_bias=bias, outgoing=down
        ),
    }
