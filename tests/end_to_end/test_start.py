"""What keeps a server from starting is one clear line of the log."""

import json
import subprocess

import pytest

from system_support import SERVER, TIMEOUT_SECONDS, Server


def refusal(*flags):
    """Exit code and the log, line by line, of a server that cannot start."""
    ended = subprocess.run(
        [SERVER, "--listen_address=127.0.0.1:0", "--http_address=127.0.0.1:0", *flags],
        stderr=subprocess.PIPE,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return ended.returncode, [json.loads(line) for line in ended.stderr.splitlines()]


@pytest.mark.parametrize("flag", ["listen_address", "http_address"])
def test_the_second_server_on_a_port_does_not_start(server, flag):
    address = server.grpc_address if flag == "listen_address" else server.http_address
    code, events = refusal(f"--{flag}={address}")
    assert code == 1
    assert [event["event"] for event in events if event["event"] != "grpc"] == ["refused"]
    assert events[-1]["reason"].startswith(f"--{flag}={address}: cannot listen")


@pytest.mark.parametrize("flag", ["listen_address", "http_address"])
@pytest.mark.parametrize("host", [b'"', b"\\", b"\t\n\x01", b"\xff\xfe", "ünï".encode()])
def test_the_log_stays_json_whatever_the_address(flag, host):
    code, events = refusal(b"--%s=no.such.host.%s:1" % (flag.encode(), host))
    assert code == 1
    assert events[-1]["event"] == "refused"
    assert host.decode(errors="replace") in events[-1]["reason"]


def test_the_log_of_a_session():
    with Server() as server:
        pass
    assert [event["event"] for event in server.events()] == ["listening", "draining", "stopped"]
