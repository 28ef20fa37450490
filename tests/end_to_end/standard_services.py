"""The services that gRPC itself defines, health and reflection, for which Debian has no stubs."""

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

# The parts of grpc/health/v1/health.proto and grpc/reflection/v1alpha/reflection.proto in use.
_FILES = (
    """
    name: "grpc/health/v1/health.proto" package: "grpc.health.v1" syntax: "proto3"
    message_type { name: "HealthCheckRequest"
      field { name: "service" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL } }
    message_type { name: "HealthCheckResponse"
      field { name: "status" number: 1 type: TYPE_ENUM label: LABEL_OPTIONAL
              type_name: ".grpc.health.v1.HealthCheckResponse.ServingStatus" }
      enum_type { name: "ServingStatus"
        value { name: "UNKNOWN" number: 0 } value { name: "SERVING" number: 1 }
        value { name: "NOT_SERVING" number: 2 } value { name: "SERVICE_UNKNOWN" number: 3 } } }
    """,
    """
    name: "grpc/reflection/v1alpha/reflection.proto" package: "grpc.reflection.v1alpha"
    syntax: "proto3"
    message_type { name: "ServerReflectionRequest"
      field { name: "file_containing_symbol" number: 4 type: TYPE_STRING label: LABEL_OPTIONAL }
      field { name: "list_services" number: 7 type: TYPE_STRING label: LABEL_OPTIONAL } }
    message_type { name: "ServerReflectionResponse"
      field { name: "file_descriptor_response" number: 4 type: TYPE_MESSAGE label: LABEL_OPTIONAL
              type_name: ".grpc.reflection.v1alpha.FileDescriptorResponse" }
      field { name: "list_services_response" number: 6 type: TYPE_MESSAGE label: LABEL_OPTIONAL
              type_name: ".grpc.reflection.v1alpha.ListServiceResponse" } }
    message_type { name: "FileDescriptorResponse"
      field { name: "file_descriptor_proto" number: 1 type: TYPE_BYTES label: LABEL_REPEATED } }
    message_type { name: "ListServiceResponse"
      field { name: "service" number: 1 type: TYPE_MESSAGE label: LABEL_REPEATED
              type_name: ".grpc.reflection.v1alpha.ServiceResponse" } }
    message_type { name: "ServiceResponse"
      field { name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL } }
    """,
)
_pool = descriptor_pool.DescriptorPool()
for _file in _FILES:
    _pool.Add(text_format.Parse(_file, descriptor_pb2.FileDescriptorProto()))
_factory = message_factory.MessageFactory(_pool)


def _message(name):
    return _factory.GetPrototype(_pool.FindMessageTypeByName(name))


HealthCheckRequest = _message("grpc.health.v1.HealthCheckRequest")
HealthCheckResponse = _message("grpc.health.v1.HealthCheckResponse")
ServerReflectionRequest = _message("grpc.reflection.v1alpha.ServerReflectionRequest")
ServerReflectionResponse = _message("grpc.reflection.v1alpha.ServerReflectionResponse")


def _status(response):
    return HealthCheckResponse.ServingStatus.Name(response.status)


def check_health(channel, service="", timeout=10):
    """Name of the service's status; empty: of the server as a whole."""
    method = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    return _status(method(HealthCheckRequest(service=service), timeout=timeout))


def watch_health(channel, service=""):
    """Names of the service's statuses, each when it comes; ends without error with the call."""
    method = channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=HealthCheckRequest.SerializeToString,
        response_deserializer=HealthCheckResponse.FromString,
    )
    try:
        for response in method(HealthCheckRequest(service=service)):
            yield _status(response)
    except grpc.RpcError:
        return


def reflect(channel, **request):
    """The answer of the reflection service."""
    method = channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )
    return next(method(iter([ServerReflectionRequest(**request)]), timeout=10))
