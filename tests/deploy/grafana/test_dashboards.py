"""The dashboards are those that the generator writes, and each panel says what it shows."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from dashboard_files import DASHBOARDS, FILES, GRAFANA, ROOT, expressions, panels, variables

PAGE = ROOT / "server/metrics/REFERENCE.md"
CATALOGUE = re.findall(r"^### `(\w+)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

RULES = (ROOT / "deploy/prometheus/recording_rules.yml").read_text(encoding="utf-8")

# Metrics of the reference page that no dashboard shows, and why.
FOR_RULES = "is there to be added over replicas"
NOT_SHOWN = {
    "thermograd_earlier_step_cka_p_value_ratio": "a layer is never compared with itself by chance",
    "thermograd_gradient_covariance_trace_sum": FOR_RULES,
    "thermograd_symmetry_gradient_balance_numerator_sum": FOR_RULES,
    "thermograd_symmetry_gradient_balance_denominator_sum": FOR_RULES,
    "thermograd_cka_minibatch_hsic_sum": FOR_RULES,
    "thermograd_cka_minibatch_layer_hsic_sum": FOR_RULES,
    "thermograd_cka_minibatch_other_hsic_sum": FOR_RULES,
}


@pytest.fixture(scope="session", name="generator")
def fixture_generator():
    """The interpreter with Grafana's SDK, which the test grafana_install makes."""
    python = pathlib.Path(os.environ["THERMOGRAD_GRAFANA_PYTHON"])
    if not python.exists():
        pytest.skip("grafana-foundation-sdk could not be installed")
    return python


def test_the_files_are_those_of_the_generator(generator, tmp_path):
    subprocess.run([generator, GRAFANA / "generate.py", tmp_path], check=True)
    assert [path.name for path in sorted(tmp_path.iterdir())] == [path.name for path in FILES]
    for path in FILES:
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), (
            f"{path.name}: run deploy/grafana/generate.py"
        )


def test_the_generator_is_typed(generator, tmp_path):
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", generator,
         "--cache-dir", tmp_path, "generate.py", "thermograd_dashboards"],
        cwd=GRAFANA, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr


def test_an_unknown_metric_fails_the_generation(generator):
    program = (
        "from thermograd_dashboards.panels import time_series\n"
        "time_series('title', {}, ['thermograd_nothing'])\n"
    )
    found = subprocess.run(
        [generator, "-c", program], cwd=GRAFANA, capture_output=True, text=True, check=False
    )
    assert found.returncode != 0 and "no thermograd_nothing" in found.stderr


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_panel_says_what_it_shows(name):
    dashboard = DASHBOARDS[name]
    shown = panels(dashboard)
    assert shown and dashboard["description"] and not dashboard["editable"]
    titles = [panel["title"] for panel in shown]
    assert len(set(titles)) == len(titles) and all(titles)
    for panel in shown:
        if panel["type"] == "text":
            assert "Formula: " in panel["options"]["content"]
            continue
        title, description = panel["title"], panel["description"]
        assert "Formula: `" in description and "Read: " in description, title
        assert panel["fieldConfig"]["defaults"]["unit"], title
        assert panel["datasource"]["uid"] == "${datasource}" and panel["targets"], title
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}", title
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_fill_the_grid_without_overlap(name):
    taken = set()
    for panel in DASHBOARDS[name]["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells


def test_dashboards_lead_to_each_other():
    tags = {tag for dashboard in DASHBOARDS.values() for tag in dashboard["tags"]}
    for dashboard in DASHBOARDS.values():
        (link,) = dashboard["links"]
        assert set(link["tags"]) == tags and link["includeVars"] and link["keepTime"]
        assert list(variables(dashboard, "datasource")) == ["datasource"]
    uids = {dashboard["uid"] for dashboard in DASHBOARDS.values()}
    assert len(uids) == len(DASHBOARDS) == 5
    linked = re.findall(r'"url": "/d/([^?]+)[?]', json.dumps(DASHBOARDS))
    assert linked and set(linked) < uids


def test_every_metric_is_shown_or_has_a_reason():
    asked = " ".join(
        expression for board in DASHBOARDS.values() for _, _, expression in expressions(board)
    )
    names = set(re.findall(r"\bthermograd_\w+", asked))
    assert set(CATALOGUE) - names == set(NOT_SHOWN)
    for metric, reason in NOT_SHOWN.items():
        assert reason != FOR_RULES or metric in RULES
