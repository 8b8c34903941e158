"""Waits for something in another process, not longer than needed, and with a limit."""

import time
from collections.abc import Callable

# Short compared to any time limit that is tested here, but long enough not to load a small machine.
PAUSE = 0.02


def eventually(what: str, condition: Callable[[], bool], within: float) -> float:
    """Waits until `condition` holds. Returns after how many seconds it did.

    A look that ends too late counts if it finds that the condition holds: looks take time themselves.
    """
    start = time.monotonic()
    while True:
        holds = condition()
        elapsed = time.monotonic() - start
        if holds:
            return elapsed
        assert elapsed <= within, f"{what}: not within {within} s"
        time.sleep(PAUSE)
