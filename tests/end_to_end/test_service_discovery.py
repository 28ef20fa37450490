"""Health and reflection answer, so that standard tools work without our files."""

import subprocess

import grpc
import pytest
from google.protobuf import descriptor_pb2

from standard_services import check_health, reflect
from system_support import COMMAND_LINE, free_address, service

SERVICE = "thermograd.v1.TrainingAnalysisService"


@pytest.mark.parametrize("name", ["", SERVICE])
def test_health_says_serving(server, name):
    with server.channel() as channel:
        assert check_health(channel, name) == "SERVING"


def test_health_of_an_unknown_service(server):
    with server.channel() as channel, pytest.raises(grpc.RpcError) as raised:
        check_health(channel, "thermograd.v1.Other")
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND


def test_reflection_lists_the_services(server):
    with server.channel() as channel:
        answer = reflect(channel, list_services="*")
    names = {entry.name for entry in answer.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names


def test_reflection_describes_the_contract(server):
    with server.channel() as channel:
        answer = reflect(channel, file_containing_symbol=SERVICE)
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(data)
        for data in answer.file_descriptor_response.file_descriptor_proto
    ]
    served = {file.name: file for file in files}[service.DESCRIPTOR.name]
    ours = descriptor_pb2.FileDescriptorProto()
    service.DESCRIPTOR.CopyToProto(ours)
    for file in (served, ours):
        for message in file.message_type:
            for field in message.field:
                field.ClearField("json_name")
    assert served == ours


def probe(address, *flags):
    return subprocess.run(
        [COMMAND_LINE, "probe", f"--address={address}", *flags],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("flags", [[], [f"--service={SERVICE}"]])
def test_probe_of_a_serving_server(server, flags):
    result = probe(server.grpc_address, *flags)
    assert (result.returncode, result.stdout) == (0, "serving\n")


def test_probe_of_an_unknown_service(server):
    result = probe(server.grpc_address, "--service=thermograd.v1.Other")
    assert result.returncode == 1 and result.stdout == ""


def test_probe_of_no_server():
    result = probe(free_address(), "--timeout=5s")
    assert result.returncode == 1 and result.stdout == "" and result.stderr
