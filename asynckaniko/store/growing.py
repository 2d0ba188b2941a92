"""A blob that another process writes, read while it grows.

The writer only appends, and nobody tells this process how far it got: its file is looked at from
time to time.
"""

import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from anyio import CapacityLimiter, Event, move_on_after, to_thread

_READ_SIZE = 1 << 20
_PAUSE_SECONDS = 0.05


class GrowingBlob:
    """The bytes that are there so far, and those to come until `finish`."""

    def __init__(self, path: Path, *, disk: CapacityLimiter) -> None:
        self._path = path
        self._disk = disk
        self._finished = Event()

    def finish(self) -> None:
        """Tell readers that no more bytes come."""
        self._finished.set()

    async def reaches(self, size: int) -> bool:
        """Wait until there are `size` bytes; False if there never will be."""
        while os.stat(self._path).st_size < size:
            if self._finished.is_set():
                return False
            await self._wait()
        return True

    async def chunks(self, offset: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `offset` on as they come, at most a mebibyte at a time.

        Nothing (no bytes) is yielded after having waited, so that the reader may think again.
        """
        file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while True:
                # Asked before the read: what was written before the end is then seen by it.
                is_finished = self._finished.is_set()
                read = partial(os.pread, file, _READ_SIZE, offset)
                data = await to_thread.run_sync(read, limiter=self._disk)
                if not data and is_finished:
                    return
                if not data:
                    await self._wait()
                offset += len(data)
                yield data
        finally:
            os.close(file)

    async def _wait(self) -> None:
        with move_on_after(_PAUSE_SECONDS):
            await self._finished.wait()
