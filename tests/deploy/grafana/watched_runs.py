"""Runs that together have every metric which a dashboard shows, streamed by the contract's stubs.

Each is SGD with decay on noisy gradients towards a target: what matters is that every family of
figures is defined, and that the updates are those which the optimiser declares.
"""

import threading

import numpy

from system_support import Stream, chunks, end_step, run, service, tensor
from thermograd.v1 import representation_pb2 as representation

RUNS = ("alpha", "beta")
#: A run of two ranks, which share every series but those of their streams.
RANKED_RUN = "ranked"
RANKS = 2

SAMPLES, WIDTH = 40, 6
HEADS, HEAD = 2, 3
MICROBATCHES, MICROBATCH_SIZE = 4, 8
LEARNING_RATE, WEIGHT_DECAY = 0.05, 0.01
PAUSE_SECONDS = 0.05

# Name, shape and group of every parameter.
PARAMETERS = {
    "up.weight": ((WIDTH, WIDTH), "hidden"),
    "up.bias": ((WIDTH,), "hidden"),
    "down.weight": ((WIDTH, WIDTH), "hidden"),
    "query": ((HEADS * HEAD, WIDTH), "attention"),
    "key": ((HEADS * HEAD, WIDTH), "attention"),
    "value": ((HEADS * HEAD, WIDTH), "attention"),
    "output": ((WIDTH, HEADS * HEAD), "attention"),
    "normalised": ((WIDTH, WIDTH), "readout"),
    "head.weight": ((WIDTH, WIDTH), "readout"),
    "head.bias": ((WIDTH,), "readout"),
}
PARAMETER_IDS = {name: number for number, name in enumerate(PARAMETERS, start=1)}
# Layers on the probe set, and on training batches.
PROBED = {101: "block.0", 102: "block.1", 103: "block.2"}
TRAINED = {111: "train.0", 112: "train.1"}
# The probed layer whose features are multiplied by a random matrix, and from how many.
PROJECTED, PROJECTED_FROM = 103, 8 * WIDTH


def _member(name):
    return run.Member(parameter_id=PARAMETER_IDS[name])


def _symmetries():
    neurons = {
        "incoming": _member("up.weight"),
        "incoming_bias": _member("up.bias"),
        "outgoing": _member("down.weight"),
    }
    return [
        run.Symmetry(name="neurons", neuron_rescaling=run.NeuronRescaling(**neurons)),
        run.Symmetry(name="exchange", neuron_permutation=run.NeuronPermutation(**neurons)),
        run.Symmetry(
            name="values",
            double_rotation=run.DoubleRotation(
                first=_member("value"), second=_member("output"), heads=HEADS
            ),
        ),
        run.Symmetry(
            name="queries",
            query_key_rotation=run.QueryKeyRotation(
                query=_member("query"), key=_member("key"), heads=HEADS
            ),
        ),
        run.Symmetry(
            name="scale",
            scale_invariance=run.ScaleInvariance(weight=_member("normalised"), per_row=True),
        ),
        run.Symmetry(
            name="logits",
            logit_translation=run.LogitTranslation(
                weight=_member("head.weight"), bias=_member("head.bias")
            ),
        ),
    ]


def _layers():
    weights = {
        "weight_id": PARAMETER_IDS["up.weight"],
        "reader_weight_id": PARAMETER_IDS["down.weight"],
    }
    projected = {"projected_from": PROJECTED_FROM}
    return [
        *(
            # Projected features cannot be compared with weights.
            run.Layer(
                id=number,
                name=name,
                width=WIDTH,
                probe_set="held-out",
                **(projected if number == PROJECTED else weights),
            )
            for number, name in PROBED.items()
        ),
        *(run.Layer(id=number, name=name, width=WIDTH) for number, name in TRAINED.items()),
    ]


def declaration(name, **fields):
    """A run with every kind of symmetry, layers of both kinds and every similarity."""
    return run.RunSpec(
        run=name,
        optimizer=run.Optimizer(kind=run.OPTIMIZER_KIND_SGD),
        parameters=[
            run.Parameter(id=PARAMETER_IDS[parameter], name=parameter, shape=shape, group=group)
            for parameter, (shape, group) in PARAMETERS.items()
        ],
        layers=_layers(),
        symmetries=_symmetries(),
        probe_sets=[
            run.ProbeSet(
                name="held-out", samples=SAMPLES, fingerprint=b"ids", sampled_from=4 * SAMPLES
            )
        ],
        parameter_kinds=[tensor.TENSOR_KIND_UPDATE, tensor.TENSOR_KIND_GRADIENT_AFTER_UPDATE],
        reporting=run.Reporting(
            window_steps=8,
            spectrum_every_steps=1,
            similarity_over_window=True,
            similarity=representation.SimilarityOptions(
                similarities=[value for value in representation.Similarity.values() if value],
                neighbours=4,
                permutations=19,
            ),
        ),
        sampling=run.Sampling(every_steps=1, model_elements=1000),
        **fields,
    )


class _Network:
    """Parameters that are drawn to targets, and activations that change with them."""

    def __init__(self, seed):
        self._random = numpy.random.default_rng(seed)
        # All networks look at the same samples, for they are compared on them.
        self._probe = numpy.random.default_rng(0).standard_normal((SAMPLES, WIDTH))
        self._weights = {name: self._normal(*shape) for name, (shape, _) in PARAMETERS.items()}
        self._targets = {name: self._normal(*shape) for name, (shape, _) in PARAMETERS.items()}

    def _normal(self, *shape):
        return self._random.standard_normal(shape).astype(numpy.float32)

    def _gradient(self, name, weight):
        return weight - self._targets[name] + 0.3 * self._normal(*weight.shape)

    def step(self):
        """Loss and messages of one step, after which the parameters have moved."""
        sent = []
        loss = 0.0
        for name, weight in self._weights.items():
            number = PARAMETER_IDS[name]
            gradients = [self._gradient(name, weight) for _ in range(MICROBATCHES)]
            mean = numpy.mean(gradients, axis=0)
            loss += 0.5 * float(((weight - self._targets[name]) ** 2).sum())
            update = -LEARNING_RATE * (mean + WEIGHT_DECAY * weight)
            for microbatch, gradient in enumerate(gradients):
                sent += chunks(number, tensor.TENSOR_KIND_GRADIENT, gradient, microbatch)
            sent += chunks(number, tensor.TENSOR_KIND_WEIGHT, weight)
            sent += chunks(number, tensor.TENSOR_KIND_UPDATE, update)
            sent += chunks(number, tensor.TENSOR_KIND_GRADIENT_AFTER_UPDATE, mean + update)
            self._weights[name] = weight + update
        return loss, sent + self._activations()

    def _activations(self):
        sent = []
        mixed = (self._probe @ self._weights["up.weight"].T).astype(numpy.float32)
        for depth, number in enumerate(PROBED):
            layer = mixed + 0.3 * depth * self._normal(SAMPLES, WIDTH)
            if number == PROJECTED:
                wide = numpy.tile(layer, (1, PROJECTED_FROM // WIDTH))
                layer = wide @ self._normal(PROJECTED_FROM, WIDTH) / numpy.sqrt(WIDTH)
                layer = layer.astype(numpy.float32)
            sent += chunks(number, tensor.TENSOR_KIND_ACTIVATION, layer)
            sent += chunks(number, tensor.TENSOR_KIND_ACTIVATION_GRADIENT, 0.1 * layer)
        for microbatch in range(MICROBATCHES):
            batch = self._normal(MICROBATCH_SIZE, WIDTH)
            for number in TRAINED:
                layer = batch + 0.5 * self._normal(MICROBATCH_SIZE, WIDTH)
                sent += chunks(number, tensor.TENSOR_KIND_ACTIVATION, layer, microbatch)
        return sent


def _requests(number, loss, sent):
    begin = run.StepBegin(
        step=number,
        loss=loss,
        learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        microbatch_size=MICROBATCH_SIZE,
        microbatches=MICROBATCHES,
    )
    return [service.StreamRunRequest(step_begin=begin), *sent, end_step(number)]


class WatchedRuns:
    """All runs, stepping on one thread until the block is left."""

    def __init__(self, server):
        streams = [
            *((name, {}, seed) for seed, name in enumerate(RUNS)),
            *(
                (RANKED_RUN, {"rank": rank, "world_size": RANKS}, len(RUNS))
                for rank in range(RANKS)
            ),
        ]
        self._streams = []
        for name, fields, seed in streams:
            stream = Stream(server)
            stream.open(declaration(name, **fields))
            self._streams.append((stream, _Network(seed)))
        self._is_over = threading.Event()
        self._error = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        number = 0
        try:
            while not self._is_over.wait(PAUSE_SECONDS):
                number += 1
                for stream, network in self._streams:
                    stream.send(*_requests(number, *network.step()))
                # Ranks of a run get their report when all have ended the step.
                for stream, _ in self._streams:
                    assert stream.receive("acknowledgement").step == number
        except Exception as error:  # pylint: disable=broad-except
            self._error = error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._is_over.set()
        self._thread.join()
        errors = [stream.close() for stream, _ in self._streams]
        if self._error is not None:
            raise self._error
        assert errors == [None] * len(errors)
