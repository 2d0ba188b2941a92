"""Try again what a network or a busy server made fail, within the retry policy."""

import random
import time

import anyio

from asynckaniko.errors import ContextError
from asynckaniko.events import EventSink, RequestRetried
from asynckaniko.settings import Retry


class Transient(ContextError):
    """A failure that may pass. `where` names the source without secrets."""

    def __init__(self, where: str, reason: str, *, wait_seconds: float | None = None) -> None:
        super().__init__(f"{where}: {reason}")
        self.reason = reason
        self.wait_seconds = wait_seconds
        """What the server asks for."""


class Attempts:
    """Counts the failures of one transfer and waits between its tries (full jitter)."""

    def __init__(self, policy: Retry, *, method: str, url: str, emit: EventSink) -> None:
        self._policy = policy
        self._method = method
        self._url = url
        self._emit = emit
        self._failures = 0
        self._started = time.monotonic()

    def progressed(self) -> None:
        """Start the count again: a long transfer may be cut often, as long as it gets on."""
        self._failures = 0
        self._started = time.monotonic()

    async def after(self, error: Transient) -> None:
        """Wait before the next try. Raises ContextError when the policy gives up."""
        policy = self._policy
        self._failures += 1
        wait = error.wait_seconds
        if wait is None:
            longest = policy.first_wait_seconds * 2.0 ** min(self._failures - 1, 30)
            wait = random.random() * min(longest, policy.longest_wait_seconds)  # noqa: S311  jitter
        spent = time.monotonic() - self._started
        if self._failures >= policy.attempts or spent + wait > policy.total_seconds:
            tries = "attempt" if self._failures == 1 else "attempts"
            raise ContextError(
                f"{error}; gave up after {self._failures} {tries} in {spent:.0f} s"
            ) from error
        self._emit(RequestRetried(self._method, self._url, error.reason, self._failures, wait))
        await anyio.sleep(wait)
