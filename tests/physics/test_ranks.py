"""Additivity: however a stream is split over ranks and shards, the figures are those of the whole."""

import threading

import numpy
import pytest

from relu_network import (
    BIAS,
    INCOMING,
    LEARNING_RATE,
    OUTGOING,
    Network,
    declaration,
    step_chunks,
)
from system_support import (
    Server,
    Stream,
    chunks,
    end_step,
    report,
    run,
    service,
    tensor,
    undefined_reason,
    value,
)

STEPS = 6
MICROBATCHES = 6
MICROBATCH_SIZE = 4


def record():
    """Weights, microbatch gradients and loss of each step of one training."""
    network = Network("relu", seed=5)
    steps = []
    for _ in range(STEPS):
        losses, gradients = zip(*(network.gradient(MICROBATCH_SIZE) for _ in range(MICROBATCHES)))
        steps.append((dict(network.parameters), gradients, numpy.mean(losses)))
        network.update({k: sum(g[k] for g in gradients) / MICROBATCHES for k in gradients[0]})
    return steps


def begin(step, loss, microbatches):
    return run.StepBegin(
        step=step,
        loss=loss,
        learning_rate=LEARNING_RATE,
        microbatch_size=MICROBATCH_SIZE,
        microbatches=microbatches,
    )


def spec(name, **fields):
    message = declaration(name)
    message.reporting.window_steps = 4
    message.MergeFrom(run.RunSpec(**fields))
    return message


def named(figures):
    """Every figure of a report, defined or not, by name and labels."""
    values = {}
    for figure in (*figures.metrics, *figures.undefined):
        key = figure.name, frozenset((label.name, label.value) for label in figure.labels)
        values[key] = getattr(figure, "value", None)
        if values[key] is None:
            values[key] = figure.reason
    return values


def train_whole(server, steps):
    reports = []
    with Stream(server) as stream:
        stream.open(spec("whole"))
        for number, (weights, gradients, loss) in enumerate(steps):
            reports.append(
                stream.step(
                    begin(number, loss, MICROBATCHES),
                    step_chunks(weights, gradients, numpy.float64),
                )
            )
        assert stream.close() is None
    return reports


def train_ranks(server, specs, requests):
    """The reports of every rank; `requests(rank, number)` gives StepBegin and chunks."""
    reports = [[] for _ in specs]
    errors = []

    def work(rank):
        try:
            with Stream(server) as stream:
                stream.open(specs[rank])
                opened.wait()
                for number in range(STEPS):
                    reports[rank].append(stream.step(*requests(rank, number)))
                assert stream.close() is None
        except BaseException as error:
            errors.append(error)
            raise

    opened = threading.Barrier(len(specs), timeout=30)
    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(len(specs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    return reports


def expect_same(found, expected):
    for got, wanted in zip(found, expected, strict=True):
        got, wanted = named(got), named(wanted)
        assert got.keys() == wanted.keys()
        for key, figure in wanted.items():
            assert got[key] == pytest.approx(figure, rel=1e-9, abs=1e-12), key


@pytest.mark.parametrize("reduced", [False, True])
def test_data_parallel_ranks_make_the_figures_of_one(server, reduced):
    steps = record()
    world_size = 3
    own = MICROBATCHES // world_size
    name = f"data-parallel-{reduced}"
    kinds = [tensor.TENSOR_KIND_REDUCED_GRADIENT] if reduced else []

    def requests(rank, number):
        weights, gradients, loss = steps[number]
        mine = gradients[rank * own : (rank + 1) * own]
        messages = step_chunks(weights, mine, numpy.float64)
        if reduced:
            for key in weights:
                mean = sum(gradient[key] for gradient in gradients) / MICROBATCHES
                messages += chunks(key, tensor.TENSOR_KIND_REDUCED_GRADIENT, mean)
        return begin(number, loss, own), messages

    reports = train_ranks(
        server,
        [
            spec(name, rank=rank, world_size=world_size, parameter_kinds=kinds)
            for rank in range(world_size)
        ],
        requests,
    )
    expected = train_whole(server, steps)
    for rank in range(world_size):
        expect_same(reports[rank], expected)
    shown = [labels for metric, labels in server.scrape() if metric == "thermograd_entropic_loss"]
    assert shown.count(frozenset({("run", name)})) == 1
    assert not any(dict(labels)["run"] == name and "rank" in dict(labels) for labels in shown)


# Rows of the first layer and columns of the second on four ranks: two halves, each held twice.
HALVES = {INCOMING: (0, "rows"), BIAS: (0, "rows"), OUTGOING: (1, "columns")}


def sharded(name, rank, missing_half=False):
    message = spec(
        name, rank=rank, world_size=4, gradient_scope=run.GRADIENT_SCOPE_REDUCED
    )
    half = 0 if missing_half else rank % 2
    for parameter in message.parameters:
        axis = HALVES[parameter.id][0]
        extent = parameter.shape[axis] // 2
        offset = [0] * len(parameter.shape)
        shape = list(parameter.shape)
        offset[axis], shape[axis] = half * extent, extent
        parameter.shard.CopyFrom(run.Shard(offset=offset, shape=shape, replicas=2))
    return message


def half_of(tensors, half):
    return {
        key: numpy.split(array, 2, axis=HALVES[key][0])[half] for key, array in tensors.items()
    }


def test_sharded_ranks_make_the_figures_of_one(server):
    steps = record()

    def requests(rank, number):
        weights, gradients, loss = steps[number]
        parts = [half_of(gradient, rank % 2) for gradient in gradients]
        return (
            begin(number, loss, MICROBATCHES),
            step_chunks(half_of(weights, rank % 2), parts, numpy.float64),
        )

    reports = train_ranks(server, [sharded("sharded", rank) for rank in range(4)], requests)
    expected = train_whole(server, steps)
    for rank in range(4):
        expect_same(reports[rank], expected)


def test_shards_that_miss_a_part_give_the_reason(server):
    steps = record()

    def requests(rank, number):
        weights, gradients, loss = steps[number]
        parts = [half_of(gradient, 0) for gradient in gradients]
        return (
            begin(number, loss, MICROBATCHES),
            step_chunks(half_of(weights, 0), parts, numpy.float64),
        )

    reports = train_ranks(
        server, [sharded("missing", rank, missing_half=True) for rank in range(4)], requests
    )
    for figures in reports[0]:
        assert [figure.name for figure in figures.metrics] == ["thermograd_loss"]
        for metric in ("gradient_second_moment", "entropic_loss"):
            reason = undefined_reason(figures, f"thermograd_{metric}")
            assert reason == report.UNDEFINED_REASON_INCOMPLETE_SHARDS


def test_a_rank_that_dies_withholds_its_step_only():
    weights, gradients, loss = record()[0]
    server = Server("--rank_seconds=1")
    with Stream(server) as first:
        first.open(spec("dying", rank=0, world_size=2))
        with Stream(server) as second:
            second.open(spec("dying", rank=1, world_size=2))
            first.send(
                service.StreamRunRequest(step_begin=begin(1, loss, 1)),
                *step_chunks(weights, gradients[:1], numpy.float64),
                end_step(1),
            )
            second.send(service.StreamRunRequest(step_begin=begin(1, loss, 1)))
        figures = first.receive("step_report")
        reason = undefined_reason(figures, "thermograd_gradient_second_moment")
        assert reason == report.UNDEFINED_REASON_INCOMPLETE_SHARDS
        assert first.receive("acknowledgement").step == 1
    server.close()


def test_ranks_that_declare_different_runs_are_refused(server):
    with Stream(server) as first, Stream(server) as second:
        first.open(spec("disagreeing", rank=0, world_size=2))
        other = spec("disagreeing", rank=1, world_size=2)
        other.parameters[0].name = "another"
        second.send(service.StreamRunRequest(run_spec=other))
        error = second.close()
        assert error is not None and "run_spec" in error.details()


def test_sums_of_service_replicas_add(server):
    steps = record()
    random = numpy.random.default_rng(9)
    homes = random.permutation([0, 1] * (STEPS // 2))
    sums = ("sample_covariance_trace_sum", "mean_squared_norm_sum", "steps_count")

    def analyse(address, name, numbers):
        message = spec(name)
        message.reporting.window_steps = STEPS
        with Stream(address) as stream:
            stream.open(message)
            for number in numbers:
                weights, gradients, loss = steps[number]
                figures = stream.step(
                    begin(number, loss, MICROBATCHES),
                    step_chunks(weights, gradients, numpy.float64),
                )
            assert stream.close() is None
        return {name: value(figures, f"thermograd_gradient_{name}") for name in sums}

    whole = analyse(server, "one-replica", range(STEPS))
    with Server() as other:
        parts = [
            analyse(home, "two-replicas", numpy.flatnonzero(homes == number).tolist())
            for number, home in enumerate((server, other))
        ]
    for name in sums:
        assert parts[0][name] + parts[1][name] == pytest.approx(whole[name], rel=1e-12)
