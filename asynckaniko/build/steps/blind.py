"""COPY onto a base that nobody has looked into.

A build that only sets metadata and adds a few files need not download its base, if the place of
those files in the layer follows from the instruction alone. It does when two things hold, which
docs/decisions/0002-lazy-base.md discusses:
- the parent is a directory that every image with a distribution in it has as a real directory;
- the name is that of a file: it ends the path, and looks like no directory.
Such a layer has no entries for parent directories, so it leaves their owner and mode alone.
"""

import os
import posixpath
import stat
from typing import TYPE_CHECKING, Any

from asynckaniko.build.sources import FromDirectory
from asynckaniko.dockerfile.patterns import has_wildcard

if TYPE_CHECKING:
    from asynckaniko.build.steps.transfer import Transfer

_REAL_DIRECTORIES = frozenset(
    {
        "etc",
        "home",
        "opt",
        "root",
        "srv",
        "tmp",
        "usr/local/bin",
        "usr/local/etc",
        "usr/local/lib",
        "usr/local/share",
        "usr/share",
        "var/lib",
    }
)


def assumed_destination(transfer: "Transfer", workdir: str) -> dict[str, Any] | None:
    """Return where the file goes if that needs no look at the base, else None.

    Only plain files of a local context or heredocs, with numeric owners. Reads file types of the
    context: run it in a thread.
    """
    if transfer.is_add or transfer.parents or transfer.link or not _is_numeric(transfer.chown):
        return None
    if not _are_files(transfer):
        return None
    names_directory = transfer.destination.endswith("/")
    path = posixpath.normpath(posixpath.join("/", workdir, transfer.destination)).lstrip("/")
    if names_directory:
        if path not in _REAL_DIRECTORIES:
            return None
    else:
        is_one = len(transfer.sources) + len(transfer.heredocs) == 1
        parent = posixpath.dirname(path)
        if not is_one or parent not in _REAL_DIRECTORIES or not _looks_like_a_file(path):
            return None
    uid, _, gid = transfer.chown.partition(":")
    return {
        "path": path,
        "exists": names_directory,
        "is_directory": names_directory,
        "missing_parents": [],
        "uid": int(uid) if uid else None,
        "gid": int(gid or uid) if uid else None,
        "trailing_slash": names_directory,
    }


def _is_numeric(chown: str) -> bool:
    return all(part.isascii() and part.isdigit() for part in chown.split(":")) if chown else True


def _looks_like_a_file(path: str) -> bool:
    stem, dot, extension = posixpath.basename(path).rpartition(".")
    return bool(stem and dot and extension) and extension != "d"


def _are_files(transfer: "Transfer") -> bool:
    if not isinstance(transfer.source, FromDirectory):
        return not transfer.sources
    for name in transfer.sources:
        if has_wildcard(name):
            return False
        clean = posixpath.normpath(posixpath.join("/", name)).lstrip("/")
        try:
            status = os.lstat(os.path.join(transfer.source.directory, clean))
        except OSError:
            return False
        if not stat.S_ISREG(status.st_mode):
            return False
    return True
