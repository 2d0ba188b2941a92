"""Owners of what a command left, where they are recorded (`linux.owners`) rather than real.

A command sees everything as root's. What it gave to somebody is recorded; here the rest is done:
owners of links and FIFOs are stored with the layer, and what the kernel would have done by itself,
or a program that copies the owner of what it replaces, is made up for.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from stat import S_ISDIR, S_ISFIFO, S_ISGID, S_ISLNK, S_ISREG
from typing import Any, NamedTuple

from asynckaniko.linux import owners, syscalls
from asynckaniko.linux.overlay import XATTR_PREFIX
from asynckaniko.linux.owners import ROOT, UNCHANGED, Owner
from asynckaniko.rootfs.paths import RootFS
from asynckaniko.rootfs.trees import open_tree
from asynckaniko.rootfs.walk import walk

_NOBODYS_WISH = (UNCHANGED, UNCHANGED)
_LONGEST_PATH = 4095
"""PATH_MAX, without the zero byte."""
_COPIED_UP = XATTR_PREFIX + "origin"


def settle_owners(arguments: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Complete the owners in `upper`, which a command wrote on top of `lowers`. A job.

    `links` is what the step returned. `scratch` is a directory for mounts. Raises OSError.
    """
    upper = os.open(arguments["upper"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with open_tree(arguments["lowers"], scratch=arguments["scratch"]) as below:
            settling = _Settling(upper, below, arguments["links"])
            walk(upper, settling)
        owners.store_links(upper, settling.links)
    finally:
        os.close(upper)


class _Group(NamedTuple):
    """A directory's group, and since when: what was in it before did not get it."""

    gid: int
    since: int


class _Settling:
    """Visits an upper directory."""

    def __init__(self, upper: int, below: RootFS, given: Iterable[Sequence[int]]) -> None:
        self.links: dict[int, Owner] = {}
        self._upper = upper
        self._below = below
        self._given = {(inode, born): (uid, gid) for inode, born, uid, gid in given}
        self._groups: dict[bytes, _Group] = {}
        """Of directories with a set-gid bit: what is made in them gets it."""

    def skips(self, path: bytes, is_directory: bool) -> bool:
        return False

    def directory(self, path: bytes, descriptor: int) -> None:
        since = owners.since(descriptor)
        uid, gid = self._settle(path, descriptor)
        if since:
            owners.record(descriptor, (uid, gid))
        if os.fstat(descriptor).st_mode & S_ISGID and gid:
            self._groups[path] = _Group(gid, since)

    def file(self, path: bytes, descriptor: int) -> None:
        self._settle(path, descriptor)

    def symlink(self, path: bytes, target: bytes, status: os.stat_result) -> None:
        self._settle_link(path, status)

    def special(self, path: bytes, status: os.stat_result) -> None:
        if S_ISFIFO(status.st_mode):
            self._settle_link(path, status)

    def _settle(self, path: bytes, descriptor: int) -> Owner:
        recorded = owners.recorded(descriptor)
        if recorded is not None and UNCHANGED not in recorded:
            return recorded
        if owners.is_echo(descriptor):
            owner = self._echoed(path)
        elif _COPIED_UP in os.listxattr(descriptor):
            # It had no owner but root: that would have come along.
            owner = owners.merged(ROOT, recorded or ROOT)
        else:
            group = self._inherited_group(path, syscalls.birth_time(descriptor, b""))
            owner = owners.merged((0, group), recorded or _NOBODYS_WISH)
        owners.record(descriptor, owner)
        return owner

    def _echoed(self, path: bytes) -> Owner:
        """Return the owner of a new file that was given to root.

        Programs that write a file anew give it to the owner of the one that it replaces (useradd
        /etc/shadow, sed -i, dpkg configuration), and had been told that this is root. The same
        with a copy that has a suffix: /etc/shadow-, FILE~, FILE.bak.
        """
        before, dot, _ = path.rpartition(b".")
        for original in dict.fromkeys((path, path.rstrip(b"-~"), before if dot else path)):
            below = self._look_below(original)
            if below is not None and S_ISREG(below.st_mode):
                return below.st_uid, below.st_gid
        return ROOT

    def _settle_link(self, path: bytes, status: os.stat_result) -> None:
        if len(path) > _LONGEST_PATH:
            # The command could not give it to anybody by this name either.
            return
        born = syscalls.birth_time(self._upper, path)
        given = self._given.get((status.st_ino, born))
        if given is None or UNCHANGED in given:
            before = self._link_before(path, status, born)
            given = before if given is None else owners.merged(before, given)
        if given != ROOT:
            self.links[status.st_ino] = given

    def _link_before(self, path: bytes, status: os.stat_result, born: int) -> Owner:
        below = self._look_below(path)
        if below is not None and _is_copy(status, below):
            return below.st_uid, below.st_gid
        return 0, self._inherited_group(path, born)

    def _inherited_group(self, path: bytes, born: int) -> int:
        group = self._groups.get(path.rpartition(b"/")[0])
        return group.gid if group is not None and born >= group.since else 0

    def _look_below(self, path: bytes) -> os.stat_result | None:
        """Return the status of what the command found at a path, of a link itself."""
        if len(path) > _LONGEST_PATH:
            return None
        return self._below.lookup(path, follow=False)


def _is_copy(status: os.stat_result, below: os.stat_result) -> bool:
    """Tell whether a link or FIFO is the one below, with another time at most."""
    is_same_kind = S_ISLNK(status.st_mode) == S_ISLNK(below.st_mode)
    return is_same_kind and not S_ISDIR(below.st_mode) and status.st_size == below.st_size
