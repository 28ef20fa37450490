"""What tests of the running server share: the process, the contract's stubs, streams, scrapes.

The server is the binary that THERMOGRAD_SERVER names (CTest sets it), else the default build's.
"""

import atexit
import json
import os
import pathlib
import queue
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import grpc
import numpy
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SERVER = os.environ.get("THERMOGRAD_SERVER", ROOT / "build/default/bin/thermograd-server")
COMMAND_LINE = os.environ.get("THERMOGRAD_COMMAND_LINE", ROOT / "build/default/bin/thermograd")
TIMEOUT_SECONDS = 60
# For servers that come back to the port that they had: nobody's outgoing connection takes one here
# meanwhile, because those are of 127.0.0.1.
LASTING_HOST = "127.0.0.2"
CHUNK_BYTES = 256 * 1024


def _import_stubs():
    directory = tempfile.mkdtemp(prefix="thermograd-stubs-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    subprocess.run(
        [sys.executable, ROOT / "client/python/generate_stubs.py", directory], check=True
    )
    sys.path[:0] = [str(ROOT / "client/python"), directory]


_import_stubs()

from thermograd.v1 import report_pb2 as report  # noqa: E402
from thermograd.v1 import run_pb2 as run  # noqa: E402
from thermograd.v1 import tensor_pb2 as tensor  # noqa: E402
from thermograd.v1 import training_analysis_service_pb2 as service  # noqa: E402
from thermograd.v1 import training_analysis_service_pb2_grpc as service_grpc  # noqa: E402

DATA_TYPES = {
    numpy.dtype(numpy.float16): tensor.DATA_TYPE_FP16,
    numpy.dtype(numpy.float32): tensor.DATA_TYPE_FP32,
    numpy.dtype(numpy.float64): tensor.DATA_TYPE_FP64,
}


def free_address():
    """An address of the loopback interface on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "127.0.0.1:%d" % probe.getsockname()[1]


class Server:
    """A server process on free ports of the loopback interface."""

    def __init__(self, *flags, program=SERVER):
        self._process = subprocess.Popen(
            [program, "--listen_address=127.0.0.1:0", "--http_address=127.0.0.1:0", *flags],
            stderr=subprocess.PIPE,
            text=True,
        )
        self._log = []
        self._ready = queue.Queue()
        # Read to the end of the process: a full pipe would block the server.
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        try:
            ready = self._ready.get(timeout=TIMEOUT_SECONDS)
        except queue.Empty:
            ready = None
        if ready is None:
            self._process.kill()
            raise RuntimeError("the server did not start:\n" + "".join(self._log))
        self.grpc_address = ready["grpc"]
        self.http_address = ready["http"]

    def _read_log(self):
        for line in self._process.stderr:
            self._log.append(line)
            if '"event":"listening"' in line:
                self._ready.put(json.loads(line))
        self._ready.put(None)

    def channel(self):
        """A channel of its own connection."""
        return grpc.insecure_channel(
            self.grpc_address,
            options=[("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)],
        )

    def get(self, path):
        """Body of an HTTP page."""
        url = f"http://{self.http_address}{path}"
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
            return response.read().decode("utf-8")

    def scrape(self):
        """Every sample of /metrics: value by (name, labels)."""
        samples = {}
        for line in self.get("/metrics").splitlines():
            if not line or line.startswith("#"):
                continue
            name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)(?: \d+)?", line).groups()
            pairs = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")
            samples[name, frozenset(pairs)] = float(value)
        return samples

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def pid(self):
        """Number of the process."""
        return self._process.pid

    def resident_bytes(self):
        """Resident memory of the process."""
        pages = int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    def by_limit(self, name):
        """One of the metrics of limits: value by limit."""
        return {
            dict(labels)["limit"]: value
            for (metric, labels), value in self.scrape().items()
            if metric == name
        }

    def refusals(self):
        """The limits because of which something was refused, and how often."""
        counts = self.by_limit("thermograd_limit_refusals_total")
        return {limit: count for limit, count in counts.items() if count > 0}

    def rejected(self, reason):
        """How many streams and calls were ended for a reason."""
        return self.scrape()["thermograd_rejected_total", frozenset({("reason", reason)})]

    def send_signal(self, number):
        """Sends the process a signal."""
        self._process.send_signal(number)

    def terminate(self):
        """Asks the server to drain."""
        self.send_signal(signal.SIGTERM)

    def cpu_seconds(self):
        """Processor time of the process so far."""
        # What clock_getcpuclockid computes; Python does not offer it for other processes.
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def threads(self):
        """Threads of the process."""
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def open_files(self):
        """File descriptors of the process."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory_map(self):
        """What the process has mapped, as /proc shows it."""
        return pathlib.Path(f"/proc/{self._process.pid}/maps").read_text(encoding="utf-8")

    def kill(self):
        """Ends the process at once, as a crash would."""
        self._process.kill()
        self._process.wait(TIMEOUT_SECONDS)

    def wait(self):
        """Exit code, once the process has ended."""
        return self._process.wait(TIMEOUT_SECONDS)

    def events(self):
        """The log of the process, which has ended: each line must be a JSON object."""
        self._reader.join(TIMEOUT_SECONDS)
        return [json.loads(line) for line in self._log]

    def close(self):
        """Ends the process, and fails where it cannot end in order."""
        if self._process.poll() is None:
            self.terminate()
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        assert code == 0, "".join(self._log)
        self.events()


def refused_start(*flags, preexec=None):
    """Why a server does not start, as the last line of its log says."""
    ended = subprocess.run(
        [SERVER, "--listen_address=127.0.0.1:0", "--http_address=127.0.0.1:0", *flags],
        stderr=subprocess.PIPE,
        timeout=TIMEOUT_SECONDS,
        check=False,
        preexec_fn=preexec,
    )
    events = [json.loads(line) for line in ended.stderr.splitlines()]
    assert ended.returncode == 1
    assert [event["event"] for event in events if event["event"] != "grpc"] == ["refused"]
    return events[-1]["reason"]


class Stream:
    """One StreamRun call, which ends after `timeout` seconds; None: never.

    Requests may be messages or bytes: what no client would send, or what was serialised before.
    """

    def __init__(self, server, timeout=TIMEOUT_SECONDS):
        self._requests = queue.SimpleQueue()
        self._channel = server.channel()
        method = self._channel.stream_stream(
            "/thermograd.v1.TrainingAnalysisService/StreamRun",
            request_serializer=lambda request: (
                request if isinstance(request, bytes) else request.SerializeToString()
            ),
            response_deserializer=service.StreamRunResponse.FromString,
        )
        self._call = method(iter(self._requests.get, None), timeout=timeout)
        self.notices = []
        self.acknowledgements = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._call.cancel()
        self._requests.put(None)
        self._channel.close()

    def send(self, *requests):
        """Queues requests."""
        for request in requests:
            self._requests.put(request)

    def disconnect(self):
        """Closes the connection under the call."""
        self._channel.close()

    def _responses(self):
        """Answers with their kind. Notices are kept, acknowledgements counted."""
        for response in self._call:
            kind = response.WhichOneof("message")
            if kind == "notice":
                self.notices.append(response.notice)
            self.acknowledgements += kind == "acknowledgement"
            yield kind, response

    def receive(self, kind):
        """The next answer of a kind; others are passed over."""
        for which, response in self._responses():
            if which == kind:
                return getattr(response, kind)
        raise AssertionError(f"the stream ended with {self._call.code()} before a {kind}")

    def open(self, spec):
        """Declares the run."""
        self.send(service.StreamRunRequest(run_spec=spec))
        return self.receive("run_accepted")

    def step(self, begin, chunks):
        """Sends one step and returns its report, once the step is acknowledged too."""
        self.send(service.StreamRunRequest(step_begin=begin), *chunks, end_step(begin.step))
        figures = self.receive("step_report")
        assert self.receive("acknowledgement").step == begin.step
        return figures

    def close(self):
        """Half-closes the stream and returns the error it ended with, None if there was none."""
        self._requests.put(None)
        return self.error()

    def error(self):
        """Reads to the end and returns the error that the stream ended with, None for OK."""
        try:
            for _ in self._responses():
                pass
        except grpc.RpcError as error:
            return error
        return None


def assert_beyond(error, limit, limit_value, code=grpc.StatusCode.RESOURCE_EXHAUSTED):
    """The error names the limit, by its flag, and its value."""
    assert error is not None and error.code() == code, error
    assert error.details().endswith(f": the limit --{limit} is {limit_value}")


def end_step(step):
    """Closes a step."""
    return service.StreamRunRequest(step_end=run.StepEnd(step=step))


def chunks(tensor_id, kind, array, microbatch=0, data_type=None):
    """Requests that carry one tensor, in several chunks if it is large.

    `data_type`: of elements that NumPy has no type for, and that come as integers of their bits.
    """
    data_type = data_type or DATA_TYPES[array.dtype]
    data = numpy.ascontiguousarray(array).tobytes()
    return [
        service.StreamRunRequest(
            chunk=tensor.TensorChunk(
                tensor_id=tensor_id,
                kind=kind,
                data_type=data_type,
                shape=array.shape,
                offset=start // array.itemsize,
                microbatch=microbatch,
                data=data[start : start + CHUNK_BYTES],
            )
        )
        for start in range(0, len(data), CHUNK_BYTES)
    ]


def _key(figure):
    return figure.name, frozenset((label.name, label.value) for label in figure.labels)


def value(figures, name, **labels):
    """A defined figure of a report."""
    defined = {_key(figure): figure.value for figure in figures.metrics}
    key = name, frozenset(labels.items())
    assert key in defined, f"{key} is not among {sorted(map(str, defined))}"
    return defined[key]


def undefined_reason(figures, name, **labels):
    """Why a figure of a report is missing."""
    reasons = {_key(figure): figure.reason for figure in figures.undefined}
    key = name, frozenset(labels.items())
    assert key in reasons, f"{key} is not among {sorted(map(str, reasons))}"
    return reasons[key]


def bits(figures):
    """Of a report, every figure of the run itself to the bit and every reason."""
    assert figures.metrics
    return {
        _key(figure): detail_of(figure)
        for listed, detail_of in (
            (figures.metrics, lambda figure: struct.pack("<d", figure.value)),
            (figures.undefined, lambda figure: figure.reason),
        )
        for figure in listed
        # Figures of two runs depend on which others are live.
        if not figure.name.startswith("thermograd_cross_run_")
    }


def eventually(probe, seconds=TIMEOUT_SECONDS):
    """The first true value that `probe` returns; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        result = probe()
        if result:
            return result
        assert time.monotonic() < deadline, f"never true: {probe}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def server():
    """A server that the tests of a file share."""
    process = Server()
    yield process
    process.close()
