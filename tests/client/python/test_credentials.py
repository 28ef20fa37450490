"""Certificates and tokens of the client: from files, from the environment, and never in plain text
to another machine."""

import os

import grpc
import pytest

import thermograd
from recording_server import RecordingServer
from system_support import eventually
from thermograd import Credentials, wire
from thermograd.credentials import is_loopback
from thermograd.watching import scrape

TOKEN = "a-token-of-a-tenant"


@pytest.fixture(name="token_file")
def fixture_token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    return file


def declared():
    return thermograd.run_spec("r", parameters={"w": (1,)})


@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_stream_carries_the_token(recorder, token_file, monkeypatch, by):
    credentials = Credentials(token_file=token_file)
    if by == "environment":
        monkeypatch.setenv("THERMOGRAD_TOKEN_FILE", str(token_file))
        credentials = None
    with thermograd.RunStream(recorder.address, declared(), credentials=credentials):
        pass
    assert recorder.metadata[0]["authorization"] == f"Bearer {TOKEN}"
    assert recorder.metadata[0]["x-thermograd-run"] == "r"


def test_what_is_given_goes_before_the_environment(recorder, token_file, monkeypatch):
    monkeypatch.setenv("THERMOGRAD_TOKEN_FILE", str(token_file))
    with thermograd.RunStream(recorder.address, declared(), credentials=Credentials()):
        pass
    assert "authorization" not in recorder.metadata[0]


def test_every_connection_reads_the_token_anew(token_file):
    with RecordingServer() as recorder:
        open_channel = wire.channel_opener(recorder.address, Credentials(token_file=token_file))
        for token in ("the-first-token", "the-second-token"):
            token_file.write_text(token)
            with open_channel() as channel:
                stub = thermograd.stream.service_grpc.TrainingAnalysisServiceStub(channel)
                request = thermograd.stream.service.StreamRunRequest(run_spec=declared())
                list(stub.StreamRun(iter([request])))
        assert [m["authorization"] for m in recorder.metadata] == [
            "Bearer the-first-token",
            "Bearer the-second-token",
        ]


@pytest.mark.parametrize("token", [b"", b"two words", b"\xff", b"line\nbreak"])
def test_what_is_no_token_is_an_error_that_does_not_show_it(token_file, token):
    token_file.write_bytes(token)
    with pytest.raises(ValueError, match="does not hold a token") as error:
        wire.open_channel("127.0.0.1:1", Credentials(token_file=token_file))
    assert "words" not in str(error.value) and "break" not in str(error.value)


def test_nothing_shows_the_token(token_file, caplog):
    credentials = Credentials(token_file=token_file)
    with wire.open_channel("127.0.0.1:1", credentials) as channel:
        assert TOKEN not in repr(credentials) + repr(channel) + repr(vars(channel))
    assert TOKEN not in caplog.text


def test_a_token_is_not_sent_in_plain_text_to_another_machine(token_file):
    with pytest.raises(ValueError, match="by TLS only"):
        wire.channel_opener("192.0.2.1:50051", Credentials(token_file=token_file))
    encrypted = Credentials(token_file=token_file, ca_file=os.devnull)
    wire.open_channel("192.0.2.1:50051", encrypted).close()


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1", "unix:/x", "dns:///localhost:1"],
)
def test_loopback(address):
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address",
    ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "host:1", "localhost.example:1", "127.0.0.1.example:1",
     "", "dns:///host:1"],
)  # fmt: skip
def test_not_loopback(address):
    assert not is_loopback(address)


def test_files_that_are_absent_or_do_not_fit_are_errors_of_the_caller(tmp_path):
    absent = tmp_path / "absent"
    for credentials in (Credentials(ca_file=absent), Credentials(token_file=absent)):
        with pytest.raises(FileNotFoundError):
            wire.channel_opener("127.0.0.1:1", credentials)
    with pytest.raises(ValueError, match="belong together"):
        wire.channel_opener("127.0.0.1:1", Credentials(certificate_file=absent))


def test_a_file_that_is_being_replaced_does_not_end_the_run(recorder, token_file):
    from thermograd.sender import Sender

    class Nothing:
        spec = declared()
        number = 1
        byte_size = 0

        def requests(self, limits):
            del limits
            yield from ()

    connect = wire.channel_opener(recorder.address, Credentials(token_file=token_file))
    token_file.unlink()
    sender = Sender(connect, 1 << 20, lambda report: None)
    sender.put(Nothing())
    eventually(lambda: sender.stats.last_error)
    assert "UNAVAILABLE" in sender.stats.last_error and not sender.stats.stopped
    token_file.write_text(TOKEN)
    eventually(lambda: recorder.specs)
    sender.close(1)


def test_grpc_credentials_are_taken_as_they_are(recorder):
    credentials = grpc.ssl_channel_credentials()
    channel = wire.open_channel(recorder.address, credentials)
    with channel, pytest.raises(grpc.FutureTimeoutError):
        grpc.channel_ready_future(channel).result(timeout=0.5)


def test_the_live_view_shows_its_name_and_password(server, tmp_path, monkeypatch):
    from system_support import Server

    readers = tmp_path / "readers"
    readers.write_text("# who\nreader a-password-of-the-reader\n")
    readers.chmod(0o600)
    with Server(f"--http_credentials_file={readers}") as guarded:
        with pytest.raises(OSError, match="401"):
            scrape(guarded.http_address)
        monkeypatch.setenv("THERMOGRAD_HTTP_CREDENTIALS_FILE", str(readers))
        assert scrape(guarded.http_address)
    # A server that asks for none takes no notice.
    assert scrape(server.http_address)
    readers.write_text("one-word")
    with pytest.raises(ValueError, match="name and a password"):
        scrape(server.http_address)
