"""promtool has no objection, and every alert is tested both ways and explained."""

import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

from rule_files import ALERTING, FOLDER, RECORDING, rules

HERE = pathlib.Path(__file__).resolve().parent
CASES = HERE / "alerting_rules_test.yml"
ALERTS = [rule["alert"] for rule in rules(ALERTING)]


def promtool(*arguments):
    """What promtool says; fails with it where promtool fails."""
    process = subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, check=False, cwd=HERE
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout + process.stderr


def test_the_configuration_is_valid_and_loads_both_files():
    said = promtool("check", "config", "--lint-fatal", FOLDER / "prometheus.yml")
    assert "2 rule files found" in said


def test_the_rules_have_no_lint():
    for path in (RECORDING, ALERTING):
        promtool("check", "rules", "--lint-fatal", path)


@pytest.mark.parametrize("name", ["alerting_rules_test.yml", "recording_rules_test.yml"])
def test_promtool_gets_what_the_cases_expect(name):
    assert "SUCCESS" in promtool("test", "rules", name)


def cases():
    """Alert, whether it is expected to fire, and the name of the test, of all cases."""
    for test in yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]:
        for case in test["alert_rule_test"]:
            yield case["alertname"], bool(case["exp_alerts"]), test["name"]


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_fires_and_stays_silent(alert):
    assert {fires for name, fires, _ in cases() if name == alert} == {True, False}


def test_no_case_is_of_an_alert_that_does_not_exist():
    # promtool takes such a case for one that stays silent.
    assert {name for name, *_ in cases()} == set(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_the_cases_see_a_threshold_that_never_or_always_holds(alert, tmp_path):
    """The cases of an alert fail once its rule is spoilt, either way."""
    for name in ("recording_rules.yml", "alerting_rules.yml"):
        shutil.copy(FOLDER / name, tmp_path / name)
    text = CASES.read_text(encoding="utf-8")
    cases_file = tmp_path / "cases.yml"
    cases_file.write_text(text.replace("../../../deploy/prometheus/", ""), encoding="utf-8")
    whole = yaml.safe_load((FOLDER / "alerting_rules.yml").read_text(encoding="utf-8"))
    # `vector(1)` has no labels, so it is neither of the expected alerts nor silent.
    for spoilt in ("vector(1)", "vector(1) > 2"):
        for group in whole["groups"]:
            for rule in group["rules"]:
                if rule["alert"] == alert:
                    rule["expr"] = spoilt
        (tmp_path / "alerting_rules.yml").write_text(yaml.safe_dump(whole), encoding="utf-8")
        process = subprocess.run(
            ["promtool", "test", "rules", cases_file], capture_output=True, text=True, check=False
        )
        assert process.returncode == 1
        assert f"alertname:{alert}" in process.stdout + process.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_severity_texts_and_a_paragraph_in_the_runbook(alert):
    (rule,) = [rule for rule in rules(ALERTING) if rule["alert"] == alert]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    annotations = rule["annotations"]
    assert annotations["summary"] and "$value" in annotations["description"] + str(
        # That a target is down has no figure.
        alert == "ThermogradDown" and "$value"
    )
    path, anchor = annotations["runbook_url"].split("#")
    assert FOLDER.parents[1] / path == FOLDER / "RUNBOOK.md"
    assert anchor == alert.lower()
    runbook = (FOLDER / "RUNBOOK.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {alert}\n\n(.+?)(?=\n## |\Z)", runbook, re.MULTILINE | re.DOTALL)
    assert section and len(section[1].split()) > 40


def test_the_runbook_knows_no_other_alerts():
    headings = re.findall(r"^## (Thermograd\w+)", (FOLDER / "RUNBOOK.md").read_text(), re.MULTILINE)
    assert headings == ALERTS
