"""Trainers that come and go: random runs, which end in every way that a run can end in."""

import contextlib
import itertools
import random
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import grpc
import numpy

import killed_trainer
from random_training import SIMILARITIES, RandomTraining
from system_support import TIMEOUT_SECONDS, Stream, end_step, run, service, service_grpc, tensor
from test_bad_input import BAD_INPUT
from thermograd.v1 import representation_pb2 as representation

INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
# gRPC refuses it before the service sees it, so that no reason is counted.
UNCOUNTED = "message over the limit"
KILLED_TRAINER = Path(killed_trainer.__file__)
# Most steps of a run.
STEPS = 30


class Trainer(threading.Thread):
    """One run after the other, until stopped; each a choice of `seed` and `number` alone."""

    def __init__(self, server, ledger, seed, number):
        super().__init__()
        self.server = server
        self.ledger = ledger
        self.source = random.Random(f"{seed} {number}")
        self._names = (f"soak-{number}-{count}" for count in itertools.count())
        self._stopping = threading.Event()

    def stop(self):
        """Ends after the present run."""
        self._stopping.set()

    def run(self):
        ways, weights = zip(*self._ways().items(), strict=True)
        while not self._stopping.wait(self.source.uniform(0, 0.1)):
            (way,) = self.source.choices(ways, weights)
            name = next(self._names)
            try:
                way(name)
                self.ledger.add(**{way.__name__.strip("_"): 1})
            except Exception:  # what a thread raises would be lost
                self.ledger.fail(f"{way.__name__} of {name}: {traceback.format_exc()}")

    def _ways(self):
        """How a client may behave, and how often."""
        return {
            self._closed: 8,
            self._cancelled: 3,
            self._disconnected: 3,
            self._killed: 1,
            self._spoiled: 3,
            self._superseded: 2,
            self._left_by_a_rank: 2,
            self._bad_input: 3,
            self._undeclared: 1,
            self._compares: 3,
            self._gives_up_comparing: 1,
            self._compares_badly: 1,
            self._describes: 1,
        }

    # --- runs -----------------------------------------------------------------------------------

    def _closed(self, name):
        with _Run(self, RandomTraining(self.source, name)) as live:
            live.steps(self.source.randint(1, STEPS))
            if self.source.random() < 0.2:
                self._ask(name)
            live.close()

    def _cancelled(self, name):
        with _Run(self, RandomTraining(self.source, name)) as live:
            live.steps(self.source.randint(0, STEPS // 2))
            live.part_of_a_step()
            # To be in the middle of it when the call is cancelled, as the block is left.
            time.sleep(self.source.uniform(0, 0.02))

    def _disconnected(self, name):
        with _Run(self, RandomTraining(self.source, name)) as live:
            live.steps(self.source.randint(0, STEPS // 2))
            live.part_of_a_step()
            time.sleep(self.source.uniform(0, 0.02))
            for stream in live.streams:
                stream.disconnect()

    def _killed(self, name):
        """A process that streams some whole steps and a part of one more."""
        training = RandomTraining(self.source, name, ranks=1)
        steps = self.source.randint(0, 5)
        messages = [service.StreamRunRequest(run_spec=training.specs[0]).SerializeToString()]
        for step in range(steps):
            messages += [training.begin(step), *training.bodies[0], _end(step)]
        messages += [training.begin(steps), *training.bodies[0]]
        with subprocess.Popen(
            [sys.executable, KILLED_TRAINER, self.server.grpc_address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            # It reads on only as fast as the server does, so its answers must be read meanwhile.
            feeder = threading.Thread(target=_feed, args=(process.stdin, messages))
            feeder.start()
            acknowledged, accepted = 0, False
            for answer in killed_trainer.read(process.stdout):
                kind = service.StreamRunResponse.FromString(answer).WhichOneof("message")
                accepted = accepted or kind == "run_accepted"
                acknowledged += kind == "acknowledgement"
                if accepted and acknowledged == steps:
                    break
            time.sleep(self.source.uniform(0, 0.02))
            process.kill()
            feeder.join()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        assert accepted and acknowledged == steps
        self.ledger.add(streams=1, runs=1, acknowledged=steps, perhaps_cut=1)

    def _spoiled(self, name):
        """Good steps, then one in which a message does not fit."""
        spoilt, field = self.source.choice(
            [
                (service.StreamRunRequest(run_spec=run.RunSpec(run=name)), "run_spec"),
                (service.StreamRunRequest(step_begin=run.StepBegin(step=1)), "step"),
                (service.StreamRunRequest(chunk=_chunk(tensor_id=999)), "chunk.tensor_id"),
                (service.StreamRunRequest(chunk=_chunk(data=b"123")), "chunk.data"),
                (end_step(10**6), "step"),
                (b"\xff" * 16, "StreamRunRequest"),
            ]
        )
        with _Run(self, RandomTraining(self.source, name)) as live:
            live.steps(self.source.randint(0, STEPS // 2))
            live.refused_step(spoilt, field)

    def _superseded(self, name):
        """A second stream of the same run takes over, as that of a restarted trainer does."""
        training = RandomTraining(self.source, name)
        with _Run(self, training) as first:
            first.steps(self.source.randint(1, STEPS // 2))
            for spec in training.specs:
                spec.resume_after_step = first.step - 1
            with _Run(self, training, first.step) as second:
                for stream in first.streams:
                    error = stream.error()
                    assert error.code() == grpc.StatusCode.ABORTED, error
                    self.ledger.add(refused=1)
                second.steps(1)
                second.close()

    def _left_by_a_rank(self, name):
        """One of two ranks goes in the middle of a step that the other has ended."""
        training = RandomTraining(self.source, name, ranks=2)
        with _Run(self, training) as live:
            live.steps(self.source.randint(0, STEPS // 2))
            first, second = live.streams
            first.send(training.begin(live.step), *training.bodies[0], _end(live.step))
            second.send(training.begin(live.step), *training.bodies[1])
            second.disconnect()
            assert first.receive("acknowledgement").step == live.step
            assert first.close() is None
            self.ledger.add(left=1, perhaps_cut=1)

    def _bad_input(self, name):
        case = self.source.choice(sorted(BAD_INPUT))
        requests, code, field = BAD_INPUT[case]
        requests = [_renamed(request, name) for request in requests]
        with Stream(self.server) as stream:
            stream.send(*requests)
            error = stream.close()
            assert error is not None and error.code() == code and field in error.details(), case
            self.ledger.add(
                streams=1,
                runs=1,
                acknowledged=stream.acknowledgements,
                perhaps_cut=1,
                refused=case != UNCOUNTED,
            )

    def _undeclared(self, _):
        with Stream(self.server) as stream:
            assert stream.close() is None
        self.ledger.add(streams=1)

    # --- other calls ----------------------------------------------------------------------------

    def _stub(self, channel):
        return service_grpc.TrainingAnalysisServiceStub(channel)

    def _ask(self, name):
        """Asks for another cadence: its own run, which is there, and one that is not."""
        cadence = run.Cadence(every_steps=self.source.randint(1, 9))
        with self.server.channel() as channel:
            stub = self._stub(channel)
            request = service.SetCadenceRequest(run=name, cadence=cadence)
            assert stub.SetCadence(request, timeout=TIMEOUT_SECONDS).streams > 0
            request.run += "-unknown"
            try:
                stub.SetCadence(request, timeout=TIMEOUT_SECONDS)
                raise AssertionError("a run that is not there was asked")
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.NOT_FOUND, error
        self.ledger.add(refused=1)

    def _compares(self, _):
        with self.server.channel() as channel:
            found = self._stub(channel).CompareRepresentations(
                iter(self._comparison()), timeout=TIMEOUT_SECONDS
            )
        assert found.metrics or found.undefined
        self.ledger.add(comparisons=1)

    def _gives_up_comparing(self, _):
        given_up = threading.Event()

        def requests():
            yield from self._comparison()[:-1]
            given_up.wait()

        with self.server.channel() as channel:
            # The client keeps a connection whose channel is closed while it is being made.
            grpc.channel_ready_future(channel).result(TIMEOUT_SECONDS)
            call = self._stub(channel).CompareRepresentations.future(requests())
            time.sleep(self.source.uniform(0, 0.02))
            call.cancel()
            given_up.set()
        self.ledger.add(perhaps_comparisons=1)

    def _compares_badly(self, _):
        requests = self._comparison()
        requests[2].header.samples += 1
        with self.server.channel() as channel:
            try:
                self._stub(channel).CompareRepresentations(iter(requests), timeout=TIMEOUT_SECONDS)
                raise AssertionError("matrices of unequal samples were compared")
            except grpc.RpcError as error:
                assert error.code() == INVALID_ARGUMENT, error
        self.ledger.add(comparisons=1, refused=1)

    def _comparison(self):
        """Options, two headers, two matrices."""
        samples = self.source.choice((16, 64, 256))
        numbers = numpy.random.default_rng(self.source.getrandbits(32))
        requests = [
            service.CompareRepresentationsRequest(
                options=representation.SimilarityOptions(
                    similarities=self.source.sample(SIMILARITIES, self.source.randint(0, 4)),
                    neighbours=4,
                    permutations=19,
                )
            )
        ]
        chunks = []
        for side in (service.COMPARISON_SIDE_X, service.COMPARISON_SIDE_Y):
            features = self.source.choice((8, 32, 128))
            header = service.ComparisonHeader(
                side=side, samples=samples, features=features, data_type=tensor.DATA_TYPE_FP32
            )
            requests.append(service.CompareRepresentationsRequest(header=header))
            data = numbers.standard_normal((samples, features)).astype("<f4").tobytes()
            chunks.append(
                service.CompareRepresentationsRequest(
                    chunk=service.ComparisonChunk(side=side, data=data)
                )
            )
        return requests + chunks

    def _describes(self, _):
        with self.server.channel() as channel:
            catalogue = self._stub(channel).DescribeMetrics(
                service.DescribeMetricsRequest(), timeout=TIMEOUT_SECONDS
            )
        assert len(catalogue.metrics) > 100


class _Run:
    """The streams of a training, in step. Streams that are open in the end are cancelled."""

    def __init__(self, trainer, training, step=0):
        self._source = trainer.source
        self._ledger = trainer.ledger
        self._training = training
        self.step = step
        self.streams = [Stream(trainer.server) for _ in training.specs]
        for stream, spec in zip(self.streams, training.specs, strict=True):
            stream.open(spec)
        self._ledger.add(streams=len(self.streams), runs=1)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for stream in self.streams:
            stream.__exit__(*error)
            self._ledger.add(acknowledged=stream.acknowledgements)

    def steps(self, count):
        """Takes steps, each acknowledged to every rank before the next."""
        for _ in range(count):
            for stream, body in zip(self.streams, self._training.bodies, strict=True):
                stream.send(self._training.begin(self.step), *body, _end(self.step))
            for stream in self.streams:
                assert stream.receive("acknowledgement").step == self.step
            self.step += 1

    def part_of_a_step(self):
        """Begins a step on every rank and sends a part of it."""
        for stream, body in zip(self.streams, self._training.bodies, strict=True):
            part = body[: self._source.randint(0, len(body))]
            stream.send(self._training.begin(self.step), *part)
        self._ledger.add(perhaps_cut=len(self.streams))

    def refused_step(self, spoilt, field):
        """A step in which one rank sends what does not fit; the others go."""
        for stream in self.streams[1:]:
            assert stream.close() is None
        stream, body = self.streams[0], self._training.bodies[0]
        part = body[: self._source.randint(0, len(body))]
        stream.send(self._training.begin(self.step), *part, spoilt)
        error = stream.close()
        assert error is not None and error.code() == INVALID_ARGUMENT, error
        assert field in error.details(), error
        self._ledger.add(refused=1, cut=1)

    def close(self):
        """Ends all streams in order."""
        for stream in self.streams:
            assert (error := stream.close()) is None, error


def _end(step):
    return end_step(step).SerializeToString()


def _chunk(**fields):
    """The beginning of some gradient, but for `fields`."""
    whole = {
        "tensor_id": 1,
        "kind": tensor.TENSOR_KIND_GRADIENT,
        "data_type": tensor.DATA_TYPE_FP32,
        "data": bytes(4),
    }
    return tensor.TensorChunk(**{**whole, **fields})


def _renamed(request, name):
    """The request with the name of a run of its own: others may be bad at the same time."""
    if isinstance(request, bytes) or request.run_spec.run != "broken":
        return request
    renamed = service.StreamRunRequest()
    renamed.CopyFrom(request)
    renamed.run_spec.run = name
    return renamed


def _feed(pipe, messages):
    # It may be killed meanwhile.
    with contextlib.suppress(BrokenPipeError):
        for message in messages:
            killed_trainer.write(pipe, message)
