"""The rules at work in a real Prometheus: what several sources saw is what one server says.

One recorded training is streamed several times: whole, to one server; its steps spread over two;
its microbatches spread over two; by two ranks to one; by a trainer that moves from one server to
another; and by one whose server dies. The rules must give the figures of the whole, or of the part
that still counts.
"""

import contextlib
import itertools
import json
import math
import re
import threading
import time
import urllib.request

import numpy
import pytest

from prometheus_process import Prometheus
from rule_files import ALERTING, RECORDING, rules
from system_support import (
    Server,
    Stream,
    chunks,
    end_step,
    eventually,
    run,
    service,
    tensor,
)

STEPS = 6
MICROBATCHES = 4
MICROBATCH_SIZE = 6
INCOMING, OUTGOING, FIRST_LAYER, SECOND_LAYER = 1, 2, 3, 4
SHAPES = {INCOMING: (5, 3), OUTGOING: (2, 5)}
WIDTHS = {FIRST_LAYER: 5, SECOND_LAYER: 4}
ALL = range(MICROBATCHES)
FIRST_HALF, SECOND_HALF = ALL[: MICROBATCHES // 2], ALL[MICROBATCHES // 2 :]


def record():
    """Weights, microbatch gradients and microbatch activations of each step, by identifier."""
    random = numpy.random.default_rng(11)
    steps = []
    for _ in range(STEPS):
        weights = {key: random.standard_normal(shape) for key, shape in SHAPES.items()}
        signal = {key: random.standard_normal(shape) for key, shape in SHAPES.items()}
        gradients, activations = [], []
        for _ in ALL:
            gradients.append(
                {key: mean + random.standard_normal(mean.shape) for key, mean in signal.items()}
            )
            first = random.standard_normal((MICROBATCH_SIZE, WIDTHS[FIRST_LAYER]))
            second = first[:, : WIDTHS[SECOND_LAYER]] ** 2 + first[:, 1:]
            activations.append({FIRST_LAYER: first, SECOND_LAYER: second})
        steps.append((weights, gradients, activations))
    return steps


TRAINING = record()


def declaration(name, **fields):
    """A run that sends the batch's gradient besides those of its own microbatches."""
    message = run.RunSpec(
        run=name,
        optimizer=run.Optimizer(kind=run.OPTIMIZER_KIND_SGD),
        parameters=[
            run.Parameter(id=key, name=f"weight-{key}", shape=shape)
            for key, shape in SHAPES.items()
        ],
        layers=[
            run.Layer(id=key, name=f"layer-{key}", width=width) for key, width in WIDTHS.items()
        ],
        symmetries=[
            run.Symmetry(
                name="hidden",
                neuron_rescaling=run.NeuronRescaling(
                    incoming=run.Member(parameter_id=INCOMING),
                    outgoing=run.Member(parameter_id=OUTGOING),
                ),
            )
        ],
        parameter_kinds=[tensor.TENSOR_KIND_REDUCED_GRADIENT],
        sampling=run.Sampling(every_steps=1),
        # Up to eight steps a window is exact for symmetries too.
        reporting=run.Reporting(window_steps=STEPS, spectrum_every_steps=1),
    )
    message.MergeFrom(run.RunSpec(**fields))
    return message


def messages(number, microbatches):
    """One step of a trainer that has some of the microbatches."""
    weights, gradients, activations = TRAINING[number % STEPS]
    yield service.StreamRunRequest(
        step_begin=run.StepBegin(
            step=number,
            loss=1.0,
            learning_rate=0.1,
            weight_decay=0.01,
            microbatch_size=MICROBATCH_SIZE,
            microbatches=len(microbatches),
            reduced_batch_size=MICROBATCHES * MICROBATCH_SIZE,
        )
    )
    for key, weight in weights.items():
        yield from chunks(key, tensor.TENSOR_KIND_WEIGHT, weight)
        mean = sum(gradient[key] for gradient in gradients) / MICROBATCHES
        yield from chunks(key, tensor.TENSOR_KIND_REDUCED_GRADIENT, mean)
    for place, microbatch in enumerate(microbatches):
        for key, gradient in gradients[microbatch].items():
            yield from chunks(key, tensor.TENSOR_KIND_GRADIENT, gradient, place)
        for key, values in activations[microbatch].items():
            yield from chunks(key, tensor.TENSOR_KIND_ACTIVATION, values, place)
    yield end_step(number)


def train(stream, numbers, microbatches=ALL, is_over=lambda: False):
    """Streams steps one after the other."""
    for number in itertools.takewhile(lambda _: not is_over(), numbers):
        stream.send(*messages(number, microbatches))
        assert stream.receive("acknowledgement").step == number


@pytest.fixture(scope="module", name="servers")
def fixture_servers():
    with Server() as one, Server() as two:
        mortal = Server()
        yield one, two, mortal
        mortal.kill()


@pytest.fixture(scope="module", name="prometheus")
def fixture_prometheus(servers):
    """Prometheus with the shipped rules, and runs that stay live."""
    one, two, mortal = servers
    with contextlib.ExitStack() as stack:

        def opened(server, name, **fields):
            stream = stack.enter_context(Stream(server))
            stream.open(declaration(name, **fields))
            return stream

        train(opened(one, "whole"), range(STEPS))
        train(opened(one, "steps"), range(0, STEPS, 2))
        train(opened(two, "steps"), range(1, STEPS, 2))
        train(opened(one, "microbatches"), range(STEPS), FIRST_HALF)
        train(opened(two, "microbatches"), range(STEPS), SECOND_HALF)
        ranks = [opened(one, "ranks", rank=rank, world_size=2) for rank in (0, 1)]
        for number in range(STEPS):
            for stream, microbatches in zip(ranks, (FIRST_HALF, SECOND_HALF)):
                stream.send(*messages(number, microbatches))
            for stream in ranks:
                assert stream.receive("acknowledgement").step == number
        # Moves after half of its steps; what it leaves behind stays for the grace period.
        before = opened(one, "moved")
        train(before, range(STEPS // 2))
        assert before.close() is None
        train(opened(two, "moved", resume_after_step=STEPS // 2 - 1), range(STEPS // 2, STEPS))
        # What is left to count of the moved run.
        train(opened(one, "latter half"), range(STEPS // 2, STEPS))
        # Is resumed before its server is known to be dead.
        train(opened(mortal, "bereft"), range(STEPS // 2))
        train(opened(one, "bereft", resume_after_step=STEPS // 2 - 1), range(STEPS // 2, STEPS))
        # Goes on, at the pace of a larger model, so that steps have a rate.
        is_over = threading.Event()
        moving = opened(two, "moving")
        thread = threading.Thread(
            target=train, args=(moving, itertools.count(), ALL, lambda: is_over.wait(0.05))
        )
        thread.start()
        stack.callback(thread.join)
        stack.callback(is_over.set)
        process = stack.enter_context(
            Prometheus(
                *(server.http_address for server in servers), rule_files=[RECORDING, ALERTING]
            )
        )
        eventually(lambda: steps_in_windows(process) == STEPS_IN_WINDOWS)
        yield process


# Of the live sources; one step of two trainers counts twice.
STEPS_IN_WINDOWS = {
    "whole": STEPS,
    "steps": STEPS,
    "microbatches": 2 * STEPS,
    "ranks": STEPS,
    "moved": STEPS // 2,
    "latter half": STEPS // 2,
    "bereft": STEPS,
    "moving": STEPS,
}


def steps_in_windows(prometheus):
    """What the rules have counted, by run."""
    found = prometheus.query("run:thermograd_gradient_steps:sum")
    return {dict(labels)["run"]: value for labels, value in found.items()}


def figure(prometheus, expression, **labels):
    """The one value of an expression for these labels, whatever others there are; None for none."""
    values = [
        value
        for found, value in prometheus.query(expression).items()
        if labels.items() <= dict(found).items()
    ]
    assert len(values) < 2, f"{expression} has {len(values)} series for {labels}"
    return values[0] if values else None


RATIOS = {
    "run:thermograd_gradient_noise_scale_samples:ratio": "thermograd_gradient_noise_scale_samples",
    "run:thermograd_gradient_signal_to_noise:ratio": "thermograd_gradient_signal_to_noise",
    "run:thermograd_gradient_covariance_trace:mean": "thermograd_gradient_covariance_trace",
    "run:thermograd_gradient_mean_squared_norm:mean": "thermograd_gradient_mean_squared_norm",
    "run:thermograd_batch_samples:max": "thermograd_batch_samples",
    "run_symmetry:thermograd_symmetry_gradient_balance:ratio": (
        "thermograd_symmetry_gradient_balance_ratio"
    ),
    "run_layers:thermograd_cka_unbiased:ratio": "thermograd_cka_minibatch_ratio",
}


@pytest.mark.parametrize(
    "name, reference",
    [
        ("whole", "whole"),
        ("steps", "whole"),
        ("microbatches", "whole"),
        ("ranks", "whole"),
        ("bereft", "whole"),
        ("moved", "latter half"),
    ],
)
@pytest.mark.parametrize("rule", RATIOS)
def test_the_rule_is_what_one_server_says_of_the_same_data(prometheus, rule, name, reference):
    expected = eventually(lambda: figure(prometheus, RATIOS[rule], run=reference))
    # Later rules of the group may still be those of the evaluation before.
    eventually(lambda: figure(prometheus, rule, run=name) == pytest.approx(expected, rel=1e-12), 10)


def test_the_parts_differ_from_the_whole(prometheus):
    """The test above would see a rule that takes one source for all, or the one that has ended."""
    for rule, metric in RATIOS.items():
        if "batch_samples" in rule:
            continue  # every part knows it
        whole = eventually(lambda rule=rule: figure(prometheus, rule, run="whole"))
        half = figure(prometheus, rule, run="latter half")
        # Each source by itself, of the split runs and of the one that moved.
        parts = prometheus.query(f'{metric}{{run=~"steps|moved"}}')
        assert len(parts) == 4
        before = f'{{run="moved"}} and on (run, instance) thermograd_run_live == 0'
        (left_behind,) = prometheus.query(metric + before).values()
        assert abs(left_behind / half - 1) > 1e-3, rule
        assert min(abs(part / whole - 1) for part in parts.values()) > 1e-3, rule


def test_the_time_of_the_latest_step_is_that_of_the_wall_clock(prometheus):
    rule = "run:thermograd_last_step_timestamp_seconds:max"
    steps = figure(prometheus, "thermograd_last_step", run="moving")
    still = figure(prometheus, rule, run="whole")
    eventually(lambda: figure(prometheus, "thermograd_last_step", run="moving") > steps)
    assert figure(prometheus, rule, run="whole") == still
    assert 0 < still < eventually(lambda: figure(prometheus, rule, run="moving")) <= time.time()
    assert time.time() - still < 300


def test_every_recording_rule_has_a_value_and_no_rule_an_error(prometheus):
    for rule in rules(RECORDING):
        values = eventually(lambda record=rule["record"]: prometheus.query(record))
        assert all(map(math.isfinite, values.values())), rule["record"]
    with urllib.request.urlopen(f"{prometheus.url}/api/v1/rules") as page:
        groups = json.load(page)["data"]["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    assert len(found) == len(rules(RECORDING)) + len(rules(ALERTING))
    assert {(rule["health"], rule.get("lastError")) for rule in found} == {("ok", None)}


# Of a flag's limits; the server has them with the branch that makes each limit a flag.
NOT_YET = {"thermograd_limit", "thermograd_limit_used"}
# A run that has none has no such series.
ONLY_WHERE_THEY_OCCUR = {"thermograd_parameter_non_finite_elements_total"}


def test_every_series_that_a_rule_reads_exists(prometheus):
    read = set()
    for rule in rules(RECORDING) + rules(ALERTING):
        read |= set(re.findall(r"(?<![:\w])thermograd_\w+(?![:\w])", rule["expr"]))
    assert len(read) > 20
    exist = set(prometheus.label_values("__name__", '{__name__=~"thermograd_.*"}'))
    assert read - exist - NOT_YET - ONLY_WHERE_THEY_OCCUR == set()


def test_alerts_follow_the_runs(prometheus):
    # Their gradients are drawn at random, so the declared symmetry is none: soon to be alerted of.
    pending = 'ALERTS{alertname="ThermogradSymmetryDoesNotHold", alertstate="pending"}'
    eventually(lambda: figure(prometheus, pending, run="whole"))
    assert prometheus.query('ALERTS{alertstate="firing"}') == {}


def test_a_run_that_breaks_is_alerted_of(servers, prometheus):
    firing = 'ALERTS{alertname="ThermogradNonFiniteGradients", alertstate="firing"}'
    with Stream(servers[0]) as stream:
        stream.open(declaration("broken"))
        steps = itertools.count()

        def fires():
            number = next(steps)
            broken = [
                request
                for request in messages(number, ALL)
                if request.chunk.kind != tensor.TENSOR_KIND_GRADIENT
            ]
            gradients = [
                chunk
                for microbatch in ALL
                for key, shape in SHAPES.items()
                for chunk in chunks(
                    key, tensor.TENSOR_KIND_GRADIENT, numpy.full(shape, numpy.nan), microbatch
                )
            ]
            stream.send(*broken[:-1], *gradients, broken[-1])
            assert stream.receive("acknowledgement").step == number
            return figure(prometheus, firing, run="broken", parameter="weight-1")

        assert eventually(fires) == 1
        alerts = {dict(labels)["run"] for labels in prometheus.query(firing)}
        assert alerts == {"broken"}


def test_what_a_dead_server_left_does_not_count(servers, prometheus):
    servers[2].kill()
    for rule, metric in RATIOS.items():
        expected = figure(prometheus, metric, run="latter half")

        def agrees(rule=rule, expected=expected):
            return figure(prometheus, rule, run="bereft") == pytest.approx(expected, rel=1e-12)

        eventually(agrees, 10)
