"""One self-contained HTML page about a run: pictures, what they mean, tables."""

from __future__ import annotations

import base64
import html
import io
from collections import defaultdict
from collections.abc import Iterable

from thermograd import plots
from thermograd.catalogue import Description, catalogue
from thermograd.history import History, Progress, label_text

_MOST_ROWS = 50
_NON_FINITE = "thermograd_parameter_non_finite_elements_total"
# What is there for queries to aggregate, and tells a reader nothing.
_FOR_QUERIES = ("_sum", "_count")

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2126; background: #f5f6f7;
       margin: 0 auto; max-width: 1280px; padding: 1.5rem; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: .95rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .4rem 0; }
.lead, .note { color: #5a636b; }
.note { font-size: .8rem; }
nav a { margin-right: 1rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(370px, 100%), 1fr));
         gap: 1rem; }
.card { background: #fff; border: 1px solid #dfe3e6; border-radius: 8px; padding: .9rem;
        min-width: 0; }
.card header { display: flex; justify-content: space-between; gap: .8rem; align-items: baseline; }
.value { font-variant-numeric: tabular-nums; white-space: nowrap; }
.card img { width: 100%; height: auto; display: block; margin: .4rem 0; }
.card p { font-size: .86rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .8rem; margin: .4rem 0;
     font-size: .82rem; }
dt { color: #5a636b; }
dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: .82rem; width: 100%; }
td, th { text-align: left; padding: .12rem .6rem .12rem 0; border-top: 1px solid #eceef0;
         overflow-wrap: anywhere; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
summary { cursor: pointer; color: #0072b2; font-size: .85rem; margin: .4rem 0; }
details.more > summary { font-size: 1rem; margin: 1rem 0; }
code { font-size: .92em; }
@media print { body { background: #fff; } .card { break-inside: avoid; } }
"""


def render(history: History, progress: Progress | None = None) -> str:
    """The page of a run, as HTML that refers to nothing outside itself.

    Args:
        history: figures of the run.
        progress: told how many pictures of how many are drawn.
    """
    families: dict[str, list[Description]] = defaultdict(list)
    there = set(history.names())
    for description in catalogue().values():
        if description.name in there and not description.name.endswith(_FOR_QUERIES):
            families[description.family].append(description)
    total = sum(len(members) for members in families.values())
    done = 0
    sections = []
    for family, members in families.items():
        cards: dict[bool, list[str]] = {True: [], False: []}
        for description in members:
            is_main = description.name in plots.MAIN_METRICS
            cards[is_main].append(_card(history, description))
            done += 1
            if progress is not None:
                progress(done, total)
        sections.append(_section(family, cards[True], cards[False]))
    links = "".join(f'<a href="#{_anchor(name)}">{html.escape(name)}</a>' for name in families)
    if not families:
        sections.append("<p>There are no figures.</p>")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(history.run)} · Thermograd</title>\n<style>{_STYLE}</style>\n"
        f"</head>\n<body>\n<h1>{html.escape(history.run)}</h1>\n"
        '<p class="lead">Thermodynamics of this training run, as Thermograd measured it.</p>\n'
        f"{_facts(history)}\n<nav>{links}</nav>\n{''.join(sections)}\n"
        f"{_non_finite(history)}{_undefined(history)}</body>\n</html>\n"
    )


def _facts(history: History) -> str:
    steps = sorted(history.steps)
    facts = {"source": history.source, "steps with figures": f"{len(steps):,}"}
    if steps:
        facts["steps"] = f"{steps[0]:,} to {steps[-1]:,}"
    facts["figures"] = f"{len(history.figures):,} of {len(history.names()):,} metrics"
    facts |= history.facts
    return "<dl>" + "".join(_item(name, text) for name, text in facts.items()) + "</dl>"


def _item(name: str, text: str) -> str:
    return f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>"


def _anchor(family: str) -> str:
    return family.lower().replace(" ", "-")


def _section(family: str, main: list[str], others: list[str]) -> str:
    text = f'<h2 id="{_anchor(family)}">{html.escape(family)}</h2>\n'
    if main:
        text += f'<div class="cards">{"".join(main)}</div>\n'
    if others:
        # Where nothing is what one looks at first, all of it is.
        opened = "" if main else " open"
        text += (
            f'<details class="more"{opened}><summary>{len(others)} more</summary>'
            f'<div class="cards">{"".join(others)}</div></details>\n'
        )
    return text


def _card(history: History, description: Description) -> str:
    name = description.name
    keys = history.keys(name)
    latest = plots.latest_values(history, name)
    unit = description.items.get("Unit", "")
    shown = ""
    if len(keys) == 1:
        shown = f'<span class="value">{_number(latest[keys[0]])} {html.escape(_unit(unit))}</span>'
    picture, drawn = _picture(history, name, unit)
    note = f"<p class='note'>{html.escape(drawn)}</p>" if drawn else ""
    items = "".join(
        _item(item, text) for item, text in description.items.items() if item != "Labels"
    )
    table = ""
    if len(keys) > 1:
        rows = [(label_text(key), latest[key]) for key in keys]
        table = f"<details><summary>latest values</summary>{_table(rows)}</details>"
    return (
        f'<article class="card"><header><h3>{_breakable(name)}</h3>'
        f"{shown}</header>{picture}{note}<p>{html.escape(description.help)}</p>"
        f"<details><summary>formula, how to read it</summary><dl>{items}</dl></details>"
        f"{table}</article>\n"
    )


def _picture(history: History, name: str, unit: str) -> tuple[str, str]:
    """The picture as an element of HTML, and what it leaves out."""
    import matplotlib

    with matplotlib.rc_context(plots.STYLE):
        left_out = ""
        layers, matrix = plots.similarity_matrix(plots.latest_values(history, name))
        if len(layers) > 2:
            made, (axis, *_) = plots.figure(width=4.0, height=3.4)
            plots.draw_matrix(axis, layers, matrix)
            left_out = "in the latest step that has them"
        else:
            made, (axis, *_) = plots.figure(is_fitted=False)
            keys = history.keys(name)
            drawn = plots.draw_curves(axis, {label_text(key): history.points(key) for key in keys})
            axis.set_ylabel(_unit(unit))
            if drawn < len(keys):
                left_out = f"the {drawn} largest of {len(keys)}"
        image = io.BytesIO()
        made.savefig(image, format="svg", metadata={"Date": None})
    # As an image, so that the ids of two pictures do not meet.
    data = base64.b64encode(image.getvalue()).decode("ascii")
    return f'<img alt="{html.escape(name)}" src="data:image/svg+xml;base64,{data}">', left_out


def _breakable(name: str) -> str:
    return html.escape(name.removeprefix("thermograd_")).replace("_", "_<wbr>")


def _unit(unit: str) -> str:
    return "" if unit == "1" else unit


def _number(value: float) -> str:
    return f"{value:.5g}"


def _table(rows: Iterable[tuple[str, float]]) -> str:
    listed = list(rows)
    body = "".join(
        f'<tr><td>{html.escape(labels)}</td><td class="number">{_number(value)}</td></tr>'
        for labels, value in listed[:_MOST_ROWS]
    )
    left = len(listed) - _MOST_ROWS
    return f"<table>{body}</table>" + (f'<p class="note">and {left} more</p>' if left > 0 else "")


def _non_finite(history: History) -> str:
    counts = plots.latest_values(history, _NON_FINITE)
    rows = [(label_text(key), value) for key, value in counts.items() if value > 0]
    if not rows:
        return ""
    return f"<h2>NaN and infinite elements that the trainer sent</h2>{_table(rows)}\n"


def _undefined(history: History) -> str:
    if not history.undefined:
        return ""
    by_reason: dict[str, set[str]] = defaultdict(set)
    for (name, _), reason in history.undefined.items():
        by_reason[reason].add(name.removeprefix("thermograd_"))
    rows = "".join(
        f"<tr><td>{html.escape(reason)}</td><td>{html.escape(', '.join(sorted(names)))}</td></tr>"
        for reason, names in sorted(by_reason.items())
    )
    return f"<h2>Not defined in the latest step</h2><table>{rows}</table>\n"
