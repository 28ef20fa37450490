"""A run that goes on while something else goes wrong, and must not notice."""

import itertools
import threading
import time

import numpy

from system_support import Server, Stream, bits, chunks, run, tensor

UP, DOWN, LAYER = 1, 2, 3
SHAPES = {UP: (24, 16), DOWN: (8, 24)}
SAMPLES, WIDTH, MICROBATCHES = 32, 24, 2
# Many times what a step takes, and less than any fault lasts that holds up what it hits.
STEP_SECONDS = 2


def declaration(name):
    """Two layers of ReLU neurons, their symmetry, and a probe of what is between them."""
    return run.RunSpec(
        run=name,
        optimizer=run.Optimizer(kind=run.OPTIMIZER_KIND_SGD),
        parameters=[
            run.Parameter(id=key, name=str(key), shape=shape) for key, shape in SHAPES.items()
        ],
        layers=[run.Layer(id=LAYER, name="hidden", width=WIDTH, probe_set=name)],
        probe_sets=[run.ProbeSet(name=name, samples=SAMPLES, fingerprint=name.encode().ljust(32))],
        symmetries=[
            run.Symmetry(
                name="neurons",
                neuron_rescaling=run.NeuronRescaling(
                    incoming=run.Member(parameter_id=UP), outgoing=run.Member(parameter_id=DOWN)
                ),
            )
        ],
    )


def steps():
    """StepBegin and the chunks of step 1, 2, and so on, the same each time."""
    for step in itertools.count(1):
        source = numpy.random.default_rng(step)

        def array(shape, source=source):
            return source.standard_normal(shape, numpy.float32)

        yield (
            run.StepBegin(
                step=step,
                loss=1 / step,
                learning_rate=0.1,
                microbatch_size=8,
                microbatches=MICROBATCHES,
            ),
            [
                *(
                    chunk
                    for key, shape in SHAPES.items()
                    for microbatch in range(MICROBATCHES)
                    for chunk in chunks(key, tensor.TENSOR_KIND_GRADIENT, array(shape), microbatch)
                ),
                *(
                    chunk
                    for key, shape in SHAPES.items()
                    for chunk in chunks(key, tensor.TENSOR_KIND_WEIGHT, array(shape))
                ),
                *chunks(LAYER, tensor.TENSOR_KIND_ACTIVATION, array((SAMPLES, WIDTH))),
            ],
        )


_undisturbed = []


def undisturbed(count):
    """The bits of the reports on the first steps of a run that has a server for itself."""
    global _undisturbed
    if len(_undisturbed) < count:
        with Server() as server, Stream(server) as stream:
            stream.open(declaration("bystander"))
            _undisturbed = [
                bits(stream.step(*step)) for step in itertools.islice(steps(), 2 * count)
            ]
            assert stream.close() is None
    return _undisturbed[:count]


class Bystander:
    """Streams as long as the block lasts, and fails where a figure, a step or its time is off."""

    def __init__(self, server, pause_seconds=0.02):
        self._server = server
        self._pause_seconds = pause_seconds
        self._reports = []
        self._seconds = []
        self._error = None
        self._is_over = threading.Event()
        self._has_begun = threading.Event()
        self._thread = threading.Thread(target=self._train)

    @property
    def steps(self):
        """Steps so far."""
        return len(self._reports)

    def __enter__(self):
        self._thread.start()
        assert self._has_begun.wait(60)
        return self

    def __exit__(self, kind, *_):
        self._is_over.set()
        self._thread.join()
        if kind is None:
            self.check()

    def check(self):
        """Fails where something was off so far."""
        if self._error is not None:
            raise self._error
        count = self.steps
        assert self._reports[:count] == undisturbed(count)
        assert max(self._seconds) < STEP_SECONDS

    def _train(self):
        try:
            with Stream(self._server, timeout=None) as stream:
                stream.open(declaration("bystander"))
                for step in steps():
                    begun = time.monotonic()
                    self._reports.append(bits(stream.step(*step)))
                    self._seconds.append(time.monotonic() - begun)
                    self._has_begun.set()
                    if self._is_over.wait(self._pause_seconds):
                        break
                self._error = stream.close()
        except BaseException as error:  # what a thread raises would be lost
            self._error = error
            self._has_begun.set()
