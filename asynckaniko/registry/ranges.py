"""Read ahead in one big blob by several connections, in order and within bounds.

One connection to a far registry or its storage is slower than the line; several are not.
"""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Generic, TypeVar

from anyio import CancelScope, CapacityLimiter, Event, Semaphore, WouldBlock
from anyio.abc import TaskGroup

from asynckaniko.errors import AsynckanikoError

SEGMENT_SIZE = 2 << 20
_MOST_CONNECTIONS = 3
"""Beside the one that reads the blob anyway."""

Item = TypeVar("Item")
Fetch = Callable[[int, int], AsyncGenerator[bytes, None]]
"""Gives the bytes from the first offset up to the second."""


class _Queue(Generic[Item]):
    """Items from one task to another. Unlike a memory stream it may be dropped half read."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._is_closed = False
        self._changed = Event()

    def put(self, item: Item) -> None:
        self._items.append(item)
        self._changed.set()

    def close(self) -> None:
        self._is_closed = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[Item]:
        while True:
            while self._items:
                yield self._items.popleft()
            if self._is_closed:
                return
            self._changed = Event()
            await self._changed.wait()


class _Segment:
    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.error: AsynckanikoError | None = None
        self.chunks: _Queue[bytes] = _Queue()


class ReadAhead:
    """Fetches the bytes from `start` to `end` while somebody else reads what is before them.

    `close` must be called in any case. Connections come from `limiter`, as far as it has some to
    spare; without any the reader should do without.
    """

    def __init__(
        self, start: int, end: int, fetch: Fetch, *, tasks: TaskGroup, limiter: CapacityLimiter
    ) -> None:
        self.start = start
        self._next = start
        self._end = end
        self._fetch = fetch
        self._tasks = tasks
        self._limiter = limiter
        self._borrowers = self._borrow()
        self._room = Semaphore(len(self._borrowers) + 1)
        """For segments that are fetched and not yet read."""
        self._segments: _Queue[_Segment] = _Queue()
        self._scopes: list[CancelScope] = []
        self._has_begun = False

    @property
    def connections(self) -> int:
        """How many are at work; none once it is closed."""
        return len(self._borrowers)

    def decide(self, *, begin: bool) -> None:
        """Start to fetch, or never do, by the first answer to a range request."""
        if self._has_begun:
            return
        if not begin:
            self.close()
            return
        self._has_begun = True
        for _ in self._borrowers:
            self._tasks.start_soon(self._work)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Give everything in order.

        Raises:
            AsynckanikoError: what ended a fetch.
        """
        async for segment in self._segments:
            async for chunk in segment.chunks:
                yield chunk
            if segment.error is not None:
                raise segment.error
            self._room.release()
            if segment.end == self._end:
                return

    def close(self) -> None:
        for scope in self._scopes:
            scope.cancel()
        for borrower in self._borrowers:
            self._limiter.release_on_behalf_of(borrower)
        self._borrowers = []
        self._segments.close()

    def _borrow(self) -> list[object]:
        borrowers: list[object] = []
        for _ in range(_MOST_CONNECTIONS):
            borrower = object()
            try:
                self._limiter.acquire_on_behalf_of_nowait(borrower)
            except WouldBlock:
                break
            borrowers.append(borrower)
        return borrowers

    async def _work(self) -> None:
        with CancelScope() as scope:
            self._scopes.append(scope)
            while True:
                await self._room.acquire()
                if self._next >= self._end:
                    return
                segment = _Segment(self._next, min(self._next + SEGMENT_SIZE, self._end))
                self._next = segment.end
                self._segments.put(segment)
                await self._fill(segment)

    async def _fill(self, segment: _Segment) -> None:
        try:
            async with aclosing(self._fetch(segment.start, segment.end)) as chunks:
                async for chunk in chunks:
                    segment.chunks.put(chunk)
        except AsynckanikoError as error:
            segment.error = error
        finally:
            segment.chunks.close()
