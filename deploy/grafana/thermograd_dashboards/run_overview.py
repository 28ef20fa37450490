"""Run overview: is the training sound, and which of the other dashboards is worth a look?"""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from thermograd_dashboards import frame
from thermograd_dashboards.expressions import (
    by_run,
    figure,
    latest,
    on_run,
    select,
)
from thermograd_dashboards.forces_panels import (
    entropic_share,
    equipartition,
    learning_rate,
    loss_and_entropic_loss,
    noise_scale_beside_batch,
    signal_to_noise,
    stability,
)
from thermograd_dashboards.panels import (
    COLUMNS,
    figures_table,
    states,
    time_series,
    value_texts,
)

_LIVE_STATES = {"0": ("ended", "orange"), "1": ("live", "green")}


def _last(metric: str) -> str:
    """The last value in the range shown, of the replica and rank where it is largest."""
    return by_run("max", f"last_over_time({select(metric)}[$__range])")


def build() -> dashboard.Dashboard:
    """The dashboard."""
    builder = frame.begin(
        "Run overview",
        "All runs at a glance: state, loss and entropic loss, noise, symmetries, likeness of runs.",
        [frame.RUN],
    )
    rate = "[$__rate_interval]"
    steps_rate = by_run("max", f"rate({select('thermograd_run_steps_total')}{rate})")
    live = by_run("max", select("thermograd_run_live"))
    non_finite = f"increase({select('thermograd_parameter_non_finite_elements_total')}{rate})"
    frame.add_row(
        builder,
        "Runs",
        [
            figures_table(
                "Runs",
                {
                    # Of a server that is gone the last value would be that of a live run.
                    "State": f"{live} or 0 * {_last('thermograd_run_live')}",
                    "Step": _last("thermograd_last_step"),
                    "Since the last step": "time() - "
                    + _last("thermograd_last_step_timestamp_seconds"),
                    "Loss": latest("thermograd_loss"),
                    "Entropic loss": latest("thermograd_entropic_loss"),
                    "Noise scale": latest("thermograd_gradient_noise_scale_samples"),
                    "Signal to noise": latest("thermograd_gradient_signal_to_noise"),
                    "Streamed every": latest("thermograd_sampling_interval_steps"),
                    "Streamed part": latest("thermograd_sampling_parameter_elements_ratio"),
                },
                [
                    "thermograd_loss",
                    "thermograd_entropic_loss",
                    "thermograd_gradient_noise_scale_samples",
                    "thermograd_gradient_signal_to_noise",
                    "thermograd_sampling_interval_steps",
                    "thermograd_sampling_parameter_elements_ratio",
                ],
                note="The last values in the range shown, also of runs that are over; the time since the last"
                " step is that at the end of the range.",
                column_properties={
                    "State": [
                        dashboard.DynamicConfigValue("mappings", [value_texts(_LIVE_STATES)])
                    ],
                    "Step": [dashboard.DynamicConfigValue("unit", "none")],
                    "Since the last step": [dashboard.DynamicConfigValue("unit", "s")],
                    "run": [dashboard.DynamicConfigValue("links", frame.links_of_a_run())],
                },
            ),
            states(
                "Live",
                {"{{run}}": live},
                _LIVE_STATES,
                note="Formula: `1` while a stream of the run is open, `0` while the series of an"
                " ended run are kept. Read: a gap is a server that could not be scraped.",
                width=12,
            ),
            time_series(
                "Steps a second",
                {"{{run}}": steps_rate},
                [],
                note="Formula: `rate(thermograd_run_steps_total)`, of the fastest rank. Read: a"
                " fall without one in the trainer's own figures is a slow server or network, or"
                " dropped steps.",
                unit="none",
                width=6,
            ),
            time_series(
                "Memory of windows",
                {"{{run}}": by_run("sum", select("thermograd_run_memory_bytes"))},
                [],
                note="Formula: `sum(thermograd_run_memory_bytes)` over ranks: windows, and the"
                " latest step when it ended. Read: it grows with parameters, symmetries and pairs"
                " of layers, and must not grow with steps.",
                unit="bytes",
                width=6,
            ),
        ],
    )
    frame.add_row(
        builder,
        "Loss and noise",
        [
            loss_and_entropic_loss(),
            entropic_share(),
            noise_scale_beside_batch(),
            signal_to_noise(),
            equipartition(),
            stability(),
            learning_rate(),
        ],
    )
    frame.add_row(
        builder,
        "Symmetries and representations",
        [
            time_series(
                "Largest symmetry residual",
                {"{{run}}": by_run("max", figure("thermograd_symmetry_residual_ratio"))},
                ["thermograd_symmetry_residual_ratio"],
                note="The largest of all symmetries of a run.",
                logarithmic=True,
                limit=0.01,
            ),
            time_series(
                "Gradient balance furthest from zero",
                {
                    "{{run}}": by_run(
                        "max", f"abs({figure('thermograd_symmetry_gradient_balance_ratio')})"
                    )
                },
                ["thermograd_symmetry_gradient_balance_ratio"],
                note="The largest absolute value of all symmetries of a run.",
            ),
            time_series(
                "Smallest effective rank of a layer",
                {"{{run}}": by_run("min", figure("thermograd_effective_rank"))},
                ["thermograd_effective_rank"],
                note="The smallest of all layers of a run.",
            ),
            time_series(
                "Likeness of runs above chance",
                {
                    "{{run}} – {{other_run}}": figure(
                        "thermograd_cross_run_maximum_cka_calibrated_ratio"
                    )
                },
                ["thermograd_cross_run_maximum_cka_calibrated_ratio"],
                width=12,
            ),
            time_series(
                "Elements that are NaN or infinite",
                {
                    "{{run}} {{class}}": f"{by_run('sum', non_finite, 'class')}"
                    f" or {on_run()} 0 * {live}"
                },
                [],
                note="Formula: `increase(thermograd_parameter_non_finite_elements_total)`, summed"
                " over parameters and layers. Read: any but zero: the trainer diverges or"
                " overflows; the figures of the step are withheld.",
                unit="short",
                width=COLUMNS - 12,
            ),
        ],
    )
    return frame.finish(builder)
