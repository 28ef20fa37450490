"""The queue and its thread: a training never waits, and every captured step is accounted for."""

import signal
import socket
import threading

import grpc
import numpy
import pytest
import thermograd
import torch
from torch import nn

from recording_server import RecordingServer
from system_support import Server, Stream, eventually
from thermograd import sender as sender_module
from thermograd import wire
from thermograd.capture import CapturedStep, CapturedTensor
from thermograd.sender import Sender
from thermograd.snapshot import Snapshot
from thermograd.v1 import run_pb2

STEP_BYTES = 4000


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    """Reconnects soon, so that no test waits for the delay's growth."""
    monkeypatch.setattr(sender_module, "_FIRST_DELAY_SECONDS", 0.02)
    monkeypatch.setattr(sender_module, "_LONGEST_DELAY_SECONDS", 0.1)


def free_address():
    # Of a host that no outgoing connection is of: nobody takes the port meanwhile.
    with socket.socket() as probe:
        probe.bind(("127.0.0.2", 0))
        return "127.0.0.2:%d" % probe.getsockname()[1]


SPEC = thermograd.run_spec("r", parameters={"w": (STEP_BYTES // 4,)})


def step(number, spec=SPEC):
    tensor = torch.full((STEP_BYTES // 4,), float(number))
    return CapturedStep(
        spec,
        run_pb2.StepBegin(step=number, microbatches=1, microbatch_size=1, learning_rate=0.1),
        [CapturedTensor(1, wire.GRADIENT, Snapshot(tensor))],
    )


class Running:
    """A sender with its reports; closed at the end."""

    def __init__(self, address, queue_bytes=1 << 20, on_report=None, on_cadence=None):
        self.reported = []
        self.sender = Sender(
            lambda: wire.open_channel(address, None),
            queue_bytes,
            on_report or (lambda report: self.reported.append(report.step)),
            on_cadence,
        )

    def __enter__(self):
        return self.sender

    def __exit__(self, *_):
        self.sender.close(5.0)


def assert_accounts(stats, waiting=0):
    assert stats.captured_steps == stats.acknowledged_steps + stats.dropped_steps + waiting
    assert stats.queued_bytes == waiting * STEP_BYTES


def test_every_step_arrives_in_order(recorder):
    with Running(recorder.address) as sender:
        for number in range(50):
            sender.put(step(number))
        assert sender.flush(60)
        assert sender.close(60)
    assert [x.begin.step for x in recorder.steps] == list(range(50))
    for each in recorder.steps:
        numpy.testing.assert_array_equal(
            each.tensors(wire.GRADIENT)[1, 0],
            numpy.full(STEP_BYTES // 4, each.begin.step, numpy.float32),
        )
    stats = sender.stats
    assert_accounts(stats)
    assert stats.acknowledged_steps == 50 and stats.last_acknowledged_step == 49
    assert stats.sent_bytes == stats.sent_steps * STEP_BYTES
    assert stats.reconnects == 0 and stats.last_error is None


def test_a_server_that_appears_later_gets_everything():
    address = free_address()
    with Running(address) as sender:
        for number in range(5):
            sender.put(step(number))
        eventually(lambda: sender.stats.last_error)
        assert not sender.flush(0.0)
        assert_accounts(sender.stats, waiting=5)
        with Server(f"--listen_address={address}") as server:
            assert sender.flush(60)
            assert "thermograd_" in server.get("/metrics")
        assert_accounts(sender.stats)
        assert sender.stats.acknowledged_steps == 5
        assert "UNAVAILABLE" in sender.stats.last_error


def test_a_server_that_is_full_gets_everything_when_there_is_room():
    with Server("--max_streams=1") as server, Running(server.grpc_address) as sender:
        with Stream(server) as other:
            other.open(thermograd.run_spec("other", parameters={"w": (1,)}))
            sender.put(step(0))
            eventually(lambda: "--max_streams" in (sender.stats.last_error or ""))
            assert not sender.stats.stopped
        assert sender.flush(60)
    assert_accounts(sender.stats)
    assert sender.stats.acknowledged_steps == 1


def test_a_killed_server_costs_no_step_that_was_not_dropped():
    address = free_address()
    first = Server(f"--listen_address={address}")
    with Running(address) as sender:
        for number in range(5):
            sender.put(step(number))
        assert sender.flush(60)
        first.kill()
        for number in range(5, 10):
            sender.put(step(number))
        eventually(lambda: sender.stats.last_error)
        assert_accounts(sender.stats, waiting=5)
        with Server(f"--listen_address={address}"):
            assert sender.flush(60)
        stats = sender.stats
        assert stats.acknowledged_steps == 10 and stats.dropped_steps == 0
        assert stats.reconnects == 1
        assert stats.last_acknowledged_step == 9
        assert_accounts(stats)


def test_a_new_connection_resumes_after_the_acknowledged_step(recorder):
    recorder.end_after = 3, grpc.StatusCode.UNAVAILABLE, "moving"
    with Running(recorder.address) as sender:
        for number in range(4):
            sender.put(step(number))
        assert eventually(lambda: len(recorder.specs) > 1)
        recorder.end_after = None
        assert sender.flush(60)
    first, second = recorder.specs[:2]
    assert not first.HasField("resume_after_step")
    assert second.resume_after_step == 1
    # The third step had arrived, but was not acknowledged: it comes again.
    numbers = [x.begin.step for x in recorder.steps]
    assert numbers[:4] == [0, 1, 2, 2] and numbers[-1] == 3
    assert_accounts(sender.stats)


def test_another_declaration_takes_a_stream_of_its_own_and_costs_no_step(recorder):
    with Running(recorder.address) as sender:
        for number in range(3):
            sender.put(step(number))
        assert sender.flush(60)
        spec = thermograd.run_spec("r", parameters={"w": (STEP_BYTES // 4,)}, window_steps=7)
        # Steps that wait are sent even where the run ends before.
        recorder.acknowledges.clear()
        sender.put(step(3))
        assert eventually(lambda: len(recorder.steps) == 4)
        sender.put(step(4, spec))
        recorder.acknowledges.set()
        assert sender.close(60)
    assert [x.begin.step for x in recorder.steps] == list(range(5))
    assert [x.reporting.window_steps for x in recorder.specs] == [0, 7]
    assert recorder.specs[1].resume_after_step == 3
    stats = sender.stats
    assert_accounts(stats)
    assert stats.sent_steps == 5 and stats.last_error is None


def test_a_stopped_server_blocks_nobody_and_overflow_drops_whole_steps():
    with Server() as server, Running(server.grpc_address, queue_bytes=4 * STEP_BYTES) as sender:
        sender.put(step(0))
        assert sender.flush(60)
        server.send_signal(signal.SIGSTOP)
        try:
            trained = threading.Event()

            def train():
                for number in range(1, 5001):
                    sender.put(step(number))
                trained.set()

            threading.Thread(target=train, daemon=True).start()
            # More than the sockets' buffers hold: a sender that waited would never end.
            assert trained.wait(60)
            stats = sender.stats
            assert stats.dropped_steps > 0
            # What waits, and the step whose messages are on their way.
            assert stats.queued_bytes <= 5 * STEP_BYTES
        finally:
            server.send_signal(signal.SIGCONT)
        assert sender.flush(60)
        stats = sender.stats
        assert stats.captured_steps == 5001
        assert stats.dropped_bytes == stats.dropped_steps * STEP_BYTES
        assert_accounts(stats)
        assert stats.last_acknowledged_step == 5000


def test_sent_steps_that_made_room_are_dropped_when_the_connection_ends(recorder):
    recorder.acknowledges.clear()
    with Running(recorder.address, queue_bytes=2 * STEP_BYTES) as sender:
        for number in range(6):
            sender.put(step(number))
            eventually(lambda sent=number + 1: sender.stats.sent_steps == sent)
        # Sent, and not yet known to be lost.
        assert sender.stats.dropped_steps == 0
        assert sender.stats.queued_bytes <= 2 * STEP_BYTES
        sender._call.cancel()
        eventually(lambda: sender.stats.reconnects)
        recorder.acknowledges.set()
        assert sender.flush(60)
        assert sender.stats.dropped_steps == 4 and sender.stats.acknowledged_steps == 2
        assert_accounts(sender.stats)


def test_of_an_overflowing_queue_the_latest_steps_stay(recorder):
    address = free_address()
    with Running(address, queue_bytes=3 * STEP_BYTES) as sender:
        for number in range(10):
            sender.put(step(number))
        stats = sender.stats
        assert stats.dropped_steps == 7 and stats.dropped_bytes == 7 * STEP_BYTES
        assert_accounts(stats, waiting=3)
        sender._connect = lambda: wire.open_channel(recorder.address, None)
        assert sender.flush(60)
    assert [x.begin.step for x in recorder.steps] == [7, 8, 9]


def test_a_step_larger_than_the_queue_is_dropped_and_said(recorder, caplog):
    with Running(recorder.address, queue_bytes=STEP_BYTES - 1) as sender:
        for number in range(3):
            sender.put(step(number))
        assert_accounts(sender.stats)
        assert sender.stats.dropped_steps == 3
    assert sum("is full" in record.getMessage() for record in caplog.records) == 1


def test_a_refused_run_stops_for_good(recorder, caplog):
    recorder.refusal = grpc.StatusCode.INVALID_ARGUMENT, "RunSpec.run: too long"
    with Running(recorder.address) as sender:
        sender.put(step(0))
        eventually(lambda: sender.stats.stopped)
        sender.put(step(1))
        assert not sender.flush(60)
        assert_accounts(sender.stats)
        assert sender.stats.dropped_steps == 2
        assert sender.stats.last_error == "INVALID_ARGUMENT: RunSpec.run: too long"
        assert not sender.close(60)
    assert any("RunSpec.run: too long" in record.getMessage() for record in caplog.records)


def test_unacknowledged_steps_are_waited_for_no_longer_than_told(recorder):
    recorder.acknowledges.clear()
    with Running(recorder.address) as sender:
        sender.put(step(0))
        eventually(lambda: recorder.steps)
        assert not sender.flush(0.05)
        assert_accounts(sender.stats, waiting=1)
        assert not sender.close(0.05)
        assert_accounts(sender.stats)
        assert sender.stats.dropped_steps == 1


def test_closing_tries_an_absent_server_only_once_more():
    attempts = []
    address = free_address()
    with Running(address) as sender:
        connect = sender._connect
        sender._connect = lambda: attempts.append(1) or connect()
        sender.put(step(0))
        eventually(lambda: sender.stats.last_error)
        before = len(attempts)
        assert not sender.close(60)
        assert len(attempts) <= before + 2
        assert not sender._thread.is_alive()
        assert_accounts(sender.stats)


def test_a_connection_that_breaks_while_closing_costs_no_step(recorder):
    recorder.end_after = 3, grpc.StatusCode.UNAVAILABLE, "draining"
    recorder.acknowledges.clear()
    with Running(recorder.address) as sender:
        for number in range(4):
            sender.put(step(number))
        answers = []
        closing = threading.Thread(target=lambda: answers.append(sender.close(60)))
        closing.start()
        assert eventually(lambda: sender._is_closing)
        recorder.acknowledges.set()
        closing.join(60)
        assert answers == [True]
        assert sender.stats.acknowledged_steps == 4 and sender.stats.reconnects == 1
        assert "draining" in sender.stats.last_error


def test_a_server_that_ends_every_stream_does_not_hold_the_closing(recorder):
    recorder.end_after = 1, grpc.StatusCode.UNAVAILABLE, "again"
    with Running(recorder.address) as sender:
        sender.put(step(0))
        assert not sender.close(0.5)
        assert not sender._thread.is_alive()
        assert sender.stats.reconnects and sender.stats.dropped_steps == 1
        assert_accounts(sender.stats)


def test_a_step_that_cannot_be_read_is_dropped_alone(recorder):
    class Broken:
        spec = SPEC
        number = 1
        byte_size = STEP_BYTES

        def requests(self, limits):
            raise ValueError("no elements")
            yield

    with Running(recorder.address) as sender:
        for each in (step(0), Broken(), step(2)):
            sender.put(each)
        assert sender.flush(60)
        assert sender.stats.dropped_steps == 1 and sender.stats.last_error == "no elements"
        assert_accounts(sender.stats)
    assert [x.begin.step for x in recorder.steps] == [0, 2]


def test_a_channel_that_cannot_be_made_stops_the_run():
    def connect():
        raise TypeError("credentials")

    sender = Sender(connect, 1 << 20, lambda report: None)
    sender.put(step(0))
    eventually(lambda: sender.stats.stopped)
    assert "credentials" in sender.stats.last_error
    assert not sender.close(60)


def test_errors_of_on_report_are_counted_and_cost_nothing(recorder):
    def on_report(report):
        raise RuntimeError("mine")

    with Running(recorder.address, on_report=on_report) as sender:
        for number in range(3):
            sender.put(step(number))
        assert sender.flush(60)
        assert sender.stats.hook_errors == 3
        assert sender.stats.acknowledged_steps == 3


def test_on_report_may_ask_to_flush_and_to_close(recorder):
    answers = []

    def on_report(report):
        answers.append((running.sender.flush(600), running.sender.close(600)))

    running = Running(recorder.address, on_report=on_report)
    running.sender.put(step(0))
    running.sender._thread.join(60)
    assert not running.sender._thread.is_alive()
    assert answers == [(False, False)]
    assert running.sender.close(60)
    assert running.sender.stats.hook_errors == 0


def test_the_same_run_elsewhere_ends_this_one(recorder):
    recorder.refusal = grpc.StatusCode.ABORTED, "another stream has taken over"
    with Running(recorder.address) as sender:
        sender.put(step(0))
        eventually(lambda: sender.stats.stopped)


def test_training_goes_on_while_the_server_is_silent(recorder):
    """The whole path: hooks, queue, thread."""
    recorder.acknowledges.clear()
    model = nn.Linear(8, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    finished = threading.Event()
    watcher = thermograd.watch(
        model, optimizer, run="r", address=recorder.address, queue_bytes=10_000, log_freq=1
    )

    def train():
        for _ in range(200):
            optimizer.zero_grad()
            model(torch.ones(4, 8)).sum().backward()
            optimizer.step()
        finished.set()

    threading.Thread(target=train, daemon=True).start()
    assert finished.wait(120)
    recorder.acknowledges.set()
    assert watcher.flush(60)
    stats = watcher.stats
    watcher.close()
    assert stats.captured_steps == 200
    assert stats.dropped_steps > 0
    assert stats.captured_steps == stats.acknowledged_steps + stats.dropped_steps
    assert stats.hook_errors == 0


def test_reports_reach_metrics(recorder):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    with thermograd.watch(
        model, optimizer, run="r", address=recorder.address, on_report=seen.append, log_freq=1
    ) as watcher:
        assert watcher.metrics() == {}
        model(torch.ones(4, 2)).sum().backward()
        watcher.log(loss=3.5)
        optimizer.step()
        assert watcher.flush(60)
        assert watcher.metrics() == {thermograd.metric_key("loss", a="1", b="2"): 3.5}
    assert [report.step for report in seen] == [0]


def test_limits_of_the_server_bound_the_chunks():
    with RecordingServer(max_chunk_bytes=1000) as recorder, Running(recorder.address) as sender:
        sender.put(step(3))
        assert sender.flush(60)
        parts = recorder.steps[0]._parts[1, wire.GRADIENT, 0][2]
        assert [len(part) for part in parts] == [1000] * 4
