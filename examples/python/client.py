"""A small client of the token broker: it waits until the broker serves, stores and reads tokens, and reads errors.

usage: python client.py [ADDRESS]
"""

import sys
import time
from pathlib import Path
from uuid import uuid4

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from tokenbroker.v1 import token_broker_pb2 as pb
from tokenbroker.v1 import token_broker_pb2_grpc as pb_grpc

# Retries. gRPC itself obeys the broker's grpc-retry-pushback-ms.
SERVICE_CONFIG = Path(__file__).parent.parent / "service_config.json"
# Seconds that a call may take, with its repetitions. Python's gRPC ignores the `timeout` of the service config.
DEADLINE = 5


def main() -> None:
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"
    options = [("grpc.service_config", SERVICE_CONFIG.read_text())]
    with grpc.insecure_channel(address, options) as channel:
        wait_until_serving(channel)
        print("health: SERVING")
        run(pb_grpc.TokenBrokerStub(channel))


def wait_until_serving(channel: grpc.Channel) -> None:
    """Returns when the broker serves, and fails after ten seconds."""
    states = health_pb2_grpc.HealthStub(channel).Watch(
        health_pb2.HealthCheckRequest(), timeout=10, wait_for_ready=True
    )
    for state in states:
        if state.status == health_pb2.HealthCheckResponse.SERVING:
            states.cancel()
            return


def run(broker: pb_grpc.TokenBrokerStub) -> None:
    session = f"example-python-{uuid4()}"
    tokens = pb.UpstreamTokens(
        access_token="an-access-token",
        refresh_token="a-refresh-token",
        user_id="alice",
        scopes=["repo"],
    )
    # For a token without an end leave `expires_at` unset: second 0 isn't accepted.
    tokens.expires_at.FromSeconds(int(time.time()) + 3600)
    row = pb.StoreRequest(session_id=session, provider="github", tokens=tokens)

    def store() -> str:
        # A write that depends on what was read names the version. Another caller may have been faster.
        written = broker.Store(row, timeout=DEADLINE)
        if not row.HasField("precondition"):
            row.precondition.version = written.version
        return "ok"

    def get(provider: str) -> str:
        request = pb.GetRequest(session_id=session, provider=provider)
        entry = broker.Get(request, timeout=DEADLINE).entry
        return f"tokens of {entry.tokens.user_id}, expired {str(entry.expired).lower()}"

    def store_nonsense() -> str:
        nonsense = pb.StoreRequest(session_id=session, tokens=tokens)
        nonsense.tokens.scopes.append("two scopes")
        broker.Store(nonsense, timeout=DEADLINE)
        return "ok"

    def delete() -> str:
        everything = pb.DeleteRequest(session_id=session, all_providers=True)
        return f"{broker.Delete(everything, timeout=DEADLINE).deleted} row"

    show("store", store)
    show("get", lambda: get("github"))
    show("store on the version", store)
    show("store on an old version", store)
    show("get of an unknown row", lambda: get("google"))
    show("store of nonsense", store_nonsense)
    show("delete", delete)


def show(name: str, call) -> None:
    """Makes a call, and prints what came of it."""
    try:
        outcome = call()
    except grpc.RpcError as error:
        outcome = describe(error)
    print(f"{name}: {outcome}")


def describe(error: grpc.RpcError) -> str:
    """Returns an error's code, reason, and the fields that are wrong. A program decides by the reason."""
    words = [error.code().name]
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            words.append(info.reason)
        elif detail.Unpack(bad):
            words += [violation.field for violation in bad.field_violations]
    return " ".join(words)


if __name__ == "__main__":
    main()
