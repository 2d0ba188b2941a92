"""Decide what is worth another try, and when.

Transient by data: network cuts, timeouts, and the statuses that mean "later".
Waits are full jitter (AWS, "Exponential Backoff and Jitter"): many builders that failed together do
not come back together. Where the server names a time, that time is kept.
"""

import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

import anyio

from asynckaniko.errors import RegistryError, RegistryRejected, RegistryUnavailable
from asynckaniko.events import EventSink, RequestRetried
from asynckaniko.records import dataclass
from asynckaniko.settings import Retry

_LATER = frozenset({408, 425, 429, 499})
_NEVER = frozenset({501, 505, 506, 510, 511})
"""5xx that say what the server cannot do, now or later."""


class Interrupted(RegistryUnavailable):
    """One exchange that the network or a timeout ended; the next may do better."""

    def __init__(self, method: str, url: str, reason: str) -> None:
        super().__init__(f"{method} {url}: {reason}")
        self.method = method
        self.url = url
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time and chance come from; tests pass their own and wait for nothing."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    random: Callable[[], float] = random.random


def is_transient(error: BaseException) -> bool:
    """Tell whether the same request may succeed later."""
    match error:
        case Interrupted():
            return True
        case RegistryRejected(status=status):
            return status in _LATER or (500 <= status < 600 and status not in _NEVER)
        case _:
            return False


def parse_retry_after(value: str, *, now: float) -> float | None:
    """Read a Retry-After header as seconds from `now` (POSIX); None if it is neither form."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, moment.timestamp() - now)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


class Attempts:
    """The tries of one operation: counts them, waits between them, ends them.

    `progressed` starts the count again: a long transfer may be cut as often as you like, as long as
    it gets on.
    """

    def __init__(self, policy: Retry, *, clock: Clock, emit: EventSink) -> None:
        self._policy = policy
        self._clock = clock
        self._emit = emit
        self._failures = 0
        self._started = clock.monotonic()

    def progressed(self) -> None:
        """Begin the count and the time anew."""
        self._failures = 0
        self.moved()

    def moved(self) -> None:
        """Begin the time anew: an attempt that transfers for an hour has not waited for one."""
        self._started = self._clock.monotonic()

    async def after(self, error: RegistryError, *, anyway: bool = False) -> None:
        """Wait before the next try, which is made `anyway` or because it is worth it.

        Raises:
            RegistryError: `error` itself where another try is useless, RegistryUnavailable when
                the policy gives up.
        """
        if not isinstance(error, Interrupted | RegistryRejected):
            raise error
        if not anyway and not is_transient(error):
            raise error
        self._failures += 1
        wait = self._wait(error)
        spent = self._clock.monotonic() - self._started
        if self._failures >= self._policy.attempts or spent + wait > self._policy.total_seconds:
            raise self._given_up(error, spent, wait) from error
        reason = error.reason if isinstance(error, Interrupted) else f"HTTP {error.status}"
        self._emit(RequestRetried(error.method, error.url, reason, self._failures, wait))
        await self._clock.sleep(wait)

    def _wait(self, error: Interrupted | RegistryRejected) -> float:
        longest = self._policy.first_wait_seconds * 2.0 ** min(self._failures - 1, 30)
        jitter = self._clock.random() * min(longest, self._policy.longest_wait_seconds)
        if isinstance(error, RegistryRejected) and error.retry_after_seconds is not None:
            return error.retry_after_seconds + min(jitter, self._policy.first_wait_seconds)
        return jitter

    def _given_up(
        self, error: Interrupted | RegistryRejected, spent: float, wait: float
    ) -> RegistryUnavailable:
        plural = "attempt" if self._failures == 1 else "attempts"
        text = f"{error}; gave up after {self._failures} {plural} in {spent:.0f} s"
        if self._failures < self._policy.attempts and wait > self._policy.longest_wait_seconds:
            text += f" (it asks to wait {wait:.0f} s)"
        return RegistryUnavailable(text)
