"""Listing: what lstat says of each entry of a tree, packed small, to be compared later.

No file is opened and nothing is hashed. A change of a file's content, owner, mode or attributes
sets its ctime, which nobody can set back; a file that took another's place has another inode. The
text of a symlink cannot change without that, so it is not read.
"""

import os
import time
from struct import Struct
from typing import TypeAlias

from asynckaniko.rootfs.paths import READ_DIRECTORY
from asynckaniko.rootfs.plain.ignored import Ignored

Listing: TypeAlias = dict[str, bytes]
"""Path from the root to `ROW`; file names as str with surrogates."""

_ROW = Struct("<IIIQqqQQ")
_CHANGE_TIME = 5
_TYPE, _DIRECTORY = 0o170000, 0o040000
_MOST_OPEN = 128
"""Levels that are kept open; those above are found again by `..`."""
_COARSE_CLOCK = 5
"""CLOCK_REALTIME_COARSE of time.h: what the kernel stamps files with."""
_LONGEST_WAIT_NS = 100_000_000
_PAUSE_SECONDS = 0.001


class _Level:
    """A directory on the way down, and the directories in it that are still to be listed."""

    __slots__ = ("descriptor", "directories", "prefix")

    def __init__(self, descriptor: int, prefix: str) -> None:
        self.descriptor = descriptor
        self.prefix = prefix
        self.directories: list[str] = []


def take_listing(root: int, ignored: Ignored) -> Listing:
    """List everything below the open directory `root` that is not ignored. Raises OSError."""
    found: Listing = {}
    levels = [_Level(os.open(".", READ_DIRECTORY, dir_fd=root), "")]
    try:
        _list_level(levels[0], ignored, found)
        while levels:
            level = levels[-1]
            if not level.directories:
                levels.pop()
                _go_up(levels, level)
                continue
            name = level.directories.pop()
            flags = READ_DIRECTORY | os.O_NOFOLLOW
            descriptor = os.open(name, flags, dir_fd=level.descriptor)
            levels.append(_Level(descriptor, f"{level.prefix}{name}/"))
            if len(levels) > _MOST_OPEN:
                _close(levels[-_MOST_OPEN - 1])
            _list_level(levels[-1], ignored, found)
    finally:
        for level in levels:
            _close(level)
    return found


def _list_level(level: _Level, ignored: Ignored, found: Listing) -> None:
    prefix, pack, whole = level.prefix, _ROW.pack, ignored.whole
    subdirectories = level.directories
    with os.scandir(level.descriptor) as entries:
        for entry in entries:
            path = prefix + entry.name
            if path in whole or (ignored.patterns and ignored.skips(path)):
                continue
            status = entry.stat(follow_symlinks=False)
            mode = status.st_mode
            owner = (status.st_uid, status.st_gid)
            times = (status.st_mtime_ns, status.st_ctime_ns)
            if mode & _TYPE == _DIRECTORY:
                # An overlay may give a directory another inode number at any time.
                found[path] = pack(mode, *owner, 0, *times, 0, 0)
                if path not in ignored.inside:
                    subdirectories.append(entry.name)
            else:
                found[path] = pack(
                    mode, *owner, status.st_size, *times, status.st_ino, status.st_dev
                )


def _go_up(levels: list[_Level], left: _Level) -> None:
    if levels and levels[-1].descriptor < 0:
        levels[-1].descriptor = os.open("..", READ_DIRECTORY, dir_fd=left.descriptor)
    _close(left)


def _close(level: _Level) -> None:
    if level.descriptor >= 0:
        os.close(level.descriptor)
        level.descriptor = -1


def is_directory(row: bytes) -> bool:
    """Tell whether a row of a listing is that of a directory."""
    return int.from_bytes(row[:4], "little") & _TYPE == _DIRECTORY


def with_change_time_of(other: bytes, row: bytes) -> bytes:
    """Return a row as if its entry had been changed when that of `other` was."""
    values, newer = _ROW.unpack(row), _ROW.unpack(other)
    return _ROW.pack(*values[:_CHANGE_TIME], newer[_CHANGE_TIME], *values[_CHANGE_TIME + 1 :])


def outlive(listing: Listing) -> None:
    """Wait until a change would get a later ctime than anything in `listing` has.

    The kernel's clock for files ticks every few milliseconds: a file changed right after it was
    listed could have the same ctime as before. A clock that was set back is not waited for.
    """
    newest = max((_ROW.unpack(row)[_CHANGE_TIME] for row in listing.values()), default=0)
    while 0 <= newest - time.clock_gettime_ns(_COARSE_CLOCK) < _LONGEST_WAIT_NS:
        time.sleep(_PAUSE_SECONDS)
