"""Deletions: what layers say by names (image-spec layer.md), overlays say by devices and marks.

In a layer, `.wh.NAME` deletes NAME of the layers below, and `.wh..wh..opq` all that a directory
has there; neither touches entries of the same layer, before or after. On disk an overlay's layer
has a character device 0:0 called NAME, or `user.overlay.opaque` on the directory (overlayfs.rst).
"""

import os
from errno import ENODATA
from stat import S_IFCHR, S_ISCHR

from asynckaniko.errors import ArchiveError
from asynckaniko.linux.overlay import OPAQUE
from asynckaniko.rootfs.tar_header import show

WHITEOUT_PREFIX = b".wh."
OPAQUE_MARKER = b".wh..wh..opq"


def deleted_name(name: bytes) -> bytes | None:
    """Return the name that an entry called `name` deletes; None if it is an ordinary entry.

    Raises:
        ArchiveError: the name would delete its own directory, the one above, or what layers
            reserve for such marks.
    """
    if not name.startswith(WHITEOUT_PREFIX):
        return None
    deleted = name[len(WHITEOUT_PREFIX) :]
    if deleted in {b"", b".", b".."} or deleted.startswith(WHITEOUT_PREFIX):
        raise ArchiveError(f"{show(name)} is not a deletion that a layer can hold")
    return deleted


def refuse_reserved(path: bytes) -> None:
    """Require that no component of a clean path is a deletion. Raises ArchiveError."""
    if any(part.startswith(WHITEOUT_PREFIX) for part in path.split(b"/")):
        raise ArchiveError(f"{show(path)}: names that begin with .wh. mean deletions")


def make_whiteout(name: bytes, directory: int) -> None:
    """Make an overlay's whiteout, which the kernel lets any user namespace's root do."""
    os.mknod(name, S_IFCHR, 0, dir_fd=directory)


def is_whiteout(status: os.stat_result) -> bool:
    return S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_at(name: bytes, directory: int) -> bool:
    """Tell whether an entry of an open directory is an overlay's whiteout."""
    try:
        return is_whiteout(os.stat(name, dir_fd=directory, follow_symlinks=False))
    except FileNotFoundError:
        return False


def make_opaque(directory: int) -> None:
    """Hide what an open directory has in the layers below."""
    os.setxattr(directory, OPAQUE, b"y")


def is_opaque(directory: int) -> bool:
    try:
        return os.getxattr(directory, OPAQUE) == b"y"
    except OSError as error:
        if error.errno == ENODATA:
            return False
        raise
