"""Who the server is and who the client is: certificates and a token, each in a file."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

_Path = str | os.PathLike[str]

_VARIABLES = {
    "ca_file": "THERMOGRAD_CA_FILE",
    "certificate_file": "THERMOGRAD_CERTIFICATE_FILE",
    "key_file": "THERMOGRAD_KEY_FILE",
    "token_file": "THERMOGRAD_TOKEN_FILE",
}


@dataclass(frozen=True)
class Credentials:
    """Files with which a connection is encrypted and a caller known.

    They are read anew for every connection, so that they may be replaced while a run streams.
    Without `ca_file` and `certificate_file` the connection is not encrypted, and a token goes to
    the same machine only.
    """

    #: PEM file of the authorities that may have signed the server's certificate.
    ca_file: _Path | None = None
    #: PEM files of the client's own certificate and its key, where the server asks for them.
    certificate_file: _Path | None = None
    key_file: _Path | None = None
    #: The token by which the server knows the tenant.
    token_file: _Path | None = None

    @classmethod
    def from_environment(cls) -> Credentials:
        """The files that THERMOGRAD_CA_FILE, …_CERTIFICATE_FILE, …_KEY_FILE and …_TOKEN_FILE
        name."""
        return cls(**{name: os.environ.get(variable) for name, variable in _VARIABLES.items()})

    def channel(self, address: str, options: list[tuple[str, Any]]) -> grpc.Channel:
        """A channel to a server, with what the files hold now.

        Raises:
            OSError: a file cannot be read.
            ValueError: the files do not fit together, or a token would go over the network in
                plain text.
        """
        token = self._token()
        tls = self._tls()
        if tls is not None:
            channel = grpc.secure_channel(address, tls, options=options)
        elif token is None or is_loopback(address):
            channel = grpc.insecure_channel(address, options=options)
        else:
            raise ValueError(
                f"credentials: {address} is another machine, to which a token is sent by TLS only: "
                "ca_file is missing"
            )
        if token is None:
            return channel
        return grpc.intercept_channel(channel, _TokenInterceptor(token))

    def _tls(self) -> grpc.ChannelCredentials | None:
        if bool(self.certificate_file) != bool(self.key_file):
            raise ValueError("credentials: certificate_file and key_file belong together")
        if not self.ca_file and not self.certificate_file:
            return None
        return grpc.ssl_channel_credentials(
            *(
                Path(file).read_bytes() if file else None
                for file in (self.ca_file, self.key_file, self.certificate_file)
            )
        )

    def _token(self) -> str | None:
        if not self.token_file:
            return None
        token = Path(self.token_file).read_bytes().strip()
        if not token or not all(0x21 <= byte <= 0x7E for byte in token):
            # Without the token itself: what is raised is logged.
            raise ValueError(f"credentials: {os.fspath(self.token_file)} does not hold a token")
        return token.decode("ascii")


def is_loopback(address: str) -> bool:
    """Whether what is sent to an address, as gRPC takes it, cannot leave the machine."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    for scheme in ("dns:///", "dns:", "ipv4:", "ipv6:"):
        address = address.removeprefix(scheme)
    host = address.rpartition(":")[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


class _TokenInterceptor(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the token to every call; gRPC's own call credentials refuse plain text even to the same
    machine."""

    def __init__(self, token: str) -> None:
        self._header = ("authorization", f"Bearer {token}")

    def intercept_unary_unary(
        self, continuation: Callable[..., Any], details: Any, request: Any
    ) -> Any:
        """One message each way."""
        return self._call(continuation, details, request)

    def intercept_unary_stream(
        self, continuation: Callable[..., Any], details: Any, request: Any
    ) -> Any:
        """Many answers."""
        return self._call(continuation, details, request)

    def intercept_stream_unary(
        self, continuation: Callable[..., Any], details: Any, requests: Iterator[Any]
    ) -> Any:
        """Many requests."""
        return self._call(continuation, details, requests)

    def intercept_stream_stream(
        self, continuation: Callable[..., Any], details: Any, requests: Iterator[Any]
    ) -> Any:
        """Many messages each way."""
        return self._call(continuation, details, requests)

    def _call(self, continuation: Callable[..., Any], details: Any, argument: Any) -> Any:
        metadata = (*(details.metadata or ()), self._header)
        return continuation(details._replace(metadata=metadata), argument)
