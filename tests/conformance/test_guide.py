"""proto/README.md: its bytes are a run, and what it says of versions holds."""

import re
import struct
import subprocess

import grpc
import pytest

from system_support import ROOT, TIMEOUT_SECONDS, Stream, end_step, run, service, tensor, value

PAGE = (ROOT / "proto/README.md").read_text(encoding="utf-8")


def blocks(language):
    """The code blocks of the page."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def unhex(block):
    return bytes.fromhex(re.sub(r"#.*", "", block))


def unframed(body):
    """The messages behind gRPC's five bytes each."""
    messages = []
    while body:
        compressed, length = struct.unpack_from(">BI", body)
        assert not compressed
        messages.append(body[5 : 5 + length])
        assert len(messages[-1]) == length
        body = body[5 + length :]
    return messages


REQUEST, FIGURE = blocks("hex")
PARAMETER = run.Parameter(id=1, name="w", shape=[2])
REQUESTS = [
    service.StreamRunRequest(run_spec=run.RunSpec(run="bytes", parameters=[PARAMETER])),
    service.StreamRunRequest(
        step_begin=run.StepBegin(step=1, learning_rate=0.5, microbatch_size=8, microbatches=1)
    ),
    service.StreamRunRequest(
        chunk=tensor.TensorChunk(
            tensor_id=1,
            kind=tensor.TENSOR_KIND_GRADIENT,
            data_type=tensor.DATA_TYPE_FP32,
            data=struct.pack("<2f", 3, 4),
        )
    ),
    end_step(1),
]


def test_bytes_are_the_messages_that_the_page_names():
    assert unframed(unhex(REQUEST)) == [request.SerializeToString() for request in REQUESTS]


def test_curl_gets_the_report(server, tmp_path):
    (client,) = [block for block in blocks("sh") if "curl" in block]
    (tmp_path / "request.hex").write_text(REQUEST, encoding="utf-8")
    assert "127.0.0.1:50051" in client
    subprocess.run(
        ["sh", "-e", "-c", client.replace("127.0.0.1:50051", server.grpc_address)],
        cwd=tmp_path,
        check=True,
        timeout=TIMEOUT_SECONDS,
        stdout=subprocess.DEVNULL,
    )
    assert "grpc-status: 0" in (tmp_path / "headers").read_text(encoding="utf-8")
    answers = unframed((tmp_path / "answer").read_bytes())
    assert [answer[:1].hex() for answer in answers] == ["0a", "12", "22"]
    assert answers[2].hex(" ") == "22 02 08 01"
    assert unhex(FIGURE) in answers[1]
    figures = service.StreamRunResponse.FromString(answers[1]).step_report
    assert value(figures, "thermograd_gradient_second_moment") == 25


# Tags of fields that no release has given yet, each with one byte.
LATER_FIELD = b"\xf8\x7c\x01"
LATER_MEMBER = b"\xfa\x7c\x00"


def conversation(server, requests):
    """The error that a stream ends with, None for OK."""
    with Stream(server) as stream:
        stream.send(*requests)
        return stream.close()


def test_fields_of_a_later_release_are_ignored(server):
    declaration = service.StreamRunRequest.FromString(REQUESTS[0].SerializeToString())
    spec = declaration.run_spec.SerializeToString() + LATER_FIELD
    later = b"\x0a" + bytes([len(spec)]) + spec
    assert conversation(server, [later, *REQUESTS[1:]]) is None


@pytest.mark.parametrize(
    "later",
    [
        LATER_MEMBER,
        service.StreamRunRequest(
            chunk=tensor.TensorChunk(tensor_id=1, kind=99, data_type=tensor.DATA_TYPE_FP32)
        ),
    ],
    ids=["oneof", "enum"],
)
def test_what_cannot_be_ignored_is_refused(server, later):
    error = conversation(server, [*REQUESTS[:2], later, *REQUESTS[3:]])
    assert error is not None and error.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_calls_of_a_later_release_are_unimplemented(server):
    with server.channel() as channel:
        call = channel.unary_unary("/thermograd.v1.TrainingAnalysisService/Later")
        with pytest.raises(grpc.RpcError) as raised:
            call(b"", timeout=TIMEOUT_SECONDS)
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
