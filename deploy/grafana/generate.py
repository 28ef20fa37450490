#!/usr/bin/env python3
"""Writes the dashboards as JSON files that Grafana reads.

usage: generate.py [FOLDER]    (default: dashboards/ beside this file)

Needs the packages of requirements.txt. Formulas and meanings come from the server's reference page.
"""

from __future__ import annotations

import pathlib
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from thermograd_dashboards import (
    entropic_forces,
    representations,
    run_overview,
    service,
    symmetries,
)

FOLDER = pathlib.Path(__file__).resolve().parent / "dashboards"
DASHBOARDS = {
    "run-overview": run_overview.build,
    "entropic-forces": entropic_forces.build,
    "symmetries": symmetries.build,
    "representations": representations.build,
    "service": service.build,
}


def main(folder: pathlib.Path) -> None:
    """Writes every dashboard."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder = JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False)
    for name, build in DASHBOARDS.items():
        (folder / f"{name}.json").write_text(encoder.encode(build()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
