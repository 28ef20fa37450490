"""A caller of a running server who shows a certificate or a token."""

import contextlib

import grpc

from system_support import TIMEOUT_SECONDS, service, service_grpc
from thermograd import Credentials, wire


class Caller:
    """Opens channels as the Python client does; `Stream` takes it in place of a server."""

    def __init__(self, server, **files):
        self._address = server.grpc_address
        self._credentials = Credentials(**files)

    def channel(self):
        """A channel of its own connection."""
        return wire.open_channel(self._address, self._credentials)

    @contextlib.contextmanager
    def stub(self):
        """The calls, over a channel that goes with them."""
        with self.channel() as channel:
            yield service_grpc.TrainingAnalysisServiceStub(channel)

    def refusal(self):
        """Status code of a call that needs nothing but admission; None: it was admitted."""
        with self.stub() as stub:
            try:
                stub.DescribeMetrics(service.DescribeMetricsRequest(), timeout=TIMEOUT_SECONDS)
            except grpc.RpcError as error:
                return error.code()
        return None
