"""docker-compose.yml, read by Compose's own library: valid, hardened, and true to the repository."""

import json
import os
import pathlib
import re
import subprocess

import pytest

from system_support import Server

ROOT = pathlib.Path(__file__).resolve().parents[3]
READER = pathlib.Path(os.environ.get("COMPOSE_FILE_READER", "compose_file"))
if not READER.is_file():
    pytest.skip("the compose file's reader could not be built", allow_module_level=True)


def _read(path):
    return subprocess.run([READER, path], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def services():
    """The services of the compose file, resolved."""
    ended = _read(ROOT / "docker-compose.yml")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)["services"]


def test_the_reader_refuses_what_compose_would(tmp_path):
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    for line, mistake in (("mem_limit: 4g", "memory_limit: 4g"), ("user: ", "user: 7 #")):
        broken = tmp_path / "docker-compose.yml"
        broken.write_text(text.replace(line, mistake, 1), encoding="utf-8")
        assert _read(broken).returncode == 1, mistake


def test_every_service_is_hardened(services):
    assert set(services) == {"server", "prometheus", "grafana", "trainer"}
    for name, service in services.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["user"].split(":")[0]) > 0, name
        assert int(service["mem_limit"]) > 0, name
        assert service["cpus"] > 0 and service["pids_limit"] > 0, name
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1", name


def test_images_are_pinned_and_watched(services):
    for name, service in services.items():
        # The server's image has its health check itself; a trainer serves nobody.
        if "build" in service:
            assert (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8").find(
                f" AS {service['build']['target']}\n"
            ) > 0, name
        else:
            assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", service["image"]), name
            assert service["healthcheck"]["test"][0] == "CMD", name


def test_what_is_mounted_exists_and_is_read_only(services):
    mounts = [mount for service in services.values() for mount in service.get("volumes", [])]
    binds = [mount for mount in mounts if mount["type"] == "bind"]
    assert binds
    for bind in binds:
        assert pathlib.Path(bind["source"]).exists(), bind["source"]
        assert bind["read_only"], bind["source"]


def test_the_server_starts_with_the_flags_that_it_is_given(services):
    # On any free ports: those of the container may be taken here.
    flags = [re.sub(r":\d+$", ":0", flag) for flag in services["server"]["command"]]
    assert flags != services["server"]["command"]
    with Server(*flags) as server:
        assert server.grpc_address.startswith("0.0.0.0:")


def test_prometheus_reads_the_server_by_the_shipped_configuration():
    shipped, composed = (
        re.sub(r"^ *#.*\n", "", (ROOT / "deploy" / path).read_text(encoding="utf-8"), flags=re.M)
        for path in ("prometheus/prometheus.yml", "compose/prometheus.yml")
    )
    assert composed == shipped.replace("localhost:9464", "server:9464") != shipped
