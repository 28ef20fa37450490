"""nginx or HAProxy in front of servers, as deploy/load_balancers configures them."""

import os
import pathlib
import re
import socket
import subprocess
import tempfile

from system_support import ROOT, TIMEOUT_SECONDS, eventually, free_address

CONFIGURATION = ROOT / "deploy/load_balancers"
SHIPPED_ADDRESS = "50050"
SHIPPED_METRICS_ADDRESS = "9443"
SHIPPED_SERVERS = tuple(f"127.0.0.1:{port}" for port in (50051, 50052, 50053))
SHIPPED_METRICS = tuple(f"127.0.0.1:{port}" for port in (9464, 9465, 9466))
NGINX = "nginx.conf"
HAPROXY = "haproxy.cfg"
HAPROXY_TCP = "haproxy_tcp.cfg"
# The line without TLS, further comments, and the line that it stands for.
PLAIN_LINE = re.compile(
    r"# On a network that you trust: (.*)\n(?:\s*#.*\n)*\s*(?:listen|bind) .*\n"
)


def make_certificate(folder):
    """A certificate of the loopback interface, signed by itself: thermograd.crt, .key, .pem."""
    certificate, key = folder / "thermograd.crt", folder / "thermograd.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-noenc", "-keyout", key, "-out", certificate, "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "thermograd.pem").write_bytes(certificate.read_bytes() + key.read_bytes())
    return certificate


def _without(text, *lines):
    for line in lines:
        assert line in text, line
        text = text.replace(line, "")
    return text


class Balancer:
    """The process, with its files in a folder that goes with it.

    The configuration is the shipped one but for addresses and the places of files; where there are
    fewer servers than it names, the lines of the others are left out. `encrypted=False`: with the
    line that it recommends for private networks.
    """

    def __init__(self, name, servers, encrypted=True):
        self._folder = tempfile.TemporaryDirectory(prefix="thermograd-balancer-")
        folder = pathlib.Path(self._folder.name)
        # Workers that have given up root read from it.
        folder.chmod(0o755)
        self.certificate = make_certificate(folder)
        (folder / "thermograd.htpasswd").write_text("prometheus:{PLAIN}secret\n")
        self.address = free_address()
        self.metrics_address = free_address()
        text = (CONFIGURATION / name).read_text(encoding="utf-8")
        if not encrypted:
            text = PLAIN_LINE.sub(r"\1\n", text, count=1)
        for number, (shipped, shipped_metrics) in enumerate(zip(SHIPPED_SERVERS, SHIPPED_METRICS)):
            if number < len(servers):
                text = text.replace(shipped, servers[number].grpc_address)
                text = text.replace(shipped_metrics, servers[number].http_address)
            else:
                text = re.sub(rf"\n *server .*{shipped}.*", "", text)
        if name == NGINX:
            text = text.replace(f"listen {SHIPPED_ADDRESS}", f"listen {self.address}")
            text = text.replace(
                f"listen {SHIPPED_METRICS_ADDRESS}", f"listen {self.metrics_address}"
            )
            text = text.replace("/etc/nginx", str(folder)).replace("/var/log/nginx", str(folder))
            # Debian's belong to its own user.
            kinds = ("client_body", "proxy", "fastcgi", "scgi", "uwsgi")
            temporary = "".join(f"{kind}_temp_path {folder};" for kind in kinds)
            text = text.replace("http {", "http {" + temporary, 1)
            command = ["/usr/sbin/nginx", "-p", folder, "-e", "stderr", "-g",
                       f"daemon off; pid {folder}/pid;", "-c"]  # fmt: skip
            self._check_flag = "-t"
        else:
            text = text.replace(f":{SHIPPED_ADDRESS}", self.address)
            text = text.replace("/etc/haproxy", str(folder))
            # Nobody but root may become somebody else.
            text = _without(text, "  user haproxy\n", "  group haproxy\n")
            command = ["/usr/sbin/haproxy", "-db", "-f"]
            self._check_flag = "-c"
        path = folder / name
        path.write_text(text, encoding="utf-8")
        self._command = [*command, path]
        self._log_path = folder / "log"
        self._process = None

    def check(self):
        """What the engine says of the configuration: exit code, text."""
        found = subprocess.run(
            [*self._command, self._check_flag], capture_output=True, text=True, check=False
        )
        return found.returncode, found.stdout + found.stderr

    def log(self):
        """What the process has written."""
        return self._log_path.read_text(encoding="utf-8")

    def cpu_seconds(self):
        """Processor time of the process and its children so far."""
        ticks = 0
        processes = {self._process.pid}
        stats = pathlib.Path("/proc").glob("[0-9]*/stat")
        # Parents before their children.
        for stat in sorted(stats, key=lambda path: int(path.parts[2])):
            try:
                text = stat.read_text()
            except OSError:
                continue
            fields = text[text.rindex(")") + 2 :].split()
            if int(stat.parts[2]) in processes or int(fields[1]) in processes:
                processes.add(int(stat.parts[2]))
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def _is_listening(self):
        assert self._process.poll() is None, self.log()
        host, port = self.address.split(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    def __enter__(self):
        with self._log_path.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        try:
            eventually(self._is_listening)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the process, and fails where it cannot end in order."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                raise
        self._folder.cleanup()
