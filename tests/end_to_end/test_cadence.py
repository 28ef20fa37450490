"""The clients of a live run are asked for another cadence, by a call and by the command line."""

import os
import subprocess

import grpc
import pytest

import small_run
from system_support import Server, Stream, run, service, service_grpc

COMMAND_LINE = os.environ["THERMOGRAD_COMMAND_LINE"]


@pytest.fixture(name="server", scope="module")
def serve():
    with Server() as server:
        yield server


@pytest.fixture(name="stub")
def connect(server):
    with server.channel() as channel:
        yield service_grpc.TrainingAnalysisServiceStub(channel)


def test_every_rank_of_the_run_is_asked_and_no_other(server, stub):
    with Stream(server) as first, Stream(server) as second, Stream(server) as other:
        for rank, stream in enumerate([first, second]):
            stream.open(small_run.declaration("asked", rank=rank, world_size=2))
        other.open(small_run.declaration("other"))
        cadence = run.Cadence(
            every_steps=10,
            first_step=5,
            last_step=50,
            include="weight",
            exclude="",
            layers=run.LayerSelection(names=["h1"]),
        )
        answer = stub.SetCadence(service.SetCadenceRequest(run="asked", cadence=cadence))
        assert answer.streams == 2
        assert first.receive("cadence") == cadence
        assert second.receive("cadence") == cadence
        other.step(small_run.begin(1), small_run.gradient())
        assert other.close() is None


def test_the_command_line_asks(server, tmp_path):
    file = tmp_path / "cadence.json"
    file.write_text('{"everySteps": 3, "exclude": "bias"}')
    with Stream(server) as stream:
        stream.open(small_run.declaration("by hand"))
        done = subprocess.run(
            [
                COMMAND_LINE, "cadence", "by hand", f"--address={server.grpc_address}",
                f"--file={file}", "--every=7", "--layers=a,b",
            ],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout == "asked 1 stream\n"
        assert stream.receive("cadence") == run.Cadence(
            every_steps=7, exclude="bias", layers=run.LayerSelection(names=["a", "b"])
        )


@pytest.mark.parametrize(
    ("request_", "code", "field"),
    [
        (
            service.SetCadenceRequest(run="nobody", cadence=run.Cadence(every_steps=2)),
            grpc.StatusCode.NOT_FOUND,
            "run",
        ),
        (service.SetCadenceRequest(run="r"), grpc.StatusCode.INVALID_ARGUMENT, "cadence"),
        (
            service.SetCadenceRequest(run="r", cadence=run.Cadence(every_steps=0)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "every_steps",
        ),
        (
            service.SetCadenceRequest(
                run="r", cadence=run.Cadence(first_step=5, last_step=4)
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
            "last_step",
        ),
        (
            service.SetCadenceRequest(run="r", cadence=run.Cadence(include="x" * 2000)),
            grpc.StatusCode.INVALID_ARGUMENT,
            "include",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_counted(server, stub, request_, code, field):
    def refused():
        return sum(
            value
            for (name, _), value in server.scrape().items()
            if name == "thermograd_rejected_total"
        )

    before = refused()
    with pytest.raises(grpc.RpcError) as error:
        stub.SetCadence(request_)
    assert error.value.code() == code
    assert field in error.value.details()
    assert refused() == before + 1
