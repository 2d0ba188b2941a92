"""Carry events from the build to a display, without ever making the build wait for it.

The build calls the sink on the event loop; what it brings is queued and handed in batches to the
display, in a thread, because a terminal or a pipe may block for as long as it likes.
"""

import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import IO, Protocol, TypeAlias

from anyio import CancelScope, CapacityLimiter, Event, create_task_group, move_on_after, to_thread

from asynckaniko import events
from asynckaniko.concurrency import single_error
from asynckaniko.events import StepOutput
from asynckaniko.records import dataclass

_MOST_QUEUED = 32 << 20
"""Characters of command output that may wait for a slow reader; more is dropped, and said."""


@dataclass(frozen=True, slots=True)
class LogMessage:
    """A line of the developers' log, shown where progress is shown."""

    level: int
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class OutputDropped:
    """Lines of a command's output that were not shown because the reader is too slow."""

    lines: int


@dataclass(frozen=True, slots=True)
class Stopping:
    """A signal arrived; the build is being cancelled and cleaned up."""

    signal: str


Shown: TypeAlias = events.Event | LogMessage | OutputDropped | Stopping
Sink: TypeAlias = Callable[[Shown], None]
"""An EventSink that takes a little more."""
Moment: TypeAlias = tuple[float, Shown]
"""Seconds since the display was opened, and what happened then."""


class Display(Protocol):
    """Shows a build. Called from one thread at a time; `now` is in seconds since it was opened."""

    interval: float
    """Seconds between two calls of `tick`."""

    def show(self, moments: Iterable[Moment]) -> None: ...
    def tick(self, now: float) -> None: ...
    def close(self, now: float) -> None: ...


class Output:
    """Text to a stream that may go away: the build goes on without its reader."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self.is_open = True

    def write(self, text: str) -> None:
        if not self.is_open or not text:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            self.is_open = False


@asynccontextmanager
async def showing(display: Display) -> AsyncIterator[Sink]:
    """Yield a sink whose events appear on `display`; all of them have when the block has ended."""
    pump = _Pump(display)
    with single_error():
        async with create_task_group() as tasks:
            tasks.start_soon(pump.run)
            try:
                yield pump.put
            finally:
                pump.close()


class _Pump:
    def __init__(self, display: Display) -> None:
        self._display = display
        self._started = time.monotonic()
        self._queue: deque[Moment] = deque()
        self._queued_output = 0
        self._dropped = 0
        self._closing = False
        self._wake = Event()
        self._thread = CapacityLimiter(1)

    def put(self, event: Shown) -> None:
        """Queue an event. Safe to call from a thread for log messages only."""
        if isinstance(event, StepOutput):
            if self._queued_output > _MOST_QUEUED:
                self._dropped += 1
                return
            self._queued_output += len(event.line) + 1
        self._queue.append((self._now(), event))
        if not isinstance(event, LogMessage):
            self._wake.set()

    def close(self) -> None:
        self._closing = True
        self._wake.set()

    async def run(self) -> None:
        # Shielded: what a cancelled build says while it cleans up is shown too.
        with CancelScope(shield=True):
            while not self._closing:
                with move_on_after(self._display.interval):
                    await self._wake.wait()
                self._wake = Event()
                await self._hand_over()
            await self._hand_over()
            await to_thread.run_sync(self._display.close, self._now(), limiter=self._thread)

    async def _hand_over(self) -> None:
        batch = []
        while self._queue:  # one by one: a log message may arrive from a thread meanwhile
            batch.append(self._queue.popleft())
        self._queued_output = 0
        if self._dropped:
            batch.append((self._now(), OutputDropped(self._dropped)))
            self._dropped = 0
        await to_thread.run_sync(self._show, batch, limiter=self._thread)

    def _show(self, batch: list[Moment]) -> None:
        if batch:
            self._display.show(batch)
        self._display.tick(self._now())

    def _now(self) -> float:
        return time.monotonic() - self._started


class LogToDisplay(logging.Handler):
    """Sends the developers' log through the sink, so that it does not garble the display."""

    def __init__(self, sink: Sink, level: int) -> None:
        super().__init__(level)
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = LogMessage(record.levelno, record.name, record.getMessage())
        except Exception:
            self.handleError(record)
        else:
            self._sink(message)
