"""What keeps a server from starting is one clear line of the log."""

import resource

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
    assert refused_start(f"--{flag}") == f"--{flag}: must be {least} to {most}"


def test_too_few_open_files_are_named():
    reason = refused_start(
        preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
    )
    assert reason.startswith("RLIMIT_NOFILE: the hard limit of open files is 512,")
