"""What the objects must say together, with the server, and with what lies beside the chart."""

import json
import re
import subprocess

import pytest
import yaml

import chart
from system_support import COMMAND_LINE, SERVER, Server

SERVER_NAME, ENVOY_NAME, HEADLESS_NAME = "thermograd", "thermograd-envoy", "thermograd-servers"
ADDRESSES = {"listen_address", "http_address"}


def _server_pods():
    """Every Pod with a server in it, the server's container, and how often it is scraped."""
    for name, values in chart.VALUES.items():
        pod = chart.pod_of(chart.rendered(name), SERVER_NAME)
        interval = values.get("monitoring", {}).get("scrapeIntervalSeconds", 15)
        yield pytest.param(pod, pod["spec"]["containers"][0], interval, id=name)
    pod = chart.pod_of(chart.sidecar(), "training")
    yield pytest.param(pod, pod["spec"]["initContainers"][0], 15, id="sidecar")


def _bytes(quantity):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()
    return int(number) << {"Mi": 20, "Gi": 30}[unit]


def _matches(selector, labels):
    return selector["matchLabels"].items() <= labels.items()


def _flags_that_exist(*command):
    help_text = subprocess.run(command, capture_output=True, text=True).stdout
    return set(re.findall(r"^ +--(\w+)", help_text, re.MULTILINE))


@pytest.fixture(scope="module")
def server_flags():
    """Names of all flags of the server."""
    return _flags_that_exist(SERVER, "--helpfull")


def test_version_is_the_server_s():
    cmake = (chart.ROOT / "CMakeLists.txt").read_text()
    version = re.search(r"project\(thermograd VERSION (\S+)", cmake).group(1)
    metadata = yaml.safe_load((chart.KUBERNETES / "thermograd/Chart.yaml").read_text())
    assert metadata["appVersion"] == version
    sidecar = chart.pod_of(chart.sidecar(), "training")["spec"]["initContainers"][0]
    assert sidecar["image"].endswith(f":{version}")


@pytest.mark.parametrize(("pod", "container", "interval"), _server_pods())
def test_flags_are_the_server_s(pod, container, interval, server_flags):
    assert set(chart.flags_of(container)) <= server_flags
    for mount in container.get("volumeMounts", []):
        files = [v for v in chart.flags_of(container).values() if v.startswith(mount["mountPath"])]
        assert files, f"nothing reads {mount['mountPath']}"


@pytest.mark.parametrize("name", ["defaults", "envoy in plain text", "sidecar"])
def test_server_starts_with_the_arguments(name):
    pod = (
        chart.pod_of(chart.sidecar(), "training")
        if name == "sidecar"
        else chart.pod_of(chart.rendered(name), SERVER_NAME)
    )
    flags = chart.flags_of(chart.containers_of(pod)[0])
    with Server(*(f"--{k}={v}" if v else f"--{k}" for k, v in flags.items() if k not in ADDRESSES)):
        pass


@pytest.mark.parametrize(("pod", "container", "interval"), _server_pods())
def test_probes_are_real_calls(pod, container, interval):
    ports = {port["containerPort"] for port in container["ports"]}
    known = _flags_that_exist(COMMAND_LINE, "probe", "--help")
    for kind in ("startupProbe", "livenessProbe"):
        probe = container[kind]
        if "grpc" in probe:
            # The kubelet calls the Pod's address, in plain text.
            assert probe["grpc"]["port"] in ports
            assert chart.flags_of(container)["listen_address"].startswith("0.0.0.0:")
            assert "tls_key_file" not in chart.flags_of(container)
        else:
            program, command, *arguments = probe["exec"]["command"]
            assert (program, command) == ("thermograd", "probe")
            assert set(chart.flags_of({"args": arguments})) <= known
            assert probe["timeoutSeconds"] > 3 and "--timeout=3s" in arguments


@pytest.mark.parametrize(("pod", "container", "interval"), _server_pods())
def test_grace_period_covers_the_end(pod, container, interval):
    notice = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = int(chart.flags_of(container)["drain_seconds"])
    # A sidecar's trainer has ended when it is told to: its notice is the two scrapes.
    is_sidecar = container.get("restartPolicy") == "Always"
    scrapes = 0 if is_sidecar else 2 * interval
    assert pod["spec"]["terminationGracePeriodSeconds"] > notice + drain + scrapes
    assert notice >= (2 * interval if is_sidecar else 1)


@pytest.mark.parametrize(("pod", "container", "interval"), _server_pods())
def test_memory_covers_the_limits(pod, container, interval):
    flags, resources = chart.flags_of(container), container["resources"]
    allowed = int(flags["max_memory_bytes"]) + int(flags["max_probe_bytes"])
    assert _bytes(resources["limits"]["memory"]) >= allowed + (256 << 20)
    assert resources["requests"]["memory"] == resources["limits"]["memory"]


@pytest.mark.parametrize("name", [*chart.VALUES, "sidecar"])
def test_pods_can_change_nothing(name):
    objects = chart.sidecar() if name == "sidecar" else chart.rendered(name)
    for item in objects:
        if item["kind"] not in ("Deployment", "Job"):
            continue
        pod = item["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in chart.containers_of(item["spec"]["template"]):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


@pytest.mark.parametrize("name", [*chart.VALUES, "sidecar"])
def test_selectors_and_ports_meet(name):
    objects = chart.sidecar() if name == "sidecar" else chart.rendered(name)
    pods = [i["spec"]["template"] for i in objects if i["kind"] in ("Deployment", "Job")]
    services = chart.of_kind(objects, "Service").values()

    def selected(selector):
        found = [pod for pod in pods if _matches(selector, pod["metadata"]["labels"])]
        assert len(found) == 1, selector
        return {port["name"] for c in chart.containers_of(found[0]) for port in c.get("ports", [])}

    for item in objects:
        spec = item.get("spec", {})
        if item["kind"] == "Deployment":
            selected(spec["selector"])
            for constraint in spec["template"]["spec"]["topologySpreadConstraints"]:
                assert _matches(constraint["labelSelector"], spec["template"]["metadata"]["labels"])
        elif item["kind"] == "Service":
            names = selected({"matchLabels": spec["selector"]})
            assert {port["targetPort"] for port in spec["ports"]} <= names
        elif item["kind"] == "PodDisruptionBudget":
            selected(spec["selector"])
        elif item["kind"] == "NetworkPolicy":
            names = selected(spec["podSelector"])
            assert {port["port"] for rule in spec["ingress"] for port in rule["ports"]} <= names
        elif item["kind"] == "PodMonitor":
            assert {point["port"] for point in spec["podMetricsEndpoints"]} <= selected(
                spec["selector"]
            )
            assert all(spec["jobLabel"] in pod["metadata"]["labels"] for pod in pods)
        elif item["kind"] == "ServiceMonitor":
            (service,) = (s for s in services if _matches(spec["selector"], s["metadata"]["labels"]))
            assert service["spec"]["clusterIP"] == "None"
            names = {port["name"] for port in service["spec"]["ports"]}
            assert {point["port"] for point in spec["endpoints"]} <= names
            assert service["metadata"]["labels"][spec["jobLabel"]] == "thermograd"
        elif item["kind"] == "HorizontalPodAutoscaler":
            assert spec["scaleTargetRef"]["name"] in chart.of_kind(objects, "Deployment")
            target = chart.of_kind(objects, "Deployment")[spec["scaleTargetRef"]["name"]]
            assert "replicas" not in target["spec"]


@pytest.mark.parametrize("name", chart.VALUES)
def test_mounted_volumes_are_there(name):
    for deployment in chart.of_kind(chart.rendered(name), "Deployment").values():
        pod = deployment["spec"]["template"]["spec"]
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        mounts = {m["name"] for c in pod["containers"] for m in c.get("volumeMounts", [])}
        assert volumes == mounts
        for volume in pod.get("volumes", []):
            # The server refuses secrets that others may read.
            assert "secret" not in volume or volume["secret"]["defaultMode"] & 0o007 == 0


def test_plain_text_is_asked_for_only_where_it_is_spoken():
    def insecure(name):
        pod = chart.pod_of(chart.rendered(name), SERVER_NAME)
        return "allow_insecure" in chart.flags_of(pod["spec"]["containers"][0])

    assert insecure("defaults") and insecure("everything") and not insecure("secrets")


def test_servers_behind_envoy_answer_it_alone():
    policies = chart.of_kind(chart.rendered("everything"), "NetworkPolicy")
    envoy = chart.pod_of(chart.rendered("everything"), ENVOY_NAME)["metadata"]["labels"]
    calls, scrapes = policies["thermograd-server"]["spec"]["ingress"]
    (caller,) = calls["from"]
    assert _matches(caller["podSelector"], envoy) and "namespaceSelector" not in caller
    assert [port["port"] for port in calls["ports"]] == ["grpc"]
    assert [port["port"] for port in scrapes["ports"]] == ["metrics"]
    assert policies["thermograd-server"]["spec"]["egress"] == []


def test_rules_and_dashboards_are_those_of_deploy():
    objects = chart.rendered("everything")
    rules = chart.of_kind(objects, "PrometheusRule")[SERVER_NAME]["spec"]["groups"]
    files = [chart.ROOT / f"deploy/prometheus/{n}_rules.yml" for n in ("recording", "alerting")]
    assert rules == [g for file in files for g in yaml.safe_load(file.read_text())["groups"]]
    maps = [
        item["data"]
        for item in chart.of_kind(objects, "ConfigMap").values()
        if item["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]
    dashboards = sorted((chart.ROOT / "deploy/grafana/dashboards").glob("*.json"))
    assert dashboards and len(maps) == len(dashboards)
    shipped = {name: json.loads(text) for data in maps for name, text in data.items()}
    assert shipped == {path.name: json.loads(path.read_text()) for path in dashboards}


def test_scrape_limits_are_those_of_prometheus():
    file = yaml.safe_load((chart.ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (job,) = file["scrape_configs"]
    limits = {key: value for key, value in job.items() if "limit" in key}
    assert limits
    everything, secrets = chart.rendered("everything"), chart.rendered("secrets")
    for monitor in (
        chart.of_kind(everything, "PodMonitor")[SERVER_NAME],
        chart.of_kind(secrets, "ServiceMonitor")[SERVER_NAME],
        chart.of_kind(chart.sidecar(), "PodMonitor")["thermograd-sidecars"],
    ):
        found = {
            re.sub("[A-Z]", lambda letter: "_" + letter.group().lower(), key): value
            for key, value in monitor["spec"].items()
            if "Limit" in key
        }
        assert found == limits


@pytest.mark.parametrize("name", ["everything", "envoy in plain text"])
def test_envoy_is_configured_as_beside(name, tmp_path):
    objects = chart.rendered(name)
    text = chart.of_kind(objects, "ConfigMap")[ENVOY_NAME]["data"]["envoy.yaml"]
    (cluster,) = yaml.safe_load(text)["static_resources"]["clusters"]
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["socket_address"]
    assert (cluster["type"], cluster["lb_policy"]) == ("STRICT_DNS", "RING_HASH")
    assert address == {"address": HEADLESS_NAME, "port_value": 50051}
    assert HEADLESS_NAME in chart.of_kind(objects, "Service")
    (listener,) = yaml.safe_load(text)["static_resources"]["listeners"]
    assert listener["address"]["socket_address"]["port_value"] == 50051
    assert ("transport_socket" in listener["filter_chains"][0]) == (name == "everything")
    assert ("/etc/envoy/tls/tls.key" in text) == (name == "everything")

    # Envoy's own definitions, by the program of the load balancers' tests.
    check = chart.ROOT / "tests/deploy/replicas/check_envoy"
    program, file = tmp_path / "check_envoy", tmp_path / "envoy.yaml"
    file.write_text(text)
    built = subprocess.run(
        [check, chart.ROOT / "deploy/load_balancers/envoy.yaml", program], capture_output=True
    )
    if built.returncode == 77:
        pytest.skip(built.stdout.decode())
    assert built.returncode == 0, built.stdout
    subprocess.run([program, file], check=True)
