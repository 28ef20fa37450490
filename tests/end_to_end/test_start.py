"""What keeps a server from starting is one clear line of the log."""

import pytest

from system_support import Server, refused_start


@pytest.mark.parametrize("flag", ["listen_address", "http_address"])
def test_the_second_server_on_a_port_does_not_start(server, flag):
    address = server.grpc_address if flag == "listen_address" else server.http_address
    assert refused_start(f"--{flag}={address}").startswith(f"--{flag}={address}: cannot listen")


@pytest.mark.parametrize("flag", ["listen_address", "http_address"])
@pytest.mark.parametrize("host", [b'"', b"\\", b"\t\n\x01", b"\xff\xfe", "ünï".encode()])
def test_the_log_stays_json_whatever_the_address(flag, host):
    reason = refused_start(b"--%s=no.such.host.%s:1" % (flag.encode(), host), "--allow_insecure")
    assert host.decode(errors="replace") in reason


def test_the_log_of_a_session():
    with Server() as server:
        pass
    assert [event["event"] for event in server.events()] == ["listening", "draining", "stopped"]
