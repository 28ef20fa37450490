"""Panels of a whole run's entropic forces, which two dashboards show."""

from __future__ import annotations

from grafana_foundation_sdk.builders import timeseries

from thermograd_dashboards.expressions import figure, on_run
from thermograd_dashboards.panels import time_series


def loss_and_entropic_loss() -> timeseries.Panel:
    """L and F on one axis."""
    return time_series(
        "Loss L and entropic loss F",
        {"{{run}} L": figure("thermograd_loss"), "{{run}} F": figure("thermograd_entropic_loss")},
        ["thermograd_loss", "thermograd_entropic_loss"],
        width=12,
    )


def entropic_share() -> timeseries.Panel:
    """How much of F is not L."""
    return time_series(
        "Share of the entropy term in F",
        {"{{run}}": figure("thermograd_entropic_share_ratio")},
        ["thermograd_entropic_share_ratio"],
        unit="percentunit",
        width=12,
    )


def noise_scale_beside_batch() -> timeseries.Panel:
    """The noise scale with its interval, and the batch that it is compared with."""
    microbatch_size = (
        f"{figure('thermograd_gradient_sample_covariance_trace_sum')}"
        f" / {figure('thermograd_gradient_covariance_trace_sum')}"
    )
    # The entropy term of SGD has a quarter of the applied gradient's covariance, and so tells how
    # many microbatches were averaged. Another optimiser's term does not; it has no temperature.
    batch_size = (
        f"{microbatch_size} * {figure('thermograd_gradient_covariance_trace')}"
        f" / (4 * {figure('thermograd_entropy_noise_term')})"
        f" and {on_run()} {figure('thermograd_temperature')}"
    )
    return time_series(
        "Gradient noise scale beside the batch size",
        {
            "{{run}} noise scale": figure("thermograd_gradient_noise_scale_samples"),
            "{{run}} lower end": figure("thermograd_gradient_noise_scale_lower_samples"),
            "{{run}} upper end": figure("thermograd_gradient_noise_scale_upper_samples"),
            "{{run}} batch size (SGD)": batch_size,
        },
        [
            "thermograd_gradient_noise_scale_samples",
            "thermograd_gradient_noise_scale_lower_samples",
            "thermograd_gradient_noise_scale_upper_samples",
            "thermograd_gradient_sample_covariance_trace_sum",
            "thermograd_gradient_covariance_trace_sum",
            "thermograd_entropy_noise_term",
        ],
        note="The batch size is that which the noise of the applied gradient has:"
        " `b tr Sigma_b / (4 S_noise)` with `b` the ratio of the two sums of traces. With momentum"
        " `mu` it is `1 - mu` times the samples of a step; other optimisers have no such line."
        " Ends of the interval below zero are outside the logarithmic axis.",
        unit="short",
        width=12,
        logarithmic=True,
    )


def signal_to_noise() -> timeseries.Panel:
    """Signal to noise of a microbatch gradient."""
    return time_series(
        "Signal to noise of a microbatch gradient",
        {"{{run}}": figure("thermograd_gradient_signal_to_noise")},
        ["thermograd_gradient_signal_to_noise"],
        width=12,
    )


def equipartition(width: int = 12) -> timeseries.Panel:
    """How evenly groups share the gradient."""
    return time_series(
        "Equipartition of the gradient over groups",
        {"{{run}}": figure("thermograd_equipartition_index_ratio")},
        ["thermograd_equipartition_index_ratio"],
        width=width,
    )


def stability() -> timeseries.Panel:
    """Learning rate times curvature against 2."""
    return time_series(
        "Learning rate times curvature, against 2",
        {"{{run}}": figure("thermograd_directional_stability")},
        ["thermograd_directional_stability"],
        width=12,
        limit=2,
    )
