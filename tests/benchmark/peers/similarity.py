"""Similarities of representations: all pairs of layers, one pair of many samples, neighbours.

Ours is the time from arrays in memory to the figures in hand, with the transport; the server's own
share stands beside it as `server_analysis`. What it reports besides, the effective rank and its kin
of every layer, is in it. Peers get what they want as input, in memory, before the clock starts.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import common
import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Function = Callable[[], npt.NDArray[Any]]

WIDTH = 768
NEIGHBOURS = 10
TITLES = {"cka": "CKA", "cka_unbiased": "unbiased CKA"}
# fp32 sums of a peer against ours in fp64.
TOLERANCE = 2e-3
SERVER_FLAGS = ("--max_samples=16384", "--max_stream_bytes=8589934592")


def layers_of_network(count: int, samples: int, rectified: bool = False) -> list[Matrix]:
    """Outputs of a random residual network: layers alike, the more the nearer they are.

    Rectified, their means are not zero, and sums of fp32 without centring lose digits.
    """
    random = np.random.default_rng(count * samples)
    state = random.standard_normal((samples, WIDTH), dtype=np.float32)
    layers = []
    for _ in range(count):
        weight = random.standard_normal((WIDTH, WIDTH), dtype=np.float32) / np.float32(WIDTH**0.5)
        branch = state @ weight
        state = state + (np.maximum(branch, 0) if rectified else np.tanh(branch))
        state = state / state.std()
        layers.append(np.ascontiguousarray(state))
    return layers


# --- What people write themselves ---


def numpy_by_pairs(layers: list[Matrix]) -> npt.NDArray[Any]:
    """A loop over the pairs with the usual formula in the space of features."""
    centred = [layer - layer.mean(axis=0) for layer in layers]
    norms = [np.linalg.norm(layer.T @ layer) for layer in centred]
    result = np.eye(len(layers))
    for a, x in enumerate(centred):
        for b in range(a + 1, len(layers)):
            result[a, b] = result[b, a] = np.linalg.norm(x.T @ centred[b]) ** 2 / (
                norms[a] * norms[b]
            )
    return result


def numpy_by_kernels(layers: list[Matrix]) -> npt.NDArray[Any]:
    """The best we could write: one kernel matrix a layer, one product for all pairs."""
    samples = len(layers[0])
    kernels = np.empty((len(layers), samples * samples), dtype=np.float32)
    for layer, kernel in zip(layers, kernels, strict=True):
        centred = layer - layer.mean(axis=0)
        np.matmul(centred, centred.T, out=kernel.reshape(samples, samples))
    products = kernels @ kernels.T
    norms = np.sqrt(np.diag(products))
    return products / np.outer(norms, norms)


def numpy_one_pair(x: Matrix, y: Matrix) -> npt.NDArray[Any]:
    """CKA by the usual formula: bound by three products of matrices."""
    x = x - x.mean(axis=0)
    y = y - y.mean(axis=0)
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return np.asarray(np.linalg.norm(x.T @ y) ** 2 / norms)


# --- Packages ---


def model_that_returns(layers: list[Matrix]) -> tuple[Any, Any, list[str]]:
    """A model whose modules' outputs are the layers, a loader of one batch, the modules' names."""
    import torch

    class Output(torch.nn.Module):
        def __init__(self, output: Matrix) -> None:
            super().__init__()
            self._output = torch.from_numpy(output)

        def forward(self, _: Any) -> Any:
            return self._output

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.anything = torch.nn.Parameter(torch.zeros(1))
            for number, layer in enumerate(layers):
                self.add_module(f"layer{number}", Output(layer))

        def forward(self, batch: Any) -> Any:
            for name in names:
                output = self.get_submodule(name)(batch)
            return output

    names = [f"layer{number}" for number in range(len(layers))]
    loader = torch.utils.data.DataLoader([(torch.zeros(len(layers[0]), 1), 0)], batch_size=None)
    return Model(), loader, names


def package_functions(layers: list[Matrix]) -> dict[str, tuple[str, Function]]:
    """By name of the package: which of our similarities it computes, and how."""
    functions: dict[str, tuple[str, Function]] = {}
    model, loader, names = model_that_returns(layers)
    if (package := common.peer("cka")) is not None:

        def pytorch_cka() -> npt.NDArray[Any]:
            [result] = package.compute_cka(model, model, loader, layers=names, progress=False)
            return np.asarray(result)

        functions["pytorch-cka"] = "cka_unbiased", pytorch_cka
    if (package2 := common.peer("cka_pytorch")) is not None:

        def cka_pytorch() -> npt.NDArray[Any]:
            calculator = package2.CKACalculator(model, model, names, verbose=False)
            result = calculator.calculate_cka_matrix(loader, num_epochs=1)
            calculator.reset()
            return np.asarray(result)

        functions["cka-pytorch"] = "cka_unbiased", cka_pytorch
    if (package3 := common.peer("torch_cka")) is not None:
        other, other_loader, _ = model_that_returns(layers)
        # It sets hooks that it never removes, so it is made once.
        calculator = package3.CKA(
            model, other, model1_layers=names, model2_layers=names, device="cpu"
        )

        def torch_cka() -> npt.NDArray[Any]:
            with contextlib.redirect_stderr(io.StringIO()):
                calculator.compare(loader, other_loader)
            return np.asarray(calculator.export()["CKA"])

        functions["torch-cka"] = "cka_unbiased", torch_cka
    if (package4 := common.peer("repsim")) is not None:
        functions["repsim"] = "cka", lambda: np.asarray(package4.cka(layers, "linear", "gretton"))
    return functions


# --- Ours ---


class AllPairs:
    """A run whose steps are one training batch each, as its layers see it."""

    def __init__(self, server: Any, layers: list[Matrix], similarity: str) -> None:
        import thermograd

        self._thermograd = thermograd
        self._server = server
        self._layers = layers
        self._names = [f"layer{number}" for number in range(len(layers))]
        self._similarity = similarity
        self._step = 0
        #: Seconds that the server spent in closing each step.
        self.analysis: list[float] = []
        spec = thermograd.run_spec(
            f"{similarity}-{len(layers)}-{len(layers[0])}",
            layers=[thermograd.Layer(name, WIDTH) for name in self._names],
            similarities=[similarity],
        )
        self._stream = thermograd.RunStream(server.grpc_address, spec, timeout=300)

    def close(self) -> None:
        """Ends the run."""
        self._stream.close()

    def report(self) -> Any:
        """Streams the next step and returns its report."""
        self._step += 1
        samples = len(self._layers[0])
        self._stream.begin_step(self._step, loss=1.0, microbatch_size=samples)
        for name, layer in zip(self._names, self._layers, strict=True):
            self._stream.send(name, self._thermograd.ACTIVATION, layer)
        return self._stream.end_step()

    def timed(self) -> None:
        """`report`, with the server's share noted."""
        before = analysis_seconds(self._server)
        self.report()
        self.analysis.append(analysis_seconds(self._server) - before)

    def matrix(self) -> npt.NDArray[Any]:
        """The similarities of a step as peers return them."""
        values = self._thermograd.report_values(self.report())
        result = np.eye(len(self._layers))
        name = f"thermograd_{self._similarity}_ratio"
        for a, x in enumerate(self._names):
            for b in range(a + 1, len(self._names)):
                key = self._thermograd.metric_key(name, layer=x, other=self._names[b])
                result[a, b] = result[b, a] = values[key]
        return result


def analysis_seconds(server: Any) -> float:
    """Seconds that the server has spent in closing steps."""
    return sum(
        value
        for (name, _), value in server.scrape().items()
        if name == "thermograd_analysis_seconds_total"
    )


def all_pairs(report: common.Report, server: Any, quick: bool) -> None:
    """Every pair of layers of one batch."""
    # By peer: seconds of its latest run for each entry of the kernels of all pairs.
    paces: dict[str, float] = {}
    for samples in (512,) if quick else (512, 2048):
        for count in (12,) if quick else (12, 24, 48):
            work = (count * samples) ** 2
            layers = layers_of_network(count, samples)
            functions: dict[str, tuple[str, Function]] = {
                "numpy, a kernel a layer": ("cka", lambda x=layers: numpy_by_kernels(x)),
                "numpy, pair by pair": ("cka", lambda x=layers: numpy_by_pairs(x)),
                **package_functions(layers),
            }
            runs = {name: AllPairs(server, layers, name) for name in ("cka", "cka_unbiased")}
            expected = {name: run.matrix() for name, run in runs.items()}
            for peer, (similarity, function) in functions.items():
                case = f"all pairs, {TITLES[similarity]}, {count} layers, n={samples}"
                if (likely := paces.get(peer, 0.0) * work) > common.LIMIT_SECONDS:
                    report.not_run(case, peer, f"{likely:.0f} s or more are to be expected")
                    continue
                run = runs[similarity]
                start = time.perf_counter()
                theirs = function()
                first = time.perf_counter() - start
                paces[peer] = first / work
                difference = common.largest_difference(theirs, expected[similarity])
                assert difference < TOLERANCE, (case, peer, difference)
                first = max(first, common.seconds(run.report))
                run.analysis.clear()
                ours, times = common.alternate(run.timed, function, first, quick)
                report.compared(
                    case,
                    peer,
                    ours,
                    times,
                    difference=difference,
                    server_analysis=statistics.median(run.analysis),
                )
            for run in runs.values():
                run.close()


def digits(report: common.Report, server: Any) -> None:
    """How far each is from fp64 sums where means are not zero."""
    count, samples = 12, 512
    layers = layers_of_network(count, samples, rectified=True)
    exact = [x - x.mean(axis=0) for x in (layer.astype(np.float64) for layer in layers)]
    kernels = [x @ x.T for x in exact]
    references = {
        name: np.array([[hsic(x, y) for y in kernels] for x in kernels])
        for name, hsic in (("cka", biased_hsic), ("cka_unbiased", unbiased_hsic))
    }
    for name, products in references.items():
        norms = np.sqrt(np.diag(products))
        references[name] = products / np.outer(norms, norms)
    measured: dict[str, tuple[str, npt.NDArray[Any]]] = {
        "numpy": ("cka", numpy_by_kernels(layers)),
        **{name: (kind, run()) for name, (kind, run) in package_functions(layers).items()},
    }
    for name in references:
        run = AllPairs(server, layers, name)
        measured[f"thermograd {name}"] = name, run.matrix()
        run.close()
    for peer, (kind, values) in measured.items():
        error = common.largest_difference(values, references[kind])
        report.write(
            {
                "case": f"largest error, {TITLES[kind]}, {count} rectified layers, n={samples}",
                "peer": peer,
                "unit": "",
                "value": error,
                "repetitions": [error],
            }
        )


def biased_hsic(k: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """HSIC_0 of centred kernels, but for its factor."""
    return float((k * other).sum())


def unbiased_hsic(k: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """HSIC_1, but for its factor."""
    n = len(k)
    k, other = k - np.diag(np.diag(k)), other - np.diag(np.diag(other))
    return float(
        (k * other).sum()
        + k.sum() * other.sum() / ((n - 1) * (n - 2))
        - 2 * (k.sum(axis=0) @ other.sum(axis=0)) / (n - 2)
    )


def one_pair(report: common.Report, server: Any, quick: bool) -> None:
    """Two layers of many samples: bound by products of matrices."""
    import thermograd

    for samples in (4096,) if quick else (4096, 10_000):
        x, y = layers_of_network(2, samples)

        def ours(x: Matrix = x, y: Matrix = y) -> float:
            values = thermograd.compare(
                x, y, address=server.grpc_address, similarities=["cka"], timeout=300
            )
            return values[thermograd.metric_key("thermograd_cka_ratio")]

        def theirs(x: Matrix = x, y: Matrix = y) -> npt.NDArray[Any]:
            return numpy_one_pair(x, y)

        start = time.perf_counter()
        difference = abs(ours() - float(theirs()))
        first = time.perf_counter() - start
        assert difference < TOLERANCE, difference
        times = common.alternate(ours, theirs, first, quick)
        report.compared(f"one pair, CKA, n={samples}", "numpy", *times, difference=difference)


def mutual_neighbours(report: common.Report, server: Any, quick: bool) -> None:
    """Share of common nearest neighbours by cosine, against exact search of faiss."""
    import thermograd

    faiss = common.peer("faiss")
    if faiss is None:
        report.not_run("mutual neighbours", "faiss", "not installed")
    else:
        faiss.omp_set_num_threads(common.THREADS)

    def by_faiss(x: Matrix) -> npt.NDArray[np.int64]:
        rows = np.array(x, copy=True)
        faiss.normalize_L2(rows)
        index = faiss.IndexFlatIP(WIDTH)
        index.add(rows)
        _, found = index.search(rows, NEIGHBOURS + 1)
        # Its nearest is the sample itself.
        others = found != np.arange(len(rows))[:, None]
        others[others.all(axis=1), -1] = False
        result: npt.NDArray[np.int64] = found[others].reshape(len(rows), NEIGHBOURS)
        return result

    def by_numpy(x: Matrix) -> npt.NDArray[np.int64]:
        rows = x / np.linalg.norm(x, axis=1, keepdims=True)
        cosines = rows @ rows.T
        np.fill_diagonal(cosines, -2)
        result: npt.NDArray[np.int64] = np.argpartition(cosines, -NEIGHBOURS)[:, -NEIGHBOURS:]
        return result

    searches = {"numpy": by_numpy} | ({} if faiss is None else {"faiss IndexFlatIP": by_faiss})
    for samples in (2048,) if quick else (2048, 4096, 10_000):
        layers = layers_of_network(4, samples)
        x, y = layers[0], layers[-1]

        def ours(x: Matrix = x, y: Matrix = y) -> float:
            values = thermograd.compare(
                x,
                y,
                address=server.grpc_address,
                similarities=["mutual_neighbours"],
                neighbours=NEIGHBOURS,
                timeout=300,
            )
            return values[thermograd.metric_key("thermograd_mutual_neighbours_ratio")]

        case = f"mutual neighbours, k={NEIGHBOURS}, n={samples}"
        for peer, search in searches.items():

            def theirs(
                x: Matrix = x,
                y: Matrix = y,
                search: Callable[[Matrix], npt.NDArray[np.int64]] = search,
            ) -> float:
                pairs = zip(search(x), search(y), strict=True)
                shared = sum(len(set(a.tolist()) & set(b.tolist())) for a, b in pairs)
                return shared / (len(x) * NEIGHBOURS)

            start = time.perf_counter()
            difference = abs(ours() - theirs())
            first = time.perf_counter() - start
            # fp32 cosines that are equal to the last digit may be ordered either way.
            assert difference < TOLERANCE, difference
            times = common.alternate(ours, theirs, first, quick)
            report.compared(case, peer, *times, difference=difference)


def main() -> None:
    """Runs every case."""
    options = common.arguments(__doc__)
    support = common.server_support()
    report = common.Report("similarity", options.output)
    with support.Server(*SERVER_FLAGS) as server:
        one_pair(report, server, options.quick)
        mutual_neighbours(report, server, options.quick)
        all_pairs(report, server, options.quick)
        digits(report, server)


if __name__ == "__main__":
    main()
