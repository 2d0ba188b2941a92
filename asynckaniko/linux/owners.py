"""Owners of files, where the user namespace has one id only: then they are recorded beside it.

Elsewhere these functions are chown(2) and fstat(2). With one id, every file on disk belongs to it,
and to whom a file belongs in the image is said by

- the attribute `user.asynckaniko.owner` of files and directories: overlays copy it up with them;
- a mark in the root of the layer for each link and FIFO, which can have no such attribute: a
  whiteout whose name has the inode's number and the owner. No overlay shows whiteouts.

What has no record belongs to root.
"""

import os
import re
from collections.abc import Iterable, Mapping
from errno import ENODATA, ENOTSUP
from functools import cache
from pathlib import Path
from stat import S_IFCHR, S_ISCHR, S_ISDIR, S_ISREG
from typing import TypeAlias

Owner: TypeAlias = tuple[int, int]
"""Uid and gid."""
Links: TypeAlias = Mapping[int, Owner]
"""Owners of links and FIFOs, by number of the inode: all layers are on one file system."""

ROOT: Owner = (0, 0)
UNCHANGED = 2**32 - 1
"""(uid_t) -1"""
ATTRIBUTE_PREFIX = "user.asynckaniko."
_ATTRIBUTE = ATTRIBUTE_PREFIX + "owner"
_ECHO = b"root"
"""Instead of an owner: see `is_echo`."""
_RECORD = re.compile(rb"(?P<uid>\d{1,10}|-):(?P<gid>\d{1,10}|-)(@(?P<since>\d{1,20}))?")
_MARK = re.compile(rb"\.asynckaniko-owner\.(\d{1,20})\.(\d{1,10})\.(\d{1,10})")


@cache
def are_recorded() -> bool:
    """Tell whether this process's user namespace has one id only."""
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    return len(lines) == 1 and lines[0].split()[2] == "1"


def give(descriptor: int, owner: Owner) -> None:
    """Give an open file or directory to `owner`. Raises OSError."""
    if are_recorded():
        record(descriptor, owner)
    else:
        os.fchown(descriptor, *owner)


def record(descriptor: int, owner: Owner) -> None:
    """Note the owner of an open file or directory. Raises OSError."""
    try:
        if owner == ROOT:
            os.removexattr(descriptor, _ATTRIBUTE)
        else:
            os.setxattr(descriptor, _ATTRIBUTE, _render(owner))
    except OSError as error:
        # The attribute is not there, or it is on a file system that has none: no layer is on such.
        if error.errno not in {ENODATA, ENOTSUP}:
            raise


def record_wanted(descriptor: int, wanted: Owner) -> None:
    """Note the owner that a command wants an open file or directory to have, as chown(2) would.

    What had no owner and is given to root `is_echo`; an id that is left as it is stays UNCHANGED.
    With a directory's is noted since when it has it.
    """
    status = os.fstat(descriptor)
    owner = merged(recorded(descriptor) or (UNCHANGED, UNCHANGED), wanted)
    value = _ECHO if owner == ROOT and recorded(descriptor) is None else _render(owner)
    if S_ISDIR(status.st_mode) and value is not _ECHO:
        value += b"@%d" % status.st_ctime_ns
    try:
        os.setxattr(descriptor, _ATTRIBUTE, value)
    except OSError as error:
        if error.errno != ENOTSUP:
            raise


def is_echo(descriptor: int) -> bool:
    """Tell whether an open file was given to root, whom every file seems to belong to, as new."""
    return _read(descriptor) == _ECHO


def since(descriptor: int) -> int:
    """Return when an open directory was given to its owner, if this step did that, else 0.

    In nanoseconds, as the kernel stamps files.
    """
    found = _RECORD.fullmatch(_read(descriptor))
    return int(found["since"] or 0) if found is not None else 0


def recorded(file: int | str) -> Owner | None:
    """Return what is recorded of an open file or directory, or of one at a path; None if nothing.

    Whoever wrote the attribute may have been a command: one that makes no sense says nothing.
    """
    found = _RECORD.fullmatch(_read(file))
    if found is None:
        return None
    ids = found.group("uid", "gid")
    if any(part != b"-" and int(part) >= UNCHANGED for part in ids):
        return None
    uid, gid = (UNCHANGED if part == b"-" else int(part) for part in ids)
    return uid, gid


def seen(status: os.stat_result, descriptor: int, links: Links) -> os.stat_result:
    """Return the status of an open file (O_PATH too) with the owner that it has in the image."""
    if not are_recorded():
        return status
    if S_ISREG(status.st_mode) or S_ISDIR(status.st_mode):
        return _with_owner(status, recorded(f"/proc/self/fd/{descriptor}"))
    return seen_link(status, links)


def seen_link(status: os.stat_result, links: Links) -> os.stat_result:
    """Return the status of a link, FIFO or device with the owner that it has in the image."""
    return _with_owner(status, links.get(status.st_ino)) if are_recorded() else status


def store_links(layer: int, links: Links) -> None:
    """Keep owners of links with the open directory that is the layer they are in."""
    for inode, (uid, gid) in links.items():
        # As root of any user namespace may make it (overlayfs.rst, "whiteouts").
        os.mknod(f".asynckaniko-owner.{inode}.{uid}.{gid}", S_IFCHR, 0, dir_fd=layer)


def read_links(layers: Iterable[str | int]) -> Links:
    """Read the owners of links that are kept with layers, each a path or open directory."""
    links: dict[int, Owner] = {}
    if are_recorded():
        for layer in layers:
            for name in map(os.fsencode, os.listdir(layer)):
                if (found := _MARK.fullmatch(name)) is not None:
                    inode, uid, gid = map(int, found.groups())
                    links[inode] = uid, gid
    return links


def is_mark(path: bytes, status: os.stat_result) -> bool:
    """Tell whether what is at a path in a layer is no file but the owner of one."""
    return S_ISCHR(status.st_mode) and _MARK.fullmatch(path) is not None


def merged(before: Owner, wanted: Owner) -> Owner:
    """Return the owner after chown(2), whose (uid_t) -1 leaves an id as it was."""
    uid, gid = (old if new == UNCHANGED else new for old, new in zip(before, wanted, strict=True))
    return uid, gid


def _with_owner(status: os.stat_result, owner: Owner | None) -> os.stat_result:
    if owner is None:
        return status
    fields = list(status)
    fields[4:6] = merged(ROOT, owner)
    # What is beyond the tuple, as nanoseconds, has names only.
    more = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
    return os.stat_result(fields, more)


def _render(owner: Owner) -> bytes:
    return b":".join(b"-" if part == UNCHANGED else b"%d" % part for part in owner)


def _read(file: int | str) -> bytes:
    try:
        return os.getxattr(file, _ATTRIBUTE)
    except OSError as error:
        if error.errno in {ENODATA, ENOTSUP}:
            return b""
        raise
