"""Pipes from the event loop into a helper process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from anyio import wait_writable

_PIPE_SIZE = 1 << 20


class OpenDescriptor:
    """A file descriptor that is closed once."""

    def __init__(self, number: int) -> None:
        self.number = number

    def close(self) -> None:
        if self.number >= 0:
            os.close(self.number)
            self.number = -1


@contextmanager
def open_pipe() -> Iterator[tuple[int, OpenDescriptor]]:
    """Open a pipe whose write end does not block; both are closed with the block."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    writer = OpenDescriptor(write_end)
    os.set_blocking(write_end, False)
    # A bigger pipe means fewer turns of the event loop; its size is limited per user.
    with suppress(PermissionError):
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    try:
        yield read_end, writer
    finally:
        os.close(read_end)
        writer.close()


async def write_all(file: int, data: bytes) -> None:
    """Write all of `data`, waiting for room. Raises OSError."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(file, view) :]
        except BlockingIOError:
            await wait_writable(file)
