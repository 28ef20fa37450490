"""Every query of every dashboard, asked of a Prometheus that has scraped real runs."""

import math
import re
import time

import pytest

import small_run
from dashboard_files import DASHBOARDS, expressions, panels, substitute, variables
from prometheus_process import Prometheus
from system_support import Server, Stream, eventually
from watched_runs import (
    LEARNING_RATE,
    MICROBATCHES,
    MICROBATCH_SIZE,
    PROBED,
    RANKED_RUN,
    RANKS,
    RUNS,
    TRAINED,
    WatchedRuns,
)

# A run that is over while the others go on, for the annotation of ends.
SHORT_RUN = "short"
STEPS = 40
STEP_SECONDS = 1
# What Grafana puts in place of its own variables.
BUILT_IN = {"__rate_interval": "2s", "__interval": f"{STEP_SECONDS}s", "__range": "60s"}
ALERTS = """
groups:
  - name: test
    rules:
      - {alert: ThermogradTest, expr: vector(1)}
"""
# A layer is not compared with itself above chance, for it is like itself.
EMPTY = {"thermograd_earlier_step_cka_calibrated_ratio"}


class Watched:
    """A Prometheus that has seen runs between `start` and `end`."""

    def __init__(self, prometheus, start, end):
        self.prometheus = prometheus
        self.start = start
        self.end = end

    def instant(self, expression):
        """Values at the end."""
        return self.prometheus.query(expression, time=self.end)

    def in_time(self, expression):
        """Values from the start to the end, which is the last step."""
        steps = int((self.end - self.start) / STEP_SECONDS)
        start = self.end - steps * STEP_SECONDS
        return self.prometheus.query_range(expression, start, self.end, STEP_SECONDS)

    def ask(self, target, expression):
        """Values of a panel's query, finite ones only."""
        if target["instant"]:
            found = {labels: [value] for labels, value in self.instant(expression).items()}
        else:
            found = self.in_time(expression)
        return {labels: [value for value in values if math.isfinite(value)]
                for labels, values in found.items()}  # fmt: skip


@pytest.fixture(scope="module", name="watched")
def fixture_watched(tmp_path_factory):
    rules = tmp_path_factory.mktemp("rules") / "alerts.yml"
    rules.write_text(ALERTS, encoding="utf-8")
    with Server() as server, Prometheus(server.http_address, rule_files=[rules]) as prometheus:
        # It begins to scrape some seconds after its start.
        eventually(lambda: prometheus.query("up == 1"))
        start = time.time()
        with WatchedRuns(server):
            with Stream(server) as stream:
                stream.open(small_run.declaration(SHORT_RUN))
                stream.step(small_run.begin(1), small_run.gradient())
                eventually(lambda: prometheus.query(f'thermograd_run_live{{run="{SHORT_RUN}"}}'))
                # Two steps of the queries apart, so that they see it live.
                time.sleep(2 * STEP_SECONDS)
                assert stream.close() is None
            eventually(
                lambda: (
                    len(prometheus.query(f"thermograd_run_steps_total >= {STEPS}"))
                    == len(RUNS) + RANKS
                    and prometheus.query(f'thermograd_run_live{{run="{SHORT_RUN}"}} == 0')
                )
            )
            # A scrape of all runs, which none that failed has followed.
            end = max(prometheus.query("timestamp(thermograd_loss)").values())
        yield Watched(prometheus, start, end)


def selections(dashboard):
    """Values of the variables as Grafana would interpolate them: all, several runs, one run."""
    everything = {
        name: variable["allValue"] for name, variable in variables(dashboard, "query").items()
    }
    yield everything
    if "run" in everything:
        yield {**everything, "run": f"({'|'.join(RUNS)})"}
        yield {**everything, "run": RUNS[0]}


def asked():
    return [
        pytest.param(name, panel, id=f"{name}: {panel['title']}")
        for name, dashboard in DASHBOARDS.items()
        for panel in panels(dashboard)
        if panel["type"] != "text"
    ]


@pytest.mark.parametrize("name, panel", asked())
def test_every_query_has_an_answer(watched, name, panel):
    dashboard = DASHBOARDS[name]
    for title, target, expression in expressions(dashboard):
        if title != panel["title"] or any(metric in expression for metric in EMPTY):
            continue
        for values in selections(dashboard):
            answer = watched.ask(target, substitute(expression, {**BUILT_IN, **values}))
            assert any(answer.values()), f"{values}: no answer to {expression}"


@pytest.mark.parametrize("metric", EMPTY)
def test_what_may_be_empty_is(watched, metric):
    assert watched.instant(metric) == {}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_variable_has_values(watched, name):
    dashboard = DASHBOARDS[name]
    for values in selections(dashboard):
        for variable in variables(dashboard, "query").values():
            query = substitute(variable["query"], values)
            selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", query).groups()
            assert watched.prometheus.label_values(label, selector), query


@pytest.mark.parametrize("name", DASHBOARDS)
def test_annotations_mark_starts_ends_and_alerts(watched, name):
    values = {**BUILT_IN, **next(iter(selections(DASHBOARDS[name])))}
    marks = {
        mark["name"]: watched.in_time(substitute(mark["expr"], values))
        for mark in DASHBOARDS[name]["annotations"]["list"]
    }
    starts, ends = (
        {dict(labels)["run"]: len(values) for labels, values in marks[kind].items()}
        for kind in ("Run starts", "Run ends")
    )
    assert set(starts) == {*RUNS, RANKED_RUN, SHORT_RUN} and SHORT_RUN in ends
    # A scrape that fails is an end and a start too: few, but not each step of a run.
    steps = (watched.end - watched.start) / STEP_SECONDS
    assert max(*starts.values(), *ends.values()) < steps / 2
    assert [dict(labels)["alertname"] for labels in marks["Alerts"]] == ["ThermogradTest"]


def ask_panel(watched, name, title, part="", **values):
    """Answer to a panel's first query whose legend, or expression if it has none, has the part."""
    everything = next(iter(selections(DASHBOARDS[name])))
    target, expression = next(
        (target, expression)
        for shown, target, expression in expressions(DASHBOARDS[name])
        if shown == title and part in target.get("legendFormat", expression)
    )
    return watched.ask(target, substitute(expression, {**BUILT_IN, **everything, **values}))


def test_runs_are_live_or_ended(watched):
    states = ask_panel(watched, "run-overview", "Runs", "thermograd_run_live")
    assert {dict(labels)["run"]: values for labels, values in states.items()} == {
        **dict.fromkeys((*RUNS, RANKED_RUN), [1]),
        SHORT_RUN: [0],
    }


def test_ranks_of_a_run_are_one_curve(watched):
    ranks = watched.instant(f'thermograd_effective_rank{{run="{RANKED_RUN}", layer="block.0"}}')
    curves = ask_panel(
        watched, "representations", "Effective rank", run=RANKED_RUN, layer="block[.]0"
    )
    assert (len(ranks), len(curves)) == (RANKS, 1)


def test_the_matrix_of_layers_is_whole(watched):
    title = "${similarity:text}, layer × layer: $run"
    cells = ask_panel(watched, "representations", title, run=RUNS[0])
    found = {
        (dict(labels)["layer"], dict(labels)["other"]): values for labels, values in cells.items()
    }
    expected = {
        (layer, other)
        for group in (PROBED, TRAINED)
        for layer in group.values()
        for other in group.values()
    }
    assert set(found) == expected
    for layer, other in expected:
        assert found[layer, other] == found[other, layer]
        assert layer != other or found[layer, other] == [1]


def test_the_matrix_of_runs_is_whole(watched):
    cells = ask_panel(watched, "representations", "Likeness of runs above chance")
    pairs = {(dict(labels)["run"], dict(labels)["other_run"]) for labels in cells}
    runs = (*RUNS, RANKED_RUN)
    assert pairs == {(run, other) for run in runs for other in runs}


def test_the_batch_size_is_that_of_the_trainer(watched):
    title = "Gradient noise scale beside the batch size"
    sizes = ask_panel(watched, "run-overview", title, "batch size", run=RUNS[0])
    (values,) = sizes.values()
    assert values == pytest.approx([MICROBATCHES * MICROBATCH_SIZE] * len(values), rel=1e-6)


def test_the_entropic_loss_is_more_than_the_loss(watched):
    title = "Loss L and entropic loss F"
    (loss,) = ask_panel(watched, "run-overview", title, " L", run=RUNS[0]).values()
    (entropic,) = ask_panel(watched, "run-overview", title, " F", run=RUNS[0]).values()
    assert LEARNING_RATE > 0 and entropic[-1] > loss[-1]


def test_a_run_that_moved_is_one_curve():
    """The first replica still shows the run, further ahead than the second, which has it live."""
    run = "moved"
    with (
        Server() as first,
        Server() as second,
        Prometheus(first.http_address, second.http_address) as prometheus,
    ):
        eventually(lambda: len(prometheus.query("up == 1")) == 2)
        start = time.time()

        def shown(title, part):
            watched = Watched(prometheus, start, time.time())
            answer = ask_panel(watched, "run-overview", title, part, run=run)
            return [values[-1] for values in answer.values() if values]

        with Stream(first) as stream:
            take_steps(stream, run, (5, 6, 7), loss=1.0)
            assert stream.close() is None
        with Stream(second) as stream:
            take_steps(stream, run, (3, 4), loss=2.0)
            eventually(
                lambda: (
                    sorted(prometheus.query("thermograd_loss").values()) == [1, 2]
                    and len(prometheus.query("thermograd_run_live == 0")) == 1
                )
            )
            eventually(lambda: shown("Loss L and entropic loss F", " L") == [2])
            eventually(lambda: shown("Runs", "thermograd_loss") == [2])


def take_steps(stream, run, steps, *, loss):
    """Opens a stream of the run and takes its steps."""
    stream.open(small_run.declaration(run))
    for step in steps:
        begin = small_run.begin(step)
        begin.loss = loss
        stream.step(begin, small_run.gradient())
