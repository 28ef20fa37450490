"""The Debian package in a bare Debian that boots: installed as the image does it, sandboxed by
systemd, reached from outside, and taken away without a trace."""

import glob
import json
import os
import pathlib
import re
import signal
import subprocess

import numpy
import pytest

from installed import ROOT, best_level, simd_level
from system_support import COMMAND_LINE, TIMEOUT_SECONDS, Server, eventually, free_address

BARE_DEBIAN = pathlib.Path(os.environ.get("THERMOGRAD_BARE_DEBIAN", "bare_debian"))
PACKAGE = pathlib.Path(os.environ.get("THERMOGRAD_PACKAGE", "package"))
UNIT = "thermograd-server.service"
# No registration: there need not be a systemd that runs on this machine.
NSPAWN = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--directory={BARE_DEBIAN}"]
# What apt, dpkg and a boot leave behind whatever is installed.
NOT_OURS = re.compile(
    r"(dev|proc|run|sys|tmp|var/cache|var/log|var/tmp|var/lib/(apt|dpkg|systemd))(/|$)"
    r"|etc/(ld\.so\.cache|machine-id|\.pwd\.lock|\.updated|resolv\.conf)$|var/\.updated$|root(/|$)"
)


def _cannot_boot():
    if not BARE_DEBIAN.is_dir():
        return "there is no bare Debian"
    trial = subprocess.run(
        [*NSPAWN, "--as-pid2", "true"], capture_output=True, text=True, check=False
    )
    return trial.stderr.strip() if trial.returncode else None


if reason := _cannot_boot():
    pytest.skip(f"no container can be started here: {reason}", allow_module_level=True)


def _files():
    found = set()
    for directory, folders, files in os.walk(BARE_DEBIAN):
        for name in folders + files:
            path = str((pathlib.Path(directory) / name).relative_to(BARE_DEBIAN))
            if not NOT_OURS.match(path):
                found.add(path)
    return found


def _install_steps():
    """The command with which the image's last stage installs the package."""
    text = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    stage = text[text.index(" AS server\n") : text.index(" AS demo\n")]
    (command,) = re.findall(r"^RUN --mount=\S+ \\\n((?:.*\\\n)*.*)\n", stage, re.M)
    return command


def _first_process(nspawn):
    """The system's first process, among the children of the one that makes its container."""
    children = pathlib.Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text(encoding="ascii")
    for child in children.split():
        # Others only prepare it.
        if pathlib.Path(f"/proc/{child}/comm").read_text(encoding="utf-8") == "systemd\n":
            return int(child)
    return None


class Debian:
    """The bare Debian, booted."""

    def __init__(self):
        # Beside the system, to be read when the test has failed.
        self._log = pathlib.Path(f"{BARE_DEBIAN}.boot.log").open("wb")
        self._process = subprocess.Popen(
            [*NSPAWN, "--boot"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self._first = eventually(lambda: _first_process(self._process.pid))
            eventually(self._is_up)
        except BaseException:
            self.close()
            raise

    def _is_up(self):
        shown = self.run("systemctl", "is-system-running", check=False).stdout
        return shown.strip() in ("running", "degraded")

    def run(self, *command, check=True):
        """Runs a command in the system."""
        ended = subprocess.run(
            [
                "nsenter",
                f"--target={self._first}",
                "--mount",
                "--uts",
                "--ipc",
                "--pid",
                "--root",
                "--wd=/",
                *command,
            ],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"},
        )
        assert not check or ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
        return ended

    def close(self):
        """Shuts the system down."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(TIMEOUT_SECONDS)
        finally:
            self._process.kill()
            self._log.close()


class Installed(Server):
    """The server that systemd has started in the bare Debian."""

    def __init__(self, debian, grpc_address, http_address):
        self.debian = debian
        self.grpc_address, self.http_address = grpc_address, http_address

    def status(self):
        """/proc/PID/status of its process, as the system sees it."""
        pid = self.debian.run("systemctl", "show", "--property=MainPID", "--value", UNIT).stdout
        text = self.debian.run("cat", f"/proc/{pid.strip()}/status").stdout
        return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)

    def log(self):
        """Events of its log, which is systemd's journal."""
        text = self.debian.run("journalctl", "--boot", f"--unit={UNIT}", "--output=cat").stdout
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def files_before():
    """Files of the bare Debian before anything is installed."""
    # A test that was broken off may have left the package.
    subprocess.run(
        [*NSPAWN, "--as-pid2", "apt-get", "purge", "--autoremove", "--yes", "thermograd*"],
        capture_output=True,
        check=False,
    )
    return _files()


@pytest.fixture(scope="module")
def server(files_before):
    """The server as a machine has it that was switched on after the package was installed."""
    del files_before
    assert glob.glob(f"{PACKAGE}/*.deb")
    subprocess.run(
        [
            *NSPAWN,
            "--as-pid2",
            "--setenv=DEBIAN_FRONTEND=noninteractive",
            f"--bind-ro={PACKAGE}:/package",
            "/bin/sh",
            "-e",
            "-c",
            _install_steps(),
        ],
        check=True,
    )
    (BARE_DEBIAN / "package").rmdir()  # where it was mounted
    flags = {"listen_address": free_address(), "http_address": free_address()}
    (BARE_DEBIAN / "etc/default/thermograd-server").write_text(
        'THERMOGRAD_SERVER_FLAGS="' + " ".join(f"--{k}={v}" for k, v in flags.items()) + '"\n',
        encoding="utf-8",
    )
    debian = Debian()
    try:
        yield Installed(debian, *flags.values())
    finally:
        debian.close()


def test_it_runs_from_boot_on_with_the_best_kernels(server):
    assert server.debian.run("systemctl", "is-active", UNIT).stdout == "active\n"
    assert simd_level(server) == best_level()


def test_a_run_is_streamed_to_it_from_outside(server, tmp_path):
    gradients = tmp_path / "gradients.npy"
    numpy.save(gradients, numpy.ones((2, 3), numpy.float32))
    subprocess.run(
        [COMMAND_LINE, "send", "--run=outside", f"--address={server.grpc_address}", gradients],
        stdout=subprocess.DEVNULL,
        check=True,
    )
    samples = server.scrape()
    key = "thermograd_last_step", frozenset({("run", "outside")})
    assert samples[key] == 1
    server.debian.run("thermograd", "probe", f"--address={server.grpc_address}")


def test_its_process_has_no_rights(server):
    status = server.status()
    assert int(status["Uid"].split()[0]) >= 61184  # systemd's range of dynamic users
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_systemd_finds_its_unit_sound_and_tight(server):
    # The manual pages are there, but no program that shows them.
    server.debian.run("systemd-analyze", "verify", "--man=no", f"/usr/lib/systemd/system/{UNIT}")
    report = server.debian.run("systemd-analyze", "security", "--no-pager", UNIT).stdout
    exposure = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", report).group(1))
    assert exposure <= 2, report


def test_a_crash_is_followed_by_a_start(server):
    server.debian.run("systemctl", "kill", "--signal=KILL", UNIT)
    eventually(lambda: [event["event"] for event in server.log()].count("listening") == 2)


def test_it_ends_in_order(server):
    server.debian.run("systemctl", "stop", UNIT)
    assert [event["event"] for event in server.log()][-2:] == ["draining", "stopped"]
    shown = server.debian.run("systemctl", "show", "--property=Result", "--value", UNIT).stdout
    assert shown == "success\n"
    server.debian.run("systemctl", "start", UNIT)
    eventually(
        lambda: (
            server.debian.run(
                "thermograd", "probe", f"--address={server.grpc_address}", check=False
            ).returncode
            == 0
        )
    )


def test_taken_away_it_leaves_nothing(server, files_before):
    assert "usr/bin/thermograd-server" in _files()
    server.debian.run("apt-get", "purge", "--autoremove", "--yes", "thermograd")
    probe = [COMMAND_LINE, "probe", f"--address={server.grpc_address}", "--timeout=2s"]
    assert subprocess.run(probe, capture_output=True, check=False).returncode == 1
    assert _files() == files_before
