"""Panels of a whole run's entropic forces, which two dashboards show."""

from __future__ import annotations

from grafana_foundation_sdk.builders import timeseries

from thermograd_dashboards.expressions import figure
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
    return time_series(
        "Gradient noise scale beside the batch size",
        {
            "{{run}} noise scale": figure("thermograd_gradient_noise_scale_samples"),
            "{{run}} lower end": figure("thermograd_gradient_noise_scale_lower_samples"),
            "{{run}} upper end": figure("thermograd_gradient_noise_scale_upper_samples"),
            "{{run}} batch size": figure("thermograd_batch_samples"),
        },
        [
            "thermograd_gradient_noise_scale_samples",
            "thermograd_gradient_noise_scale_lower_samples",
            "thermograd_gradient_noise_scale_upper_samples",
            "thermograd_batch_samples",
        ],
        note="Ends of the interval below zero are outside the logarithmic axis.",
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


def equipartition() -> timeseries.Panel:
    """How evenly groups share the gradient."""
    return time_series(
        "Equipartition of the gradient over groups",
        {"{{run}}": figure("thermograd_equipartition_index_ratio")},
        ["thermograd_equipartition_index_ratio"],
        width=8,
    )


def stability() -> timeseries.Panel:
    """Learning rate times curvature against 2."""
    return time_series(
        "Learning rate times curvature, against 2",
        {"{{run}}": figure("thermograd_directional_stability")},
        ["thermograd_directional_stability"],
        width=8,
        limit=2,
    )


def learning_rate() -> timeseries.Panel:
    """What moves most other figures when it is scheduled."""
    return time_series(
        "Learning rate",
        {"{{run}}": figure("thermograd_learning_rate")},
        ["thermograd_learning_rate"],
        logarithmic=True,
    )
