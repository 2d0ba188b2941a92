"""Bodies on their way: what is sent, and how slow is too slow."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from math import inf
from typing import cast

from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_writer import StreamWriter
from aiohttp.payload import Payload
from anyio import CancelScope, Event, create_task_group, current_time, move_on_after, sleep

from asynckaniko.concurrency import single_error
from asynckaniko.errors import IntegrityError
from asynckaniko.linux.tcp import acknowledged_size
from asynckaniko.records import dataclass
from asynckaniko.settings import Retry

_PIECE = 512 * 1024
"""Each costs some CPU, and is kept in memory until it is taken."""
_SETTLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Body:
    """`size` bytes that can be sent as often as it takes; None where nobody knows yet how many."""

    size: int | None
    open: Callable[[], AsyncIterator[bytes]]

    @classmethod
    def of(cls, content: bytes) -> "Body":
        async def once() -> AsyncIterator[bytes]:
            yield content

        return cls(len(content), once)


class SourceFailed(Exception):
    """What gives the bytes of an upload has failed with `error`: no fault of the registry."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Pace:
    """Watches that waiting moves bytes: `stall_size` of them in `stall_seconds`.

    Only time spent waiting counts, so a slow reader does not look like a slow server.
    """

    def __init__(self, policy: Retry) -> None:
        self._policy = policy
        self._moved = 0
        self.left_seconds = policy.stall_seconds
        """The rest of the current window."""

    @property
    def complaint(self) -> str:
        size, seconds = self._policy.stall_size, self._policy.stall_seconds
        return f"stalled: less than {size} bytes in {seconds:g} s"

    def is_stalled(self, waited_seconds: float, moved: int) -> bool:
        """Count one wait and the bytes that came or went in it."""
        self._moved += moved
        self.left_seconds -= waited_seconds
        if self.left_seconds > 0:
            return False
        stalled = self._moved < self._policy.stall_size
        self._moved = 0
        self.left_seconds = self._policy.stall_seconds
        return stalled


class Outgoing(Payload):
    """Writes a Body to aiohttp, and ends `scope` when the server does not take it fast enough.

    While the body waits for its own source there is no limit: a layer may be in the making.
    """

    def __init__(self, body: Body, scope: CancelScope, policy: Retry) -> None:
        super().__init__(body)
        self._body = body
        self._scope = scope
        self._policy = policy
        self._pace = Pace(policy)
        self._arrived = 0
        """By the last look at the connection."""
        self._waiting_since: float | None = None
        """When the write that goes on began, or was last looked at."""
        self._size = body.size
        self.failure: Exception | None = None
        """What the source raised; aiohttp reports it as a broken connection."""
        self.complaint = ""
        """Why the scope was ended, if it was too slow."""
        self._writing: Event | None = None

    async def settle(self) -> None:
        """Wait until a write that was broken off has closed its source."""
        if self._writing is not None:
            with move_on_after(_SETTLE_SECONDS, shield=True):
                await self._writing.wait()

    @property
    def consumed(self) -> bool:
        """Keep aiohttp from sending a body again by itself, which it would do after a cut."""
        return True

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a body is not text")

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._writing = Event()
        try:
            with single_error():
                async with create_task_group() as tasks:
                    tasks.start_soon(self._watch, writer)
                    await self._write(writer)
                    tasks.cancel_scope.cancel()
        finally:
            self._writing.set()

    async def _write(self, writer: AbstractStreamWriter) -> None:
        sent, expected = 0, self._body.size
        self._scope.deadline = inf
        self._arrived = _arrived(writer)
        # Sources are generators, which hold files open until they are closed.
        async with aclosing(cast("_Closable", self._body.open())) as source:
            while (chunk := await self._next(source)) is not None:
                sent += len(chunk)
                if expected is not None and sent > expected:
                    break
                rest = memoryview(chunk)
                while rest:
                    await self._put(writer, rest[:_PIECE])
                    rest = rest[_PIECE:]
        if expected is not None and sent != expected:
            self.failure = IntegrityError(
                f"the source of an upload gave {sent} bytes or more, expected {expected}"
                if sent > expected
                else f"the source of an upload ended after {sent} of {expected} bytes"
            )
            raise self.failure
        self._scope.deadline = current_time() + self._policy.response_seconds

    async def _put(self, writer: AbstractStreamWriter, piece: memoryview) -> None:
        """Write a piece and wait until there is room for the next."""
        self._waiting_since = current_time()
        await writer.write(piece)
        self._look(writer)
        self._waiting_since = None

    async def _watch(self, writer: AbstractStreamWriter) -> None:
        """Look at writes that go on; aiohttp's own waiting cannot be broken off and resumed."""
        shortest = self._policy.stall_seconds / 10
        while True:
            await sleep(max(self._pace.left_seconds, shortest))
            self._look(writer)

    def _look(self, writer: AbstractStreamWriter) -> None:
        if self._waiting_since is None:
            return
        since, self._waiting_since = self._waiting_since, current_time()
        before, self._arrived = self._arrived, _arrived(writer, self._arrived)
        if self._pace.is_stalled(self._waiting_since - since, self._arrived - before):
            self.complaint = self._pace.complaint
            self._scope.cancel()

    async def _next(self, source: AsyncIterator[bytes]) -> bytes | None:
        try:
            return await anext(source, None)
        except Exception as error:
            self.failure = error
            raise


def _arrived(writer: AbstractStreamWriter, before: int = 0) -> int:
    """Count the bytes that have reached the other side of the connection.

    A kernel that does not tell counts as reached what is no longer in the program's own buffer.
    """
    transport = cast("StreamWriter", writer).transport
    if transport is None or transport.is_closing():
        return before  # the next write says so
    known = acknowledged_size(transport.get_extra_info("socket"))
    return known or writer.output_size - transport.get_write_buffer_size()


class _Closable(AsyncIterator[bytes]):
    async def aclose(self) -> None: ...
