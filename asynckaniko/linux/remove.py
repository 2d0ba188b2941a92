"""Delete an entry of a directory, however deep it is and whatever its modes say."""

import os
from errno import ENOENT

from asynckaniko.records import dataclass

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def remove(name: bytes, directory: int) -> None:
    """Delete an entry of an open directory, with all below it. Raises OSError."""
    try:
        os.unlink(name, dir_fd=directory)
    except IsADirectoryError:
        _remove_tree(name, directory)


@dataclass(slots=True)
class _Level:
    """A directory on the way down."""

    name: bytes
    identity: tuple[int, int]
    """Of the directory that has it."""
    directories: list[bytes]
    """Those in it that are still there."""


def _remove_tree(name: bytes, directory: int) -> None:
    """Delete a directory. Depth costs memory, not descriptors: the way back up is `..`."""
    here = _enter(name, directory)
    levels = [_Level(name, _identify(directory), _delete_files(here))]
    try:
        while True:
            level = levels[-1]
            if level.directories:
                below = level.directories.pop()
                inner = _enter(below, here)
                levels.append(_Level(below, _identify(here), _delete_files(inner)))
                os.close(here)
                here = inner
                continue
            levels.pop()
            above = os.open(b"..", _OPEN, dir_fd=here)
            os.close(here)
            here = above
            if _identify(here) != level.identity:
                raise FileNotFoundError(ENOENT, "moved while it was being removed", level.name)
            os.rmdir(level.name, dir_fd=here)
            if not levels:
                return
    finally:
        os.close(here)


def _enter(name: bytes, directory: int) -> int:
    return os.open(name, _OPEN | os.O_NOFOLLOW, dir_fd=directory)


def _delete_files(directory: int) -> list[bytes]:
    """Delete what is in a directory and no directory itself; return the names that are left."""
    directories = []
    # Listed first: a filesystem may pass over entries when others go away meanwhile.
    with os.scandir(directory) as entries:
        listed = list(entries)
    for entry in listed:
        if entry.is_dir(follow_symlinks=False):
            directories.append(os.fsencode(entry.name))
        else:
            os.unlink(entry.name, dir_fd=directory)
    return directories


def _identify(directory: int) -> tuple[int, int]:
    status = os.fstat(directory)
    return status.st_dev, status.st_ino
