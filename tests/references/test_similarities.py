"""Similarities from the running server against published values and independent implementations.

Each reference is either a package of requirements.txt or Debian's scipy and scikit-learn, or, where
the authors published code but no package, their definition written down here with its source. A
package that could not be installed is skipped by name.
"""

import importlib.util
import pathlib

import numpy
import pytest
import scipy.linalg
import scipy.spatial
import scipy.stats
import sklearn.neighbors

import thermograd

TOLERANCE = 1e-5
NEIGHBOURS = 5
CHEAP = ("cka", "cka_unbiased", "cka_rbf", "cka_rbf_unbiased", "mutual_neighbours", "cknna", "rsa")
OF_COMPONENTS = ("cca", "svcca", "pwcca", "procrustes")


def similarities(server, x, y, **options):
    """The defined figures of the pair by name, without the prefix."""
    options = {"similarities": CHEAP + OF_COMPONENTS, "neighbours": NEIGHBOURS, **options}
    figures = thermograd.compare(x, y, address=server.grpc_address, **options)
    return {name.removeprefix("thermograd_"): value for (name, labels), value in figures.items() if not labels}


def collapse(server, x):
    """The defined figures of x alone."""
    figures = thermograd.compare(x, x, address=server.grpc_address)
    return {
        name.removeprefix("thermograd_"): value
        for (name, labels), value in figures.items()
        if labels == (("layer", "x"),)
    }


def centred(x):
    x = numpy.asarray(x, dtype=numpy.float64)
    return x - x.mean(axis=0)


def _pairs():
    """Representations of every shape, in the fp32 that trainers stream."""
    random = numpy.random.default_rng(7)

    def related(n, p, q, rank=None):
        x = random.standard_normal((n, rank or p)) @ random.standard_normal((rank or p, p))
        return x, x @ random.standard_normal((p, q)) + 0.5 * p**0.5 * random.standard_normal((n, q))

    pairs = {
        "tall": related(200, 12, 12),
        "unequal": related(200, 5, 17),
        "wide": related(24, 60, 90),
        "one feature": related(60, 1, 1),
        "rank-deficient": related(80, 10, 6, rank=3),
    }
    x, y = related(60, 6, 6)
    x[:, 2] = 0.1
    pairs["constant column"] = x, y
    x, y = related(60, 6, 6)
    x[:10], y[:10] = x[10:20], y[10:20]
    pairs["duplicate rows"] = x, y
    x, y = related(60, 6, 6)
    pairs["huge and tiny"] = x * 1e20, y * 1e-20
    pairs["far from the origin"] = x + 100, y - 30
    pairs["rotated"] = x, 3 * x @ scipy.stats.ortho_group.rvs(6, random_state=1)
    return {name: (x.astype(numpy.float32), y.astype(numpy.float32)) for name, (x, y) in pairs.items()}


PAIRS = _pairs()
every_pair = pytest.mark.parametrize("name", PAIRS)


def pair_of(name):
    """The fp32 values as fp64, brought to a scale at which references do not overflow."""
    return tuple(x.astype(numpy.float64) / numpy.abs(x).max() for x in PAIRS[name])


def check(figures, name, expected):
    """Equal, where the reference is defined."""
    assert figures[name] == pytest.approx(expected, abs=TOLERANCE), name


# --- google-research, representation_similarity/Demo.ipynb: values that its cells print ---


def google_pair():
    numpy.random.seed(1337)
    x = numpy.random.randn(100, 10)
    return x, numpy.random.randn(100, 10) + x


def test_google_research(server):
    figures = similarities(server, *google_pair(), rbf_bandwidth_fraction=0.5)
    check(figures, "cka_ratio", 0.5576132566)
    check(figures, "cka_rbf_ratio", 0.6548311823)
    check(figures, "cka_unbiased_ratio", 0.5134564895)


def test_google_research_leaves_out_the_centring_of_cca(server):
    x, y = google_pair()

    def mean_squared(x, y):
        return numpy.linalg.norm(numpy.linalg.qr(x)[0].T @ numpy.linalg.qr(y)[0]) ** 2 / x.shape[1]

    assert mean_squared(x, y) == pytest.approx(0.5431238559, abs=1e-9)
    check(similarities(server, x, y), "cca_mean_squared_ratio", mean_squared(centred(x), centred(y)))


# --- CKA ---


def hsic_biased(k, l):
    n = len(k)
    h = numpy.eye(n) - 1 / n
    return numpy.trace(k @ h @ l @ h)


def cka(hsic, k, l):
    return hsic(k, l) / numpy.sqrt(hsic(k, k) * hsic(l, l))


def rbf(x, fraction=0.5):
    squares = scipy.spatial.distance.cdist(x, x, "sqeuclidean")
    return numpy.exp(-squares / (2 * fraction**2 * numpy.median(squares)))


@every_pair
def test_cka_by_its_definition(server, name):
    x, y = pair_of(name)
    figures = similarities(server, *PAIRS[name])
    check(figures, "cka_ratio", cka(hsic_biased, x @ x.T, y @ y.T))
    check(figures, "cka_rbf_ratio", cka(hsic_biased, rbf(x), rbf(y)))


@pytest.fixture(scope="module")
def hsic_of_cka_pytorch():
    """hsic1 of cka-pytorch. Its package imports Lightning, which this function does not need."""
    package = importlib.util.find_spec("cka_pytorch")
    if package is None:
        pytest.skip("cka-pytorch is not installed")
    path = pathlib.Path(package.origin).with_name("hsic.py")
    spec = importlib.util.spec_from_file_location("cka_pytorch_hsic", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    import torch

    def hsic(k, l):
        return module.hsic1(torch.from_numpy(k)[None], torch.from_numpy(l)[None]).item()

    return hsic


@every_pair
def test_unbiased_cka_of_cka_pytorch(server, hsic_of_cka_pytorch, name):
    x, y = (centred(side) for side in pair_of(name))
    figures = similarities(server, *PAIRS[name])
    check(figures, "cka_unbiased_ratio", cka(hsic_of_cka_pytorch, x @ x.T, y @ y.T))
    check(figures, "cka_rbf_unbiased_ratio", cka(hsic_of_cka_pytorch, rbf(x), rbf(y)))


# --- Nearest neighbours: platonic-rep, metrics.py ---


def cosines(x):
    rows = x / numpy.linalg.norm(x, axis=1, keepdims=True)
    return rows @ rows.T


def neighbour_mask(x):
    model = sklearn.neighbors.NearestNeighbors(n_neighbors=NEIGHBOURS, metric="cosine", algorithm="brute")
    return model.fit(x).kneighbors_graph().toarray()  # without the sample itself


# Reference implementations break ties, of one feature or of duplicates, as their sort happens to.
without_ties = pytest.mark.parametrize("name", [n for n in PAIRS if n not in ("one feature", "duplicate rows")])


@without_ties
def test_mutual_neighbours_of_scikit_learn(server, name):
    x, y = pair_of(name)
    expected = (neighbour_mask(x) * neighbour_mask(y)).sum() / (len(x) * NEIGHBOURS)
    check(similarities(server, *PAIRS[name]), "mutual_neighbours_ratio", expected)


@without_ties
def test_cknna_by_the_authors_formula(server, name):
    x, y = pair_of(name)

    def hsic(k, l):
        n = len(k)
        return (
            (k * l.T).sum() + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 * (k @ l).sum() / (n - 2)
        ) / (n * (n - 3))

    def alignment(x, y):
        mask = neighbour_mask(x) * neighbour_mask(y)
        return hsic(mask * cosines(x), mask * cosines(y))

    # Theirs depends on the order of the sides; ours is the mean of both.
    norm = numpy.sqrt(alignment(x, x) * alignment(y, y))
    expected = (alignment(x, y) + alignment(y, x)) / 2 / norm
    check(similarities(server, *PAIRS[name]), "cknna_ratio", expected)


def test_ties_go_to_the_lower_index(server):
    x = numpy.ones((8, 2), dtype=numpy.float32)
    x[0] = [1, 2]
    figures = similarities(server, x, x[::-1], neighbours=2)
    # Of x, all have the neighbours 1 and 2 (1 has 2 and 3, 2 has 1 and 3); of y, 0 and 1 likewise.
    nearest = {0: {1, 2}, 1: {2, 3}, 2: {1, 3}, **{i: {1, 2} for i in range(3, 8)}}
    nearest_y = {0: {1, 2}, 1: {0, 2}, **{i: {0, 1} for i in range(2, 8)}}
    expected = sum(len(nearest[i] & nearest_y[i]) for i in range(8)) / 16
    check(figures, "mutual_neighbours_ratio", expected)


# --- CCA and its kin ---


def basis(x):
    u, s, _ = numpy.linalg.svd(centred(x), full_matrices=False)
    return u[:, s > 2.0**-23 * s[0]]


def correlations(x, y):
    return numpy.cos(scipy.linalg.subspace_angles(basis(x), basis(y)))


@every_pair
def test_cca_of_scipys_subspace_angles(server, name):
    x, y = pair_of(name)
    figures = similarities(server, *PAIRS[name])
    if name == "wide":
        assert "cca_mean_ratio" not in figures  # more features than samples: 1 for any pair
        return
    check(figures, "cca_mean_ratio", correlations(x, y).mean())
    check(figures, "cca_mean_squared_ratio", (correlations(x, y) ** 2).mean())


def test_cca_with_a_ridge_by_its_definition(server):
    x, y = pair_of("wide")

    def whitened(x):
        u, s, _ = numpy.linalg.svd(centred(x), full_matrices=False)
        u, s = u[:, :-1], s[:-1]
        return u * (s / numpy.sqrt(s**2 + 0.1 * s[0] ** 2))

    expected = numpy.linalg.svd(whitened(x).T @ whitened(y), compute_uv=False).mean()
    check(similarities(server, *PAIRS["wide"], cca_ridge=0.1), "cca_mean_ratio", expected)


@every_pair
def test_svcca_by_its_definition(server, name):
    def truncated(x):
        u, s, _ = numpy.linalg.svd(centred(x), full_matrices=False)
        return u[:, : 1 + numpy.searchsorted(numpy.cumsum(s**2) / (s**2).sum(), 0.9)]

    x, y = pair_of(name)
    expected = numpy.cos(scipy.linalg.subspace_angles(truncated(x), truncated(y))).mean()
    check(similarities(server, *PAIRS[name], svcca_variance_fraction=0.9), "svcca_ratio", expected)


def test_cca_and_pwcca_of_repsim(server):
    repsim = pytest.importorskip("repsim")
    for name in ("tall", "far from the origin"):
        sides = [centred(side) for side in pair_of(name)]
        figures = similarities(server, *PAIRS[name])
        check(figures, "cca_mean_squared_ratio", repsim.cca(sides, "yanai")[0, 1])
        check(figures, "cca_mean_ratio", repsim.cca(sides, "pillai")[0, 1])
        # It takes the mean of both sides' weights; so do we where their ranks are equal.
        check(figures, "pwcca_ratio", repsim.pwcca(sides)[0, 1])


@every_pair
def test_pwcca_by_the_authors_formula(server, name):
    """google/svcca, pwcca.py: weights of the side of lower rank."""
    x, y = pair_of(name)
    figures = similarities(server, *PAIRS[name])
    if name == "wide":
        assert "pwcca_ratio" not in figures
        return

    def weighted(x, y):
        u, rho, _ = numpy.linalg.svd(basis(x).T @ basis(y), full_matrices=False)
        weights = numpy.abs((basis(x) @ u).T @ centred(x)).sum(axis=1)
        return (weights * numpy.minimum(rho, 1)).sum() / weights.sum()

    x_rank, y_rank = basis(x).shape[1], basis(y).shape[1]
    if x_rank == y_rank:
        expected = (weighted(x, y) + weighted(y, x)) / 2
    else:
        expected = weighted(x, y) if x_rank < y_rank else weighted(y, x)
    check(figures, "pwcca_ratio", expected)


@every_pair
def test_procrustes_of_scipy(server, name):
    x, y = pair_of(name)
    # scipy wants equal widths; zero features change no distance.
    width = max(x.shape[1], y.shape[1])
    padded = [numpy.pad(centred(side), ((0, 0), (0, width - side.shape[1]))) for side in (x, y)]
    disparity = scipy.spatial.procrustes(*padded)[2]
    check(similarities(server, *PAIRS[name]), "procrustes_ratio", numpy.sqrt(1 - disparity))


# --- RSA ---


@every_pair
def test_rsa_of_scipy(server, name):
    x, y = pair_of(name)
    expected = scipy.stats.spearmanr(scipy.spatial.distance.pdist(x), scipy.spatial.distance.pdist(y))[0]
    # Duplicates: scipy sees ties only where rounding agrees.
    tolerance = 1e-3 if name in ("one feature", "duplicate rows") else TOLERANCE
    assert similarities(server, *PAIRS[name])["rsa_ratio"] == pytest.approx(expected, abs=tolerance)


def test_rsa_of_rsatoolbox(server):
    rsatoolbox = pytest.importorskip("rsatoolbox")
    for name in ("tall", "unequal", "wide"):
        x, y = (
            rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(side), method="euclidean")
            for side in pair_of(name)
        )
        expected = rsatoolbox.rdm.compare(x, y, method="spearman").item()
        check(similarities(server, *PAIRS[name]), "rsa_ratio", expected)


# --- Collapse ---


@every_pair
def test_collapse_by_numpy(server, name):
    x, _ = pair_of(name)
    figures = collapse(server, PAIRS[name][0])
    variances = numpy.linalg.svd(centred(x), compute_uv=False) ** 2
    shares = variances[variances > 1e-15 * variances[0]] / variances.sum()
    check(figures, "effective_rank", numpy.exp(scipy.stats.entropy(shares)))
    check(figures, "representation_participation_dimensions", 1 / (shares**2).sum())
    check(figures, "representation_stable_rank", 1 / shares[0])
    off_diagonal = cosines(x)[~numpy.eye(len(x), dtype=bool)]
    check(figures, "representation_mean_cosine_ratio", off_diagonal.mean())


# --- Permutations ---


def test_p_value_is_close_to_that_of_other_permutations(server):
    x, y = google_pair()
    x, y = x[:16, :2], y[:16, :2]
    figures = similarities(server, x, y, similarities=("cka_calibrated",), permutations=999)
    k, l = (centred(side) @ centred(side).T for side in (x, y))
    random = numpy.random.default_rng(3)
    orders = [random.permutation(len(k)) for _ in range(999)]
    norm = numpy.linalg.norm(k) * numpy.linalg.norm(l)
    chance = numpy.array([(k * l[numpy.ix_(order, order)]).sum() for order in orders]) / norm
    similarity = (k * l).sum() / norm
    # Two Monte Carlo estimates: four standard errors of each.
    assert figures["cka_p_value_ratio"] == pytest.approx((1 + (chance >= similarity).sum()) / 1000, abs=0.09)
    tau = numpy.quantile(chance, 0.95)
    assert figures["cka_calibrated_ratio"] == pytest.approx(max(0, (similarity - tau) / (1 - tau)), abs=0.08)


# --- Any number of samples ---


def test_more_samples_than_a_matrix_may_have(server):
    random = numpy.random.default_rng(5)
    x = random.standard_normal((30_000, 6)).astype(numpy.float32) + 50
    y = (x @ random.standard_normal((6, 300)) + random.standard_normal((30_000, 300))).astype(numpy.float32)
    figures = similarities(server, x, y)
    assert set(figures) == {
        "cka_ratio",
        "cka_unbiased_ratio",
        "cca_mean_ratio",
        "cca_mean_squared_ratio",
        "svcca_ratio",
        "pwcca_ratio",
        "procrustes_ratio",
    }
    a, b = centred(x), centred(y)
    norm = numpy.linalg.norm
    check(figures, "cka_ratio", norm(b.T @ a) ** 2 / norm(a.T @ a) / norm(b.T @ b))
    check(figures, "cca_mean_ratio", correlations(x, y).mean())
    check(figures, "procrustes_ratio", norm(b.T @ a, "nuc") / norm(a) / norm(b))


def test_what_cannot_be_computed_is_absent(server):
    x = numpy.ones((10, 2), dtype=numpy.float32)
    y = numpy.random.default_rng(1).standard_normal((10, 2)).astype(numpy.float32)
    assert similarities(server, x, y) == {}
    x[0, 0] = numpy.nan
    assert similarities(server, x, y) == {}
    # Three samples are too few for the debiased forms.
    assert "cka_unbiased_ratio" not in similarities(server, y[:3], y[:3])
    with pytest.raises(ValueError, match="likeness"):
        similarities(server, y, y, similarities=("likeness",))
