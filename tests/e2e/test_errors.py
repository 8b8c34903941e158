"""Tests that Python's gRPC can read each error, and that its own retries do what the broker asks for."""

import json
import time

import pytest
from grpc import StatusCode

from support.broker import running
from support.client import Client, assert_refused, refusal
from support.waiting import eventually

RETRY_ALL = {
    "methodConfig": [
        {
            "name": [{"service": "tokenbroker.v1.TokenBroker"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.001s",
                "maxBackoff": "0.001s",
                "backoffMultiplier": 1,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ]
}


@pytest.mark.parametrize("scopes", [28, 500, 100_000])
def test_an_error_with_many_violations_is_readable(client, names, scopes):
    refused = assert_refused(
        client.Store,
        StatusCode.INVALID_ARGUMENT,
        "INVALID_FIELD",
        session_id=names.session,
        provider="github",
        tokens={"access_token": "at", "scopes": [""] * scopes},
    )
    assert refused.fields == [f"tokens.scopes[{number}]" for number in range(8)]
    assert refused.message.endswith(f"; and {scopes - 3} more")


def test_grpcs_own_retries_wait_as_long_as_the_broker_asks_or_stay_away(redis, names):
    """The answers are counted in the broker's log, which has a line for each call."""
    with running("--backend", "redis", "--redis-url", redis.url) as broker:
        options = [("grpc.service_config", json.dumps(RETRY_ALL))]
        client = Client(broker.address, options)

        def answers(reason: str) -> int:
            return sum(f'"reason":"{reason}"' in line for line in broker.log)

        too_large = {"access_token": "x" * (33 * 1024)}
        assert_refused(
            client.Store,
            StatusCode.RESOURCE_EXHAUSTED,
            "TOO_LARGE",
            session_id=names.session,
            provider="github",
            tokens=too_large,
        )
        # The line may be read a moment after the answer.
        eventually("the answer is logged", lambda: answers("TOO_LARGE") > 0, within=20)

        redis.kill()
        start = time.monotonic()
        refused = refusal(client.Get, session_id=names.session, provider="github", timeout=60)
        took = time.monotonic() - start
        assert (refused.code, refused.reason) == (StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
        eventually("all answers are logged", lambda: answers("STORE_UNAVAILABLE") >= 4, within=20)
        assert answers("STORE_UNAVAILABLE") == 4
        assert answers("TOO_LARGE") == 1
        assert took >= 3 * 0.5, f"it waited for a millisecond, as its policy says: {took:.3f} s"
