"""An archive on its way that can be read from its beginning once more."""

import os
from stat import S_ISREG
from typing import Self

from asynckaniko.rootfs.layer_sink import write_all

_CHUNK_SIZE = 256 * 1024
_READ_WRITE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class KeptSource:
    """Reads the descriptor `source`; what is no regular file is kept in a file without a name.

    That is made as `path`, and not longer than `limit` bytes. Use as a context manager.
    """

    def __init__(self, source: int, path: str, *, limit: int) -> None:
        self._source = source
        self._limit = limit
        self._start = self._kept = -1
        self._size = 0
        self._is_again = False
        self.is_whole = True
        """Whether `rewind` is still possible."""
        if S_ISREG(os.fstat(source).st_mode):
            self._start = os.lseek(source, 0, os.SEEK_CUR)
        else:
            self._kept = os.open(path, _READ_WRITE, 0o600)
            os.unlink(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()

    def read(self) -> bytes:
        """Return the next piece; empty at the end."""
        if self._is_again:
            if piece := os.read(self._kept, _CHUNK_SIZE):
                return piece
            self.forget()
        piece = os.read(self._source, _CHUNK_SIZE)
        if self._kept >= 0:
            self._size += len(piece)
            write_all(self._kept, piece)
            # The piece is kept all the same: whoever asks now can still begin again.
            self.is_whole = self._size <= self._limit
        return piece

    def rewind(self) -> None:
        """Begin again; nothing is kept from now on."""
        if self._kept >= 0:
            os.lseek(self._kept, 0, os.SEEK_SET)
            self._is_again = True
        else:
            os.lseek(self._source, self._start, os.SEEK_SET)

    def forget(self) -> None:
        """Keep nothing any more: it will not be read again."""
        self._is_again = False
        if self._kept >= 0:
            os.close(self._kept)
            self._kept = -1
