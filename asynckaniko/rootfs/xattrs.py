"""Which extended attributes of a file belong into an image, and in which form."""

import os
from collections.abc import Mapping
from errno import E2BIG, EINVAL, ENOTSUP, ERANGE

from asynckaniko.errors import ArchiveError
from asynckaniko.linux.overlay import XATTR_PREFIX
from asynckaniko.linux.owners import ATTRIBUTE_PREFIX
from asynckaniko.rootfs.tar_header import show

CAPABILITY = "security.capability"

_OURS = (XATTR_PREFIX, ATTRIBUTE_PREFIX)
_REVISION_MASK = 0xFF00_0000
_REVISION_2 = 0x0200_0000
_SIZE_2, _SIZE_3 = 20, 24
_LARGE = 1024
"""From this size on, ENOSPC is about ext4's room for attributes rather than the disk."""


def list_xattrs(descriptor: int) -> list[str]:
    """List attribute names; none where the filesystem has no attributes."""
    try:
        return os.listxattr(descriptor)
    except OSError as error:
        if error.errno == ENOTSUP:
            return []
        raise


def is_portable(name: str) -> bool:
    """Tell whether an attribute belongs into an image: file capabilities and `user.*` do.

    The others describe one machine: SELinux labels, ACLs, the marks of overlays, our own.
    """
    return name == CAPABILITY or (name.startswith("user.") and not name.startswith(_OURS))


def read_xattrs(descriptor: int, names: list[str]) -> dict[str, bytes]:
    """Read those of `names` that belong into an image."""
    found = {name: os.getxattr(descriptor, name) for name in names if is_portable(name)}
    if CAPABILITY in found:
        found[CAPABILITY] = without_root_id(found[CAPABILITY])
    return found


def without_root_id(capability: bytes) -> bytes:
    """Turn revision 3 of file capabilities into revision 2 (capabilities(7)).

    Revision 3 holds for one user namespace of this machine; wherever else the image is used, the
    kernel would ignore it.
    """
    if len(capability) != _SIZE_3:
        return capability
    magic = int.from_bytes(capability[:4], "little") & ~_REVISION_MASK | _REVISION_2
    return magic.to_bytes(4, "little") + capability[4:_SIZE_2]


def set_xattrs(descriptor: int, xattrs: Mapping[str, bytes], *, name: bytes) -> None:
    """Set the extended attributes that mean the same on every machine; leave out the others.

    `name` is what errors call the file. Raises ArchiveError: one that cannot be stored; OSError.
    """
    for key, value in xattrs.items():
        if not is_portable(key):
            continue
        try:
            os.setxattr(descriptor, key, without_root_id(value) if key == CAPABILITY else value)
        except OSError as error:
            if error.errno in {EINVAL, ERANGE, E2BIG} or len(value) >= _LARGE:
                raise ArchiveError(
                    f"{show(name)}: the attribute {key} of {len(value)} bytes cannot be stored:"
                    f" {error.strerror}"
                ) from error
            raise
