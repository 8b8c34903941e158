"""What the broker's log says of calls. The broker writes it in the background, in order."""

from collections.abc import Callable

import grpc

from support.client import Client, refusal
from support.waiting import eventually

# No test and no example that counts calls makes this one.
_MARK = "BeginRefresh"


def count_calls(rpc: str, client: Client, log: Callable[[], str]) -> int:
    """Returns how often an RPC was called until now, by the lines that the log has for calls at the level debug."""
    count = lambda of: log().count(f'"rpc":"{of}"')
    marks = count(_MARK)
    assert refusal(getattr(client, _MARK)).code == grpc.StatusCode.INVALID_ARGUMENT
    # Its line comes after those of all calls before it.
    eventually("all is logged", lambda: count(_MARK) > marks, within=10)
    return count(rpc)
