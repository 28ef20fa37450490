"""TLS: who may connect, and certificates that are replaced while the server runs."""

import socket
import ssl
import time

import grpc
import pytest

import small_run
from caller import Caller
from certificates import Authority, Identity
from system_support import Server, Stream, eventually, refused_start

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
EXPIRY = "thermograd_tls_certificate_expiry_timestamp_seconds", frozenset()
FAILURES = "thermograd_tls_reload_failures_total", frozenset()
DAY_SECONDS = 24 * 3600


@pytest.fixture(scope="module", name="authority")
def fixture_authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module", name="stranger")
def fixture_stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module", name="identity")
def fixture_identity(authority):
    return authority.issue("server")


@pytest.fixture(scope="module", name="client")
def fixture_client(authority):
    return authority.issue("client")


def tls(identity, *flags):
    return [
        f"--tls_certificate_file={identity.certificate}",
        f"--tls_key_file={identity.key}",
        *flags,
    ]


def mutual(identity, authority):
    return tls(identity, f"--tls_client_ca_file={authority.certificate}")


def shown(identity):
    return {"certificate_file": identity.certificate, "key_file": identity.key}


@pytest.fixture(scope="module", name="served")
def fixture_served(identity):
    with Server(*tls(identity)) as server:
        yield server


def take_steps(stream, *numbers):
    for number in numbers:
        stream.step(small_run.begin(number), small_run.gradient())


def test_a_run_streams_over_tls(served, authority):
    with Stream(Caller(served, ca_file=authority.certificate)) as stream:
        stream.open(small_run.declaration("encrypted"))
        take_steps(stream, 1, 2)
        assert stream.close() is None
    expiry = served.scrape()[EXPIRY] - time.time()
    assert DAY_SECONDS < expiry < 2 * DAY_SECONDS + 60


def test_who_does_not_trust_the_server_does_not_connect(served, stranger):
    assert Caller(served, ca_file=stranger.certificate).refusal() is UNAVAILABLE


def test_plain_text_is_not_understood(served):
    assert Caller(served).refusal() is UNAVAILABLE


def handshake(server, least, most):
    """TLS with versions within bounds; the version that was agreed upon."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    # Debian's own policy would keep the client from offering old versions at all.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = least, most
    host, _, port = server.grpc_address.rpartition(":")
    with socket.create_connection((host, int(port))) as plain:
        with context.wrap_socket(plain) as encrypted:
            return encrypted.version()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_versions_of_tls_are_refused(served):
    versions = ssl.TLSVersion
    assert handshake(served, versions.TLSv1_2, versions.TLSv1_2) == "TLSv1.2"
    assert handshake(served, versions.TLSv1_2, versions.TLSv1_3) == "TLSv1.3"
    # The client alone would say that it has no protocols.
    with pytest.raises(ssl.SSLError, match="(?i)protocol.version|been closed"):
        handshake(served, versions.TLSv1, versions.TLSv1_1)


def test_mutual_tls_admits_whom_the_authority_knows(identity, authority, stranger, client):
    with Server(*mutual(identity, authority)) as server:
        ca = {"ca_file": authority.certificate}
        with Stream(Caller(server, **ca, **shown(client))) as stream:
            stream.open(small_run.declaration("known"))
            take_steps(stream, 1)
            assert Caller(server, **ca).refusal() is UNAVAILABLE
            assert Caller(server, **ca, **shown(stranger.issue("client"))).refusal() is UNAVAILABLE
            expired = authority.issue("expired-client", days=0)
            assert Caller(server, **ca, **shown(expired)).refusal() is UNAVAILABLE
            take_steps(stream, 2)
            assert stream.close() is None
    # Whoever fails again and again does not fill the log.
    sources = [event["source"] for event in server.events() if event["event"] == "grpc"]
    assert sources and len(sources) == len(set(sources))


def test_certificates_are_replaced_under_an_open_stream(authority, stranger, tmp_path):
    served = Identity(tmp_path, "served")
    served.replace_by(authority.issue("first"))
    served.key.chmod(0o600)
    with Server(*tls(served)) as server:
        expiry = server.scrape()[EXPIRY]
        with Stream(Caller(server, ca_file=authority.certificate)) as stream:
            stream.open(small_run.declaration("through"))
            take_steps(stream, 1)
            served.replace_by(stranger.issue("second", days=9))
            eventually(lambda: server.scrape()[EXPIRY] > expiry + 6 * DAY_SECONDS)
            # The connection stays; a new one meets the new certificate.
            take_steps(stream, 2)
            assert Caller(server, ca_file=authority.certificate).refusal() is UNAVAILABLE
            assert Caller(server, ca_file=stranger.certificate).refusal() is None
            assert stream.close() is None
        assert server.scrape()[FAILURES] == 0
    assert [e["flag"] for e in server.events() if e["event"] == "reloaded"] == [
        "tls_certificate_file"
    ]


def test_what_is_broken_leaves_the_last_good_certificate_in_use(authority, tmp_path):
    served = Identity(tmp_path, "served")
    good = authority.issue("good")
    served.replace_by(good)
    served.key.chmod(0o600)
    with Server(*tls(served)) as server:
        def failures():
            return server.scrape()[FAILURES]

        caller = Caller(server, ca_file=authority.certificate)
        breaks = [
            lambda: served.certificate.write_text("-----BEGIN CERTIFICATE-----\nno\n"),
            lambda: served.replace_by(authority.issue("expired", days=0)),
            # The key is the old one's.
            lambda: (
                served.replace_by(good),
                served.certificate.write_bytes(authority.issue("new").certificate.read_bytes()),
            ),
            served.certificate.unlink,
        ]
        for count, spoil in enumerate(breaks, start=1):
            spoil()
            assert eventually(failures) >= 1
            eventually(lambda: failures() == count)
            assert caller.refusal() is None
        expiry = server.scrape()[EXPIRY]
        served.replace_by(authority.issue("repaired", days=9))
        eventually(lambda: server.scrape()[EXPIRY] > expiry + 6 * DAY_SECONDS)
        assert caller.refusal() is None
        assert failures() == len(breaks)
    reasons = [e["reason"] for e in server.events() if e["event"] == "reload_failed"]
    for reason, part in zip(
        reasons, ["not certificates", "expired", "not the key", "No such file"], strict=True
    ):
        assert part in reason


def changed(identity, folder, **contents):
    """The same identity in other files, with other content."""
    copy = Identity(folder, "changed")
    copy.replace_by(identity)
    copy.key.chmod(0o600)
    for name, content in contents.items():
        getattr(copy, name).write_bytes(content)
    return copy


def test_a_server_that_cannot_serve_tls_does_not_start(authority, identity, client, tmp_path):
    other_key = client.key.read_bytes()
    readable = changed(identity, tmp_path)
    cases = [
        (tls(authority.issue("late", days=0)), "--tls_certificate_file: has expired"),
        ([f"--tls_certificate_file={identity.certificate}"], "TLS needs both"),
        ([f"--tls_client_ca_file={authority.certificate}"], "TLS needs both"),
        ([f"--tls_certificate_file={tmp_path}", f"--tls_key_file={identity.key}"], "regular file"),
        (tls(Identity(tmp_path, "absent")), "absent.pem: No such file"),
        (tls(identity, f"--tls_client_ca_file={identity.key}"), "not certificates"),
    ]
    for flags, reason in cases:
        assert reason in refused_start(*flags)
    assert "not the key" in refused_start(*tls(changed(identity, tmp_path, key=other_key)))
    readable.key.chmod(0o644)
    assert "everybody" in refused_start(*tls(readable))
