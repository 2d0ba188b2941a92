"""Read a listed layer again as the entries of the archive that it was."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from asynckaniko.rootfs.listed.index import DATA, Entry, read_index
from asynckaniko.rootfs.tar_member import Member

_PIECE_SIZE = 1 << 20
_CANNOT_COPY = frozenset((errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP))
"""From copy_file_range(2): other file systems, old kernels, seccomp profiles."""


class ListedReader:
    """Iterates over the members of a listed layer, as `TarReader` does over an archive's."""

    def __init__(self, entries: list[Entry], data: int) -> None:
        self._entries = entries
        self._data = data
        self._current = entries[0] if entries else None

    @classmethod
    @contextmanager
    def open(cls, layer: str) -> Iterator[Self]:
        """Open the layer in the directory `layer`. Raises OSError, HostError."""
        data = os.open(os.path.join(layer, DATA), os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield cls(read_index(layer), data)
        finally:
            os.close(data)

    def __iter__(self) -> Iterator[Member]:
        for entry in self._entries:
            self._current = entry
            yield entry.member

    def copy_to(self, descriptor: int) -> None:
        """Append the content of the latest member, a file, to an open file. Raises OSError."""
        assert self._current is not None, "asked for while iterating"
        offset, left = self._current.offset, self._current.member.size
        try:
            while left:
                count = os.copy_file_range(self._data, descriptor, left, offset_src=offset)
                if not count:
                    break
                offset, left = offset + count, left - count
        except OSError as error:
            if error.errno not in _CANNOT_COPY:
                raise
        while left:
            piece = os.pread(self._data, min(left, _PIECE_SIZE), offset)
            if not piece:
                raise OSError(errno.EIO, "the contents of a layer are cut short")
            offset, left = offset + len(piece), left - len(piece)
            while piece:
                piece = piece[os.write(descriptor, piece) :]
