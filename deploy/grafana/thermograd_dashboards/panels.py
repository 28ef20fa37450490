"""Panels in one style. What a panel of metrics means and its unit come from the reference page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    common as common_builders,
    dashboard as dashboard_builders,
    prometheus,
    stat,
    statetimeline,
    table,
    text as text_builders,
    timeseries,
)
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

from thermograd_dashboards import reference

DATA_SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
COLUMNS = 24
#: Said where a panel stays empty because the run does not stream what it needs.
NOT_STREAMED = "not streamed by these runs"
# Of units that Grafana does not know the axis tells.
_UNITS = {"rad": "radian", "samples": "short", "steps": "short", "neurons": "short"}
_PLAIN = "none"

AnyPanel = timeseries.Panel | table.Panel | stat.Panel | statetimeline.Panel | text_builders.Panel
_Panel = TypeVar("_Panel", timeseries.Panel, table.Panel, stat.Panel, statetimeline.Panel)
#: Expression by legend.
Curves = Mapping[str, str]


def time_series(
    title: str,
    curves: Curves,
    metrics: Sequence[str],
    *,
    note: str = "",
    unit: str | None = None,
    width: int = 8,
    logarithmic: bool = False,
    centred: bool = False,
    limit: float | None = None,
) -> timeseries.Panel:
    """Curves in time.

    Args:
        curves: expressions by legend.
        metrics: of the reference page, which describe the panel; they must share their unit.
        unit: Grafana's, where not that of the metrics.
        logarithmic: the axis is.
        centred: zero is in the middle of the axis.
        limit: a line to compare with.
    """
    chosen, label = (unit, "") if unit is not None else _unit_of(metrics)
    panel = _begin(timeseries.Panel(), title, metrics, note, width).unit(chosen)
    for legend, query in _queries(curves):
        panel.with_target(query.range().legend_format(legend))
    panel.line_width(1).fill_opacity(0).show_points(common.VisibilityMode.AUTO)
    panel.legend(
        common_builders.VizLegendOptions()
        .show_legend(True)
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
    )
    panel.tooltip(
        common_builders.VizTooltipOptions()
        .mode(common.TooltipDisplayMode.MULTI)
        .sort(common.SortOrder.DESCENDING)
    )
    if label:
        panel.axis_label(label)
    if logarithmic:
        panel.scale_distribution(
            common_builders.ScaleDistributionConfig().type(common.ScaleDistribution.LOG).log(10)
        )
    panel.axis_centered_zero(centred)
    panel.color_scheme(
        dashboard_builders.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC)
    )
    if limit is not None:
        panel.thresholds(_thresholds({limit: "red"}))
        panel.thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(
                common.GraphThresholdsStyleMode.DASHED
            )
        )
    return panel


def matrix(
    title: str,
    expression: str,
    rows: str,
    columns: str,
    metrics: Sequence[str],
    *,
    note: str = "",
    width: int = 12,
    is_p_value: bool = False,
    repeats: bool = True,
) -> table.Panel:
    """Coloured numbers, a row for each label `rows`, a column for each label `columns`.

    Repeated for every chosen run, unless its rows are the runs.
    """
    panel = _begin(table.Panel(), title, metrics, note, width).unit(_PLAIN).decimals(2)
    panel.with_target(_query(expression, "A").instant().format(PromQueryFormat.TABLE))
    for option in (
        # Sorts are stable: by rows, and among these by columns.
        {"sort": [{"field": columns}]},
        {"sort": [{"field": rows}]},
    ):
        panel.with_transformation(dashboard.DataTransformerConfig("sortBy", options=option))
    panel.with_transformation(
        dashboard.DataTransformerConfig(
            "groupingToMatrix",
            options={
                "rowField": rows,
                "columnField": columns,
                "valueField": "Value",
                "emptyValue": "null",
            },
        )
    )
    panel.cell_options(
        common.TableColoredBackgroundCellOptions(mode=common.TableCellBackgroundDisplayMode.BASIC)
    )
    if is_p_value:
        panel.thresholds(_thresholds({0.01: "yellow", 0.05: "transparent"}, base="green"))
        panel.color_scheme(
            dashboard_builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS)
        )
        blank = dashboard.ValueMappingResult(text="–", color="transparent")
        panel.mappings(
            [
                dashboard.SpecialValueMap(
                    options=dashboard.DashboardSpecialValueMapOptions(
                        match=dashboard.SpecialValueMatch.NA_N, result=blank
                    )
                )
            ]
        )
    else:
        panel.min(0).max(1)
        panel.color_scheme(
            dashboard_builders.FieldColor().mode(dashboard.FieldColorModeId.CONTINUOUS_YL_BL)
        )
    panel.override_by_name(
        f"{rows}\\{columns}",
        [dashboard.DynamicConfigValue("custom.cellOptions", common.TableAutoCellOptions())],
    )
    if repeats:
        panel.repeat("run").repeat_direction("h").max_per_row(2)
    return panel


def figures_table(
    title: str,
    columns: Curves,
    metrics: Sequence[str],
    *,
    note: str = "",
    width: int = COLUMNS,
    column_properties: Mapping[str, Sequence[dashboard.DynamicConfigValue]] | None = None,
) -> table.Panel:
    """Latest values: a row for each set of labels, a column for each expression by its heading."""
    panel = _begin(table.Panel(), title, metrics, note, width).unit("short").decimals(3)
    renamed = {}
    for heading, query in _queries(columns):
        panel.with_target(query.instant().format(PromQueryFormat.TABLE))
        renamed[f"Value #{query.build().ref_id}"] = heading
    panel.with_transformation(dashboard.DataTransformerConfig("merge", options={}))
    panel.with_transformation(
        dashboard.DataTransformerConfig(
            "organize", options={"excludeByName": {"Time": True}, "renameByName": renamed}
        )
    )
    for heading, properties in (column_properties or {}).items():
        panel.override_by_name(heading, list(properties))
    return panel


def number(
    title: str,
    curves: Curves,
    metrics: Sequence[str],
    *,
    note: str = "",
    unit: str | None = None,
    width: int = 4,
    height: int = 4,
    limits: Mapping[float, str] | None = None,
) -> stat.Panel:
    """The latest value in large digits; `limits` has the colour from a value on."""
    panel = _begin(stat.Panel(), title, metrics, note, width)
    panel.unit(unit if unit is not None else _unit_of(metrics)[0]).height(height)
    for legend, query in _queries(curves):
        panel.with_target(query.range().legend_format(legend))
    panel.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.graph_mode(common.BigValueGraphMode.AREA)
    panel.color_scheme(dashboard_builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
    panel.thresholds(_thresholds(limits or {}, base="green"))
    return panel


def states(
    title: str, curves: Curves, mapping: Mapping[str, tuple[str, str]], *, note: str, width: int
) -> statetimeline.Panel:
    """Bars in time whose colours are states: text and colour by value."""
    panel = _begin(statetimeline.Panel(), title, [], note, width).unit("short")
    for legend, query in _queries(curves):
        panel.with_target(query.range().legend_format(legend))
    panel.mappings([value_texts(mapping)]).show_value(common.VisibilityMode.NEVER)
    return panel


def text(title: str, *metrics: str) -> text_builders.Panel:
    """What the reference page says of metrics, to be read on the dashboard itself."""
    return (
        text_builders.Panel()
        .title(title)
        .description(
            "Formulas of the measures that the variables choose from, and how to read them."
        )
        .span(COLUMNS)
        .height(16)
        .mode(TextMode.MARKDOWN)
        .content(reference.describe(*metrics))
    )


def value_texts(mapping: Mapping[str, tuple[str, str]]) -> dashboard.ValueMap:
    """Texts and colours that stand for values."""
    return dashboard.ValueMap(
        options={
            value: dashboard.ValueMappingResult(text=text, color=colour)
            for value, (text, colour) in mapping.items()
        }
    )


def _begin(panel: _Panel, title: str, metrics: Sequence[str], note: str, width: int) -> _Panel:
    panel.title(title).datasource(DATA_SOURCE).span(width).height(8)
    panel.description(reference.describe(*metrics, note=note))
    # In a table it would stand in every empty cell.
    if metrics and not isinstance(panel, table.Panel):
        panel.no_value(NOT_STREAMED)
    return panel


def _queries(curves: Curves) -> list[tuple[str, prometheus.Dataquery]]:
    """Legend and query of every curve; Grafana names queries A, B, C."""
    return [
        (legend, _query(expression, chr(ord("A") + number)))
        for number, (legend, expression) in enumerate(curves.items())
    ]


def _query(expression: str, reference_id: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expression).ref_id(reference_id).datasource(DATA_SOURCE)


def _unit_of(metrics: Sequence[str]) -> tuple[str, str]:
    """Grafana's unit of the metrics, and the label of the axis."""
    units = {reference.metric(name).unit for name in metrics}
    if len(units) != 1:
        raise ValueError(f"{', '.join(metrics)}: one axis for {units or 'no unit'}")
    (unit,) = units
    return _UNITS.get(unit, _PLAIN), "" if unit == "1" else unit


def _thresholds(
    steps: Mapping[float, str], base: str = "transparent"
) -> dashboard_builders.ThresholdsConfig:
    return (
        dashboard_builders.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps(
            [
                dashboard.Threshold(value=None, color=base),
                *(
                    dashboard.Threshold(value=value, color=colour)
                    for value, colour in steps.items()
                ),
            ]
        )
    )
