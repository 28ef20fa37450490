"""What the server's reference page says of each metric: the one place of formulas and meanings."""

from __future__ import annotations

import functools
import pathlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

PAGE = pathlib.Path(__file__).resolve().parents[3] / "server/metrics/REFERENCE.md"
_SAME_FORMULA = re.compile(r"^as (thermograd_\w+)")


@dataclass(frozen=True)
class Metric:
    """One entry of the page."""

    name: str
    help: str
    # Unit, Range, Formula, Source, Meaning and others; each only where there is one.
    items: Mapping[str, str]

    @property
    def unit(self) -> str:
        """Unit as the page writes it."""
        return self.items["Unit"]


@functools.cache
def metrics() -> dict[str, Metric]:
    """Every metric of the page by name."""
    entries = {}
    for section in re.split(r"^### ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        name = section.partition("\n")[0].strip("`")
        items = dict(re.findall(r"^- ([^:]+): (.*)$", section, flags=re.MULTILINE))
        entries[name] = Metric(
            name,
            section.split("\n\n")[1].strip(),
            {item: text.replace("`", "") for item, text in items.items()},
        )
    return entries


def metric(name: str) -> Metric:
    """One metric. One that the page lacks fails the generation."""
    if name not in metrics():
        raise KeyError(f"the reference page has no {name}")
    return metrics()[name]


def describe(*names: str, note: str = "") -> str:
    """Markdown for a panel that shows these metrics: note, then what each is and how to read it."""
    paragraphs = [note] if note else []
    for name in names:
        entry = metric(name)
        lines = [f"**{name}**: {entry.help}", f"- Formula: `{_formula(entry)}`"]
        if "Meaning" in entry.items:
            lines.append(f"- Read: {entry.items['Meaning']}")
        lines.append(f"- Range: `{entry.items['Range']}`; needs {entry.items['Streamed input']}")
        if "Source" in entry.items:
            lines.append(f"- Source: {entry.items['Source']}")
        paragraphs.append("\n".join(lines))
    return "\n\n".join(paragraphs)


def _formula(entry: Metric) -> str:
    """Formula, also where the page only names another metric that has it."""
    text = entry.items["Formula"]
    same = _SAME_FORMULA.match(text)
    if same is None:
        return text
    return f"{text}: {_formula(metric(same[1]))}"
