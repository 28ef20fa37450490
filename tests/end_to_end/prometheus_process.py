"""A real Prometheus that scrapes one server, and its query language."""

import json
import pathlib
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request

from system_support import TIMEOUT_SECONDS, eventually, free_address

SCRAPE_INTERVAL = "250ms"


class Prometheus:
    """The process, with its data in a folder that goes with it."""

    def __init__(self, target, *settings):
        """`settings`: further lines of the scrape's configuration."""
        self._folder = tempfile.TemporaryDirectory(prefix="thermograd-prometheus-")
        folder = pathlib.Path(self._folder.name)
        self._address = free_address()
        self.url = f"http://{self._address}"
        (folder / "prometheus.yml").write_text(
            "scrape_configs:\n"
            "  - job_name: thermograd\n"
            f"    scrape_interval: {SCRAPE_INTERVAL}\n"
            f"    scrape_timeout: {SCRAPE_INTERVAL}\n"
            f'    static_configs: [{{targets: ["{target}"]}}]\n'
            + "".join(f"    {line}\n" for line in settings),
            encoding="utf-8",
        )
        self._log = open(folder / "log", "w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self._address}",
                "--log.level=warn",
            ],
            stderr=self._log,
        )
        try:
            eventually(self._is_ready)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends the process."""
        self._process.terminate()
        self._process.wait(TIMEOUT_SECONDS)
        self._log.close()
        self._folder.cleanup()

    def query(self, expression):
        """Values of an instant query, by the labels of each series."""
        answer = json.loads(self._get("/api/v1/query?" + urllib.parse.urlencode({"query": expression})))
        assert answer["status"] == "success"
        return {
            frozenset(series["metric"].items()): float(series["value"][1])
            for series in answer["data"]["result"]
        }

    def _get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=TIMEOUT_SECONDS) as page:
            return page.read()

    def _is_ready(self):
        if self._process.poll() is not None:
            self._log.seek(0)
            raise RuntimeError("Prometheus did not start:\n" + self._log.read())
        try:
            return self._get("/-/ready")
        except urllib.error.URLError:
            return False
