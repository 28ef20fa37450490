"""A report's figures as plain values."""

from __future__ import annotations

from thermograd.v1 import report_pb2
from thermograd.v1 import training_analysis_service_pb2 as service

MetricKey = tuple[str, tuple[tuple[str, str], ...]]


def metric_key(name: str, **labels: str) -> MetricKey:
    """Key of a figure in the mappings that this package returns: labels are sorted by name."""
    return name, tuple(sorted(labels.items()))


def report_values(
    report: report_pb2.StepReport | service.CompareRepresentationsResponse,
) -> dict[MetricKey, float]:
    """The defined figures of a report: {(name, ((label, value), ...)): value}."""
    return {
        metric_key(metric.name, **{label.name: label.value for label in metric.labels}): (
            metric.value
        )
        for metric in report.metrics
    }
