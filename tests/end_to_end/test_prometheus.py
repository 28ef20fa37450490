"""Two networks train, a real Prometheus scrapes, and its queries answer."""

import html
import re
import subprocess

import pytest
from google.protobuf import json_format

import small_run
from prometheus_process import Prometheus
from system_support import Server, Stream, eventually, run, service, value
from watched_training import SYMMETRY, Trainer, Training

RUNS = {"first", "second"}
GRACE_SECONDS = 3


@pytest.fixture(scope="module", name="served")
def fixture_served():
    with Server(f"--run_grace_seconds={GRACE_SECONDS}") as process:
        yield process


@pytest.fixture(scope="module", name="prometheus")
def fixture_prometheus(served):
    with Prometheus(served.http_address) as process:
        yield process


@pytest.fixture(scope="module", name="training")
def fixture_training(served):
    job = Training(
        [Trainer(served.grpc_address, name, seed) for seed, name in enumerate(sorted(RUNS))]
    )
    yield job
    job.stop()


def runs_of(series):
    return {dict(labels).get("run") for labels in series}


# Each must come to hold for both runs. Ranges of time hold several scrapes, and each of them counts.
EXPRESSIONS = {
    "steps": "rate(thermograd_run_steps_total[2s]) > 0",
    "memory": "thermograd_run_memory_bytes > 0",
    "noise scale": "thermograd_gradient_noise_scale_samples > 0",
    "noise scale from its sums": """abs(thermograd_gradient_sample_covariance_trace_sum
        / thermograd_gradient_mean_squared_norm_sum
        / thermograd_gradient_noise_scale_samples - 1) < 1e-9""",
    "entropic loss": "thermograd_entropic_loss > 0",
    "charge drift against its prediction": f"""abs(
        sum_over_time(thermograd_symmetry_charge_drift{{symmetry="{SYMMETRY}"}}[2s])
        / sum_over_time(thermograd_symmetry_charge_drift_predicted{{symmetry="{SYMMETRY}"}}[2s])
        - 1) < 0.01""",
    "drift of each neuron": f"""max_over_time(
        thermograd_symmetry_charge_drift_error_ratio{{symmetry="{SYMMETRY}"}}[2s]) < 0.01""",
    "similarity of the runs": """thermograd_cross_run_cka_unbiased_ratio{other_run!=""} > 0.1
        and thermograd_cross_run_cka_unbiased_ratio < 1""",
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_prometheus_answers(prometheus, training, name):
    eventually(lambda: runs_of(prometheus.query(EXPRESSIONS[name])) == RUNS)


def test_the_service_is_up_and_steps_move(prometheus, training):
    assert list(eventually(lambda: prometheus.query("up")).values()) == [1]
    assert list(eventually(lambda: prometheus.query("rate(thermograd_steps_total[2s]) > 0")))


def test_promtool_has_no_remarks_but_the_known_ones(served, training):
    def scrape():
        return served.get("/metrics") if runs_of(labels for _, labels in served.scrape()) else ""

    page = eventually(scrape)
    check = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False
    )
    # Sums of a window are gauges, for a window forgets. Quantiles over neurons are no summary.
    known = set()
    for name in re.findall(r"^# TYPE (\w+)", page, re.MULTILINE):
        suffix = re.search("_(sum|count)$", name)
        if suffix:
            known.add(
                f"{name} non-histogram and non-summary metrics should not have"
                f' "{suffix[0]}" suffix'
            )
        if re.search(rf'^{name}{{.*\bquantile="', page, re.MULTILINE):
            known.add(f'{name} non-summary metrics should not have "quantile" label')
    assert len(known) > 2, "the scrape holds none of the figures that are remarked upon"
    assert set((check.stdout + check.stderr).splitlines()) == known


ODD = 'quo"te back\\slash {run="x"} <b>&amp; ünï 日本 🚀 \\n'


def odd_declaration(text):
    """A run in which every name that becomes a label is `text`."""
    spec = small_run.declaration(text)
    spec.parameters[0].name = text
    spec.layers[0].name = text
    spec.layers[0].probe_set = spec.probe_sets[0].name = text
    return spec


def test_odd_names_arrive_and_disturb_nothing(served, prometheus):
    with Stream(served) as stream:
        stream.open(odd_declaration(ODD))
        figures = stream.step(small_run.begin(1), small_run.gradient())
        assert value(figures, "thermograd_parameter_gradient_second_moment", parameter=ODD) == 6

        def figure():
            found = prometheus.query("thermograd_parameter_gradient_second_moment")
            return [
                number
                for labels, number in found.items()
                if {("run", ODD), ("parameter", ODD)} <= labels
            ]

        assert eventually(figure) == [6]
        assert list(prometheus.query("up").values()) == [1]
        page = served.get("/")
        assert html.escape(ODD) in page and ODD not in page
        assert stream.close() is None


PLACEHOLDER = "placeholder"
FIELDS = {
    "run": lambda spec: setattr(spec, "run", PLACEHOLDER),
    "parameters": lambda spec: setattr(spec.parameters[0], "name", PLACEHOLDER),
    "layers": lambda spec: setattr(spec.layers[0], "name", PLACEHOLDER),
    "probe_sets": lambda spec: setattr(spec.probe_sets[0], "name", PLACEHOLDER),
    "symmetries": lambda spec: spec.symmetries.append(
        run.Symmetry(
            name=PLACEHOLDER,
            layer_rescaling=run.LayerRescaling(
                first=run.Member(parameter_id=1), second=run.Member(parameter_id=1)
            ),
        )
    ),
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    "letter",
    [
        b"\n", b"\0", b"\x7f", b"\xff", b"\x1b", "\x85".encode(), "\u2028".encode(),
        "\u202e".encode(), "\u2066".encode(), b"\xed\xa0\x80", b"\xc0\xaf",
    ],
)  # fmt: skip
def test_names_that_would_break_a_scrape_are_refused(served, prometheus, field, letter):
    spec = small_run.declaration("refused")
    FIELDS[field](spec)
    message = service.StreamRunRequest(run_spec=spec).SerializeToString()
    with Stream(served) as stream:
        # As long as it was, for the lengths of the messages around it are written already.
        broken = letter + PLACEHOLDER[len(letter) :].encode()
        stream.send(message.replace(PLACEHOLDER.encode(), broken))
        error = stream.close()
    assert error.code().name == "INVALID_ARGUMENT"
    # What is no UTF-8 is refused before any field is known.
    assert ("UTF-8" if is_no_text(letter) else field) in error.details()
    assert list(prometheus.query("up").values()) == [1]


def is_no_text(letter):
    try:
        letter.decode()
    except UnicodeDecodeError:
        return True
    return False


@pytest.mark.parametrize("field", FIELDS)
def test_names_too_long_or_too_many_are_refused(served, prometheus, field):
    spec = small_run.declaration("refused")
    FIELDS[field](spec)
    message = json_format.MessageToJson(spec)
    with Stream(served) as stream:
        long = json_format.Parse(message.replace(PLACEHOLDER, "n" * 2**20), type(spec)())
        stream.send(service.StreamRunRequest(run_spec=long))
        error = stream.close()
    assert error.code().name in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")
    # The name itself is not sent back.
    assert field in error.details() and len(error.details()) < 200
    if field == "run":
        return
    entries = getattr(spec, field)
    for number in range(50_000):
        entry = entries.add()
        entry.CopyFrom(entries[0])
        entry.name = str(number)
        if field in ("parameters", "layers"):
            entry.id = 100 + number
    with Stream(served) as stream:
        stream.send(service.StreamRunRequest(run_spec=spec))
        error = stream.close()
    assert error.code().name == "RESOURCE_EXHAUSTED" and field in error.details()
    assert len(served.get("/metrics")) < 2**20
    assert list(prometheus.query("up").values()) == [1]


def test_the_status_page_lists_live_and_ended_runs(served, training):
    page = eventually(lambda: (p := served.get("/")) and all(name in p for name in RUNS) and p)
    assert re.search("<td>first<td>0 of 1<td>live<td>[0-9]", page)


def test_series_of_ended_runs_leave_after_the_grace_period(prometheus, training):
    of_runs = "{run=~\"first|second\"}"
    training.stop()
    eventually(lambda: runs_of(prometheus.query("thermograd_run_live == 0")) >= RUNS)
    assert runs_of(prometheus.query("thermograd_gradient_noise_scale_samples")) == RUNS
    eventually(lambda: not prometheus.query(of_runs), 3 * GRACE_SECONDS + 10)
    assert list(prometheus.query("up").values()) == [1]
    # The history is Prometheus'.
    assert runs_of(prometheus.query(f"count_over_time(thermograd_run_live{of_runs}[5m])")) == RUNS
