"""Wait for a fact that other processes bring about."""

import time
from collections.abc import Callable

_SECONDS = 60.0


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Return once `condition` is true; `what` says what did not happen if it never is."""
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
