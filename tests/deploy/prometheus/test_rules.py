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


@pytest.mark.parametrize("expression, failing", [
    # Fires whatever the data: the silent cases must notice.
    ("vector(1)", r"exp:\[\], \n +got:\[\n"),
    # Never fires.
    ("vector(1) > 2", r"exp:\[\n"),
])  # fmt: skip
def test_the_cases_notice_alerts_that_always_or_never_fire(expression, failing, tmp_path):
    spoilt = yaml.safe_load(ALERTING.read_text(encoding="utf-8"))
    for group in spoilt["groups"]:
        for rule in group["rules"]:
            rule["expr"] = expression
    (tmp_path / ALERTING.name).write_text(yaml.safe_dump(spoilt), encoding="utf-8")
    shutil.copy(RECORDING, tmp_path)
    text = CASES.read_text(encoding="utf-8").replace("../../../deploy/prometheus/", "")
    (tmp_path / CASES.name).write_text(text, encoding="utf-8")
    process = subprocess.run(
        ["promtool", "test", "rules", tmp_path / CASES.name],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    noticed = re.findall(
        r"alertname: (\w+), time: \w+, \n +" + failing, process.stdout + process.stderr
    )
    assert process.returncode == 1 and set(noticed) == set(ALERTS)


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
