"""What it says of an archive that the kernel refuses one of its entries."""

import os
from errno import EINVAL, ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR

from asynckaniko.errors import ArchiveError, HostError
from asynckaniko.rootfs.tar_header import show
from asynckaniko.rootfs.tar_member import Kind, Member

UNUSABLE = {ENAMETOOLONG, ELOOP, ENOTDIR, ENOENT}
"""What the kernel says to names and links that no tree can have."""


def explain(error: OSError, member: Member) -> None:
    """Raise what `error` means for the archive; if it means nothing, name the entry in it."""
    name = show(member.name)
    if member.kind is Kind.HARD_LINK:
        name += f", a hard link to {show(member.link)}"
    if error.errno in UNUSABLE:
        raise ArchiveError(f"cannot unpack {name}: {error.strerror}") from error
    if error.errno == EINVAL:
        raise HostError(
            f"cannot unpack {name} with owner {member.uid}:{member.gid}: {error.strerror}; the"
            " build's user namespace may have no such id"
        ) from error
    error.filename = os.fsdecode(member.name)
