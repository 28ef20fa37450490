"""The shipped rules, as data."""

import pathlib

import yaml

FOLDER = pathlib.Path(__file__).resolve().parents[3] / "deploy/prometheus"
RECORDING = FOLDER / "recording_rules.yml"
ALERTING = FOLDER / "alerting_rules.yml"


def rules(path):
    """The rules of a file, in order."""
    groups = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]
