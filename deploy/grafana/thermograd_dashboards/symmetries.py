"""Symmetries: do charges move as theory predicts, and do gradients come into balance?"""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.models import dashboard

from thermograd_dashboards import frame
from thermograd_dashboards.expressions import figure, on_run
from thermograd_dashboards.panels import time_series

_SYMMETRIES = 'symmetry=~"$symmetry"'
_QUANTILES = 'quantile=~"$quantile"'


def _by_symmetry(
    title: str,
    *names: str,
    logarithmic: bool = False,
    centred: bool = False,
    limit: float | None = None,
    width: int = 8,
) -> timeseries.Panel:
    """Metrics of every symmetry; `names` are without what all begin with."""
    metrics = [f"thermograd_symmetry_{name}" for name in names]
    several = len(names) > 1
    return time_series(
        title,
        {
            "{{run}} {{symmetry}}" + (f" {name}" if several else ""): figure(metric, _SYMMETRIES)
            for name, metric in zip(names, metrics, strict=True)
        },
        metrics,
        logarithmic=logarithmic,
        centred=centred,
        limit=limit,
        width=width,
    )


def _quantiles(instances: str) -> Sequence[timeseries.Panel]:
    """The spread over neurons or heads."""
    panels = []
    for title, name, logarithmic in (
        ("Charge", "charge", False),
        ("Residual", "residual_ratio", True),
        ("Gradient balance", "gradient_balance_ratio", False),
        ("Drift error", "charge_drift_error_ratio", True),
    ):
        metric = f"thermograd_{instances}_{name}"
        panels.append(
            time_series(
                f"{title} of {instances}s",
                {"{{run}} {{symmetry}} q{{quantile}}": figure(metric, _SYMMETRIES, _QUANTILES)},
                [metric],
                logarithmic=logarithmic,
                width=6,
            )
        )
    return panels


def build() -> dashboard.Dashboard:
    """The dashboard."""
    # A permutation has neither charge nor residual, and only it has effective neurons.
    of_symmetries = (
        '{__name__=~"thermograd_symmetry_residual_ratio|thermograd_effective_neurons", run=~"$run"}'
    )
    of_quantiles = '{__name__=~"thermograd_(neuron|head)_charge", run=~"$run"}'
    builder = frame.begin(
        "Symmetries",
        "Gradient flow conserves a charge for every symmetry of the parameters. How fast does"
        " training move it, does theory predict the drift, is the declared symmetry real?",
        [
            frame.RUN,
            frame.label_variable("symmetry", f"label_values({of_symmetries}, symmetry)"),
            frame.label_variable(
                "quantile",
                f"label_values({of_quantiles}, quantile)",
                description="Of neurons and heads; 0 and 1 are the extremes.",
            ),
        ],
    )
    frame.add_row(
        builder,
        "Is the symmetry real?",
        [
            _by_symmetry("Residual", "residual_ratio", logarithmic=True, limit=0.01, width=12),
            _by_symmetry("Drift error", "charge_drift_error_ratio", logarithmic=True, width=12),
        ],
    )
    frame.add_row(
        builder,
        "Charges",
        [
            _by_symmetry("Charge", "charge"),
            _by_symmetry("Norm of the charges", "charge_norm"),
            _by_symmetry("Charge relative to the weights", "relative_charge_ratio", centred=True),
            _by_symmetry(
                "Drift, observed and predicted",
                "charge_drift",
                "charge_drift_predicted",
                width=12,
            ),
            _by_symmetry(
                "Norm of the drift, observed and predicted",
                "charge_drift_norm",
                "charge_drift_predicted_norm",
                width=12,
            ),
        ],
    )
    frame.add_row(
        builder,
        "What breaks it",
        [
            _by_symmetry("Gradient balance", "gradient_balance_ratio", centred=True),
            _by_symmetry("Entropic force", "entropic_force", centred=True),
            _by_symmetry("Norm of the entropic force", "entropic_force_norm", logarithmic=True),
            _by_symmetry(
                "Entropic and optimiser breaking", "entropic_breaking", "optimizer_breaking"
            ),
            _by_symmetry("Norm of the entropic breaking", "entropic_breaking_norm"),
            _by_symmetry("Norm of the optimiser breaking", "optimizer_breaking_norm"),
        ],
    )
    frame.add_row(
        builder,
        "Equilibrium",
        [
            _by_symmetry(
                "Gap between entropic force and decay", "equilibrium_gap_ratio", centred=True
            ),
            _by_symmetry(
                "Angular step, observed and at equilibrium",
                "angular_step_radians",
                "angular_step_predicted_radians",
            ),
            time_series(
                "Norm of scale-invariant weights, now and at equilibrium",
                {
                    "{{run}} {{symmetry}} norm": "sqrt("
                    + figure("thermograd_symmetry_charge", _SYMMETRIES)
                    + f") and {on_run('symmetry')} "
                    + figure("thermograd_symmetry_equilibrium_norm", _SYMMETRIES),
                    "{{run}} {{symmetry}} at equilibrium": figure(
                        "thermograd_symmetry_equilibrium_norm", _SYMMETRIES
                    ),
                },
                ["thermograd_symmetry_equilibrium_norm", "thermograd_symmetry_charge"],
                note="The norm is the square root of the charge.",
                unit="none",
            ),
        ],
    )
    frame.add_row(builder, "Neurons", _quantiles("neuron"))
    frame.add_row(builder, "Heads", _quantiles("head"))
    frame.add_row(
        builder,
        "Structure of the weights",
        [
            *(
                time_series(
                    title,
                    {"{{run}} {{symmetry}}": figure(metric, _SYMMETRIES)},
                    [metric],
                )
                for title, metric in (
                    ("Near-duplicate neurons", "thermograd_near_duplicate_neurons"),
                    ("Collapsed neurons", "thermograd_collapsed_neurons"),
                    ("Effective neurons", "thermograd_effective_neurons"),
                )
            ),
            *(
                time_series(title, {"{{run}} {{parameter}}": figure(metric)}, [metric], width=12)
                for title, metric in (
                    ("Stable rank of weights", "thermograd_parameter_stable_rank"),
                    ("Effective rank of weights", "thermograd_parameter_effective_rank"),
                )
            ),
        ],
    )
    return frame.finish(builder)
