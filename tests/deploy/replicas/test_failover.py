"""200 runs on three servers behind a balancer, of which one is killed, one drained and one stays.

Every run must finish, no step may be lost or counted twice, and what Prometheus adds up over the
servers must be what a single server says of the same data.
"""

import math
import re

import grpc
import pytest

import thermograd
from balancer import HAPROXY, NGINX, Balancer
from many_runs import STEPS, WINDOW_STEPS, ManyRuns, QueuedRun, SynchronousRun, name_of
from prometheus_process import Prometheus
from system_support import LASTING_HOST, Server, eventually
from thermograd import wire

RUNS = 200
SYNCHRONOUS_RUNS = 20
# The last window, and the step before it, which drifts begin at, are of streams that nothing ends.
GATE = STEPS - WINDOW_STEPS - 1
FLAGS = ("--max_series=100000",)
TOLERANCE = 1e-12
# HAProxy 2.6 loses the status of a call that its server ends, see deploy/load_balancers/README.md.
DRAINED = {NGINX: "UNAVAILABLE: draining", HAPROXY: "(UNAVAILABLE: draining|CANCELLED: )"}
LIVE = "and on (job, instance, run) (thermograd_run_live == 1)"


def start_runs(address, credentials=None):
    """200 runs that wait at the gate for their last steps."""

    def make_runs(is_allowed):
        def connect():
            return wire.open_channel(address, credentials)

        return [
            SynchronousRun(number, address, credentials, is_allowed)
            if number < SYNCHRONOUS_RUNS
            else QueuedRun(number, connect)
            for number in range(RUNS)
        ]

    return ManyRuns(make_runs, GATE)


def finish(many):
    """Opens the gate and waits for the last step."""
    many.open_gate()
    eventually(lambda: many.acknowledged == RUNS * STEPS)


def figures(many):
    """Figures of each run's last step."""
    return [thermograd.report_values(each.reports[STEPS - 1]) for each in many.runs]


def series_of_runs(samples):
    """{(name, labels but for those of the target): value} of the series of runs."""
    found = {}
    for labels, value in samples:
        kept = {key: text for key, text in labels.items() if key not in ("instance", "job")}
        key = frozenset(kept.items())
        assert key not in found, f"{kept} is counted twice"
        found[key] = value
    return found


@pytest.fixture(scope="module", name="alone")
def fixture_alone():
    """Figures of a single server without a balancer: of the reports, and of the scrape."""
    with Server(*FLAGS) as server, start_runs(server.grpc_address) as many:
        finish(many)
        samples = [
            ({"__name__": name, **dict(labels)}, value)
            for (name, labels), value in server.scrape().items()
            if "run" in dict(labels)
        ]
        return figures(many), series_of_runs(samples)


def live_runs(server):
    """Steps of the open stream of each run that has one."""
    samples = server.scrape()
    return {
        dict(labels)["run"]: samples["thermograd_run_steps_total", labels]
        for (name, labels), is_live in samples.items()
        if name == "thermograd_run_live" and is_live
    }


def assert_equal(found, expected):
    assert not found.keys() ^ expected.keys()
    for key, value in expected.items():
        assert math.isclose(found[key], value, rel_tol=TOLERANCE), (key, found[key], value)


# What a server knows of its own streams alone, not of the run.
OWN = {
    "thermograd_last_step_timestamp_seconds",
    "thermograd_run_memory_bytes",
    "thermograd_run_steps_total",
}


@pytest.mark.parametrize("name", [NGINX, HAPROXY])
def test_runs_outlive_their_servers_and_add_up(alone, name):
    lasting = f"--listen_address={LASTING_HOST}:0", f"--http_address={LASTING_HOST}:0"
    servers = [Server(*FLAGS, *flags) for flags in (lasting, (), ())]
    killed, drained, stays = servers
    with Balancer(name, servers) as balancer:
        credentials = grpc.ssl_channel_credentials(balancer.certificate.read_bytes())
        with Prometheus(*(each.http_address for each in servers)) as prometheus:
            with start_runs(balancer.address, credentials) as many:
                eventually(lambda: many.acknowledged >= 2 * RUNS)
                for each in servers:
                    assert len(live_runs(each)) > RUNS / 10
                moved = set(live_runs(killed))
                killed.kill()
                eventually(lambda: many.acknowledged >= 4 * RUNS)
                again = Server(
                    f"--listen_address={killed.grpc_address}",
                    f"--http_address={killed.http_address}",
                    *FLAGS,
                )
                on_drained = set(live_runs(drained))
                drained.terminate()
                assert drained.wait() == 0
                finish(many)

                # Each run resumed where it was acknowledged, and its present stream has the rest.
                on_again, on_stays = live_runs(again), live_runs(stays)
                assert len(on_again) + len(on_stays) == RUNS
                assert on_again | on_stays == {
                    name_of(number): STEPS - each.resumed_at[-1]
                    for number, each in enumerate(many.runs)
                }
                moved |= on_drained
                for number, each in enumerate(many.runs):
                    assert each.resumed_at == sorted(each.resumed_at)
                    assert (len(each.resumed_at) > 1) == (name_of(number) in moved)
                    if name_of(number) in on_drained:
                        assert any(re.match(DRAINED[name], said) for said in each.errors)

                for found, expected in zip(figures(many), alone[0], strict=True):
                    assert_equal(found, expected)

                def everything():
                    found = prometheus.query(f'{{run!=""}} {LIVE}')
                    last_steps = [
                        value
                        for labels, value in found.items()
                        if ("__name__", "thermograd_last_step") in labels
                    ]
                    return last_steps == [STEPS - 1] * RUNS and found

                found = series_of_runs(
                    (dict(labels), value) for labels, value in eventually(everything).items()
                )
                own = {key for key in found | alone[1] if dict(key)["__name__"] in OWN}
                assert_equal(
                    {key: value for key, value in found.items() if key not in own},
                    {key: value for key, value in alone[1].items() if key not in own},
                )
                total = "thermograd_gradient_mean_squared_norm_sum"
                (value,) = prometheus.query(f"sum({total} {LIVE})").values()
                assert math.isclose(
                    value,
                    math.fsum(v for k, v in alone[1].items() if dict(k)["__name__"] == total),
                    rel_tol=TOLERANCE,
                )
            assert not live_runs(again) and not live_runs(stays)
            again.close()
            stays.close()
