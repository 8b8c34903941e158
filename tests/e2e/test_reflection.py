"""Tests that both versions of the reflection API list the broker's services."""

import pytest
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection_pb2

from support.broker import ACCESS_TOKENS, IDENTITIES, PENDING_AUTHORIZATIONS, TOKEN_BROKER


@pytest.fixture(params=["v1", "v1alpha"])
def ask(request, client):
    """Sends one request. The two versions differ only in the name of their package."""
    call = client.channel.stream_stream(
        f"/grpc.reflection.{request.param}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    return lambda **fields: next(call(iter([reflection_pb2.ServerReflectionRequest(**fields)]), timeout=10))


def test_the_services_are_listed(ask):
    listed = {service.name for service in ask(list_services="").list_services_response.service}
    ours = {TOKEN_BROKER, ACCESS_TOKENS, IDENTITIES, PENDING_AUTHORIZATIONS}
    assert ours | {"grpc.health.v1.Health"} <= listed


def test_the_service_is_described_with_all_its_calls(ask):
    answer = ask(file_containing_symbol=TOKEN_BROKER).file_descriptor_response
    files = [descriptor_pb2.FileDescriptorProto.FromString(file) for file in answer.file_descriptor_proto]
    methods = {method.name for file in files for service in file.service for method in service.method}
    assert {
        "Store",
        "Get",
        "GetAll",
        "Delete",
        "DeleteUser",
        "GetLatestForUser",
        "ListUserSessions",
        "BeginRefresh",
        "RenewRefresh",
        "CompleteRefresh",
    } <= methods


def test_grpcurl_lists_and_describes(broker):
    assert {TOKEN_BROKER, ACCESS_TOKENS, IDENTITIES, PENDING_AUTHORIZATIONS} <= set(broker.grpcurl("list").stdout.split())
    described = broker.grpcurl("describe", f"{TOKEN_BROKER}.Store")
    assert ".tokenbroker.v1.StoreRequest" in described.stdout
