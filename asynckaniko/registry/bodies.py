"""Bodies on their way: what is sent, and how slow is too slow."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from math import inf
from typing import cast

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from anyio import CancelScope, Event, current_time, move_on_after

from asynckaniko.errors import IntegrityError
from asynckaniko.records import dataclass
from asynckaniko.settings import Retry

_PIECE = 64 * 1024
"""What must be accepted within `stall_seconds`: small enough for a slow line shared by many."""
_LARGEST_PIECE = 512 * 1024
_SHORT_SECONDS = 0.05
"""A piece that is taken in this time is followed by one twice as large: each costs some CPU."""
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
    """Watches that waiting for bytes brings some: `stall_size` of them in `stall_seconds`.

    Only time spent waiting counts, so a slow reader does not look like a slow server.
    """

    def __init__(self, policy: Retry) -> None:
        self._policy = policy
        self._received = 0
        self.left_seconds = policy.stall_seconds
        """The rest of the current window."""

    @property
    def complaint(self) -> str:
        size, seconds = self._policy.stall_size, self._policy.stall_seconds
        return f"stalled: less than {size} bytes in {seconds:g} s"

    def is_stalled(self, waited_seconds: float, received: int) -> bool:
        """Count one wait and what it brought."""
        self._received += received
        self.left_seconds -= waited_seconds
        if self.left_seconds > 0:
            return False
        stalled = self._received < self._policy.stall_size
        self._received = 0
        self.left_seconds = self._policy.stall_seconds
        return stalled


class Outgoing(Payload):
    """Writes a Body to aiohttp, moving the deadline of `scope` as the server takes it.

    While the body waits for its own source there is no deadline: a layer may be in the making.
    """

    def __init__(self, body: Body, scope: CancelScope, policy: Retry) -> None:
        super().__init__(body)
        self._body = body
        self._scope = scope
        self._policy = policy
        self._size = body.size
        self.failure: Exception | None = None
        """What the source raised; aiohttp reports it as a broken connection."""
        self.is_sent = False
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
            await self._write(writer)
        finally:
            self._writing.set()

    async def _write(self, writer: AbstractStreamWriter) -> None:
        sent, expected = 0, self._body.size
        piece_size = _PIECE
        # Sources are generators, which hold files open until they are closed.
        async with aclosing(cast("_Closable", self._body.open())) as source:
            while (chunk := await self._next(source)) is not None:
                sent += len(chunk)
                if expected is not None and sent > expected:
                    break
                rest = memoryview(chunk)
                while rest:
                    before = current_time()
                    self._scope.deadline = before + self._policy.stall_seconds
                    await writer.write(rest[:piece_size])
                    rest = rest[piece_size:]
                    is_quick = current_time() - before < _SHORT_SECONDS
                    piece_size = min(2 * piece_size, _LARGEST_PIECE) if is_quick else _PIECE
        if expected is not None and sent != expected:
            self.failure = IntegrityError(
                f"the source of an upload gave {sent} bytes or more, expected {expected}"
                if sent > expected
                else f"the source of an upload ended after {sent} of {expected} bytes"
            )
            raise self.failure
        self.is_sent = True
        self._scope.deadline = current_time() + self._policy.response_seconds

    async def _next(self, source: AsyncIterator[bytes]) -> bytes | None:
        self._scope.deadline = inf
        try:
            return await anext(source, None)
        except Exception as error:
            self.failure = error
            raise


class _Closable(AsyncIterator[bytes]):
    async def aclose(self) -> None: ...
