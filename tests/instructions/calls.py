"""The calls that are counted. All are sequential, and about the same few rows."""

import statistics
import time
from collections.abc import Callable

from broker import CALL_SECONDS, CountedBroker, Stubs
from tokenbroker.v1 import access_tokens_pb2 as access_api
from tokenbroker.v1 import token_broker_pb2 as api

SESSIONS = 20
PROVIDERS = 8
# The first calls on a connection cost more: headers are new to it, and buffers grow.
WARM_UP = 20
IDLE_SECONDS = 1
# The row doesn't end while this test is in use, and its time is as long as today's.
EXPIRES_AT = 4_000_000_000


def row(number: int) -> dict[str, str]:
    """Returns the key of a row."""
    return {"session_id": session(number // PROVIDERS), "provider": f"provider-{number % PROVIDERS}"}


def session(number: int) -> str:
    return f"{number % SESSIONS:08x}-0000-4000-8000-000000000000"


def get(stubs: Stubs, number: int) -> None:
    stubs.tokens.Get(api.GetRequest(**row(number)), timeout=CALL_SECONDS)


def get_access_token(stubs: Stubs, number: int) -> None:
    """Gets a token that is valid."""
    stubs.access.GetAccessToken(access_api.GetAccessTokenRequest(**row(number)), timeout=CALL_SECONDS)


def get_all(stubs: Stubs, number: int) -> None:
    answer = stubs.tokens.GetAll(api.GetAllRequest(session_id=session(number)), timeout=CALL_SECONDS)
    assert len(answer.entries) == PROVIDERS, f"a session has {len(answer.entries)} rows"


def store(stubs: Stubs, number: int) -> None:
    """Stores a row of 2 KiB."""
    user = f"user-{number // PROVIDERS % SESSIONS // 2}"
    tokens = api.UpstreamTokens(
        access_token="a" * 1000,
        refresh_token="r" * 200,
        id_token="i" * 600,
        scopes=["openid", "repo:read"],
        upstream_subject=f"subject-of-{user}",
        client_id="client",
        user_id=user,
        expires_at={"seconds": EXPIRES_AT},
    )
    stubs.tokens.Store(api.StoreRequest(**row(number), tokens=tokens), timeout=CALL_SECONDS)


# How often a call is made in a round, by its name.
CALLS: dict[str, tuple[Callable, int]] = {
    "Get": (get, 150),
    "GetAccessToken": (get_access_token, 150),
    "GetAll": (get_all, 60),
    "Store": (store, 150),
}


def count(broker: CountedBroker, names: list[str], rounds: int) -> dict[str, list[float]]:
    """Returns the instructions of one call of each of these names, in each round."""
    with broker.connection() as stubs:
        for number in range(SESSIONS * PROVIDERS):
            store(stubs, number)
    found = {name: [] for name in names}
    idle = []
    for _ in range(rounds):
        idle.append(idle_rate(broker))
        for name in names:
            found[name].append(one_round(broker, *CALLS[name], statistics.median(idle)))
    return found


def idle_rate(broker: CountedBroker) -> float:
    """Returns the instructions per second without calls, such as those of timers."""
    broker.begin()
    start = time.monotonic()
    time.sleep(IDLE_SECONDS)
    return broker.end() / (time.monotonic() - start)


def one_round(broker: CountedBroker, call: Callable, times: int, idle: float) -> float:
    """Returns the instructions of one call. What is done anyway isn't part of it, so that it is the same on a machine
    where the calls take longer.
    """
    # Each round has a connection of its own, so that its state doesn't depend on what came before.
    with broker.connection() as stubs:
        for number in range(WARM_UP):
            call(stubs, number)
        broker.begin()
        start = time.monotonic()
        for number in range(times):
            call(stubs, number)
        seconds = time.monotonic() - start
        return (broker.end() - idle * seconds) / times
