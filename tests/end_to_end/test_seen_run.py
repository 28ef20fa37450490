"""A network trains: what is recorded, scraped and shown live is the same run."""

import os
import pathlib
import re
import subprocess
import sys

import numpy
import pytest
import thermograd

from prometheus_process import Prometheus
from system_support import COMMAND_LINE, ROOT, TIMEOUT_SECONDS, Server, eventually
from thermograd.history import label_text
from watched_training import PROBE_EVERY, SYMMETRY, Trainer, Training

RUN = "seen"
STEPS = 60


@pytest.fixture(scope="module", name="seen")
def fixture_seen(tmp_path_factory):
    """A run that is over but still shown, its recording and a Prometheus that watched it."""
    path = tmp_path_factory.mktemp("seen") / "seen.jsonl"
    with (
        Server() as server,
        Prometheus(server.http_address) as prometheus,
        thermograd.Recording(path) as recording,
    ):
        # It begins to scrape some seconds after its start.
        eventually(lambda: prometheus.query("up == 1"))
        training = Training([Trainer(server.grpc_address, RUN, 0, on_report=recording)])
        try:
            eventually(lambda: len(path.read_text().splitlines()) > STEPS)
        finally:
            training.stop()
        last = max(thermograd.frame(path).index)
        eventually(lambda: set(prometheus.query("thermograd_last_step").values()) == {last})
        yield server, prometheus, path


def run_program(*arguments):
    stubs = pathlib.Path(thermograd.v1.__file__).parents[2]
    path = os.pathsep.join(map(str, (ROOT / "client/python", stubs)))
    done = subprocess.run(
        [COMMAND_LINE, *arguments],
        env={
            **os.environ, "PYTHONPATH": path, "THERMOGRAD_PYTHON": sys.executable, "COLUMNS": "130"
        },
        capture_output=True, text=True, encoding="utf-8", timeout=TIMEOUT_SECONDS,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_prometheus_and_the_recording_agree(seen):
    _, prometheus, path = seen
    recorded = thermograd.frame(path)
    scraped = thermograd.frame(prometheus.url, run=RUN)
    common = scraped.index.intersection(recorded.index)
    # Of so many steps several scrapes saw one.
    assert len(common) == len(scraped) >= 4 and common[-1] == recorded.index[-1]
    # Nor where only one of them has a figure: what a step did not define Prometheus forgets.
    expected = recorded.reindex(common).dropna(axis="columns", how="all")
    numpy.testing.assert_allclose(
        scraped[expected.columns].to_numpy(), expected.to_numpy(), rtol=1e-12
    )


def test_watch(seen):
    server, _, path = seen
    last = thermograd.frame(path).iloc[-1]
    text = run_program("watch", server.http_address, "--once", "--interval=0.1")
    (row,) = [line for line in text.splitlines() if f" {RUN} " in line]
    cells = row.split()
    # Its end was before the first look.
    assert cells[:5] == ["○", RUN, str(last.name), "0", f"{last['thermograd_loss', '']:.4g}"]
    shown = run_program("watch", server.http_address, RUN, "--once", "--interval=0.1")
    charge = last["thermograd_symmetry_charge", f"symmetry={SYMMETRY}"]
    assert re.search(rf"{SYMMETRY} .* {charge:.4g} ", shown), shown
    # Only the steps with a probe have its figures.
    has_probe = last.name % PROBE_EVERY == 0
    assert ("effective rank" in shown and "digits:1" in shown) == has_probe
    assert "\x1b" not in text + shown


@pytest.mark.parametrize("source", ["recording", "prometheus"])
def test_report(seen, source, tmp_path):
    _, prometheus, path = seen
    chosen = {"recording": str(path), "prometheus": prometheus.url}[source]
    page = tmp_path / "page.html"
    printed = run_program("report", f"--{source}={chosen}", f"--run={RUN}", f"--output={page}")
    assert printed.strip() == str(page)
    text = page.read_text()
    history = thermograd.notebook.history_of(chosen, run=RUN)
    for key in history.figures:
        if key[0] == "thermograd_neuron_charge":
            assert label_text(key).replace(">", "&gt;") in text
    assert text.count("<img ") > 30 and "neuron_charge" in text.replace("<wbr>", "")
    last = history.latest(thermograd.metric_key("thermograd_loss"))
    assert f"{last:.5g} loss" in text


def test_prometheus_without_the_run(seen):
    _, prometheus, _ = seen
    with pytest.raises(ValueError, match="knows no run 'never'"):
        thermograd.frame(prometheus.url, run="never")
    with pytest.raises(ValueError, match="knows no run"):
        thermograd.frame(prometheus.url, run=RUN, start=1000.0, end=2000.0)
    with pytest.raises(ValueError, match="before the end"):
        thermograd.frame(prometheus.url, run=RUN, start=2000.0, end=1000.0)
