"""Representations: do layers, steps and runs learn the same, and is it more than chance?"""

from __future__ import annotations

from grafana_foundation_sdk.builders import table, timeseries
from grafana_foundation_sdk.models import dashboard

from thermograd_dashboards import frame
from thermograd_dashboards.expressions import (
    by_run,
    figure,
    latest,
    on_run,
    symmetric,
    with_diagonal,
)
from thermograd_dashboards.panels import COLUMNS, matrix, text, time_series

#: What the variable `similarity` chooses from: texts, and what stands in the metrics' names.
SIMILARITIES = {
    "debiased linear CKA": "cka_unbiased",
    "linear CKA": "cka",
    "CKA above chance": "cka_calibrated",
    "RBF CKA": "cka_rbf",
    "debiased RBF CKA": "cka_rbf_unbiased",
    "mutual neighbours": "mutual_neighbours",
    "CKNNA": "cknna",
    "mean CCA": "cca_mean",
    "mean squared CCA": "cca_mean_squared",
    "SVCCA": "svcca",
    "PWCCA": "pwcca",
    "Procrustes": "procrustes",
    "RSA": "rsa",
}
#: Those of them that are also computed on all samples of a window.
WINDOW_SIMILARITIES = {
    shown: name
    for shown, name in SIMILARITIES.items()
    if name in ("cka_unbiased", "cka", "svcca", "pwcca", "procrustes") or name.startswith("cca_")
}
_LAYERS = 'layer=~"$layer"'
_OTHERS = 'other=~"$layer"'
_MEASURES = "Measures"
_STREAMED = (
    "The measure is the variable Similarity: formulas of all are in the panel Measures below, that"
    " of the first stands here. A run has those that it declares in Reporting.similarity, by"
    " default debiased and linear CKA and mutual neighbours."
)


def _first(prefix: str = "") -> list[str]:
    """The metric of the measure that is chosen at first, which describes its panels."""
    return [f"thermograd_{prefix}{next(iter(SIMILARITIES.values()))}_ratio"]


def _chosen(prefix: str = "", variable: str = "similarity") -> str:
    """The metric of the chosen measure."""
    return f"thermograd_{prefix}${{{variable}}}_ratio"


def _by_layer(title: str, metric: str, *, width: int = 6) -> timeseries.Panel:
    return time_series(title, {"{{run}} {{layer}}": figure(metric, _LAYERS)}, [metric], width=width)


def _runs_matrix(title: str, pairs: str, metric: str, *, is_p_value: bool = False) -> table.Panel:
    """Run × run, with its diagonal."""
    return matrix(
        title,
        with_diagonal(pairs, "run", "other_run", is_defined=not is_p_value),
        "run",
        "other_run",
        [metric],
        width=8,
        is_p_value=is_p_value,
        repeats=False,
    )


def _of_runs(name: str) -> str:
    """A figure of two runs, the largest of all probe sets."""
    return by_run("max", latest(name), "other_run")


def build() -> dashboard.Dashboard:
    """The dashboard."""
    builder = frame.begin(
        "Representations",
        "Do layers, do steps, do different runs learn the same representation, is the likeness"
        " more than chance, and does a layer collapse?",
        [
            frame.RUN,
            frame.label_variable(
                "layer", 'label_values(thermograd_effective_rank{run=~"$run"}, layer)'
            ),
            frame.choice_variable(
                "similarity", "Similarity", SIMILARITIES, "Measure of likeness. " + _STREAMED
            ),
            frame.choice_variable(
                "window_similarity",
                "Similarity over windows",
                WINDOW_SIMILARITIES,
                "Measure on all samples of a window, for runs that declare"
                " Reporting.similarity_over_window.",
            ),
        ],
    )
    pairs = latest(_chosen(), _LAYERS, _OTHERS)
    frame.add_row(
        builder,
        "Layer × layer",
        [
            matrix(
                "${similarity:text}, layer × layer: $run",
                symmetric(pairs, "layer", "other"),
                "layer",
                "other",
                _first(),
                note="Blocks of like layers are stages of the computation; two layers that are"
                " nearly one may be one too many. " + _STREAMED,
            ),
            time_series(
                "${similarity:text} of pairs of layers",
                {"{{run}} {{layer}} – {{other}}": figure(_chosen(), _LAYERS, _OTHERS)},
                _first(),
                note=_STREAMED,
                width=12,
            ),
            time_series(
                "p-values of pairs of layers",
                {
                    "{{run}} {{layer}} – {{other}}": figure(
                        "thermograd_cka_p_value_ratio", _LAYERS, _OTHERS
                    )
                },
                ["thermograd_cka_p_value_ratio"],
                width=12,
                logarithmic=True,
                limit=0.05,
            ),
        ],
    )
    frame.add_row(
        builder,
        "Step × earlier step",
        [
            time_series(
                f"${{similarity:text}} with the {which} step",
                {
                    "{{run}} {{layer}}": figure(
                        _chosen("earlier_step_"), _LAYERS, f'reference="{which}"'
                    )
                },
                _first("earlier_step_"),
                note=_STREAMED,
                width=12,
            )
            for which in ("first", "previous")
        ],
    )
    largest = "thermograd_cross_run_maximum_cka"
    of_layers = figure(_chosen("cross_run_"), _LAYERS)
    layer_pairs = latest(_chosen("cross_run_"), _LAYERS)
    other = 'label_join({}, "other", " ", "other_run", "other_layer")'
    frame.add_row(
        builder,
        "Run × run",
        [
            _runs_matrix(
                "Likeness of runs above chance",
                _of_runs(f"{largest}_calibrated_ratio"),
                f"{largest}_calibrated_ratio",
            ),
            _runs_matrix(
                "p-values of runs",
                _of_runs(f"{largest}_p_value_ratio"),
                f"{largest}_p_value_ratio",
                is_p_value=True,
            ),
            _runs_matrix(
                "Most alike layers of runs", _of_runs(f"{largest}_ratio"), f"{largest}_ratio"
            ),
            time_series(
                "Likeness of runs above chance, in time",
                {"{{run}} – {{other_run}}": figure(f"{largest}_calibrated_ratio")},
                [f"{largest}_calibrated_ratio"],
                width=12,
            ),
            time_series(
                "${similarity:text} of the same layer in two runs",
                {
                    # Labels cannot be compared: what remains has its layer as its other layer.
                    "{{run}} – {{other_run}} {{layer}}": f"{of_layers}"
                    f" and {on_run('other_run', 'layer', 'other_layer')} label_replace("
                    f"{by_run('max', of_layers, 'other_run', 'layer')},"
                    ' "other_layer", "$1", "layer", "(.*)")'
                },
                _first("cross_run_"),
                note=_STREAMED,
                width=12,
            ),
            matrix(
                "${similarity:text}, layers of $run × layers of other runs",
                other.format(layer_pairs),
                "layer",
                "other",
                _first("cross_run_"),
                note="A bright diagonal: the runs compute the same in the same order. " + _STREAMED,
                width=COLUMNS,
            ),
            time_series(
                "p-values of layers in two runs",
                {
                    "{{run}} {{layer}} – {{other_run}} {{other_layer}}": figure(
                        "thermograd_cross_run_cka_p_value_ratio", _LAYERS
                    )
                },
                ["thermograd_cross_run_cka_p_value_ratio"],
                width=COLUMNS,
                logarithmic=True,
                limit=0.05,
            ),
        ],
    )
    frame.add_row(
        builder,
        "Collapse",
        [
            _by_layer("Effective rank", "thermograd_effective_rank"),
            _by_layer("Participation ratio", "thermograd_representation_participation_dimensions"),
            _by_layer("Stable rank", "thermograd_representation_stable_rank"),
            _by_layer("Mean cosine of samples", "thermograd_representation_mean_cosine_ratio"),
        ],
    )
    frame.add_row(
        builder,
        "Alignment",
        [
            _by_layer(
                "Activations with their gradients",
                "thermograd_alignment_representation_gradient_ratio",
                width=8,
            ),
            *(
                time_series(
                    title,
                    {"{{run}} {{layer}} {{direction}}": figure(metric, _LAYERS)},
                    [metric],
                )
                for title, metric in (
                    (
                        "Activations with weights",
                        "thermograd_alignment_representation_weight_ratio",
                    ),
                    (
                        "Gradients of activations with weights",
                        "thermograd_alignment_gradient_weight_ratio",
                    ),
                )
            ),
        ],
    )
    windows = latest(_chosen("window_", "window_similarity"), _LAYERS, _OTHERS)
    frame.add_row(
        builder,
        "Training batches",
        [
            matrix(
                "${window_similarity:text} over a window, layer × layer: $run",
                symmetric(windows, "layer", "other"),
                "layer",
                "other",
                _first("window_"),
                note="The measure is the variable Similarity over windows.",
            ),
            time_series(
                "Minibatch CKA of pairs of layers",
                {
                    "{{run}} {{layer}} – {{other}}": figure(
                        "thermograd_cka_minibatch_ratio", _LAYERS, _OTHERS
                    )
                },
                ["thermograd_cka_minibatch_ratio"],
                width=12,
            ),
        ],
    )
    frame.add_row(
        builder,
        "What the figures are a sample of",
        [
            time_series(
                "Part of the probe set that is streamed",
                {
                    "{{run}} {{probe_set}}": figure("thermograd_sampling_probe_samples_ratio"),
                },
                ["thermograd_sampling_probe_samples_ratio"],
                unit="percentunit",
                width=12,
            ),
            _by_layer(
                "Error of distances by random projection",
                "thermograd_sampling_projection_error_ratio",
                width=12,
            ),
        ],
    )
    frame.add_row(
        builder,
        "Formulas",
        [text(_MEASURES, *(f"thermograd_{name}_ratio" for name in SIMILARITIES.values()))],
    )
    return frame.finish(builder)
