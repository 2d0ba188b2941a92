"""Walk a tree to write it out: sorted, parents first, each file opened once.

Every name is opened relative to its open directory with O_NOFOLLOW, so that a tree that is changed
under the walk cannot lead out of itself. Depth costs no recursion and no file descriptors.
"""

import os
from collections.abc import Iterator
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Protocol

from asynckaniko.rootfs.tar_writer import Attributes

_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPEN_DIRECTORY = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_MOST_OPEN = 128
"""Levels that are kept open; those above are found again by `..` when the walk comes back."""


class Visitor(Protocol):
    """What to do with each entry. Paths are relative to where the walk started.

    Descriptors are open for reading during the call only.
    """

    def skips(self, path: bytes, is_directory: bool) -> bool:
        """Tell whether the entry, and all below it, is passed over without opening it."""
        ...

    def directory(self, path: bytes, descriptor: int) -> None: ...
    def file(self, path: bytes, descriptor: int) -> None: ...
    def symlink(self, path: bytes, target: bytes, status: os.stat_result) -> None: ...
    def special(self, path: bytes, status: os.stat_result) -> None:
        """Take a device, FIFO or socket."""
        ...


def walk(root: int, visitor: Visitor) -> None:
    """Visit everything below the open directory `root`, not `root` itself.

    Raises:
        OSError: an entry cannot be read, or is gone; `filename` is its path from `root`.
    """
    levels = [_Level(os.dup(root), b"", _list(root))]
    try:
        while levels:
            level = levels[-1]
            child = level.next_directory(visitor)
            if child is None:
                levels.pop()
                try:
                    _reopen(levels, level)
                finally:
                    os.close(level.descriptor)
                continue
            levels.append(child)
            if len(levels) > _MOST_OPEN:
                levels[-_MOST_OPEN - 1].let_go()
    finally:
        for level in levels:
            level.let_go()


class _Level:
    """A directory on the way down, and what is left to visit in it."""

    def __init__(
        self, descriptor: int, prefix: bytes, entries: Iterator[tuple[str, bool, bool]]
    ) -> None:
        self.descriptor = descriptor
        self.prefix = prefix
        self._entries = entries
        self._identity = (-1, -1)

    def next_directory(self, visitor: Visitor) -> "_Level | None":
        """Visit entries up to and including the next directory; None when all are visited."""
        descriptor, prefix = self.descriptor, self.prefix
        path = prefix
        try:
            for name, is_file, is_directory in self._entries:
                path = prefix + os.fsencode(name)
                if visitor.skips(path, is_directory):
                    continue
                if is_file:
                    opened = os.open(name, _OPEN_FILE, dir_fd=descriptor)
                    try:
                        visitor.file(path, opened)
                    finally:
                        os.close(opened)
                elif is_directory:
                    return _enter(name, path, descriptor, visitor)
                else:
                    _visit_other(name, path, descriptor, visitor)
        except OSError as error:
            error.filename = os.fsdecode(path)
            raise
        return None

    def let_go(self) -> None:
        """Close the directory, but remember which it was."""
        if self.descriptor >= 0:
            self._identity = _identify(self.descriptor)
            os.close(self.descriptor)
            self.descriptor = -1

    def take_back(self, descriptor: int) -> None:
        """Go on with `descriptor`. Raises OSError: it is another directory than before."""
        self.descriptor = descriptor
        if _identify(descriptor) != self._identity:
            raise FileNotFoundError(2, "moved while it was being read", os.fsdecode(self.prefix))


def _enter(name: str, path: bytes, parent: int, visitor: Visitor) -> _Level:
    descriptor = os.open(name, _OPEN_DIRECTORY, dir_fd=parent)
    try:
        visitor.directory(path, descriptor)
        return _Level(descriptor, path + b"/", _list(descriptor))
    except BaseException:
        os.close(descriptor)
        raise


def _visit_other(name: str, path: bytes, parent: int, visitor: Visitor) -> None:
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if S_ISLNK(status.st_mode):
        visitor.symlink(path, os.fsencode(os.readlink(name, dir_fd=parent)), status)
    elif S_ISREG(status.st_mode) or S_ISDIR(status.st_mode):
        raise FileNotFoundError(2, "changed while it was being read")
    else:
        visitor.special(path, status)


def _list(descriptor: int) -> Iterator[tuple[str, bool, bool]]:
    """List (name, is a regular file, is a directory), sorted by name."""
    with os.scandir(descriptor) as entries:
        return iter(
            sorted(
                [
                    (
                        entry.name,
                        entry.is_file(follow_symlinks=False),
                        entry.is_dir(follow_symlinks=False),
                    )
                    for entry in entries
                ]
            )
        )


def _reopen(levels: list[_Level], below: _Level) -> None:
    if levels and levels[-1].descriptor < 0:
        levels[-1].take_back(os.open("..", _OPEN_DIRECTORY, dir_fd=below.descriptor))


def _identify(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def read_attributes(status: os.stat_result) -> Attributes:
    return Attributes(status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns)
