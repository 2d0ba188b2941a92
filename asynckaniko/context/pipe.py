"""The pipe through which an archive goes to the helper that unpacks it."""

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import suppress

from anyio import wait_writable

_SIZE = 1 << 20


class PipeWriter:
    """The writing end of a pipe, written from the event loop as the reader takes it."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        with suppress(PermissionError):
            # Beyond what one user may have in pipes, the size stays what it was.
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _SIZE)
        self._descriptor = descriptor

    async def feed(self, chunks: AsyncIterator[bytes]) -> None:
        async for chunk in chunks:
            view = memoryview(chunk)
            while view:
                try:
                    view = view[os.write(self._descriptor, view) :]
                except BlockingIOError:
                    await wait_writable(self._descriptor)
        self.close()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
