"""Tokens and tenants, who may read the metrics, and where a server may listen."""

import base64
import json
import subprocess
import urllib.error
import urllib.request

import grpc
import numpy
import pytest

import small_run
from caller import Caller
from prometheus_process import Prometheus
from system_support import (
    COMMAND_LINE,
    TIMEOUT_SECONDS,
    Server,
    Stream,
    end_step,
    eventually,
    refused_start,
    run,
    service,
    service_grpc,
)
from thermograd import Credentials, compare, wire
from thermograd.sender import Sender

UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
TOKENS = {"red": "red-token-8f2c71d0", "blue": "blue-token-5ab3e94f"}
USER, PASSWORD = "reader", "pass:word-of-the-reader"
SECRETS = [*TOKENS.values(), PASSWORD, "mistyped-token-77", "short-one"]


def write(path, *lines):
    """A file that nobody else may read."""
    path.write_text("".join(f"{line}\n" for line in lines))
    path.chmod(0o600)
    return path


def token_lines():
    return [f"{tenant} {token}" for tenant, token in TOKENS.items()]


class Guarded(Server):
    """A server with tokens and readers."""

    def __init__(self, folder, *flags):
        self.token_file = write(folder / "tokens", "# tenant token", *token_lines())
        self.reader_file = write(folder / "readers", f"{USER} {PASSWORD}")
        self._folder = folder
        super().__init__(
            f"--token_file={self.token_file}",
            f"--http_credentials_file={self.reader_file}",
            *flags,
        )

    def caller(self, token):
        """A caller with a token; None: without one."""
        if token is None:
            return Caller(self)
        return Caller(self, token_file=write(self._folder / f"token-{token[:6]}", token))

    def tenant(self, name):
        """A caller of a tenant."""
        return self.caller(TOKENS[name])

    def ask(self, path, authorization=None):
        """Status, headers and body of a page."""
        request = urllib.request.Request(f"http://{self.http_address}{path}")
        if authorization is not None:
            request.add_header("Authorization", authorization)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def get(self, path):
        """Body of a page, as its reader gets it."""
        status, _, body = self.ask(path, basic(USER, PASSWORD))
        assert status == 200
        return body

    def rejected(self):
        """Calls and requests without credentials."""
        return self.scrape()["thermograd_rejected_total", frozenset({("reason", "unauthenticated")})]


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture(scope="module", name="guarded")
def fixture_guarded(tmp_path_factory):
    with Guarded(tmp_path_factory.mktemp("guarded")) as server:
        yield server
        pages = server.get("/metrics") + server.get("/")
    # Whatever the tests of this file said to the server.
    said = pages + json.dumps(server.events())
    for secret in SECRETS:
        assert secret not in said and base64.b64encode(secret.encode()).decode() not in said


CALLS = {
    "StreamRun": lambda stub, metadata: list(
        stub.StreamRun(
            iter([service.StreamRunRequest(run_spec=small_run.declaration("stolen"))]),
            metadata=metadata,
        )
    ),
    "CompareRepresentations": lambda stub, metadata: stub.CompareRepresentations(
        iter([service.CompareRepresentationsRequest()]), metadata=metadata
    ),
    "DescribeMetrics": lambda stub, metadata: stub.DescribeMetrics(
        service.DescribeMetricsRequest(), metadata=metadata
    ),
    "SetCadence": lambda stub, metadata: stub.SetCadence(
        service.SetCadenceRequest(run="stolen", cadence=run.Cadence(every_steps=2)),
        metadata=metadata,
    ),
}
HEADERS = {
    "none": [],
    "wrong": ["Bearer mistyped-token-77"],
    "other scheme": [f"Basic {TOKENS['red']}"],
    "no scheme": [TOKENS["red"]],
    "two": [f"Bearer {TOKENS['red']}", f"Bearer {TOKENS['blue']}"],
    "empty": ["Bearer "],
    "beginning": [f"Bearer {TOKENS['red'][:-1]}"],
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("header", HEADERS)
def test_a_call_without_a_token_is_refused_and_counted(guarded, call, header):
    before = guarded.rejected()
    metadata = [("authorization", value) for value in HEADERS[header]]
    with guarded.channel() as channel, pytest.raises(grpc.RpcError) as error:
        CALLS[call](service_grpc.TrainingAnalysisServiceStub(channel), metadata)
    assert error.value.code() is UNAUTHENTICATED
    assert "authorization" in error.value.details()
    assert guarded.rejected() == before + 1
    assert ("run", "stolen") not in {pair for _, labels in guarded.scrape() for pair in labels}


def test_health_stays_open_and_reflection_does_not(guarded, server):
    def answer(which, method, request):
        with which.channel() as channel:
            call = channel.stream_stream(method) if "Reflection" in method else None
            try:
                if call:
                    return list(call(iter([request]), timeout=TIMEOUT_SECONDS))
                return channel.unary_unary(method)(request, timeout=TIMEOUT_SECONDS)
            except grpc.RpcError as error:
                return error.code()

    health = "/grpc.health.v1.Health/Check"
    reflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    list_services = b"\x3a\x00"
    assert answer(guarded, health, b"") == b"\x08\x01"
    assert answer(guarded, reflection, list_services) is grpc.StatusCode.UNIMPLEMENTED
    assert b"TrainingAnalysisService" in answer(server, reflection, list_services)[0]


def activations(seed):
    random = numpy.random.default_rng(seed)
    shape = small_run.SAMPLES, small_run.WIDTH
    return small_run.activations(random.standard_normal(shape).astype("f4"))


def other_runs(figures):
    return {
        label.value
        for figure in (*figures.metrics, *figures.undefined)
        for label in figure.labels
        if label.name == "other_run"
    }


def test_tenants_do_not_meet(guarded):
    red, blue = guarded.tenant("red"), guarded.tenant("blue")
    with Stream(red) as first, Stream(blue) as second, Stream(red) as third:
        # The same name ousts nobody, and the same probe set compares nobody.
        first.open(small_run.declaration("shared"))
        second.open(small_run.declaration("shared"))
        third.open(small_run.declaration("own"))
        first.step(small_run.begin(1), small_run.gradient() + activations(1))
        figures = second.step(small_run.begin(7), small_run.gradient() + activations(2))
        assert other_runs(figures) == set()
        figures = third.step(small_run.begin(1), small_run.gradient() + activations(3))
        assert other_runs(figures) == {"shared"}

        # A cadence is for the tenant's own run.
        asked = service.SetCadenceRequest(run="own", cadence=run.Cadence(every_steps=3))
        with blue.stub() as stub, pytest.raises(grpc.RpcError) as error:
            stub.SetCadence(asked)
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
        asked.run = "shared"
        with blue.stub() as stub:
            assert stub.SetCadence(asked).streams == 1
        assert second.receive("cadence").every_steps == 3

        samples = guarded.scrape()
        last_step = "thermograd_last_step"
        for tenant, step in [("red", 1), ("blue", 7)]:
            labels = frozenset({("tenant", tenant), ("run", "shared")})
            assert samples[last_step, labels] == step
        for name, labels in samples:
            if "run" in dict(labels):
                assert "tenant" in dict(labels), name
        page = guarded.get("/")
        assert "red: shared" in page and "blue: shared" in page
        # Had it been asked, or compared, or ousted, it would be told now.
        figures = first.step(small_run.begin(2), small_run.gradient() + activations(1))
        assert other_runs(figures) == {"own"}
        for stream in (first, second, third):
            assert stream.close() is None


def test_ranks_of_two_tenants_are_two_runs(guarded):
    with Stream(guarded.tenant("red")) as first, Stream(guarded.tenant("blue")) as second:
        first.open(small_run.declaration("ranks", rank=0, world_size=2))
        # In the run of the other tenant it would be refused, for it declares something else.
        other = small_run.declaration("ranks", sample_ids=range(5, 37), rank=1, world_size=2)
        second.open(other)
        first.send(service.StreamRunRequest(step_begin=small_run.begin(1)))
        assert second.close() is None


def test_without_a_token_file_there_is_no_tenant(server):
    with Stream(server) as stream:
        stream.open(small_run.declaration("plain"))
        stream.step(small_run.begin(1), small_run.gradient())
        labels = {name for _, labels in server.scrape() for name in dict(labels)}
        assert "run" in labels and "tenant" not in labels
    # A token that nobody asks for does no harm.
    with server.channel() as channel:
        CALLS["DescribeMetrics"](
            service_grpc.TrainingAnalysisServiceStub(channel), [("authorization", "Bearer any")]
        )


def test_tokens_are_replaced_while_the_server_runs(tmp_path):
    with Guarded(tmp_path) as server:
        red, blue = server.tenant("red"), server.tenant("blue")
        green = server.caller("green-token-0d3c55b1")
        assert green.refusal() is UNAUTHENTICATED
        with Stream(red) as stays, Stream(blue) as goes:
            stays.open(small_run.declaration("stays"))
            goes.open(small_run.declaration("goes"))
            goes.step(small_run.begin(1), small_run.gradient())
            # In the midst of a step.
            goes.send(service.StreamRunRequest(step_begin=small_run.begin(2)))
            before = server.rejected()
            write(server.token_file, f"red {TOKENS['red']}", "red green-token-0d3c55b1")
            error = goes.error()
            assert error.code() is UNAUTHENTICATED
            assert error.details() == "authorization: this token was withdrawn"
            assert server.rejected() == before + 1
            assert red.refusal() is None and green.refusal() is None
            assert blue.refusal() is UNAUTHENTICATED
            stays.step(small_run.begin(1), small_run.gradient())
            write(server.token_file, "red short-one")
            failures = "thermograd_token_reload_failures_total", frozenset()
            eventually(lambda: server.scrape()[failures] == 1)
            assert red.refusal() is None and green.refusal() is None
            assert stays.close() is None
    events = [e for e in server.events() if e["event"].startswith("reload")]
    assert [e["event"] for e in events] == ["reloaded", "reload_failed"]
    assert "line 1" in events[1]["reason"] and "short-one" not in json.dumps(events)


class SmallStep:
    """A step for a Sender."""

    spec = small_run.declaration("rotated")
    byte_size = 0

    def __init__(self, number):
        self.number = number

    def requests(self, limits):
        """All messages."""
        del limits
        yield service.StreamRunRequest(step_begin=small_run.begin(self.number))
        yield from small_run.gradient()
        yield end_step(self.number)


def test_a_client_whose_token_is_replaced_goes_on_and_one_without_stops(tmp_path):
    new = "blue-next-token-41aa"
    reported = {"renewed": [], "forgotten": []}

    def sender(name, tenant):
        files = Credentials(token_file=write(tmp_path / f"{name}-token", TOKENS[tenant]))
        return Sender(
            wire.channel_opener(server.grpc_address, files), 1 << 20,
            lambda report: reported[name].append(report.step),
        )  # fmt: skip

    with Guarded(tmp_path) as server:
        renewed, forgotten = sender("renewed", "blue"), sender("forgotten", "red")
        for one in (renewed, forgotten):
            one.put(SmallStep(1))
            eventually(lambda one=one: one.stats.acknowledged_steps == 1)
        write(tmp_path / "renewed-token", new)
        write(server.token_file, f"blue {new}")
        for one in (renewed, forgotten):
            eventually(lambda one=one: "token was withdrawn" in (one.stats.last_error or ""))
            one.put(SmallStep(2))
        eventually(lambda: renewed.stats.acknowledged_steps == 2)
        eventually(lambda: forgotten.stats.stopped)
        assert (renewed.stats.reconnects, forgotten.stats.reconnects) == (1, 0)
        assert "nobody here has this token" in forgotten.stats.last_error
        assert forgotten.stats.dropped_steps == 1
        assert reported == {"renewed": [1, 2], "forgotten": [1]}
        for one in (renewed, forgotten):
            one.close(1)


@pytest.mark.parametrize("path", ["/metrics", "/", "/nothing"])
def test_metrics_ask_who_reads(guarded, path):
    status, headers, body = guarded.ask(path)
    assert status == 401
    assert headers["WWW-Authenticate"].startswith('Basic realm="')
    assert "thermograd_" not in body
    for wrong in [
        basic(USER, "mistyped-token-77"), basic("someone", PASSWORD), basic("", ""), "Basic", "",
        f"Bearer {TOKENS['red']}", basic("red", TOKENS["red"]),
    ]:  # fmt: skip
        assert guarded.ask(path, wrong)[0] == 401
    assert guarded.ask(path, basic(USER, PASSWORD))[0] == (404 if path == "/nothing" else 200)


def test_readers_are_replaced_while_the_server_runs(tmp_path):
    with Guarded(tmp_path) as server:
        after = basic(USER, "another-password-of-the-reader")
        assert server.ask("/metrics", after)[0] == 401
        write(server.reader_file, f"{USER} another-password-of-the-reader")
        eventually(lambda: server.ask("/metrics", after)[0] == 200)
        assert server.ask("/metrics", basic(USER, PASSWORD))[0] == 401


def test_prometheus_shows_its_password(guarded):
    with Prometheus(guarded.http_address, user=(USER, PASSWORD)) as prometheus:
        assert list(eventually(lambda: prometheus.query("up")).values()) == [1]


def test_the_clients_send_the_token(guarded, tmp_path, monkeypatch):
    file = write(tmp_path / "token", TOKENS["red"])
    command = [COMMAND_LINE, "describe", f"--address={guarded.grpc_address}"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "UNAUTHENTICATED" in refused.stderr
    x = numpy.eye(4)
    with pytest.raises(grpc.RpcError):
        compare(x, x, address=guarded.grpc_address)
    subprocess.run([*command, f"--token_file={file}"], capture_output=True, check=True)
    monkeypatch.setenv("THERMOGRAD_TOKEN_FILE", str(file))
    subprocess.run(command, capture_output=True, check=True)
    assert compare(x, x, address=guarded.grpc_address)
    # Neither sends it in plain text to another machine.
    elsewhere = "192.0.2.1:50051"
    command[-1] = f"--address={elsewhere}"
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "by TLS only" in refused.stderr
    with pytest.raises(ValueError, match="by TLS only"):
        wire.open_channel(elsewhere, None)


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [
        ("red short-one", 0o600, "line 1: a secret has 16 to 1024 characters"),
        ("# nobody yet", 0o600, "names nobody"),
        ("mistyped-token-77", 0o600, "line 1: must be a name, a blank and a secret"),
        (f"red {TOKENS['red']}", 0o644, "everybody on this machine may read it"),
    ],
)
@pytest.mark.parametrize("flag", ["token_file", "http_credentials_file"])
def test_a_server_whose_secrets_are_no_secrets_does_not_start(tmp_path, flag, content, mode, reason):
    file = write(tmp_path / "secrets", content)
    file.chmod(mode)
    said = refused_start(f"--{flag}={file}")
    assert said.startswith(f"--{flag}={file}") and reason in said
    assert not any(secret in said for secret in SECRETS)


@pytest.mark.parametrize("flag", ["listen_address", "http_address"])
@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "some.host:0"])
def test_beyond_loopback_it_does_not_listen_in_plain_text(tmp_path, flag, address):
    tokens = write(tmp_path / "tokens", *token_lines())
    for more in [[], [f"--token_file={tokens}"]]:
        said = refused_start(f"--{flag}={address}", *more)
        assert f"--{flag}={address}: beyond loopback" in said and "--allow_insecure" in said


def test_beyond_loopback_it_listens_where_it_is_told_so(tmp_path):
    with Server("--allow_insecure", "--http_address=0.0.0.0:0", "--listen_address=0.0.0.0:0"):
        pass
    readers = write(tmp_path / "readers", f"{USER} {PASSWORD}")
    with Server("--http_address=0.0.0.0:0", f"--http_credentials_file={readers}"):
        pass
