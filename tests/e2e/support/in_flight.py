"""A call that is in flight in the broker for as long as a test wants."""

from contextlib import contextmanager

from support.broker import running
from support.proxy import HoldingProxy

ROW = {"session_id": "session-in-flight", "provider": "github"}


@contextmanager
def call_in_flight(redis, *arguments: str):
    """Starts a broker with a `Get` that waits for Redis, because a proxy holds its command back."""
    proxy = HoldingProxy(redis.port)
    url = f"redis://127.0.0.1:{proxy.port}/0"
    try:
        with running("--backend", "redis", "--redis-url", url, *arguments) as broker:
            broker.client.Store(**ROW, tokens={"access_token": "at-1"})
            proxy.hold(ROW["session_id"])
            call = broker.client.start("Get", **ROW)
            assert proxy.reached.wait(timeout=5), "the call reached no Redis"
            yield broker, proxy, call
    finally:
        proxy.close()
