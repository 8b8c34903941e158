"""A proxy between a client and a broker that answers chosen calls with an error of the broker's form."""

import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

SERVICE = "/tokenbroker.v1.TokenBroker/"


@dataclass
class Fault:
    """An error of the broker, with a pushback in milliseconds. Without a reason it is like a lost connection."""

    code: grpc.StatusCode
    reason: str = ""
    pushback: int = 0

    def end(self, context: grpc.ServicerContext) -> None:
        """Ends a call with this error."""
        if not self.reason:
            context.abort(self.code, "the connection is lost")
        info = any_pb2.Any()
        info.Pack(error_details_pb2.ErrorInfo(reason=self.reason, domain="tokenbroker.v1"))
        status = status_pb2.Status(code=self.code.value[0], message="a fault", details=[info])
        context.set_trailing_metadata(
            [
                ("grpc-status-details-bin", status.SerializeToString()),
                ("grpc-retry-pushback-ms", str(self.pushback)),
            ]
        )
        context.abort(self.code, status.message)


@dataclass
class Attempt:
    """A call that arrived, at what time and with how much time until its deadline."""

    at: float
    allowed: float


class Faults(grpc.GenericRpcHandler):
    """Passes calls on. `plan` says for each RPC how its first calls end: with a fault, or not (`None`)."""

    def __init__(self, broker: str, plan: dict[str, list[Fault | None]]):
        self.attempts: dict[str, list[Attempt]] = defaultdict(list)
        self._plan = plan
        self._broker = grpc.insecure_channel(broker)
        self._server = grpc.server(ThreadPoolExecutor(max_workers=4), handlers=[self])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.stop(grace=None).wait()
        self._broker.close()

    def service(self, details: grpc.HandlerCallDetails):
        """Returns what handles a call. Messages stay bytes."""
        path = details.method
        if path == "/grpc.health.v1.Health/Watch":
            watch = self._broker.unary_stream(path)
            return grpc.unary_stream_rpc_method_handler(lambda request, _: watch(request, timeout=10))
        if path.startswith(SERVICE):
            rpc = path.removeprefix(SERVICE)
            return grpc.unary_unary_rpc_method_handler(
                lambda request, context: self._unary(rpc, request, context)
            )
        return None

    def _unary(self, rpc: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        attempts = self.attempts[rpc]
        attempts.append(Attempt(time.monotonic(), context.time_remaining()))
        plan = self._plan.get(rpc, [])
        if len(attempts) <= len(plan) and (fault := plan[len(attempts) - 1]):
            fault.end(context)
        try:
            return self._broker.unary_unary(SERVICE + rpc)(request, timeout=10)
        except grpc.RpcError as error:
            kept = [(key, value) for key, value in error.trailing_metadata() if key.startswith("grpc-")]
            context.set_trailing_metadata(kept)
            context.abort(error.code(), error.details())
