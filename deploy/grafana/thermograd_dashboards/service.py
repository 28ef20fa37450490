"""Service: does the server keep up, what does it turn away, and how near are its limits?"""

from __future__ import annotations

from collections.abc import Mapping

from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.models import dashboard

from thermograd_dashboards import frame
from thermograd_dashboards.panels import COLUMNS, figures_table, number, time_series

_OF_INSTANCES = 'job=~"$job", instance=~"$instance"'
_NEAR_LIMIT = 0.8
_BY_INSTANCE = "{{instance}}"


def _select(metric: str) -> str:
    return f"{metric}{{{_OF_INSTANCES}}}"


def _rate(metric: str) -> str:
    return f"rate({_select(metric)}[$__rate_interval])"


def _sum(series: str, *labels: str) -> str:
    return f"sum by ({', '.join(('instance', *labels))}) ({series})"


def _panel(
    title: str,
    curves: Mapping[str, str],
    formula: str,
    reading: str,
    *,
    unit: str,
    width: int = 8,
    limit: float | None = None,
) -> timeseries.Panel:
    """Curves of what the server says of itself, which the reference page does not describe."""
    return time_series(
        title, curves, [], note=_note(formula, reading), unit=unit, width=width, limit=limit
    )


def _note(formula: str, reading: str) -> str:
    return f"- Formula: `{formula}`\n- Read: {reading}"


def _by_reason(title: str, metric: str, reading: str) -> timeseries.Panel:
    return _panel(
        title,
        {"{{instance}} {{reason}}": _sum(_rate(metric), "reason")},
        f"rate({metric}) by reason",
        reading,
        unit="ops",
        width=12,
    )


def _rates(title: str, metrics: Mapping[str, str], reading: str) -> timeseries.Panel:
    """Events a second, by what is said of them."""
    return _panel(
        title,
        {f"{{{{instance}}}} {text}": _sum(_rate(name)) for text, name in metrics.items()},
        "rate of " + ", ".join(metrics.values()),
        reading,
        unit="ops",
    )


def build() -> dashboard.Dashboard:
    """The dashboard."""
    builder = frame.begin(
        "Service",
        "Does the server keep up, what does it turn away, and how near are its limits?",
        [
            frame.label_variable("job", "label_values(thermograd_build_info, job)"),
            frame.label_variable(
                "instance", 'label_values(thermograd_build_info{job=~"$job"}, instance)'
            ),
        ],
        runs='run=~".+"',
    )
    series, limit = _select("thermograd_series"), _select("thermograd_series_limit")
    series_used = f"max by (instance) ({series} / {limit})"
    frame.add_row(
        builder,
        "Now",
        [
            number(
                "Open streams",
                {_BY_INSTANCE: _sum(_select("thermograd_streams"))},
                [],
                note=_note("thermograd_streams", "At --max_streams new ones are refused."),
                unit="short",
            ),
            number(
                "Bytes a second",
                {_BY_INSTANCE: _sum(_rate("thermograd_received_bytes_total"))},
                [],
                note=_note(
                    "rate(thermograd_received_bytes_total)",
                    "What trainers send. Below what they want to send it, the server or the"
                    " network is the brake.",
                ),
                unit="Bps",
            ),
            number(
                "Steps a second",
                {_BY_INSTANCE: _sum(_rate("thermograd_steps_total"))},
                [],
                note=_note("rate(thermograd_steps_total)", "Steps analysed, of all runs."),
                unit="ops",
            ),
            number(
                "Series used",
                {_BY_INSTANCE: series_used},
                [],
                note=_note(
                    "thermograd_series / thermograd_series_limit",
                    "At 100 % series are left out of the scrape: raise --max_series, or stream"
                    " fewer groups, symmetries and layers.",
                ),
                unit="percentunit",
                limits={_NEAR_LIMIT: "yellow", 1: "red"},
            ),
            number(
                "Rejected in the range shown",
                {_BY_INSTANCE: _sum(f"increase({_select('thermograd_rejected_total')}[$__range])")},
                [],
                note=_note(
                    "increase(thermograd_rejected_total)",
                    "Streams and calls that the service ended; by reason below.",
                ),
                unit="short",
                limits={1: "yellow"},
            ),
            number(
                "Scraped",
                {_BY_INSTANCE: f"min by (instance) ({_select('up')})"},
                [],
                note=_note("up", "0: Prometheus cannot reach /metrics of the instance."),
                unit="bool_yes_no",
                limits={0: "red", 1: "green"},
            ),
        ],
    )
    frame.add_row(
        builder,
        "Traffic",
        [
            _panel(
                "Received",
                {_BY_INSTANCE: _sum(_rate("thermograd_received_bytes_total"))},
                "rate(thermograd_received_bytes_total)",
                "What trainers send. It falls when they train more slowly, send sums instead of"
                " tensors, or wait for the server.",
                unit="Bps",
            ),
            _rates(
                "Chunks and steps",
                {"chunks": "thermograd_chunks_total", "steps": "thermograd_steps_total"},
                "Chunks without steps: a step that does not end.",
            ),
            _panel(
                "Streams",
                {
                    "{{instance}} open": _sum(_select("thermograd_streams")),
                    "{{instance}} opened in the range": _sum(
                        f"increase({_select('thermograd_streams_total')}[$__range])"
                    ),
                },
                "thermograd_streams; increase(thermograd_streams_total) over the range",
                "Many opened and few open: trainers lose their connection and resume.",
                unit="short",
            ),
        ],
    )
    analysis = _sum(_rate("thermograd_analysis_seconds_total"))
    frame.add_row(
        builder,
        "Analysis",
        [
            _panel(
                "Cores busy with closing steps",
                {_BY_INSTANCE: analysis},
                "rate(thermograd_analysis_seconds_total)",
                "Near the number of cores the server does not keep up: fewer spectra"
                " (Reporting.spectrum_every_steps), similarities or permutations, another replica.",
                unit="short",
                width=12,
            ),
            _panel(
                "Time to close a step",
                {_BY_INSTANCE: f"{analysis} / ({_sum(_rate('thermograd_steps_total'))} > 0)"},
                "rate(thermograd_analysis_seconds_total) / rate(thermograd_steps_total)",
                "Longer than the trainer's step: reports come late, and a bounded client drops"
                " steps.",
                unit="s",
                width=12,
            ),
        ],
    )
    frame.add_row(
        builder,
        "Limits, memory and series",
        [
            _panel(
                "Limits used",
                {
                    "{{instance}} {{limit}}": "max by (instance, limit)"
                    f" ({_select('thermograd_limit_used')} / ({_select('thermograd_limit')} > 0))"
                    f' or label_replace({series_used}, "limit", "max_series", "", "")'
                },
                "thermograd_limit_used / thermograd_limit; of servers without these"
                " thermograd_series / thermograd_series_limit",
                "At 100 % what goes beyond is refused, with the limit's name in the answer. Of the"
                " limits of one stream the stream counts that uses most.",
                unit="percentunit",
                width=12,
                limit=_NEAR_LIMIT,
            ),
            _panel(
                "Refused because of a limit",
                {
                    "{{instance}} {{limit}}": _sum(
                        _rate("thermograd_limit_refusals_total"), "limit"
                    )
                    + f" or on (instance) 0 * max by (instance) ({_select('up')})"
                },
                "rate(thermograd_limit_refusals_total) by limit",
                "Any but zero: raise the limit, or have trainers send less. Of max_series each"
                " series counts at each scrape.",
                unit="ops",
                width=12,
            ),
            _panel(
                "Memory",
                {
                    "{{instance}} open steps": _sum(_select("thermograd_step_memory_bytes")),
                    "{{instance}} probe board": _sum(_select("thermograd_probe_memory_bytes")),
                    "{{instance}} windows": _sum(_select("thermograd_run_memory_bytes")),
                },
                "thermograd_step_memory_bytes, thermograd_probe_memory_bytes,"
                " sum(thermograd_run_memory_bytes)",
                "Open steps against --max_memory_bytes, the probe board against --max_probe_bytes."
                " Beyond them streams are refused, and representations leave the board.",
                unit="bytes",
            ),
            _panel(
                "Series against the ceiling",
                {"{{instance}} series": series, "{{instance}} ceiling": limit},
                "thermograd_series, thermograd_series_limit",
                "The ceiling is --max_series.",
                unit="short",
            ),
            _panel(
                "Series refused",
                {_BY_INSTANCE: _select("thermograd_series_refused")},
                "thermograd_series_refused",
                "Any but zero: figures are missing from the scrape.",
                unit="short",
                limit=1,
            ),
        ],
    )
    frame.add_row(
        builder,
        "What is turned away or withheld",
        [
            _by_reason(
                "Rejected, by reason",
                "thermograd_rejected_total",
                "invalid_argument: a client breaks the contract, and its error names the field;"
                " resource_exhausted: a limit, which the error names.",
            ),
            _by_reason(
                "Undefined figures, by reason",
                "thermograd_undefined_total",
                "Why figures are missing. non_finite_input: the trainer sent NaN; missing_tensor:"
                " it did not send what it declared; incomplete_shards: ranks do not cover a"
                " parameter. The others need no care as long as they are few.",
            ),
            _rates(
                "Steps lost",
                {
                    "open at the end of the stream": "thermograd_incomplete_steps_total",
                    "not ended by all ranks": "thermograd_incomplete_rank_steps_total",
                },
                "Trainers that die in a step, or a rank that falls behind --rank_seconds.",
            ),
            _rates(
                "Reports dropped, representations evicted",
                {
                    "reports": "thermograd_responses_dropped_total",
                    "representations": "thermograd_probe_entries_evicted_total",
                },
                "Reports: the client does not read them, Prometheus still has the figures."
                " Representations: raise --max_probe_bytes, or runs are not compared.",
            ),
            _rates(
                "Comparisons on demand",
                {"comparisons": "thermograd_comparisons_total"},
                "Calls of CompareRepresentations.",
            ),
            figures_table(
                "Builds",
                {
                    "Scraped": f"max by (instance, job, version, simd)"
                    f" ({_select('thermograd_build_info')})"
                },
                [],
                note=_note(
                    "thermograd_build_info",
                    "Replicas of several versions, or on machines with other instruction sets.",
                ),
                width=COLUMNS,
            ),
        ],
    )
    return frame.finish(builder)
