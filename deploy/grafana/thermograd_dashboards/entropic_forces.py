"""Entropic forces: what does the optimiser add to the loss, and where is the noise?"""

from __future__ import annotations

from collections.abc import Mapping

from grafana_foundation_sdk.builders import table, timeseries
from grafana_foundation_sdk.models import dashboard

from thermograd_dashboards import frame
from thermograd_dashboards.expressions import by_run, figure, latest, select
from thermograd_dashboards.forces_panels import (
    entropic_share,
    equipartition,
    learning_rate,
    loss_and_entropic_loss,
    noise_scale_beside_batch,
    signal_to_noise,
    stability,
)
from thermograd_dashboards.panels import figures_table, number, time_series

_GROUPS = 'group=~"$group"'
_PARAMETERS = 'parameter=~"$parameter"'
# Heading and end of the metric's name, of what is known of each group and each parameter.
_COLUMNS = {
    "Gradient power": "gradient_second_moment",
    "Signal": "gradient_mean_squared_norm",
    "Noise": "gradient_covariance_trace",
    "Noise scale": "gradient_noise_scale_samples",
    "Signal to noise": "gradient_signal_to_noise",
    "Temperature": "temperature",
}
_INTERVAL = {
    "Noise scale, lower end": "gradient_noise_scale_lower_samples",
    "Noise scale, upper end": "gradient_noise_scale_upper_samples",
}


def _of_run(title: str, *metrics: str, logarithmic: bool = False) -> timeseries.Panel:
    """Metrics of the whole run, which share one unit."""
    several = len(metrics) > 1
    return time_series(
        title,
        {
            "{{run}}" + (f" {name.removeprefix('thermograd_')}" if several else ""): figure(name)
            for name in metrics
        },
        metrics,
        logarithmic=logarithmic,
    )


def _by_group(title: str, name: str, *, logarithmic: bool = True) -> timeseries.Panel:
    metric = f"thermograd_group_{name}"
    return time_series(
        title, {"{{run}} {{group}}": figure(metric, _GROUPS)}, [metric], logarithmic=logarithmic
    )


def _table(title: str, level: str, matcher: str, columns: Mapping[str, str]) -> table.Panel:
    """The latest figures of every group or parameter."""
    metrics = {heading: f"thermograd_{level}_{name}" for heading, name in columns.items()}
    return figures_table(
        title,
        {heading: latest(metric, matcher) for heading, metric in metrics.items()},
        list(metrics.values()),
        note="The last values in the range shown. Click a heading to sort.",
    )


def _over_range(metric: str) -> str:
    """The sum of all scrapes in the range shown."""
    return f"sum_over_time({select(metric)}[$__range])"


def build() -> dashboard.Dashboard:
    """The dashboard."""
    builder = frame.begin(
        "Entropic forces",
        "SGD descends F = L + eta S, not L: how large is the difference, how much of it is noise,"
        " and how warm is each group of parameters?",
        [
            frame.RUN,
            frame.label_variable(
                "group",
                f"label_values({select('thermograd_group_gradient_second_moment')}, group)",
            ),
            frame.label_variable(
                "parameter",
                f"label_values({select('thermograd_parameter_gradient_second_moment')}, parameter)",
            ),
        ],
    )
    frame.add_row(
        builder,
        "Free energy",
        [
            loss_and_entropic_loss(),
            entropic_share(),
            _of_run(
                "Entropy term and its parts",
                "thermograd_entropy_term",
                "thermograd_entropy_signal_term",
                "thermograd_entropy_noise_term",
            ),
            _of_run("Temperature", "thermograd_temperature", logarithmic=True),
            equipartition(),
        ],
    )
    frame.add_row(
        builder,
        "Noise",
        [
            noise_scale_beside_batch(),
            signal_to_noise(),
            _of_run(
                "Gradient power: signal and noise",
                "thermograd_gradient_second_moment",
                "thermograd_gradient_mean_squared_norm",
                "thermograd_gradient_covariance_trace",
            ),
            number(
                "Noise scale of the range shown",
                {
                    "{{run}}": by_run(
                        "max",
                        _over_range("thermograd_gradient_sample_covariance_trace_sum")
                        + " / "
                        + _over_range("thermograd_gradient_mean_squared_norm_sum"),
                    )
                },
                [
                    "thermograd_gradient_sample_covariance_trace_sum",
                    "thermograd_gradient_mean_squared_norm_sum",
                ],
                note="Formula: `sum_t b tr Sigma_b / sum_t |G|^2`, both sums over all scrapes in the"
                " range: a longer window than the server's. Read: as the gradient noise scale, with"
                " less scatter; of a phase in which it does not change.",
                unit="short",
                width=8,
                height=8,
            ),
            number(
                "Steps in the window",
                {"{{run}}": figure("thermograd_gradient_steps_count")},
                ["thermograd_gradient_steps_count"],
                width=8,
                height=8,
            ),
        ],
    )
    frame.add_row(
        builder,
        "Stability",
        [
            stability(),
            learning_rate(),
            time_series(
                "Curvature along the update",
                {"{{run}}": figure("thermograd_directional_curvature")},
                ["thermograd_directional_curvature"],
            ),
        ],
    )
    frame.add_row(
        builder,
        "Groups",
        [
            _by_group("Temperature by group", "temperature"),
            _by_group("Noise scale by group", "gradient_noise_scale_samples"),
            _by_group("Signal to noise by group", "gradient_signal_to_noise", logarithmic=False),
            _by_group("Gradient power by group", "gradient_second_moment"),
            _by_group("Signal by group", "gradient_mean_squared_norm", logarithmic=False),
            _by_group("Noise by group", "gradient_covariance_trace"),
            _table("Groups", "group", _GROUPS, {**_COLUMNS, **_INTERVAL}),
            _table("Parameters", "parameter", _PARAMETERS, _COLUMNS),
        ],
    )
    return frame.finish(builder)
