"""The bounds of symmetries, neurons and weights' spectra, in fifty digits."""

import mpmath
import numpy
import pytest

from bounds import (
    GRADIENT,
    SGD,
    UNIT,
    UPDATE,
    WEIGHT,
    cancelling,
    digits,
    holds,
    magnitudes,
    norm,
    parameters,
    row_dots,
    singular_values,
    squared_norm,
    step_of,
    within,
)
from system_support import Stream, run, value

HIDDEN, INPUTS, OUTPUTS = 30, 50, 20
RATE, DECAY = mpmath.mpf(0.1), mpmath.mpf(0.01)
FIRST, SECOND = 1, 2


def error_of(rows, columns, tensors, heads_rows=1):
    """E of the reference page."""
    return (rows * heads_rows + columns + 40 + tensors) * UNIT


def reports(server, symmetry, shapes, steps, decay=0.0, updates=False, window=8):
    """The last report of steps, each a dictionary: kind to the arrays by parameter."""
    spec = run.RunSpec(
        run="symmetry",
        parameters=parameters(*shapes),
        optimizer=SGD,
        parameter_kinds=[UPDATE] if updates else [],
        symmetries=[run.Symmetry(name="s", **symmetry)],
        reporting=run.Reporting(window_steps=window),
    )
    with Stream(server) as stream:
        stream.open(spec)
        for number, step in enumerate(steps, start=1):
            gradients = step[GRADIENT]
            begin = run.StepBegin(
                step=number,
                learning_rate=float(RATE),
                weight_decay=float(decay),
                microbatch_size=1,
                microbatches=len(gradients[0]),
            )
            alone = [
                (key, kind, array)
                for kind in (WEIGHT, UPDATE)
                for key, array in enumerate(step.get(kind, []), start=1)
            ]
            report = stream.step(
                begin, step_of(alone, [(k, GRADIENT, g) for k, g in enumerate(gradients, start=1)])
            )
    return report


RESCALING = {
    "neuron_rescaling": run.NeuronRescaling(
        incoming=run.Member(parameter_id=FIRST), outgoing=run.Member(parameter_id=SECOND)
    )
}


def sides(pair):
    """Rows of neurons of an incoming and an outgoing matrix."""
    return digits(pair[0]), digits(pair[1]).T


def balanced(source, wide):
    """Weights of two sides that are in balance but for a millionth."""
    incoming = wide(source, (HIDDEN, INPUTS))
    outgoing = incoming[:, :OUTPUTS].T.copy()
    missing = (incoming[:, OUTPUTS:].astype(float) ** 2).sum(axis=1)
    outgoing[0] = numpy.sqrt(outgoing[0].astype(float) ** 2 + missing) * (1 + 1e-6)
    return incoming, outgoing


def opposed_microbatches(source, shape):
    """Microbatches of which a billionth is left in the mean, less than their sums round off."""
    there = [magnitudes(source, shape).astype(float) for _ in range(2)]
    return there + [-g * (1 + 1e-9 * source.standard_normal(shape)) for g in there]


class Reference:
    """Charges, gradients and what follows, of steps of a neuron rescaling."""

    def __init__(self, steps, decay, updates):
        self.of_step = []
        for step in steps:
            u, w = sides(step[WEIGHT])
            count = len(step[GRADIENT][0])
            gradients = [sides(pair) for pair in zip(*step[GRADIENT])]
            g = [sum(side) / count for side in zip(*gradients)]
            power = sum(squared_norm(a) + squared_norm(b) for a, b in gradients) / count
            parts = {
                "charge": row_dots(u, u) - row_dots(w, w),
                "weights": row_dots(u, u) + row_dots(w, w),
                "gradients": [row_dots(x, x) for x in g],
                "inner": row_dots(g[0], u) - row_dots(g[1], w),
                "lost": mpmath.sqrt(power / (squared_norm(g[0]) + squared_norm(g[1]))),
            }
            d = sides(step[UPDATE]) if updates else [-RATE * x for x in g]
            parts["second"] = row_dots(d[0], d[0]) - row_dots(d[1], d[1])
            parts["second terms"] = row_dots(d[0], d[0]) + row_dots(d[1], d[1])
            parts["first"] = 2 * (row_dots(d[0], u) - row_dots(d[1], w))
            parts["first terms"] = 2 * (row_dots(abs(d[0]), abs(u)) + row_dots(abs(d[1]), abs(w)))
            if not updates:  # the symmetry is taken to hold
                parts["first"] = parts["first terms"] = 0 * parts["first"]
            self.of_step.append(parts)


@pytest.mark.parametrize("opposed", [False, True], ids=["one", "opposed"])
@holds(
    "symmetry_charge",
    "symmetry_charge_norm",
    "symmetry_relative_charge_ratio",
    "symmetry_residual_ratio",
    "symmetry_gradient_balance_ratio",
    "symmetry_gradient_balance_numerator_sum",
    "symmetry_gradient_balance_denominator_sum",
    "symmetry_charge_drift",
    "symmetry_charge_drift_norm",
    "symmetry_charge_drift_predicted",
    "symmetry_charge_drift_predicted_norm",
    "symmetry_charge_drift_error_ratio",
    "symmetry_optimizer_breaking",
    "symmetry_optimizer_breaking_norm",
    "symmetry_entropic_breaking",
    "symmetry_entropic_breaking_norm",
    "symmetry_entropic_force",
    "symmetry_entropic_force_norm",
    "symmetry_equilibrium_gap_ratio",
    "neuron_charge",
    "neuron_residual_ratio",
    "neuron_gradient_balance_ratio",
)
@pytest.mark.parametrize("updates", [False, True], ids=["sgd", "updates"])
def test_rescaling(server, updates, opposed):
    source = numpy.random.default_rng(1)
    decay = DECAY if updates else 0
    steps = []
    for _ in range(2):
        gradients = [[pair] for pair in balanced(source, magnitudes)]
        if opposed:
            gradients = [opposed_microbatches(source, g[0].shape) for g in gradients]
        step = {WEIGHT: balanced(source, magnitudes), GRADIENT: gradients}
        if updates:
            step[UPDATE] = balanced(source, cancelling)
        steps.append(step)
    report = reports(
        server, RESCALING, [(HIDDEN, INPUTS), (OUTPUTS, HIDDEN)], steps, decay, updates
    )
    reference = Reference(steps, decay, updates)
    before, now = reference.of_step
    tensors = 2 * 2 * (2 + 1 + len(steps[0][GRADIENT][0]))
    error = error_of(HIDDEN, INPUTS, tensors)
    lost = max(step["lost"] for step in reference.of_step)
    lost_of_step = 1 if updates else lost

    def figure(name, **labels):
        return value(report, f"thermograd_{name}", symmetry="s", **labels)

    def check(name, wanted, bound, **labels):
        within(name, figure(name, **labels), wanted, bound)

    def both(name, entries, terms, factor=1):
        check(f"symmetry_{name}", sum(entries), 4 * error * factor * sum(terms))
        check(f"symmetry_{name}_norm", norm(entries), 4 * error * factor * norm(terms))

    both("charge", now["charge"], now["weights"])
    drift = now["charge"] - before["charge"]
    drift_terms = now["weights"] + before["weights"]
    both("charge_drift", drift, drift_terms)
    predicted = before["first"] + before["second"]
    predicted_terms = before["first terms"] + before["second terms"]
    both("charge_drift_predicted", predicted, predicted_terms, lost_of_step)
    if updates:
        both("optimizer_breaking", now["first"], now["first terms"])
    both("entropic_breaking", now["second"], now["second terms"], lost_of_step)

    first, second = (sum(step["gradients"][i] for step in (before, now)) for i in (0, 1))
    both("entropic_force", RATE / 4 * (first - second), RATE / 4 * (first + second), lost)
    numerator, denominator = sum(first - second), sum(first + second)
    check("symmetry_gradient_balance_numerator_sum", numerator, 4 * error * lost * denominator)
    check("symmetry_gradient_balance_denominator_sum", denominator, 3 * error * lost * denominator)
    check("symmetry_gradient_balance_ratio", numerator / denominator, 4 * error * lost)
    check(
        "symmetry_relative_charge_ratio", sum(now["charge"]) / sum(now["weights"]), 4 * error
    )
    largest = (now["gradients"][0] + now["gradients"][1]) * now["weights"]
    residual = norm(now["inner"]) / mpmath.sqrt(sum(largest))
    check("symmetry_residual_ratio", residual, 4 * error * lost)

    # Quotients of differences: what their parts' errors come to.
    scale = sum(before["second terms"])
    mismatch = sum(abs(drift - predicted)) / scale
    terms = sum(drift_terms + predicted_terms) / scale
    bound = 4 * error * lost * (terms + mismatch) * mpmath.mpf(1.01)
    check("symmetry_charge_drift_error_ratio", mismatch, bound)
    if updates:
        drive = [
            RATE * (s["gradients"][0] - s["gradients"][1] + 2 * decay * s["inner"])
            + RATE * decay**2 * s["charge"]
            for s in (before, now)
        ]
        drive_terms = [
            RATE * (s["gradients"][0] + s["gradients"][1] + decay**2 * s["weights"])
            + 2 * RATE * decay * (s["gradients"][0] + s["gradients"][1] + s["weights"])
            for s in (before, now)
        ]
        a = sum(sum(drive))
        b = sum(2 * decay * (before["charge"] + now["charge"]))
        terms = sum(sum(drive_terms)) + 2 * decay * sum(before["weights"] + now["weights"])
        bound = 2 * 4 * error * lost * terms / (abs(a) + abs(b)) * mpmath.mpf(1.01)
        check("symmetry_equilibrium_gap_ratio", (a - b) / (abs(a) + abs(b)), bound)

    for quantile, pick in (("0", min), ("1", max)):
        check(
            "neuron_charge", pick(now["charge"]), 4 * error * max(now["weights"]), quantile=quantile
        )
        if not opposed:
            ratios = (first - second) / (first + second)
            check("neuron_gradient_balance_ratio", pick(ratios), 4 * error, quantile=quantile)
            inner = [abs(x) / mpmath.sqrt(y) for x, y in zip(now["inner"], largest)]
            check("neuron_residual_ratio", pick(inner), 4 * error, quantile=quantile)


def transposed_products(x, y, heads):
    """X Y' of each head's rows."""
    size = len(x) // heads
    return [x[h * size : h * size + size] @ y[h * size : h * size + size].T for h in range(heads)]


@holds(
    "symmetry_charge_norm",
    "symmetry_residual_ratio",
    "symmetry_gradient_balance_ratio",
    "head_charge",
    "head_residual_ratio",
    "head_gradient_balance_ratio",
)
def test_rotation_of_heads(server):
    source = numpy.random.default_rng(2)
    heads, dimension = 3, 4
    rows = heads * dimension
    shapes = [(rows, INPUTS), (OUTPUTS, rows)]
    weights = [magnitudes(source, shape) for shape in shapes]
    gradients = [magnitudes(source, shape) for shape in shapes]
    # Gradients almost orthogonal to the weights, so that their products cancel.
    for g, w in zip(gradients, weights):
        side = (lambda x: x) if g.shape[0] == rows else (lambda x: x.T)
        basis = numpy.linalg.qr(side(w).astype(float).T)[0]
        left = side(g).astype(float)
        side(g)[:] = left - left @ basis @ basis.T
    symmetry = {
        "double_rotation": run.DoubleRotation(
            first=run.Member(parameter_id=FIRST),
            second=run.Member(parameter_id=SECOND),
            heads=heads,
        )
    }
    report = reports(
        server, symmetry, shapes, [{WEIGHT: weights, GRADIENT: [[g] for g in gradients]}]
    )
    error = error_of(rows, INPUTS, 4, dimension)
    x, g = sides(weights), sides(gradients)
    xx, gg, gx = (
        [transposed_products(a, b, heads) for a, b in zip(*pair)]
        for pair in ((x, x), (g, g), (g, x))
    )

    def parts(products):
        return numpy.array(products, dtype=object).ravel()

    def sizes(a, b):
        """|a| |b| of each head."""
        cut = [slice(h * dimension, (h + 1) * dimension) for h in range(heads)]
        return [norm(a[c]) * norm(b[c]) for c in cut]

    def figure(name, **labels):
        return value(report, f"thermograd_{name}", symmetry="s", **labels)

    charge = parts(xx[0]) - parts(xx[1])
    terms = norm(sizes(x[0], x[0])) + norm(sizes(x[1], x[1]))
    within("charge norm", figure("symmetry_charge_norm"), norm(charge), 4 * error * terms)
    traces = [sum((a - b).diagonal()) for a, b in zip(*xx)]
    terms = max(sizes(x[0], x[0])) + max(sizes(x[1], x[1]))
    for quantile, pick in (("0", min), ("1", max)):
        found = figure("head_charge", quantile=quantile)
        within("head charge", found, pick(traces), 4 * error * terms)

    # theory.md: zero where the symmetry holds.
    residual = [a - b.T for a, b in zip(*gx)]
    below = norm(parts(gx[0])) + norm(parts(gx[1]))
    above = norm(sizes(g[0], x[0])) + norm(sizes(g[1], x[1]))
    found = figure("symmetry_residual_ratio")
    within("residual", found, norm(parts(residual)) / below, 4 * error * above / below)
    balance = norm(parts(gg[0]) - parts(gg[1])) / (norm(parts(gg[0])) + norm(parts(gg[1])))
    bound = 4 * error * mpmath.sqrt(dimension)
    within("balance", figure("symmetry_gradient_balance_ratio"), balance, bound)
    of_heads = [norm(a - b) / (norm(a) + norm(b)) for a, b in zip(*gg)]
    below = [norm(a) + norm(b) for a, b in zip(*gx)]
    residuals = [norm(r) / b for r, b in zip(residual, below)]
    factor = max(
        (a + b) / c for a, b, c in zip(sizes(g[0], x[0]), sizes(g[1], x[1]), below)
    )
    for quantile, pick in (("0", min), ("1", max)):
        found = figure("head_gradient_balance_ratio", quantile=quantile)
        within("head balance", found, pick(of_heads), bound)
        found = figure("head_residual_ratio", quantile=quantile)
        within("head residual", found, pick(residuals), 4 * error * factor)


@holds("symmetry_residual_ratio", "symmetry_charge_norm")
def test_translation(server):
    source = numpy.random.default_rng(3)
    shape = (40, 12)
    weight, gradient = (magnitudes(source, shape) for _ in range(2))
    # Sums over classes that cancel.
    gradient[1::2] = -gradient[::2] * numpy.float32(1 + 1e-6)
    symmetry = {
        "logit_translation": run.LogitTranslation(weight=run.Member(parameter_id=FIRST))
    }
    report = reports(server, symmetry, [shape], [{WEIGHT: [weight], GRADIENT: [[gradient]]}])
    error = error_of(*shape, 2)
    g, w = digits(gradient), digits(weight)
    found = value(report, "thermograd_symmetry_residual_ratio", symmetry="s")
    wanted = norm(g.sum(axis=0)) / mpmath.sqrt(len(g)) / norm(g)
    within("residual", found, wanted, 4 * error)
    found = value(report, "thermograd_symmetry_charge_norm", symmetry="s")
    within("charge norm", found, norm(w.sum(axis=0)), 4 * error * norm(abs(w).sum(axis=0)))


@holds(
    "symmetry_angular_step_radians",
    "symmetry_angular_step_predicted_radians",
    "symmetry_equilibrium_norm",
)
@pytest.mark.parametrize("along", [0, 1e3, None], ids=["across", "along", "implied"])
def test_scale_invariance(server, along):
    source = numpy.random.default_rng(4)
    shape = (HIDDEN, INPUTS)
    weight, gradient = magnitudes(source, shape), magnitudes(source, shape)
    # Across the weights, as gradients of such weights are, and as large as they.
    w = weight.astype(float)
    across = gradient - (gradient * w).sum(axis=1, keepdims=True) * w / (w**2).sum(
        axis=1, keepdims=True
    )
    across *= numpy.linalg.norm(w, axis=1, keepdims=True) / numpy.linalg.norm(
        across, axis=1, keepdims=True
    )
    gradient = across.astype("float32")
    step = {WEIGHT: [weight], GRADIENT: [[gradient]]}
    if along is None:
        update = -RATE * (digits(gradient) + DECAY * digits(weight))
    else:
        step[UPDATE] = [(1e-6 * across - 1e-6 * along * w).astype("float32")]
        update = digits(step[UPDATE][0])
    symmetry = {
        "scale_invariance": run.ScaleInvariance(
            weight=run.Member(parameter_id=FIRST), per_row=True
        )
    }
    report = reports(server, symmetry, [shape], [step], DECAY, along is not None)
    error = error_of(*shape, 3)
    w, g = digits(weight), digits(gradient)
    ww, dw, dd, gg = (row_dots(*pair) for pair in ((w, w), (update, w), (update, update), (g, g)))
    angles, sines = [], []
    for w2, product, d2 in zip(ww, dw, dd):
        parallel = product / mpmath.sqrt(w2)
        perpendicular = mpmath.sqrt(d2 - parallel**2)
        angles.append(mpmath.atan2(perpendicular, mpmath.sqrt(w2) + parallel))
        sines.append((d2 - parallel**2) / d2)
    wanted = mpmath.sqrt(squared_norm(angles) / len(angles))
    found = value(report, "thermograd_symmetry_angular_step_radians", symmetry="s")
    within("angular step", found, wanted, 12 * error / min(sines) * wanted)
    wanted = mpmath.sqrt(2 * RATE * DECAY)
    found = value(report, "thermograd_symmetry_angular_step_predicted_radians", symmetry="s")
    within("predicted", found, wanted, 4 * UNIT * wanted)
    squares = [mpmath.sqrt(RATE * a * b / 2 / DECAY) for a, b in zip(ww, gg)]
    wanted = mpmath.sqrt(sum(squares))
    found = value(report, "thermograd_symmetry_equilibrium_norm", symmetry="s")
    within("equilibrium norm", found, wanted, 3 * error * wanted)


def permutation_figures(server, incoming, outgoing):
    """Figures of the neurons of two matrices, and of the matrices' spectra."""
    spec = run.RunSpec(
        run="neurons",
        parameters=parameters(incoming.shape, outgoing.shape),
        symmetries=[
            run.Symmetry(
                name="s",
                neuron_permutation=run.NeuronPermutation(
                    incoming=run.Member(parameter_id=FIRST),
                    outgoing=run.Member(parameter_id=SECOND),
                ),
            )
        ],
    )
    begin = run.StepBegin(step=1, learning_rate=0.1, microbatch_size=1, microbatches=1)
    arrays = (incoming, outgoing)
    sent = step_of([(k, kind, a) for kind in (WEIGHT, GRADIENT) for k, a in enumerate(arrays, 1)])
    with Stream(server) as stream:
        stream.open(spec)
        return stream.step(begin, sent)


NEAR = [sign * 2.0**-power for power in range(8, 56, 2) for sign in (-1, 1)]


@holds("near_duplicate_neurons")
def test_neurons_near_the_cosine(server):
    """A pair of neurons for each distance from the threshold, in planes of their own."""
    source = numpy.random.default_rng(5)
    pairs = len(NEAR)
    incoming = numpy.zeros((2 * pairs, 2 * pairs))
    for i, off in enumerate(NEAR):
        cosine = 0.99 * (1 + off)
        plane = slice(2 * i, 2 * i + 2)
        incoming[2 * i, plane] = source.standard_normal() * numpy.array([0.6, 0.8])
        # Turned by the angle of that cosine, either way round, and of another length.
        turned = [
            0.6 * cosine - 0.8 * numpy.sqrt(1 - cosine**2),
            0.8 * cosine + 0.6 * numpy.sqrt(1 - cosine**2),
        ]
        incoming[2 * i + 1, plane] = numpy.sign(incoming[2 * i, 2 * i]) * numpy.array(turned)
    incoming *= 10 ** source.normal(0, 2.5, (2 * pairs, 1))
    outgoing = numpy.repeat(numpy.eye(pairs), 2, axis=1) * 10 ** source.normal(0, 2.5, 2 * pairs)
    report = permutation_figures(server, incoming, outgoing)
    unit = [row / norm(row) for row in digits(incoming)]
    cosines = [(unit[2 * i] * unit[2 * i + 1]).sum() for i in range(pairs)]
    threshold = mpmath.mpf(99) / 100
    margin = (8 * 2 * pairs + 2 * pairs) * UNIT
    at_least = 2 * sum(c > threshold * (1 + margin) for c in cosines)
    at_most = 2 * sum(c > threshold * (1 - margin) for c in cosines)
    print(f"near duplicates: {at_least} to {at_most} of {2 * pairs}")
    assert at_least < at_most  # some pairs are inside the margin, most are not
    assert at_least <= value(report, "thermograd_near_duplicate_neurons", symmetry="s") <= at_most


@holds("collapsed_neurons", "effective_neurons")
def test_neurons_near_the_norm(server):
    source = numpy.random.default_rng(6)
    neurons = 2 * len(NEAR)
    incoming = source.standard_normal((neurons, INPUTS))
    norms = 10 ** source.uniform(0, 5, neurons)
    for _ in range(60):  # so many that the means no longer move
        norms[: len(NEAR)] = 0.01 * norms.mean() * (1 + numpy.array(NEAR))
    incoming *= (norms / numpy.linalg.norm(incoming, axis=1))[:, None]
    outgoing = incoming[:, :OUTPUTS].T.copy()
    outgoing *= norms / numpy.linalg.norm(outgoing, axis=0)
    report = permutation_figures(server, incoming, outgoing)
    u, w = ([norm(row) for row in side] for side in sides((incoming, outgoing)))
    margin = (8 * INPUTS + neurons) * UNIT

    def collapsed(factor):
        limits = [factor * sum(side) / neurons / 100 for side in (u, w)]
        return sum(a < limits[0] and b < limits[1] for a, b in zip(u, w))

    at_least, at_most = collapsed(1 - margin), collapsed(1 + margin)
    print(f"collapsed: {at_least} to {at_most} of {neurons}")
    assert 0 < at_least < at_most
    assert at_least <= value(report, "thermograd_collapsed_neurons", symmetry="s") <= at_most
    strengths = [a * b for a, b in zip(u, w)]
    wanted = sum(strengths) ** 2 / squared_norm(strengths)
    bound = (3 * neurons + INPUTS / 8 + 40) * UNIT * wanted
    found = value(report, "thermograd_effective_neurons", symmetry="s")
    within("effective neurons", found, wanted, bound)


def _matrices():
    source = numpy.random.default_rng(7)
    rows, columns = 16, 10
    left = numpy.linalg.qr(source.standard_normal((rows, columns)))[0]
    right = numpy.linalg.qr(source.standard_normal((columns, columns)))[0]

    def of(singular):
        return left * singular @ right

    index = numpy.arange(columns)
    return {
        "flat": of(numpy.ones(columns)),
        "graded": of(10.0**-index),
        "near the root of rounding": of(numpy.where(index < 2, 1.0, 1e-8)),
        "rank one": numpy.outer(source.standard_normal(rows), source.standard_normal(columns)),
        "whole numbers of rank two": numpy.outer(numpy.arange(rows), index) + 1.0,
        "hilbert": 1 / (1.0 + index[None, :] + numpy.arange(rows)[:, None]),
        "wide": magnitudes(source, (rows, columns)).astype(float),
    }


MATRICES = _matrices()


def check_spectrum(server, matrix, exact):
    """Figures of a matrix of these singular values."""
    report = permutation_figures(server, matrix.T, matrix)
    total, fewer = sum(matrix.shape), min(matrix.shape)
    wanted = squared_norm(exact) / exact[0] ** 2
    found = value(report, "thermograd_parameter_stable_rank", parameter="2")
    within("stable rank", found, wanted, 64 * fewer * total * UNIT * wanted)
    shares = [s / sum(exact) for s in exact]
    wanted = mpmath.exp(-sum(p * mpmath.log(p) for p in shares if p > 0))
    off = 8 * fewer * mpmath.sqrt(total * UNIT)
    found = value(report, "thermograd_parameter_effective_rank", parameter="2")
    within("effective rank", found, wanted, 2 * off * (1 + mpmath.log(fewer / off)) * wanted)


@holds("parameter_stable_rank", "parameter_effective_rank")
@pytest.mark.parametrize("name", MATRICES)
def test_spectra_of_weights(server, name):
    matrix = MATRICES[name]
    check_spectrum(server, matrix, singular_values(digits(matrix)))


@holds("parameter_stable_rank", "parameter_effective_rank")
@pytest.mark.parametrize("rank", [128, 5])
def test_spectra_of_large_weights(server, rank):
    """Singular values that are known without a computation, over ten decades."""
    size = 128
    hadamard = numpy.ones((1, 1))
    while len(hadamard) < size:
        hadamard = numpy.block([[hadamard, hadamard], [hadamard, -hadamard]])
    index = numpy.arange(size)
    singular = numpy.where(index < rank, 2.0 ** -(33 * index // size), 0)
    # Sums of up to 128 powers of two between 1 and 2^-33: every one of them is an fp64.
    matrix = hadamard * singular @ hadamard / size
    check_spectrum(server, matrix, digits(singular))
