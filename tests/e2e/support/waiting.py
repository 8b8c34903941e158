"""Waiting for what happens in another process: never longer than needed, never without an end."""

import time
from collections.abc import Callable

# Short beside any promise that is timed here, long enough not to load a small machine.
PAUSE = 0.02


def eventually(what: str, condition: Callable[[], bool], within: float) -> float:
    """Asks until `condition` holds, and tells after how many seconds it did."""
    start = time.monotonic()
    while True:
        holds = condition()
        elapsed = time.monotonic() - start
        assert elapsed <= within, f"{what}: not within {within} s"
        if holds:
            return elapsed
        time.sleep(PAUSE)
