"""Look at an unpacked or cloned context, whose links may lead anywhere, without leaving it."""

import errno
import os
from collections.abc import Mapping, Sequence
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Any

from asynckaniko.errors import ContextError
from asynckaniko.rootfs.paths import READ_DIRECTORY, RootFS

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK_SIZE = 1 << 20
_NOT_THERE = frozenset((errno.ENOENT, errno.ENOTDIR))


def find_directory(arguments: Mapping[str, Any], fds: Sequence[int]) -> str:
    """Return where `path` leads inside `directory`, without links. A job.

    Raises ContextError: it is not there, or no directory.
    """
    path = arguments["path"]
    with RootFS.at(arguments["directory"]) as tree:
        try:
            place = tree.resolve(os.fsencode(path))
            status = tree.lookup(os.fsencode(path))
        except OSError as error:
            raise ContextError(f"{path}: {error.strerror}") from error
    if status is None:
        raise ContextError(f"there is no directory {path} in it")
    if not S_ISDIR(status.st_mode):
        raise ContextError(f"{path} is not a directory")
    return os.fsdecode(place.path)


def read_file(arguments: Mapping[str, Any], fds: Sequence[int]) -> str | None:
    """Write the first of `paths` in `directory` that is there to fds[0]; return its path. A job.

    Raises ContextError: it is no regular file, not readable, or larger than `limit`.
    """
    limit = arguments["limit"]
    with RootFS.at(arguments["directory"]) as tree:
        for path in arguments["paths"]:
            try:
                descriptor = tree.open(os.fsencode(path), _READ)
            except OSError as error:
                if error.errno in _NOT_THERE:
                    continue
                raise ContextError(f"{path}: {error.strerror}") from error
            with open(descriptor, "rb") as file, open(fds[0], "wb", closefd=False) as output:
                status = os.fstat(descriptor)
                if not S_ISREG(status.st_mode):
                    raise ContextError(f"{path}: not a regular file")
                if status.st_size > limit:
                    raise ContextError(f"{path}: larger than the limit of {limit} bytes")
                while chunk := file.read(_CHUNK_SIZE):
                    output.write(chunk)
            return str(path)
    return None


def settle_checkout(arguments: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Give everything below `directory` the time `seconds` and a mode of git's. A job.

    A checkout has the times of its making and the modes of somebody's umask: the same commit would
    be another layer each time. git knows two modes, 0644 and 0755.
    """
    times = (arguments["seconds"], arguments["seconds"])
    root = os.open(arguments["directory"], READ_DIRECTORY)
    try:
        for _, directories, files, here in os.fwalk(".", topdown=False, dir_fd=root):
            for name in (*directories, *files):
                mode = os.stat(name, dir_fd=here, follow_symlinks=False).st_mode
                if not S_ISLNK(mode):
                    runs = S_ISDIR(mode) or mode & 0o100
                    os.chmod(name, 0o755 if runs else 0o644, dir_fd=here)
                os.utime(name, times, dir_fd=here, follow_symlinks=False)
        os.fchmod(root, 0o755)
        os.utime(root, times)
    finally:
        os.close(root)
