"""Tests that an overloaded broker refuses calls at once, and keeps running."""

import time

from grpc import StatusCode

from support.client import assert_refused
from support.in_flight import ROW, call_in_flight


def test_a_call_too_many_is_refused_at_once_and_is_safe_to_repeat(redis):
    arguments = ("--max-calls", "1", "--redis-timeout", "20s", "--call-timeout", "20s")
    with call_in_flight(redis, *arguments) as (broker, proxy, call):
        start = time.monotonic()
        refused = assert_refused(
            broker.client.Get, StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", session_id="s", provider="p"
        )
        assert time.monotonic() - start < 0.5
        assert refused.retry_after is not None
        assert broker.probe("liveness") == "SERVING"
        proxy.release()
        assert call.result(timeout=5).entry.tokens.access_token == "at-1"
        assert broker.client.Get(**ROW).entry.tokens.access_token == "at-1"
