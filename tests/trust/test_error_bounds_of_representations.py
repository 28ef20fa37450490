"""The bounds of similarities and of collapse, in fifty digits."""

import itertools

import mpmath
import numpy
import pytest

import thermograd
from bounds import (
    ACTIVATION,
    ACTIVATION_GRADIENT,
    UNIT,
    WEIGHT,
    centred,
    digits,
    holds,
    magnitudes,
    norm,
    parameters,
    singular_values,
    squared_norm,
    step_of,
    within,
)
from system_support import Stream, run, value
from thermograd.v1 import representation_pb2 as representation

NEIGHBOURS = 3
TIE = mpmath.mpf(2) ** -40
DROPPED = mpmath.mpf(2) ** -23


def _pairs():
    """Pairs of layers, each made to break some bound."""
    source = numpy.random.default_rng(1)

    def related(n, p, q):
        x = source.standard_normal((n, p))
        return x, x @ source.standard_normal((p, q)) + source.standard_normal((n, q))

    pairs = {"plain": related(14, 5, 4), "more features than samples": related(9, 14, 12)}
    x, y = related(14, 5, 4)
    pairs["means of 10^8 deviations"] = x + 1e8, y - 3e8
    x, y = related(14, 5, 4)
    x[0] *= 1e6
    pairs["first sample far out"] = x, y
    x, y = related(14, 5, 4)
    x[5] *= 1e6
    pairs["another far out"] = x, y
    pairs["ten decades"] = tuple(magnitudes(source, (14, p)).astype(float) for p in (5, 4))
    x, y = related(14, 5, 4)
    x = x[:, :1] + 1e-7 * x
    pairs["nearly one direction"] = x, y
    x, y = related(14, 5, 4)
    scale = 2.0 ** -numpy.array([0, 21, 22, 24, 30])
    pairs["singular values about the tolerance"] = x * scale, y * scale[:4]
    pairs["unrelated"] = source.standard_normal((14, 5)), source.standard_normal((14, 4))
    x = source.integers(-2, 3, (14, 3)).astype(float) + 0.5
    pairs["ties"] = x, x[:, ::-1] ** 3
    x, y = related(14, 3, 3)
    pairs["near ties"] = 1 + 2.0**-21 * x, 1 + 2.0**-20 * y
    return pairs


PAIRS = _pairs()
# Those whose neighbours rounding does not decide.
DECIDED = ("plain", "more features than samples", "unrelated", "ten decades")
every_pair = pytest.mark.parametrize("name", PAIRS)


class Layer:
    """A layer's samples in fifty digits."""

    def __init__(self, x):
        self.rows = digits(x)
        self.n, self.p = x.shape
        self.x = centred(self.rows)
        self.gram = self.x @ self.x.T
        first, rest = squared_norm(self.x[0]), squared_norm(self.x) / self.n
        self.s = 1 + first / rest


def sizes(*layers):
    """N, r and s of the reference page."""
    n, p = layers[0].n, max(layer.p for layer in layers)
    return n + p, min(n, p), max(layer.s for layer in layers)


def compared(server, x, y, similarities, **options):
    """The figures of the pair by name without the prefix."""
    figures = thermograd.compare(
        x, y, address=server.grpc_address, similarities=similarities, **options
    )
    return {
        name.removeprefix("thermograd_"): figure
        for (name, labels), figure in figures.items()
        if not labels
    }


def cka(hsic, k, l):
    return hsic(k, l) / mpmath.sqrt(hsic(k, k) * hsic(l, l))


def biased(k, l):
    return (k * l).sum()


def unbiased(k, l):
    """n (n - 3) HSIC_1."""
    n = len(k)
    k, l = k.copy(), l.copy()
    for i in range(n):
        k[i, i] = l[i, i] = mpmath.mpf(0)
    product = (k * l.T).sum() + k.sum() * l.sum() / ((n - 1) * (n - 2))
    return product - 2 * (k @ l).sum() / (n - 2)


def left(hsic, *kernels):
    """d of the reference page."""
    return min(hsic(k, k) / squared_norm(k) for k in kernels)


def kernel_bound(layers):
    total, rank, s = sizes(*layers)
    return total * (mpmath.mpf(total) / 8 + 16 * mpmath.sqrt(rank) * s) * UNIT


def debiased_bound(layers, d):
    total, rank, s = sizes(*layers)
    return 8 * total * (mpmath.mpf(total) / 8 + 16 * rank * s**2) * UNIT / d


@holds("cka_ratio", "cka_unbiased_ratio")
@pytest.mark.parametrize("others", [(), ("procrustes",)], ids=["moments", "grams"])
@every_pair
def test_cka(server, name, others):
    pair = PAIRS[name]
    x, y = layers = [Layer(side) for side in pair]
    figures = compared(server, *pair, ("cka", "cka_unbiased", *others))
    within("cka", figures["cka_ratio"], cka(biased, x.gram, y.gram), kernel_bound(layers))
    d = left(unbiased, x.gram, y.gram)
    wanted = cka(unbiased, x.gram, y.gram)
    within("unbiased", figures["cka_unbiased_ratio"], wanted, debiased_bound(layers, d))


def squared_distances(layer):
    square = layer.gram.diagonal()
    return square[:, None] + square[None, :] - 2 * layer.gram


@holds("cka_rbf_ratio", "cka_rbf_unbiased_ratio")
@pytest.mark.parametrize("fraction", [0.5, 4.0])
@every_pair
def test_rbf_cka(server, name, fraction):
    pair = PAIRS[name]
    layers = [Layer(side) for side in pair]
    kernels, worst = [], 0
    for layer in layers:
        distances = squared_distances(layer)
        flat = sorted(distances.ravel())
        median = (flat[(len(flat) - 1) // 2] + flat[len(flat) // 2]) / 2
        kernel = numpy.vectorize(mpmath.exp, otypes=[object])(
            -distances / (2 * mpmath.mpf(fraction) ** 2 * median)
        )
        kernels.append(centred(centred(kernel).T))
        worst = max(worst, max(layer.gram.diagonal()) / median)
    q = worst / min(1, fraction**2)
    n, total = layers[0].n, sizes(*layers)[0]
    least = min(map(norm, kernels))
    bound = n * (mpmath.mpf(n) / 8 + 640 * total * q / least) * UNIT
    figures = compared(
        server, *pair, ("cka_rbf", "cka_rbf_unbiased"), rbf_bandwidth_fraction=fraction
    )
    within("rbf", figures["cka_rbf_ratio"], cka(biased, *kernels), bound)
    d = left(unbiased, *kernels)
    wanted = cka(unbiased, *kernels)
    within("unbiased", figures["cka_rbf_unbiased_ratio"], wanted, 4 * bound / d)


def cosines_of(layer):
    rows = numpy.array([row / norm(row) for row in layer.rows], dtype=object)
    return rows @ rows.T


def neighbours_of(cosines, features):
    """Sets of neighbours, and the samples of which rounding may decide."""
    sets, open_samples = [], set()
    resolution = TIE + 4 * (features + 8) * UNIT
    for i in range(len(cosines)):
        others = sorted((j for j in range(len(cosines)) if j != i), key=lambda j: -cosines[i, j])
        last, next_one = (cosines[i, others[NEIGHBOURS + k]] for k in (-1, 0))
        if last - next_one <= resolution:
            open_samples.add(i)
        sets.append(set(others[:NEIGHBOURS]))
    return sets, open_samples


@holds("mutual_neighbours_ratio", "cknna_ratio")
@every_pair
def test_neighbours(server, name):
    pair = PAIRS[name]
    layers = [Layer(side) for side in pair]
    n, p = layers[0].n, max(layer.p for layer in layers)
    figures = compared(server, *pair, ("mutual_neighbours", "cknna"), neighbours=NEIGHBOURS)
    cosines = [cosines_of(layer) for layer in layers]
    found = [neighbours_of(k, p) for k in cosines]
    (x_sets, x_open), (y_sets, y_open) = found
    share = mpmath.mpf(sum(len(a & b) for a, b in zip(x_sets, y_sets))) / (n * NEIGHBOURS)
    undecided = len(x_open | y_open)
    bound = mpmath.mpf(undecided) / n + UNIT
    within("neighbours", figures["mutual_neighbours_ratio"], share, bound)
    if undecided:
        assert name not in DECIDED
        return

    def mask(*sets):
        shared = [set.intersection(*row) for row in zip(*sets)]
        return numpy.array([[int(j in row) for j in range(n)] for row in shared], dtype=object)

    def restricted(k, l, m):
        def one(k, l):
            a, b = k * m, l * m
            return (
                (a * b.T).sum()
                + a.sum() * b.sum() / ((n - 1) * (n - 2))
                - 2 * (a @ b).sum() / (n - 2)
            )

        return (one(k, l) + one(l, k)) / 2

    x, y = cosines
    xx, yy = restricted(x, x, mask(x_sets)), restricted(y, y, mask(y_sets))
    wanted = restricted(x, y, mask(x_sets, y_sets)) / mpmath.sqrt(xx * yy)
    pairs = n * NEIGHBOURS
    bound = 4 * (2 * p + 16 + pairs) * (1 + mpmath.mpf(7 * NEIGHBOURS) / n) * UNIT
    bound /= min(xx, yy) / pairs
    within("cknna", figures["cknna_ratio"], wanted, bound)


@holds("rsa_ratio")
@every_pair
def test_ranks(server, name):
    pair = PAIRS[name]
    layers = [Layer(side) for side in pair]
    n, total = layers[0].n, sizes(*layers)[0]
    pairs = n * (n - 1) // 2
    ranks, near = [], 0
    for layer in layers:
        distances = squared_distances(layer)
        flat = [distances[i, j] for i in range(n) for j in range(i + 1, n)]
        resolution = (TIE + 80 * total * UNIT) * max(flat)
        order = sorted(flat)
        near += sum(
            order[j] - order[i] <= resolution for i in range(pairs) for j in range(i + 1, pairs)
        )
        # Of fifty digits the last few are rounding: ties are those that agree in forty.
        keys = [mpmath.nint(d / max(flat) * mpmath.mpf(10) ** 40) for d in flat]
        ranks.append(
            [
                sum(k < key for k in keys) + mpmath.mpf(sum(k == key for k in keys) - 1) / 2
                for key in keys
            ]
        )
    x, y = (numpy.array(r, dtype=object) - mpmath.mpf(pairs - 1) / 2 for r in ranks)
    wanted = (x * y).sum() / norm(x) / norm(y)
    bound = pairs * UNIT + 12 * mpmath.mpf(near) / pairs**2
    within("rsa", compared(server, *pair, ("rsa",))["rsa_ratio"], wanted, bound)


@holds("procrustes_ratio")
@every_pair
def test_procrustes(server, name):
    pair = PAIRS[name]
    x, y = layers = [Layer(side) for side in pair]
    total, rank, s = sizes(*layers)
    dropped = 0
    for layer in layers:
        singular = singular_values(layer.x)
        # Those of a rank below the number of features are zero, and dropping them costs nothing.
        if any(1e-25 < value / singular[0] < 1.01 * DROPPED for value in singular):
            dropped = DROPPED * mpmath.sqrt(rank)
    wanted = sum(singular_values(y.x.T @ x.x)) / norm(x.x) / norm(y.x)
    found = compared(server, *pair, ("procrustes",))["procrustes_ratio"]
    within("procrustes", found, wanted, 16 * rank * total * s * UNIT + 4 * dropped)


def orthonormal(x):
    """Basis of the columns, by Gram and Schmidt, twice."""
    columns = []
    for column in x.T:
        for _ in range(2):
            for other in columns:
                column = column - other * (other * column).sum()
        columns.append(column / norm(column))
    return numpy.array(columns, dtype=object).T


def conditioned(condition):
    """A pair of this condition, far from the origin."""
    source = numpy.random.default_rng(2)
    n, p, q = 14, 5, 4
    common = source.standard_normal((n, 3))

    def side(width):
        x = numpy.hstack([common, source.standard_normal((n, width - 3))])
        x = numpy.linalg.qr(x - x.mean(axis=0))[0] + 0.1 * source.standard_normal((n, width))
        return x * condition ** -numpy.linspace(0, 1, width) + 10

    return side(p), side(q)


def canonical_reference(layers):
    """Mean and mean squared canonical correlation, and the larger condition."""
    x, y = (orthonormal(layer.x) for layer in layers)
    rho = singular_values(x.T @ y)
    singular = [singular_values(layer.x) for layer in layers]
    condition = max(values[0] / values[-1] for values in singular)
    return sum(rho) / len(rho), squared_norm(rho) / len(rho), condition


@holds("cca_mean_ratio", "cca_mean_squared_ratio")
@pytest.mark.parametrize("condition", [1, 1e3, 1e6])
def test_canonical_correlations(server, condition):
    pair = conditioned(condition)
    layers = [Layer(side) for side in pair]
    total, rank, s = sizes(*layers)
    mean, mean_squared, k = canonical_reference(layers)
    bound = 64 * mpmath.sqrt(rank) * total * s * k * UNIT
    figures = compared(server, *pair, ("cca",))
    within("cca", figures["cca_mean_ratio"], mean, bound)
    within("cca squared", figures["cca_mean_squared_ratio"], mean_squared, bound)


@holds(
    "effective_rank",
    "representation_participation_dimensions",
    "representation_stable_rank",
    "representation_mean_cosine_ratio",
)
@every_pair
def test_collapse(server, name):
    array = PAIRS[name][0]
    layer = Layer(array)
    figures = {
        name.removeprefix("thermograd_"): found
        for (name, labels), found in thermograd.compare(
            array, array, address=server.grpc_address
        ).items()
        if labels == (("layer", "x"),)
    }
    total, rank, s = sizes(layer)
    off = 32 * rank * total * s * UNIT
    variances = [v**2 for v in singular_values(layer.x)]
    shares = [v / sum(variances) for v in variances]
    for key, wanted, relative in (
        ("representation_stable_rank", 1 / shares[0], 2 * off),
        ("representation_participation_dimensions", 1 / squared_norm(shares), 2 * off),
        (
            "effective_rank",
            mpmath.exp(-sum(p * mpmath.log(p) for p in shares if p > 0)),
            2 * off * (1 + mpmath.log(rank / off)),
        ),
    ):
        within(key, figures[key], wanted, relative * wanted)
    n, p = layer.n, layer.p
    cosines = cosines_of(layer)
    wanted = (cosines.sum() - n) / (n * (n - 1))
    found = figures["representation_mean_cosine_ratio"]
    within("mean cosine", found, wanted, 4 * (n + p + 4) * UNIT)


def unprojected(gram, width):
    """tr K^2, (tr K)^2, sum K_ii^2 before a Gaussian projection to this width, by expectation."""
    k = mpmath.mpf(width)
    product, trace = squared_norm(gram), sum(gram.diagonal()) ** 2
    before = (product - trace / k) / (1 + 1 / k - 2 / k**2)
    return before, trace - 2 * before / k, squared_norm(gram.diagonal()) / (1 + 2 / k)


@holds("cka_ratio", "cka_unbiased_ratio")
@pytest.mark.parametrize("name", ["nearly one direction", "first sample far out", "ten decades"])
def test_projected_layers(server, name):
    pair = PAIRS[name]
    x, y = layers = [Layer(side) for side in pair]
    spec = run.RunSpec(
        run="projected",
        probe_sets=[run.ProbeSet(name="p", samples=x.n, fingerprint=b"p")],
        layers=[
            run.Layer(id=1, name="h1", width=x.p, probe_set="p", projected_from=1000),
            run.Layer(id=2, name="h2", width=y.p, probe_set="p"),
        ],
        reporting=run.Reporting(
            similarity=representation.SimilarityOptions(
                similarities=[
                    representation.SIMILARITY_CKA,
                    representation.SIMILARITY_CKA_UNBIASED,
                ]
            )
        ),
    )
    begin = run.StepBegin(step=1, learning_rate=0.1, microbatch_size=1, microbatches=1)
    with Stream(server) as stream:
        stream.open(spec)
        report = stream.step(
            begin, step_of([(key, ACTIVATION, side) for key, side in enumerate(pair, start=1)])
        )
    product, trace, diagonal = unprojected(x.gram, x.p)
    n = x.n
    of_itself = product - diagonal + trace / ((n - 1) * (n - 2)) - 2 * diagonal / (n - 2)
    wanted = biased(x.gram, y.gram) / mpmath.sqrt(product * squared_norm(y.gram))
    found = value(report, "thermograd_cka_ratio", layer="h1", other="h2")
    within("cka", found, wanted, kernel_bound(layers) / (product / squared_norm(x.gram)))
    wanted = unbiased(x.gram, y.gram) / mpmath.sqrt(of_itself * unbiased(y.gram, y.gram))
    d = min(of_itself / squared_norm(x.gram), left(unbiased, y.gram))
    found = value(report, "thermograd_cka_unbiased_ratio", layer="h1", other="h2")
    within("unbiased", found, wanted, debiased_bound(layers, d))


def windowed(server, batches):
    """The report of two layers of training batches, one a microbatch, all in one window."""
    widths = [side.shape[1] for side in batches[0]]
    spec = run.RunSpec(
        run="window",
        layers=[run.Layer(id=i, name=f"h{i}", width=w) for i, w in enumerate(widths, start=1)],
        reporting=run.Reporting(
            window_steps=2,
            similarity_over_window=True,
            similarity=representation.SimilarityOptions(
                similarities=[
                    representation.SIMILARITY_CKA,
                    representation.SIMILARITY_CKA_UNBIASED,
                    representation.SIMILARITY_CCA,
                    representation.SIMILARITY_PROCRUSTES,
                ]
            ),
        ),
    )
    half = len(batches) // 2
    with Stream(server) as stream:
        stream.open(spec)
        for number, part in enumerate((batches[:half], batches[half:]), start=1):
            begin = run.StepBegin(
                step=number, learning_rate=0.1, microbatch_size=len(part[0][0]), microbatches=half
            )
            sides = zip(*part)
            sent = step_of([], [(key, ACTIVATION, side) for key, side in enumerate(sides, start=1)])
            report = stream.step(begin, sent)
    return report


WINDOWS = {
    "plain": lambda source, shape: source.standard_normal(shape),
    "means of 10^6 deviations": lambda source, shape: 1e6 + source.standard_normal(shape),
    "ten decades": lambda source, shape: magnitudes(source, shape).astype(float),
    "first samples far out": lambda source, shape: source.standard_normal(shape)
    * numpy.where(numpy.arange(shape[0]) == 0, 1e5, 1)[:, None],
}


@holds(
    "cka_minibatch_ratio",
    "cka_minibatch_hsic_sum",
    "cka_minibatch_layer_hsic_sum",
    "cka_minibatch_other_hsic_sum",
    "window_cka_ratio",
    "window_cka_unbiased_ratio",
    "window_cca_mean_ratio",
    "window_procrustes_ratio",
)
@pytest.mark.parametrize("name", WINDOWS)
def test_windows(server, name):
    source = numpy.random.default_rng(3)
    n, p, q = 6, 4, 3
    batches = [tuple(WINDOWS[name](source, (n, width)) for width in (p, q)) for _ in range(4)]
    batches = [(x, y + x[:, :q]) for x, y in batches]
    report = windowed(server, batches)

    def figure(key):
        return value(report, f"thermograd_{key}", layer="h1", other="h2")

    parts = [[Layer(side) for side in batch] for batch in batches]
    total, rank = sizes(*parts[0])[:2]
    s = max(layer.s for batch in parts for layer in batch)
    hsics, norms = {}, {}
    for key, i, j in (("", 0, 1), ("_layer", 0, 0), ("_other", 1, 1)):
        hsics[key] = sum(unbiased(b[i].gram, b[j].gram) for b in parts) / (n * (n - 3))
        norms[key] = sum(norm(b[i].gram) * norm(b[j].gram) for b in parts) / (n * (n - 3))
        bound = total * (mpmath.mpf(total) / 4 + 16 * mpmath.sqrt(rank) * s) * UNIT * norms[key]
        within(f"hsic{key}", figure(f"cka_minibatch{key}_hsic_sum"), hsics[key], bound)
    d = min(hsics[key] / norms[key] for key in ("_layer", "_other"))
    wanted = hsics[""] / mpmath.sqrt(hsics["_layer"] * hsics["_other"])
    bound = 8 * total * (mpmath.mpf(total) / 8 + 16 * rank * s**2) * UNIT / d
    within("minibatch", figure("cka_minibatch_ratio"), wanted, bound)

    x, y = layers = [Layer(numpy.vstack(side)) for side in zip(*batches)]
    total, rank, s = sizes(*layers)
    within("cka", figure("window_cka_ratio"), cka(biased, x.gram, y.gram), kernel_bound(layers))
    d = left(unbiased, x.gram, y.gram)
    wanted = cka(unbiased, x.gram, y.gram)
    within("unbiased", figure("window_cka_unbiased_ratio"), wanted, debiased_bound(layers, d))
    mean, mean_squared, k = canonical_reference(layers)
    bound = 64 * mpmath.sqrt(rank) * total * s * k**2 * UNIT
    within("cca", figure("window_cca_mean_ratio"), mean, bound)
    within("cca squared", figure("window_cca_mean_squared_ratio"), mean_squared, bound)
    wanted = sum(singular_values(y.x.T @ x.x)) / norm(x.x) / norm(y.x)
    root = mpmath.sqrt(rank * (DROPPED**2 + 16 * mpmath.sqrt(rank) * total * s * UNIT))
    bound = 16 * rank * total * s * UNIT + 4 * root
    within("procrustes", figure("window_procrustes_ratio"), wanted, bound)


@holds(
    "alignment_representation_gradient_ratio",
    "alignment_representation_weight_ratio",
    "alignment_gradient_weight_ratio",
)
@pytest.mark.parametrize("kind", ["ten decades", "orthogonal", "one direction"])
def test_alignments(server, kind):
    source = numpy.random.default_rng(4)
    samples, width, other = 12, 6, 9
    arrays = [magnitudes(source, (rows, width)) for rows in (samples, samples, other)]
    if kind == "orthogonal":  # but for what fp32 leaves
        basis = numpy.linalg.qr(source.standard_normal((width, width)))[0]
        planes = (basis[:2], basis[2:4], basis[4:])
        arrays = [
            (source.standard_normal((len(a), 2)) @ plane).astype("float32")
            for a, plane in zip(arrays, planes)
        ]
    if kind == "one direction":
        arrays = [(1 + 1e-6 * source.standard_normal(a.shape)).astype("float32") for a in arrays]
    activation, gradient, weight = arrays
    spec = run.RunSpec(
        run="alignments",
        parameters=parameters(weight.shape),
        layers=[run.Layer(id=9, name="h", width=width, reader_weight_id=1)],
    )
    begin = run.StepBegin(step=1, learning_rate=0.1, microbatch_size=samples, microbatches=1)
    sent = step_of(
        [(1, WEIGHT, weight), (9, ACTIVATION, activation), (9, ACTIVATION_GRADIENT, gradient)]
    )
    with Stream(server) as stream:
        stream.open(spec)
        report = stream.step(begin, sent)
    h, g, w = (digits(a) for a in arrays)

    def cosine(a, b):
        return squared_norm(a @ b.T) / norm(a @ a.T) / norm(b @ b.T)

    bound = (4 * width * mpmath.sqrt(min(samples, width)) + 2 * samples**2 + 8) * UNIT
    for key, wanted, labels in (
        ("representation_gradient", cosine(h, g), {}),
        ("representation_weight", cosine(h, w), {"direction": "backward"}),
        ("gradient_weight", cosine(g, w), {"direction": "backward"}),
    ):
        found = value(report, f"thermograd_alignment_{key}_ratio", layer="h", **labels)
        within(key, found, wanted, bound)


def all_similarities(x, y):
    """CKA of every order of the samples of one side; the given one first."""
    k, l = (side @ side.T for side in (x - x.mean(axis=0), y - y.mean(axis=0)))
    orders = numpy.array(list(itertools.permutations(range(len(k)))))
    products = (k[None] * l[orders[:, :, None], orders[:, None, :]]).sum(axis=(1, 2))
    return products / numpy.linalg.norm(k) / numpy.linalg.norm(l)


@holds("cka_p_value_ratio", "cka_calibrated_ratio")
def test_permutations(server):
    """The service's permutations against all there are of seven samples."""
    source = numpy.random.default_rng(5)
    deviations, ranks = [], []
    for trial in range(24):
        x = source.standard_normal((7, 3))
        # Little noise, then much: p-values from the least to the middle.
        y = x + (0.5 + trial / 6) * source.standard_normal((7, 3))
        for permutations in (199, 999):
            figures = compared(server, x, y, ("cka", "cka_calibrated"), permutations=permutations)
            chance = all_similarities(x, y)
            similarity = figures["cka_ratio"]
            p = (chance >= similarity * (1 - 2.0**-40)).mean()
            found = figures["cka_p_value_ratio"]
            counted = found * (permutations + 1) - 1
            scatter = numpy.sqrt(p * (1 - p) * permutations)
            deviations.append((counted - p * permutations) / scatter)
            calibrated = figures["cka_calibrated_ratio"]
            if calibrated > 0:
                level = (similarity - calibrated) / (1 - calibrated)
                rank = (chance < level * (1 - 1e-9)).mean() * permutations
                scatter = numpy.sqrt(0.95 * 0.05 * permutations)
                ranks.append((rank - 0.95 * permutations) / scatter)
    for name, sample in (("p-value", deviations), ("chance level", ranks)):
        sample = numpy.array(sample)
        print(f"{name}: {len(sample)} with deviations of {numpy.sqrt((sample**2).mean()):.2f}")
        assert len(sample) >= 10
        # In standard errors. The permutations are the same for all, so that deviations are alike.
        assert abs(sample).max() < 4.5
        assert 0.4 < numpy.sqrt((sample**2).mean()) < 1.6
