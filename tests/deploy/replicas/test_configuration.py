"""The engines accept what is shipped, and nginx lets only who knows the password see /metrics."""

import base64
import ssl
import urllib.error
import urllib.request

import pytest

from balancer import HAPROXY, HAPROXY_TCP, NGINX, Balancer
from system_support import TIMEOUT_SECONDS, Server


@pytest.fixture(scope="module", name="servers")
def fixture_servers():
    servers = [Server() for _ in range(3)]
    yield servers
    for each in servers:
        each.close()


@pytest.mark.parametrize("encrypted", [True, False])
@pytest.mark.parametrize("name", [NGINX, HAPROXY, HAPROXY_TCP])
def test_the_engine_accepts_it_without_a_warning(servers, name, encrypted):
    code, said = Balancer(name, servers, encrypted).check()
    assert code == 0, said
    assert "warn" not in said.lower(), said


def test_metrics_behind_nginx_need_the_password(servers):
    with Balancer(NGINX, servers) as balancer:
        context = ssl.create_default_context(cafile=str(balancer.certificate))

        def get(page, password=None):
            request = urllib.request.Request(f"https://{balancer.metrics_address}{page}")
            if password is not None:
                user = base64.b64encode(f"prometheus:{password}".encode()).decode()
                request.add_header("Authorization", f"Basic {user}")
            try:
                with urllib.request.urlopen(
                    request, timeout=TIMEOUT_SECONDS, context=context
                ) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, ""

        for number in (1, 2, 3):
            assert get(f"/{number}/metrics")[0] == 401
            assert get(f"/{number}/metrics", "wrong")[0] == 401
            code, page = get(f"/{number}/metrics", "secret")
            assert code == 200 and "thermograd_build_info" in page
        assert get("/", "secret")[0] == 404
