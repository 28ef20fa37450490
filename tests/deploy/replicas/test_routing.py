"""Whom a balancer sends to which server, and what it lets through."""

import contextlib
import signal
import subprocess

import grpc
import numpy
import pytest

import thermograd
from balancer import HAPROXY, HAPROXY_TCP, NGINX, Balancer
from system_support import COMMAND_LINE, Server, eventually, run, service, service_grpc

RUNS = 12
MEBIBYTE_ELEMENTS = 1 << 18


@pytest.fixture(scope="module", name="servers")
def fixture_servers():
    servers = [Server() for _ in range(3)]
    yield servers
    for each in servers:
        each.close()


@pytest.fixture(scope="module", name="balancer", params=[NGINX, HAPROXY])
def fixture_balancer(request, servers):
    with Balancer(request.param, servers) as process:
        yield process


def credentials_of(balancer):
    return grpc.ssl_channel_credentials(balancer.certificate.read_bytes())


def open_run(stack, balancer, name, affinity=None):
    return stack.enter_context(
        thermograd.RunStream(
            balancer.address,
            thermograd.run_spec(name, parameters={"w": (2,)}),
            credentials=credentials_of(balancer),
            affinity=affinity,
        )
    )


def live_runs(server):
    return {
        dict(labels)["run"]
        for (name, labels), is_live in server.scrape().items()
        if name == "thermograd_run_live" and is_live
    }


def asked(balancer, name, *flags):
    """What `thermograd cadence` says of a run behind the balancer."""
    return subprocess.run(
        [COMMAND_LINE, "cadence", name, "--every=2", f"--address={balancer.address}",
         f"--tls_ca_file={balancer.certificate}", *flags],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip


def test_equal_affinity_meets_at_one_server(balancer, servers):
    runs = {f"met-{number}" for number in range(RUNS)}
    with contextlib.ExitStack() as stack:
        for name in runs:
            open_run(stack, balancer, name, affinity="probe set")
        assert sorted(len(live_runs(each) & runs) for each in servers) == [0, 0, RUNS]
        assert asked(balancer, "met-0", "--affinity=probe set") == "asked 1 stream\n"


def test_a_question_about_a_run_finds_its_server(balancer, servers):
    runs = [f"found-{number}" for number in range(RUNS)]
    with contextlib.ExitStack() as stack:
        for name in runs:
            open_run(stack, balancer, name)
        assert sum(bool(live_runs(each) & set(runs)) for each in servers) > 1
        # Not in the order in which they were opened, lest taking turns did as well.
        for name in reversed(runs):
            assert asked(balancer, name) == "asked 1 stream\n"


def test_a_client_that_names_only_its_run_is_known_by_it(balancer, servers):
    """As clients that were generated from the contract may do."""
    with contextlib.ExitStack() as stack:
        for name in (f"named-{number}" for number in range(RUNS)):
            open_run(stack, balancer, name)
            channel = stack.enter_context(
                grpc.secure_channel(balancer.address, credentials_of(balancer))
            )
            answer = service_grpc.TrainingAnalysisServiceStub(channel).SetCadence(
                service.SetCadenceRequest(run=name, cadence=run.Cadence(every_steps=3)),
                metadata=[("x-thermograd-run", name)],
            )
            assert answer.streams == 1


# HAProxy 2.6 loses the status of a call that its server ends, see deploy/load_balancers/README.md.
@pytest.mark.parametrize(
    "name, codes", [(NGINX, {"INVALID_ARGUMENT"}), (HAPROXY, {"INVALID_ARGUMENT", "CANCELLED"}),
                    (HAPROXY_TCP, {"INVALID_ARGUMENT"})],
)  # fmt: skip
def test_a_refused_run_hears_why(servers, name, codes):
    spec = thermograd.run_spec("refused", parameters={"w": (0,)})
    with Balancer(name, servers) as balancer:
        with pytest.raises(grpc.RpcError) as refusal:
            thermograd.RunStream(balancer.address, spec, credentials=credentials_of(balancer))
    assert refusal.value.code().name in codes


@pytest.mark.parametrize("name", [NGINX, HAPROXY, HAPROXY_TCP])
@pytest.mark.parametrize("encrypted", [True, False])
def test_a_stream_may_be_of_any_length(servers, name, encrypted):
    elements = numpy.ones(MEBIBYTE_ELEMENTS, numpy.float32)
    spec = thermograd.run_spec("long", parameters={"w": elements.shape})
    with Balancer(name, servers, encrypted) as balancer:
        credentials = credentials_of(balancer) if encrypted else None
        with thermograd.RunStream(balancer.address, spec, credentials=credentials) as stream:
            for step in range(4):
                stream.begin_step(step, learning_rate=0.1, microbatches=2)
                for microbatch in range(2):
                    stream.send("w", thermograd.GRADIENT, elements, microbatch)
                assert stream.end_step().step == step


def test_haproxy_holds_back_whoever_opens_calls_by_the_thousand(servers):
    with Balancer(HAPROXY, servers) as balancer:
        with grpc.secure_channel(balancer.address, credentials_of(balancer)) as channel:
            describe = service_grpc.TrainingAnalysisServiceStub(channel).DescribeMetrics

            def codes(number):
                calls = [describe.future(service.DescribeMetricsRequest()) for _ in range(number)]
                return {call.code().name for call in calls}

            for _ in range(9):
                assert codes(100) == {"OK"}
            eventually(lambda: codes(100) == {"UNAVAILABLE"})
            eventually(lambda: codes(1) == {"OK"})


@pytest.mark.parametrize("name", [HAPROXY, HAPROXY_TCP])
def test_a_server_that_hangs_gets_no_new_runs(servers, name):
    """Its kernel still takes connections: only its silence to the health check tells."""
    with Balancer(name, servers) as balancer:
        servers[1].send_signal(signal.SIGSTOP)
        try:
            eventually(lambda: "Server thermograd/2 is DOWN" in balancer.log())
            with contextlib.ExitStack() as stack:
                for number in range(RUNS):
                    open_run(stack, balancer, f"elsewhere-{number}")
        finally:
            servers[1].send_signal(signal.SIGCONT)
        eventually(lambda: "Server thermograd/2 is UP" in balancer.log())
        assert "thermograd/1 is DOWN" not in balancer.log()
        assert "thermograd/3 is DOWN" not in balancer.log()
