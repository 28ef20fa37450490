"""One client against the server's own bytes: the language is that of THERMOGRAD_CLIENT."""

import math
import os
import pathlib
import queue
import subprocess

import numpy
import pytest

import python_client
import recording
from system_support import ROOT, TIMEOUT_SECONDS, Server, report, run, service, tensor

import thermograd

LANGUAGE = os.environ["THERMOGRAD_CLIENT"]
PROGRAMS = {
    "cpp": lambda name: [pathlib.Path(os.environ["THERMOGRAD_CPP_CLIENTS"]) / f"cpp_{name}"],
    "go": lambda name: [ROOT / "client/go/bin" / name],
    "typescript": lambda name: ["node", ROOT / "client/typescript/dist" / f"{name}.js"],
    "rust": lambda name: [ROOT / "client/rust/target/debug" / name],
    "java": lambda name: [
        "java",
        "-cp",
        f"{ROOT}/client/java/target/classes:{ROOT}/client/java/target/lib/*",
        f"thermograd.example.{name.capitalize()}",
    ],
}


def bytes_of(messages):
    return [message.SerializeToString() for message in messages]


def server_bytes(server, requests, comparison):
    """The answers as the server sent them: no client decodes them."""
    prefix = "/thermograd.v1.TrainingAnalysisService/"
    to_send = queue.SimpleQueue()
    with server.channel() as channel:
        answers = []
        call = channel.stream_stream(prefix + "StreamRun")(iter(to_send.get, None))
        for request in requests:
            to_send.put(request.SerializeToString())
            if request.WhichOneof("message") not in ("run_spec", "step_end"):
                continue
            for answer in call:
                answers.append(answer)
                kind = service.StreamRunResponse.FromString(answer).WhichOneof("message")
                if kind in ("run_accepted", "acknowledgement"):
                    break
        to_send.put(None)
        assert not list(call)
        compare = channel.stream_unary(prefix + "CompareRepresentations")
        return answers, [compare(iter(bytes_of(comparison)), timeout=TIMEOUT_SECONDS)]


@pytest.fixture(scope="module", name="expected")
def fixture_expected():
    """What the server answers to the recording."""
    with Server() as server:
        return server_bytes(
            server, list(recording.run_requests()), list(recording.comparison_requests())
        )


def test_recording_has_every_kind_of_answer(expected):
    answers = [service.StreamRunResponse.FromString(answer) for answer in expected[0]]
    kinds = [answer.WhichOneof("message") for answer in answers]
    assert kinds == [
        "run_accepted",
        *("step_report", "acknowledgement") * 2,
        "notice",
        "step_report",
        "acknowledgement",
    ]
    assert answers[5].notice.kind == report.NOTICE_KIND_NON_FINITE
    assert all(len(answers[i].step_report.metrics) > 20 for i in (1, 3))
    assert all(answers[i].step_report.undefined for i in (1, 3, 6))
    similarities = service.CompareRepresentationsResponse.FromString(expected[1][0])
    assert "thermograd_cka_ratio" in {figure.name for figure in similarities.metrics}


def test_answers_are_bit_identical(expected, tmp_path):
    requests, answers = tmp_path / "requests", tmp_path / "answers"
    requests.mkdir()
    answers.mkdir()
    recorded = {"run": recording.run_requests, "comparison": recording.comparison_requests}
    for name, messages in recorded.items():
        (requests / f"{name}.binpb").write_bytes(recording.delimited(bytes_of(messages())))
    # A server of its own: none remembers the recorded run.
    with Server() as server:
        if LANGUAGE == "python":
            python_client.converse(server.grpc_address, requests, answers)
        else:
            command = [*PROGRAMS[LANGUAGE]("conformance"), server.grpc_address, requests, answers]
            subprocess.run(command, check=True, timeout=TIMEOUT_SECONDS)
    for name, expected_answers in zip(recorded, expected):
        received = recording.undelimited((answers / f"{name}.binpb").read_bytes())
        assert received == expected_answers, name


def _wave(shape, phase):
    """The numbers of the examples."""
    i = numpy.arange(math.prod(shape), dtype=numpy.float64)
    return numpy.sin(phase + i * i).astype(numpy.float32).reshape(shape)


def example_figures(address):
    """What the examples print, by heading, from the Python client."""
    figures = {}
    spec = thermograd.run_spec(
        "example",
        parameters={"weight": (4, 3)},
        layers=[thermograd.Layer("hidden", width=4), thermograd.Layer("output", width=2)],
        optimizer=run.Optimizer(kind=run.OPTIMIZER_KIND_SGD),
    )
    with thermograd.RunStream(address, spec) as stream:
        for step in (1, 2, 3):
            stream.begin_step(
                step, loss=1 / step, learning_rate=0.1, microbatch_size=8, microbatches=2
            )
            for microbatch in (0, 1):
                phase = 10 * step + microbatch
                gradient = _wave((4, 3), phase)
                stream.send("weight", tensor.TENSOR_KIND_GRADIENT, gradient, microbatch)
                for layer, width in (("hidden", 4), ("output", 2)):
                    activations = _wave((8, width), phase)
                    stream.send(layer, tensor.TENSOR_KIND_ACTIVATION, activations, microbatch)
            figures[f"step {step}"] = thermograd.report_values(stream.end_step())
    figures["comparison"] = thermograd.compare(
        _wave((16, 4), 1), _wave((16, 4), 2), address=address
    )
    return figures


def printed_figures(output):
    """The figures that an example printed, by heading."""
    figures, heading = {}, None
    for line in output.splitlines():
        if not line.startswith("  "):
            heading = line
            continue
        name, *labels, number = line.split()
        key = thermograd.metric_key(name, **dict(label.split("=") for label in labels))
        figures.setdefault(heading, {})[key] = float(number)
    return figures


@pytest.mark.skipif(LANGUAGE == "python", reason="its example is client/python/README.md")
def test_example_prints_the_figures(server):
    output = subprocess.run(
        [*PROGRAMS[LANGUAGE]("example"), server.grpc_address],
        check=True,
        timeout=TIMEOUT_SECONDS,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    printed = printed_figures(output)
    expected = example_figures(server.grpc_address)
    assert printed.keys() == expected.keys()
    for heading, figures in expected.items():
        # Sines of two mathematical libraries may differ in the last bit.
        assert printed[heading] == pytest.approx(figures, rel=1e-5, abs=1e-6), heading
