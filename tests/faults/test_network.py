"""Networks that are slow, lossy or gone cost a training no time, and its figures no bit."""

import pytest

from system_support import Server, eventually
from training import Training, assert_exact
from wire import Wire


@pytest.fixture(name="wire")
def fixture_wire():
    try:
        with Wire() as wire:
            yield wire
    except PermissionError as error:
        pytest.skip(str(error))


@pytest.fixture(name="server")
def fixture_server(wire, request):
    # Scrapes come over the far end's own loopback interface, whatever the wire does.
    flags = getattr(request, "param", ())
    process = wire.server.call(
        Server, f"--listen_address={wire.server.address}:0", "--allow_insecure", *flags
    )
    yield process
    wire.server.call(process.close)


def analysed(wire, server):
    """Steps that the server has analysed, and steps that it gave up."""
    samples = wire.server.call(server.scrape)
    return (
        samples["thermograd_steps_total", frozenset()],
        samples["thermograd_incomplete_steps_total", frozenset()],
    )


class Pair:
    """A training across the wire, and one beside the server, which no fault of the wire reaches."""

    def __init__(self, wire, server, *flags):
        self.afar = wire.trainer.call(Training, server.grpc_address, *flags)
        self.beside = wire.server.call(Training, server.grpc_address, "--run=beside")

    def __enter__(self):
        eventually(lambda: self.afar.steps > 10 and self.beside.steps > 10)
        return self

    def __exit__(self, *arguments):
        self.afar.__exit__(*arguments)
        self.beside.__exit__(*arguments)

    def pass_steps(self, steps):
        """Waits until both trainings have taken as many more."""
        ends = [training.steps + steps for training in (self.afar, self.beside)]
        eventually(lambda: self.afar.steps >= ends[0] and self.beside.steps >= ends[1])

    def finish(self):
        """The record of the training across the wire; both were exact."""
        records = [training.finish() for training in (self.afar, self.beside)]
        for record in records:
            assert_exact(record)
        beside = records[1]["stats"]
        assert beside["dropped_steps"] == beside["reconnects"] == 0
        return records[0]


def test_delayed_and_reordered(wire, server):
    wire.delay_seconds = (0.02, 0.12)
    with Pair(wire, server) as pair:
        pair.pass_steps(150)
        record = pair.finish()
    assert wire.overtaking > 100
    assert record["stats"]["dropped_steps"] == record["stats"]["reconnects"] == 0


def test_lost_and_doubled(wire, server):
    with Pair(wire, server) as pair:
        wire.lost, wire.doubled = 0.05, 0.05
        pair.pass_steps(150)
        wire.lost = wire.doubled = 0
        record = pair.finish()
    assert record["stats"]["dropped_steps"] == record["stats"]["reconnects"] == 0


def test_throttled(wire, server):
    """More is streamed than passes: the queue fills, and whole steps are dropped and counted."""
    with Pair(wire, server, "--queue_bytes=200000") as pair:
        wire.bytes_per_second = 100_000
        pair.pass_steps(250)
        wire.bytes_per_second = None
        record = pair.finish()
    assert record["stats"]["dropped_steps"] > 20
    complete, incomplete = analysed(wire, server)
    assert incomplete == 0
    # What was sent was analysed; what was not was counted.
    assert complete == record["stats"]["acknowledged_steps"] + pair.beside.steps


def test_cut_and_mended_before_anyone_gave_up(wire, server):
    with Pair(wire, server) as pair:
        wire.is_cut = True
        pair.pass_steps(20)
        wire.is_cut = False
        pair.pass_steps(20)
        record = pair.finish()
    assert record["stats"]["dropped_steps"] == record["stats"]["reconnects"] == 0


@pytest.mark.parametrize(
    "server", [("--keepalive_seconds=1", "--keepalive_timeout_seconds=1")], indirect=True, ids=[""]
)
def test_cut_until_the_server_gives_up(wire, server):
    """The run is resumed after the last acknowledged step, and every step is there once."""
    with Pair(wire, server) as pair:
        wire.is_cut = True
        limits = wire.server.call(server.by_limit, "thermograd_limit_used")
        assert limits["max_streams"] == 2
        eventually(
            lambda: wire.server.call(server.by_limit, "thermograd_limit_used")["max_streams"] == 1
        )
        pair.pass_steps(50)
        wire.is_cut = False
        record = pair.finish()
    stats = record["stats"]
    assert stats["reconnects"] == 1 and stats["dropped_steps"] == 0
    assert len(record["reports"]) == stats["captured_steps"]
