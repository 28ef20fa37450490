"""What keeps a server from starting is one clear line of the log."""

import json
import resource
import subprocess

import pytest

from system_support import SERVER, TIMEOUT_SECONDS, Server


def refusal(*flags, preexec=None):
    """Exit code and the log, line by line, of a server that cannot start."""
    ended = subprocess.run(
        [SERVER, "--listen_address=127.0.0.1:0", "--http_address=127.0.0.1:0", *flags],
        stderr=subprocess.PIPE,
        timeout=TIMEOUT_SECONDS,
        check=False,
        preexec_fn=preexec,
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


@pytest.mark.parametrize(
    ("flag", "least", "most"),
    [
        ("max_streams=0", 1, 1 << 20),
        ("max_chunk_bytes=1073741825", 1 << 10, 1 << 30),
        ("default_window_steps=4097", 1, 4096),
        ("keepalive_seconds=0", 1, 1 << 20),
    ],
)
def test_a_flag_out_of_its_range_is_named(flag, least, most):
    code, events = refusal(f"--{flag}")
    assert code == 1
    assert [event["event"] for event in events] == ["refused"]
    assert events[0]["reason"] == f"--{flag}: must be {least} to {most}"


def test_too_few_open_files_are_named():
    code, events = refusal(preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512)))
    assert code == 1
    assert events[-1]["reason"].startswith("RLIMIT_NOFILE: the hard limit of open files is 512,")
