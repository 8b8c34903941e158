"""Tests that an overloaded broker refuses calls at once, and keeps running."""

import time

from grpc import RpcError, StatusCode

from support.client import assert_refused
from support.in_flight import ROW, call_in_flight
from support.waiting import eventually


def test_a_call_too_many_is_refused_at_once_and_is_safe_to_repeat(redis):
    with call_in_flight(redis, "--max-calls", "1") as (broker, proxy, call):
        start = time.monotonic()
        refused = assert_refused(
            broker.client.Get, StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", session_id="s", provider="p"
        )
        # It didn't wait for the place, which the call in flight keeps for much longer.
        assert time.monotonic() - start < 5
        assert refused.retry_after is not None
        assert broker.probe("liveness") == "SERVING"
        proxy.release()
        assert call.result(timeout=30).entry.tokens.access_token == "at-1"
        answers = []

        def is_admitted() -> bool:
            try:
                answers.append(broker.client.Get(**ROW))
            except RpcError as refused:
                assert refused.code() == StatusCode.RESOURCE_EXHAUSTED
            return bool(answers)

        eventually("the place is free", is_admitted, within=30)
        assert answers[0].entry.tokens.access_token == "at-1"
