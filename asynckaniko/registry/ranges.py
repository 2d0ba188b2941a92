"""Read ahead in one big blob by several connections, in order and within bounds.

One connection to a far registry or its storage is slower than the line; several are not.
"""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Generic, TypeVar

from anyio import CancelScope, Event, Semaphore
from anyio.abc import TaskGroup

from asynckaniko.errors import AsynckanikoError

SEGMENT_SIZE = 2 << 20

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


class Spare:
    """Connections that may read ahead: `most` of them while there is one big blob to read.

    Several blobs at once are connections enough by themselves: each more takes one away.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._blobs = 0
        self._lent = 0

    @contextmanager
    def blob(self) -> Iterator[None]:
        """Count a big blob that is being read, or waits to be."""
        self._blobs += 1
        try:
            yield
        finally:
            self._blobs -= 1

    @property
    def share(self) -> int:
        """What one of the blobs may borrow now."""
        others = max(0, self._blobs - 1)
        return max(0, min(self._most // (others + 1), self._most - others - self._lent))

    def borrow(self) -> int:
        share = self.share
        self._lent += share
        return share

    def give_back(self, count: int) -> None:
        self._lent -= count


class _Segment:
    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.error: AsynckanikoError | None = None
        self.chunks: _Queue[bytes] = _Queue()


class ReadAhead:
    """Fetches the bytes from `start` to `end` while somebody else reads what is before them.

    `close` must be called in any case. How many connections it takes is decided by `spare` when
    the first answer is here: by then everybody who begins at the same time has been counted.
    """

    def __init__(
        self, start: int, end: int, fetch: Fetch, *, tasks: TaskGroup, spare: Spare
    ) -> None:
        self.start = start
        self._next = start
        self._end = end
        self._fetch = fetch
        self._tasks = tasks
        self._spare = spare
        self._room = Semaphore(0)
        """For segments that are fetched and not yet read."""
        self._segments: _Queue[_Segment] = _Queue()
        self._scopes: list[CancelScope] = []
        self._has_begun = False
        self.connections = 0
        """How many are at work; none once it is closed."""

    def decide(self, *, begin: bool) -> None:
        """Start to fetch, or never do, by the first answer to a range request."""
        if self._has_begun:
            return
        self._has_begun = True
        self.connections = self._spare.borrow() if begin else 0
        if not self.connections:
            self._segments.close()
            return
        self._room = Semaphore(self.connections + 1)
        for _ in range(self.connections):
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
        self._spare.give_back(self.connections)
        self.connections = 0
        self._segments.close()

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
