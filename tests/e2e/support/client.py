"""The generated client, and the content of its errors."""

from dataclasses import dataclass, field

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tokenbroker.v1 import token_broker_pb2 as api
from tokenbroker.v1 import token_broker_pb2_grpc as api_grpc


class Client:
    """`client.Get(session_id="s", provider="github")`, and so on for each RPC.

    Unless a test needs options, the channel has none, so what works here works with gRPC's defaults.
    """

    def __init__(self, address: str, options=None):
        self.channel = grpc.insecure_channel(address, options)
        self._stub = api_grpc.TokenBrokerStub(self.channel)

    def __getattr__(self, rpc: str):
        method, request = getattr(self._stub, rpc), getattr(api, f"{rpc}Request")
        return lambda timeout=10.0, **fields: method(request(**fields), timeout=timeout)

    def start(self, rpc: str, timeout: float = 10.0, **fields) -> grpc.Future:
        """Sends a call without waiting for its answer."""
        request = getattr(api, f"{rpc}Request")(**fields)
        return getattr(self._stub, rpc).future(request, timeout=timeout)


@dataclass
class Refusal:
    """The error of a failed call (guarantees, section 2.5)."""

    code: grpc.StatusCode
    reason: str = ""
    domain: str = ""
    fields: list[str] = field(default_factory=list)
    retry_after: float | None = None
    message: str = ""


def refusal(call, **fields) -> Refusal:
    """Makes a call that must fail, and parses its error."""
    try:
        answer = call(**fields)
    except grpc.RpcError as error:
        return _take_apart(error)
    raise AssertionError(f"answered OK: {answer}")


def _take_apart(error: grpc.RpcError) -> Refusal:
    found = Refusal(error.code(), message=error.details())
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            found.reason, found.domain = info.reason, info.domain
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            found.fields = [violation.field for violation in bad.field_violations]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            found.retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    return found


def assert_refused(call, code: grpc.StatusCode, reason: str, **fields) -> Refusal:
    """Makes a call that must fail with this code and reason."""
    found = refusal(call, **fields)
    assert (found.code, found.reason, found.domain) == (code, reason, "tokenbroker.v1"), found
    return found
