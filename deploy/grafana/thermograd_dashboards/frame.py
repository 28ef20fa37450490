"""What all dashboards have around their panels: variables, annotations, links."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard

from thermograd_dashboards.expressions import by_run
from thermograd_dashboards.panels import DATA_SOURCE, AnyPanel

TAG = "thermograd"
_EVERYTHING = ".+"


class Annotation(Builder[dashboard.AnnotationQuery]):
    """Marks where a Prometheus expression has a value."""

    def __init__(self, name: str, expression: str, title: str, colour: str) -> None:
        self._name = name
        self._expression = expression
        self._title = title
        self._colour = colour

    def build(self) -> dashboard.AnnotationQuery:
        """The annotation with the title that the SDK's schema lacks."""
        return _TitledAnnotation(
            name=self._name,
            datasource=DATA_SOURCE,
            enable=True,
            icon_color=self._colour,
            expr=self._expression,
            title=self._title,
        )


class _TitledAnnotation(dashboard.AnnotationQuery):
    def __init__(
        self,
        *,
        name: str,
        datasource: dashboard.DataSourceRef,
        enable: bool,
        icon_color: str,
        expr: str,
        title: str,
    ) -> None:
        super().__init__(
            name=name, datasource=datasource, enable=enable, icon_color=icon_color, expr=expr
        )
        self._title = title

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), "titleFormat": self._title}


def marks(runs: str) -> list[Annotation]:
    """Start and end of the runs that the matcher `runs` selects, and firing alerts."""
    selected = f"thermograd_run_live{{{runs}}}"
    live = f"{by_run('max', selected)} == 1"
    before = f"{by_run('max', f'{selected} offset $__interval')} == 1"
    # Alerts on the service have no run.
    of_runs_or_service = runs.replace('run=~"', 'run=~"|')
    return [
        Annotation("Run starts", f"({live}) unless ({before})", "{{run}} starts", "green"),
        Annotation("Run ends", f"({before}) unless ({live})", "{{run}} ends", "orange"),
        Annotation(
            "Alerts",
            f'ALERTS{{alertname=~"Thermograd.*", alertstate="firing", {of_runs_or_service}}}',
            "{{alertname}} {{run}}",
            "red",
        ),
    ]


def label_variable(
    name: str, query: str, *, label: str = "", description: str = ""
) -> builders.QueryVariable:
    """Values of a label, several at a time, all at first."""
    everything = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
    return (
        builders.QueryVariable(name)
        .label(label or name.capitalize())
        .description(description)
        .query(query)
        .datasource(DATA_SOURCE)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.NATURAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(_EVERYTHING)
        .current(everything)
    )


def choice_variable(
    name: str, label: str, values: Mapping[str, str], description: str
) -> builders.CustomVariable:
    """One of some values, by the texts that stand for them; the first at first."""
    text, value = next(iter(values.items()))
    return (
        builders.CustomVariable(name)
        .label(label)
        .description(description)
        .values(", ".join(f"{text} : {value}" for text, value in values.items()))
        .current(dashboard.VariableOption(selected=True, text=text, value=value))
    )


RUN = label_variable(
    "run",
    "label_values(thermograd_run_live, run)",
    description="Runs whose series were scraped in the range shown.",
)


def links_of_a_run() -> list[dict[str, str]]:
    """From a cell with the run's name to the dashboards of that run alone."""
    return [
        {
            "title": title,
            "url": f"/d/{uid(title)}?var-run=${{__value.raw:percentencode}}"
            "&${datasource:queryparam}&${__url_time_range}",
        }
        for title in ("Entropic forces", "Symmetries", "Representations")
    ]


def uid(title: str) -> str:
    """The name of a dashboard in addresses."""
    return f"thermograd-{title.lower().replace(' ', '-')}"


def begin(
    title: str,
    description: str,
    variables: Sequence[Builder[dashboard.VariableModel]],
    *,
    runs: str = 'run=~"$run"',
) -> builders.Dashboard:
    """A dashboard without panels."""
    builder = (
        builders.Dashboard(f"Thermograd / {title}")
        .uid(uid(title))
        .description(description)
        .tags([TAG])
        .readonly()
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .timezone("browser")
        .refresh("10s")
    )
    builder.with_variable(
        builders.DatasourceVariable("datasource").label("Data source").type("prometheus")
    )
    for variable in variables:
        builder.with_variable(variable)
    for annotation in marks(runs):
        builder.annotation(annotation)
    builder.link(
        builders.DashboardLink("Thermograd")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(False)
        .include_vars(True)
        .keep_time(True)
    )
    return builder


def add_row(builder: builders.Dashboard, title: str, panels: Sequence[AnyPanel]) -> None:
    """A heading and the panels under it."""
    builder.with_row(builders.Row(title))
    for panel in panels:
        builder.with_panel(panel)


def finish(builder: builders.Dashboard) -> dashboard.Dashboard:
    """The dashboard with its panels numbered."""
    built = builder.build()
    for number, panel in enumerate(built.panels or (), start=1):
        panel.id_val = number
    return built
