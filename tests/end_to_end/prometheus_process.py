"""A real Prometheus that scrapes servers, and its query language."""

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

    def __init__(self, *targets, rule_files=()):
        self._folder = tempfile.TemporaryDirectory(prefix="thermograd-prometheus-")
        folder = pathlib.Path(self._folder.name)
        self._address = free_address()
        self.url = f"http://{self._address}"
        (folder / "prometheus.yml").write_text(
            f"global: {{evaluation_interval: {SCRAPE_INTERVAL}}}\n"
            f"rule_files: {json.dumps([str(path) for path in rule_files])}\n"
            "scrape_configs:\n"
            "  - job_name: thermograd\n"
            f"    scrape_interval: {SCRAPE_INTERVAL}\n"
            f"    scrape_timeout: {SCRAPE_INTERVAL}\n"
            f"    static_configs: [{{targets: {json.dumps(targets)}}}]\n",
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

    def query(self, expression, **when):
        """Values of an instant query, by the labels of each series; `time` may be given."""
        return {
            frozenset(series["metric"].items()): float(series["value"][1])
            for series in self._ask("query", query=expression, **when)["result"]
        }

    def query_range(self, expression, start, end, step):
        """Values in time of a range query, by the labels of each series."""
        found = self._ask("query_range", query=expression, start=start, end=end, step=step)
        return {
            frozenset(series["metric"].items()): [float(value) for _, value in series["values"]]
            for series in found["result"]
        }

    def label_values(self, label, selector):
        """Values of a label of the series that are selected."""
        return self._ask(f"label/{label}/values", **{"match[]": selector})

    def _ask(self, what, **arguments):
        try:
            page = self._get(f"/api/v1/{what}?{urllib.parse.urlencode(arguments)}")
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode("utf-8")) from error
        answer = json.loads(page)
        assert answer["status"] == "success"
        return answer["data"]

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
