"""The chart as Helm renders it with several values, and the example beside it.

THERMOGRAD_KUBERNETES_ENVIRONMENT names the folder that `install` made.
"""

import functools
import os
import pathlib
import subprocess
import tempfile
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
KUBERNETES = ROOT / "deploy/kubernetes"
ENVIRONMENT = pathlib.Path(
    os.environ.get(
        "THERMOGRAD_KUBERNETES_ENVIRONMENT",
        ROOT / "build/default/tests/deploy/kubernetes/environment",
    )
)

Object = dict[str, Any]

_SECRETS = {
    "tls": {"secretName": "certificates", "clientCaKey": "ca.crt"},
    "tokens": {"secretName": "tokens"},
    "httpCredentials": {"secretName": "readers"},
    "monitoring": {
        "serviceMonitor": True,
        "basicAuth": {
            "username": {"name": "prometheus", "key": "username"},
            "password": {"name": "prometheus", "key": "password"},
        },
    },
}
_EVERYTHING = {
    "image": {"repository": "registry.example/thermograd", "digest": "sha256:" + "0" * 64},
    "imagePullSecrets": [{"name": "registry"}],
    "flags": {"drain_seconds": 60, "max_streams": 4000000, "workers": 2},
    "resources": {"cpuLimit": "4"},
    "tls": {"secretName": "certificates", "clientCaKey": "ca.crt"},
    "tokens": {"secretName": "tokens"},
    "service": {"type": "LoadBalancer", "annotations": {"example.com/internal": "true"}},
    "envoy": {"enabled": True},
    "monitoring": {
        "podMonitor": True,
        "rules": True,
        "dashboards": True,
        "labels": {"release": "prometheus"},
        "scrapeIntervalSeconds": 30,
    },
    "autoscaling": {
        "enabled": True,
        "metrics": [
            {
                "type": "Pods",
                "pods": {
                    "metric": {"name": "thermograd_streams_open"},
                    "target": {"type": "AverageValue", "averageValue": "100"},
                },
            }
        ],
    },
    "serviceAccount": {"name": "measuring", "annotations": {"example.com/role": "none"}},
    "podLabels": {"team": "physics"},
    "podAnnotations": {"example.com/note": "measured"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "training", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "thermograd"}},
                }
            ]
        }
    },
    "priorityClassName": "high",
}
_BARE = {
    "networkPolicy": {"enabled": False},
    "podDisruptionBudget": {"enabled": False},
    "serviceAccount": {"create": False},
    "replicas": 3,
}
VALUES: dict[str, Object] = {
    "defaults": {},
    "everything": _EVERYTHING,
    "secrets": _SECRETS,
    "envoy in plain text": {"envoy": {"enabled": True}},
    "bare": _BARE,
}


def helm(command: str, values: Object) -> subprocess.CompletedProcess[str]:
    """What Helm says of the chart with some values."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        return subprocess.run(
            [ENVIRONMENT / "bin/helm", command, KUBERNETES / "thermograd", file.name],
            capture_output=True,
            text=True,
        )


@functools.cache
def rendered(name: str) -> list[Object]:
    """Objects of the chart with the values of that name."""
    result = helm("template", VALUES[name])
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.safe_load_all(result.stdout) if document]


@functools.cache
def sidecar() -> list[Object]:
    """Objects of the example."""
    return list(yaml.safe_load_all((KUBERNETES / "examples/sidecar.yaml").read_text()))


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    """Those objects by name."""
    return {item["metadata"]["name"]: item for item in objects if item["kind"] == kind}


def pod_of(objects: list[Object], name: str) -> Object:
    """The Pod template of a Deployment or Job."""
    return (of_kind(objects, "Deployment") | of_kind(objects, "Job"))[name]["spec"]["template"]


def containers_of(pod: Object) -> list[Object]:
    """All containers of a Pod template."""
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def flags_of(container: Object) -> dict[str, str]:
    """Flags among a container's arguments: value by name."""
    flags = {}
    for argument in container["args"]:
        name, _, value = argument.removeprefix("--").partition("=")
        assert argument.startswith("--") and name not in flags, argument
        flags[name] = value
    return flags
