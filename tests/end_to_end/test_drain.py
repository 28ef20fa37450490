"""After SIGTERM the open step is finished, and nothing that was acknowledged is lost."""

import grpc

import small_run
from standard_services import check_health, watch_health
from system_support import LASTING_HOST, Server, Stream, end_step, eventually, report, service, value
from watched_training import Trainer

SERVICE = "thermograd.v1.TrainingAnalysisService"


def test_the_open_step_gets_its_report_and_its_acknowledgement():
    server = Server()
    with server.channel() as channel, Stream(server) as stream:
        states = watch_health(channel, SERVICE)
        assert next(states) == "SERVING"
        stream.open(small_run.declaration("draining"))
        stream.send(service.StreamRunRequest(step_begin=small_run.begin(1)))
        stream.send(*small_run.gradient())
        chunks = "thermograd_chunks_total", frozenset()
        eventually(lambda: server.scrape()[chunks] == 1)
        server.terminate()
        assert next(states) == "NOT_SERVING"
        stream.send(end_step(1))
        figures = stream.receive("step_report")
        assert value(figures, "thermograd_gradient_second_moment") == 6
        assert stream.receive("acknowledgement").step == 1
        error = stream.error()
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert "draining" in error.details()
        assert [notice.kind for notice in stream.notices] == [report.NOTICE_KIND_DRAINING]
    assert server.wait() == 0
    assert [event["event"] for event in server.events()] == ["listening", "draining", "stopped"]


def test_a_stream_between_steps_ends_at_once():
    server = Server()
    with Stream(server) as stream:
        stream.open(small_run.declaration("idle"))
        stream.step(small_run.begin(1), small_run.gradient())
        server.terminate()
        error = stream.error()
        assert error.code() == grpc.StatusCode.UNAVAILABLE and "draining" in error.details()
        assert [notice.kind for notice in stream.notices] == [report.NOTICE_KIND_DRAINING]
    assert server.wait() == 0


def test_a_draining_server_takes_no_new_stream():
    server = Server()
    with server.channel() as channel, Stream(server) as open_stream, Stream(server) as late:
        states = watch_health(channel)
        assert next(states) == "SERVING"
        open_stream.open(small_run.declaration("open"))
        open_stream.send(service.StreamRunRequest(step_begin=small_run.begin(1)))
        open_stream.send(*small_run.gradient())
        eventually(lambda: server.scrape()["thermograd_chunks_total", frozenset()] == 1)
        server.terminate()
        assert next(states) == "NOT_SERVING"
        late.send(service.StreamRunRequest(run_spec=small_run.declaration("late")))
        assert late.error().code() == grpc.StatusCode.UNAVAILABLE
        open_stream.send(end_step(1))
        assert open_stream.receive("acknowledgement").step == 1
    assert server.wait() == 0


def test_a_step_that_never_ends_does_not_hold_the_server():
    server = Server("--drain_seconds=1")
    with Stream(server) as stream:
        stream.open(small_run.declaration("stuck"))
        stream.send(service.StreamRunRequest(step_begin=small_run.begin(1)))
        stream.send(*small_run.gradient())
        eventually(lambda: server.scrape()["thermograd_chunks_total", frozenset()] == 1)
        server.close()


def test_a_run_resumes_on_another_server():
    with Server() as first, Stream(first) as stream:
        stream.open(small_run.declaration("moving"))
        stream.step(small_run.begin(1), small_run.gradient())
        stream.step(small_run.begin(2), small_run.gradient())
    with Server() as second, Stream(second) as stream:
        stream.open(small_run.declaration("moving", resume_after_step=2))
        figures = stream.step(small_run.begin(3), small_run.gradient())
        assert value(figures, "thermograd_gradient_second_moment") == 6
        with second.channel() as channel:
            assert check_health(channel) == "SERVING"


def test_a_watched_training_survives_a_server_that_is_killed():
    server = Server(f"--listen_address={LASTING_HOST}:0")
    trainer = Trainer(server.grpc_address, "survivor", seed=0)
    for _ in range(5):
        trainer.step()
    assert trainer.watcher.flush(30)
    server.kill()
    for _ in range(5):
        trainer.step()
    again = Server(f"--listen_address={server.grpc_address}")
    trainer.step()
    assert trainer.watcher.flush(60)
    trainer.watcher.close()
    stats = trainer.watcher.stats
    assert stats.captured_steps == 11
    assert stats.captured_steps == stats.acknowledged_steps + stats.dropped_steps
    assert stats.reconnects == 1 and not stats.stopped and not stats.hook_errors
    assert stats.last_acknowledged_step == 10
    again.close()
