"""A client made by hand of the stubs and NumPy may send sums in place of any of its tensors."""

import numpy
import pytest

from system_support import Stream, chunks, report, run, service, service_grpc, tensor

SHAPES = {"up": (6, 4), "up_bias": (6,), "down": (3, 6), "alone": (5, 2)}
IDS = {name: number for number, name in enumerate(SHAPES, start=1)}
MICROBATCHES, STEPS, LEARNING_RATE = 3, 4, 0.1
GRADIENT, WEIGHT = tensor.TENSOR_KIND_GRADIENT, tensor.TENSOR_KIND_WEIGHT
UPDATE = tensor.TENSOR_KIND_UPDATE


def record():
    """Weights, microbatch gradients and update of each step."""
    random = numpy.random.default_rng(3)
    weights = {name: random.standard_normal(shape) for name, shape in SHAPES.items()}
    steps = []
    for _ in range(STEPS):
        gradients = [
            {name: weights[name] + 0.3 * random.standard_normal(shape)
             for name, shape in SHAPES.items()}
            for _ in range(MICROBATCHES)
        ]  # fmt: skip
        updates = {
            name: -LEARNING_RATE * sum(g[name] for g in gradients) / MICROBATCHES
            for name in SHAPES
        }
        steps.append((dict(weights), gradients, updates))
        weights = {name: weights[name] + updates[name] for name in SHAPES}
    return steps


def declaration(name, **fields):
    up, bias, down = (run.Member(parameter_id=IDS[n]) for n in ("up", "up_bias", "down"))
    return run.RunSpec(
        run=name,
        optimizer=run.Optimizer(kind=run.OPTIMIZER_KIND_SGD),
        parameters=[run.Parameter(id=IDS[n], name=n, shape=shape) for n, shape in SHAPES.items()],
        parameter_kinds=[UPDATE],
        symmetries=[
            run.Symmetry(
                name="neurons",
                neuron_rescaling=run.NeuronRescaling(
                    incoming=up, incoming_bias=bias, outgoing=down
                ),
            ),
            run.Symmetry(
                name="logits", logit_translation=run.LogitTranslation(weight=run.Member(
                    parameter_id=IDS["alone"]))
            ),
        ],
        reporting=run.Reporting(window_steps=3),
        **fields,
    )  # fmt: skip


def begin(step):
    return run.StepBegin(
        step=step, loss=1.0, learning_rate=LEARNING_RATE, microbatch_size=8,
        microbatches=MICROBATCHES,
    )  # fmt: skip


def tensors(name, step, rows=slice(None)):
    """A parameter as tensors."""
    weights, gradients, updates = step
    requests = chunks(IDS[name], WEIGHT, weights[name][rows])
    for number, gradient in enumerate(gradients):
        requests += chunks(IDS[name], GRADIENT, gradient[name][rows], number)
    return requests + chunks(IDS[name], UPDATE, updates[name][rows])


def sums(name, step, rows=slice(None)):
    """A parameter as sums."""
    weight, update = step[0][name][rows], step[2][name][rows]
    gradients = [gradient[name][rows] for gradient in step[1]]
    return tensor.ParameterStatistics(
        tensor_id=IDS[name],
        elements=weight.size,
        gradient_sum_squared_norm=sum((g**2).sum() for g in gradients),
        gradient_squared_norm_of_sum=(sum(gradients) ** 2).sum(),
        weight_squared_norm=(weight**2).sum(),
        update_squared_norm=(update**2).sum(),
        gradient_dot_update=(sum(gradients) / MICROBATCHES * update).sum(),
    )


def mean_gradients(step):
    return {name: sum(g[name] for g in step[1]) / MICROBATCHES for name in SHAPES}


def neuron_sums(step):
    def side(matrices):
        x, g, d = matrices
        return tensor.SideStatistics(
            gradient_gradient=(g * g).sum(1),
            weight_weight=(x * x).sum(1),
            gradient_weight=(g * x).sum(1),
            update_weight=(d * x).sum(1),
            update_update=(d * d).sum(1),
        )

    kinds = step[0], mean_gradients(step), step[2]
    return tensor.SymmetryStatistics(
        symmetry="neurons",
        first=side([numpy.hstack([k["up"], k["up_bias"][:, None]]) for k in kinds]),
        second=side([k["down"].T for k in kinds]),
    )


def translation_sums(step):
    weight, gradient, update = (k["alone"] for k in (step[0], mean_gradients(step), step[2]))
    return tensor.SymmetryStatistics(
        symmetry="logits",
        translation=tensor.TranslationStatistics(
            gradient=gradient.sum(0),
            weight=weight.sum(0),
            update=update.sum(0),
            gradient_squared_norm=(gradient**2).sum(),
            update_squared_norm=(update**2).sum(),
        ),
    )


def statistics(parameters, symmetries=()):
    return [
        service.StreamRunRequest(
            statistics=run.StepStatistics(parameters=parameters, symmetries=symmetries)
        )
    ]


def needing_weights(server):
    """Names of the figures that no sums can make."""
    with server.channel() as channel:
        stub = service_grpc.TrainingAnalysisServiceStub(channel)
        catalogue = stub.DescribeMetrics(service.DescribeMetricsRequest())
    names = {m.name for m in catalogue.metrics if "spectrum_every_steps" in m.inputs}
    assert names
    return names


def figures(found):
    """Every figure, defined or not."""
    values = {}
    for figure in (*found.metrics, *found.undefined):
        key = figure.name, frozenset((label.name, label.value) for label in figure.labels)
        values[key] = getattr(figure, "value", None)
        if values[key] is None:
            values[key] = report.UndefinedReason.Name(figure.reason)
    return values


def train(server, name, requests_of):
    with Stream(server) as stream:
        stream.open(declaration(name))
        return [
            figures(stream.step(begin(number), requests_of(step)))
            for number, step in enumerate(record())
        ]


def all_tensors(step):
    return [request for name in SHAPES for request in tensors(name, step)]


def assert_same(found, expected, but=frozenset()):
    for its_figures, others in zip(found, expected, strict=True):
        keys = {key for key in others if key[0] not in but}
        assert {key for key in its_figures if key[0] not in but} == keys
        for key in keys:
            figure = others[key]
            if isinstance(figure, str):
                assert its_figures[key] == figure, key
            else:
                assert its_figures[key] == pytest.approx(figure, rel=1e-9, abs=1e-12), key


def test_one_parameter_as_sums(server):
    expected = train(server, "tensors", all_tensors)
    found = train(
        server, "one",
        lambda step: [r for name in ("up", "up_bias", "down") for r in tensors(name, step)]
        + statistics([sums("alone", step)], [translation_sums(step)]),
    )  # fmt: skip
    drift = "thermograd_symmetry_charge_drift", frozenset({("symmetry", "neurons")})
    assert abs(expected[-1][drift]) > 1e-6
    assert_same(found, expected, needing_weights(server))


def test_all_parameters_as_sums_in_several_messages(server):
    expected = train(server, "whole-tensors", all_tensors)
    found = train(
        server, "whole-sums",
        lambda step: statistics([], [neuron_sums(step)])
        + statistics([sums("up", step, slice(0, 2)), sums("down", step)])
        + statistics([sums("up", step, slice(2, None)), sums("alone", step)])
        + statistics([sums("up_bias", step)], [translation_sums(step)]),
    )  # fmt: skip
    assert_same(found, expected, needing_weights(server))


def test_one_rank_as_sums(server):
    """Half of the rows of a matrix are on each rank; gradients are averaged over both."""
    specs = []
    for rank in (0, 1):
        spec = run.RunSpec(
            run="ranks", rank=rank, world_size=2, gradient_scope=run.GRADIENT_SCOPE_REDUCED,
            parameters=[
                run.Parameter(
                    id=IDS["up"], name="up", shape=SHAPES["up"],
                    shard=run.Shard(offset=[3 * rank, 0], shape=[3, 4], replicas=1),
                )
            ],
            parameter_kinds=[UPDATE],
        )  # fmt: skip
        specs.append(spec)
    whole = run.RunSpec()
    whole.CopyFrom(specs[0])
    whole.run, whole.world_size = "whole", 1
    whole.parameters[0].ClearField("shard")
    with Stream(server) as first, Stream(server) as second, Stream(server) as alone:
        for stream, spec in ((first, specs[0]), (second, specs[1]), (alone, whole)):
            stream.open(spec)
        for number, step in enumerate(record()):
            first.send(service.StreamRunRequest(step_begin=begin(number)))
            first.send(*tensors("up", step, slice(0, 3)))
            first.send(service.StreamRunRequest(step_end=run.StepEnd(step=number)))
            second.send(service.StreamRunRequest(step_begin=begin(number)))
            second.send(*statistics([sums("up", step, slice(3, 6))]))
            second.send(service.StreamRunRequest(step_end=run.StepEnd(step=number)))
            expected = figures(alone.step(begin(number), tensors("up", step)))
            for stream in (first, second):
                assert_same([figures(stream.receive("step_report"))], [expected])
            key = "thermograd_gradient_covariance_trace", frozenset()
            assert expected[key] > 0
