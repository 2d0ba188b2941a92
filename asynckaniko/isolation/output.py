"""What a command prints: bytes from a pipe to lines, in bounded memory."""

import os
from collections.abc import Callable, Iterator

from anyio import wait_readable
from anyio.lowlevel import checkpoint

_CHUNK_SIZE = 64 * 1024
_LINES_OF_A_TURN = 256
"""Then other tasks of the loop get theirs: a chunk may be tens of thousands of lines."""
_CONTINUATION = range(0x80, 0xC0)
"""UTF-8 bytes that continue a character."""
_LONGEST_CHARACTER = 4


async def relay(fd: int, on_line: Callable[[str], None], limit: int) -> None:
    """Pass each line that arrives on the pipe `fd` to `on_line`, until its write ends are closed.

    The write ends are those of the command and its descendants, which end with it, and the
    caller's. A line of more than `limit` bytes is passed in parts; the last one need not have an
    end. A writer that is faster than `on_line` waits. The caller closes `fd`.

    Start this before the command: it opens the pipe's mode, so that a command under another id
    may open /dev/stdout and /dev/stderr.
    """
    os.fchmod(fd, 0o666)
    os.set_blocking(fd, False)
    lines = LineSplitter(limit)
    while True:
        await wait_readable(fd)
        try:
            chunk = os.read(fd, _CHUNK_SIZE)
        except BlockingIOError:
            continue
        if not chunk:
            break
        for number, line in enumerate(lines.feed(chunk), 1):
            on_line(line)
            if number % _LINES_OF_A_TURN == 0:
                await checkpoint()
    for line in lines.end():
        on_line(line)


class LineSplitter:
    """Cuts chunks of bytes into lines of at most `limit` bytes, without their ends.

    A carriage return before the line feed belongs to the end. What is not UTF-8 is replaced.
    """

    def __init__(self, limit: int) -> None:
        self._limit = max(limit, _LONGEST_CHARACTER)
        self._rest = b""
        self._cut = False
        """Whether parts of the current line were passed on already."""

    def feed(self, chunk: bytes) -> Iterator[str]:
        """Return the lines that `chunk` completes."""
        first, *others = chunk.split(b"\n")
        self._rest += first
        for other in others:
            yield from self._overflow()
            if self._rest or not self._cut:
                yield _decode(self._rest.removesuffix(b"\r"))
            self._rest, self._cut = other, False
        yield from self._overflow()

    def end(self) -> Iterator[str]:
        """Return what came after the last line end."""
        if self._rest:
            yield _decode(self._rest)
        self._rest = b""

    def _overflow(self) -> Iterator[str]:
        while len(self._rest) > self._limit:
            size = self._limit
            while size > self._limit - _LONGEST_CHARACTER + 1 and self._rest[size] in _CONTINUATION:
                size -= 1
            yield _decode(self._rest[:size])
            self._rest, self._cut = self._rest[size:], True


def _decode(line: bytes) -> str:
    return line.decode("utf-8", "replace")
