"""What each metric means: the server's reference page, which comes with the package."""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from thermograd import v1


@dataclass(frozen=True)
class Description:
    """One entry of the page."""

    name: str
    family: str
    help: str
    # Unit, Range, Labels, Formula, Source, Streamed input, Meaning; each only where there is one.
    items: Mapping[str, str] = field(default_factory=dict)


@functools.cache
def catalogue() -> dict[str, Description]:
    """Every metric by name, in the order of the page."""
    # It is copied to the stubs when they are made.
    page = importlib.resources.files(v1) / "REFERENCE.md"
    return parse_page(page.read_text(encoding="utf-8"))


def parse_page(text: str) -> dict[str, Description]:
    """Reads the Markdown that `thermograd describe --format=markdown` prints."""
    entries: dict[str, Description] = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        family, _, body = part.partition("\n")
        for section in re.split(r"^### ", body, flags=re.MULTILINE)[1:]:
            name = section.partition("\n")[0].strip("`")
            paragraphs = section.split("\n\n")
            items = dict(re.findall(r"^- ([^:]+): (.*)$", section, flags=re.MULTILINE))
            entries[name] = Description(
                name,
                family.strip(),
                paragraphs[1].strip(),
                {item: value.replace("`", "") for item, value in items.items()},
            )
    return entries
