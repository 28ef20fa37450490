"""Helm accepts the chart, and Kubernetes and the Prometheus operator what it makes."""

import copy
import functools
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

import chart

# The oldest that Chart.yaml allows, and the newest that has schemas here.
VERSIONS = ["1.30", kubernetes_validate.latest_version()]
RENDERINGS = [*chart.VALUES, "sidecar"]


def _objects(name: str) -> list[chart.Object]:
    return chart.sidecar() if name == "sidecar" else chart.rendered(name)


def _close(schema: Any) -> Any:
    """The schema without room for fields that it does not name, as `kubectl --validate=strict`."""
    if isinstance(schema, list):
        return [_close(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _close(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            closed["additionalProperties"] = False
    return closed


@functools.cache
def _definitions() -> dict[tuple[str, str], Any]:
    """Schemas of the Prometheus operator's kinds."""
    found = {}
    for path in (chart.ENVIRONMENT / "definitions").glob("*.yaml"):
        definition = yaml.safe_load(path.read_text())["spec"]
        for version in definition["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            schema["properties"]["metadata"] = {}
            key = f"{definition['group']}/{version['name']}", definition["names"]["kind"]
            found[key] = jsonschema.Draft202012Validator(_close(schema))
    return found


def _check(item: chart.Object, version: str) -> None:
    definition = _definitions().get((item["apiVersion"], item["kind"]))
    if definition is None:
        kubernetes_validate.validate(item, version, strict=True)
    else:
        definition.validate(item)


@pytest.mark.parametrize("name", chart.VALUES)
def test_lint(name):
    result = chart.helm("lint", chart.VALUES[name])
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", RENDERINGS)
def test_objects_fit_their_schemas(name, version):
    objects = _objects(name)
    assert objects
    for item in objects:
        _check(item, version)


def test_every_template_makes_something():
    kinds = {item["kind"] for name in chart.VALUES for item in chart.rendered(name)}
    assert kinds == {
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PodMonitor",
        "PrometheusRule",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
    }


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ["spec", "replica"], 2),
        ("Deployment", ["spec", "replicas"], "two"),
        ("Deployment", ["spec", "template", "spec", "containers", 0, "livenesProbe"], {}),
        ("Service", ["spec", "ports", 0, "port"], "fifty"),
        ("PodMonitor", ["spec", "podMetricsEndpoints", 0, "intervall"], "15s"),
        ("PodMonitor", ["spec", "podMetricsEndpoints", 0, "interval"], "often"),
        ("PrometheusRule", ["spec", "groups", 0, "rules", 0, "expression"], "up"),
    ],
)
def test_a_mistake_is_seen(kind, path, value):
    item = copy.deepcopy(next(iter(chart.of_kind(chart.rendered("everything"), kind).values())))
    place = item
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    for version in VERSIONS:
        with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
            _check(item, version)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"replica": 2}, "replica"),
        ({"flags": {"listen_address": "0.0.0.0:1"}}, "listen_address"),
        ({"flags": {"allow_insecure": True}}, "allow_insecure"),
        ({"flags": {"max_memory_bytes": "4Gi"}}, "max_memory_bytes"),
        ({"drainNoticeSeconds": 0}, "drainNoticeSeconds"),
        ({"networkPolicy": {"trainers": []}}, "trainers"),
        ({"image": {"digest": "sha256:0"}}, "digest"),
        ({"monitoring": {"podMonitor": True, "serviceMonitor": True}}, "scraped once"),
    ],
)
def test_wrong_values_are_refused(values, reason):
    result = chart.helm("template", values)
    assert result.returncode != 0
    assert reason in result.stderr
