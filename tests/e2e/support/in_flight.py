"""A call that is in flight in the broker for as long as a test wants."""

import time
from contextlib import contextmanager

from support.broker import running
from support.proxy import HoldingProxy

ROW = {"session_id": "session-in-flight", "provider": "github"}


@contextmanager
def call_in_flight(redis, *arguments: str):
    """Starts a broker with a `Get` that waits for Redis, because a proxy holds its command back.

    It waits for a minute at most, so that it ends when the test says so.
    """
    proxy = HoldingProxy(redis.port)
    url = f"redis://127.0.0.1:{proxy.port}/0"
    try:
        patient = ("--redis-timeout", "60s", "--call-timeout", "60s")
        with running("--backend", "redis", "--redis-url", url, *patient, *arguments) as broker:
            broker.client.Store(**ROW, tokens={"access_token": "at-1"})
            proxy.hold(ROW["session_id"])
            call = broker.client.start("Get", timeout=60, **ROW)
            start = time.monotonic()
            while not proxy.reached.wait(timeout=0.05):
                assert time.monotonic() - start < 30, "the call reached no Redis"
                # The call before it may still hold the only place for a moment, although it is answered.
                if call.done():
                    call = broker.client.start("Get", timeout=60, **ROW)
            yield broker, proxy, call
    finally:
        proxy.close()
