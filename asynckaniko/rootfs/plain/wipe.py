"""Empty a tree, but for what is ignored in it and the directories that this is in."""

import errno
import os
from stat import S_ISDIR

from asynckaniko.linux.remove import remove
from asynckaniko.rootfs.paths import READ_DIRECTORY
from asynckaniko.rootfs.plain.ignored import Ignored

_OPEN = READ_DIRECTORY | os.O_NOFOLLOW


def wipe(root: int, ignored: Ignored) -> None:
    """Remove everything below the open directory `root` that has not to stay.

    Directories that stay become root's, with mode 0755. Raises OSError.
    """
    _empty(root, "", ignored, ignored.parents())
    _reset(root)


def wipe_entry(name: str, directory: int, ignored: Ignored, *, path: str) -> None:
    """Remove an entry of an open directory, `path` from the root, as far as it may. As `wipe`."""
    if not ignored.covers(path):
        _remove(name, path, directory, ignored, ignored.parents())


def _empty(directory: int, prefix: str, ignored: Ignored, needed: frozenset[str]) -> None:
    for name in os.listdir(directory):
        path = prefix + name
        if not ignored.skips(path):
            _remove(name, path, directory, ignored, needed)


def _remove(name: str, path: str, directory: int, ignored: Ignored, needed: frozenset[str]) -> None:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    # A pattern may match at any depth.
    if not S_ISDIR(status.st_mode) or (path not in needed and not ignored.patterns):
        remove(os.fsencode(name), directory)
        return
    inner = os.open(name, _OPEN, dir_fd=directory)
    try:
        _empty(inner, f"{path}/", ignored, needed)
        try:
            os.rmdir(name, dir_fd=directory)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            _reset(inner)
    finally:
        os.close(inner)


def _reset(directory: int) -> None:
    os.fchown(directory, 0, 0)
    os.fchmod(directory, 0o755)
    for name in os.listxattr(directory):
        if name.startswith("user."):
            os.removexattr(directory, name)
