"""The committed dashboards, read as Grafana reads them."""

import itertools
import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[3]
GRAFANA = ROOT / "deploy/grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*.json"))
DASHBOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FILES}
# $name, ${name} and ${name:format}.
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?::\w+)?\})")


def panels(dashboard):
    """Panels that show something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard):
    """Title and target of each query of the panels."""
    return [
        (panel["title"], target)
        for panel in panels(dashboard)
        for target in panel.get("targets", ())
    ]


def variables(dashboard, kind):
    """The variables of a type by name."""
    listed = dashboard["templating"]["list"]
    return {variable["name"]: variable for variable in listed if variable["type"] == kind}


def choices(dashboard):
    """Every value of the variables that are no query, one at a time: a list of dictionaries."""
    custom = {
        name: [value.rpartition(" : ")[2] for value in variable["query"].split(", ")]
        for name, variable in variables(dashboard, "custom").items()
    }
    return [
        dict(zip(custom, values, strict=True)) for values in itertools.product(*custom.values())
    ]


def names_in(expression):
    """The variables that an expression mentions."""
    return {plain or braced for plain, braced in _VARIABLE.findall(expression)}


def substitute(expression, values):
    """The expression with its variables replaced; what no variable is stays, as $1 does."""
    return _VARIABLE.sub(lambda found: values.get(found[1] or found[2], found[0]), expression)


def expressions(dashboard):
    """Every query with each choice of the variables that it mentions: title, target, expression."""
    found = []
    for title, target in queries(dashboard):
        used = names_in(target["expr"])
        seen = set()
        for values in choices(dashboard):
            expression = substitute(
                target["expr"], {name: value for name, value in values.items() if name in used}
            )
            if expression not in seen:
                seen.add(expression)
                found.append((title, target, expression))
    return found
