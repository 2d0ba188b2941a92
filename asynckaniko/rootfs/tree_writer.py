"""Put the entries of an archive into a root filesystem. The hottest loop of a pull.

Every name is taken relative to its open parent directory and its last component is never followed;
`RootFS` finds the parents. Owner, mode and times are set by descriptor. Expects umask 0.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from errno import EEXIST
from stat import S_ISDIR
from typing import Any, Protocol, Self

from asynckaniko.errors import ArchiveError
from asynckaniko.linux import owners
from asynckaniko.linux.owners import Owner
from asynckaniko.linux.remove import remove
from asynckaniko.rootfs.paths import READ_DIRECTORY, RootFS, clean
from asynckaniko.rootfs.refusal import UNUSABLE, explain
from asynckaniko.rootfs.tar_header import show
from asynckaniko.rootfs.tar_member import Kind, Member
from asynckaniko.rootfs.whiteout import is_whiteout
from asynckaniko.rootfs.xattrs import set_xattrs

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FIFO = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_OPEN = 256
_SPECIAL_BITS = 0o7000
_DOT = 0x2E
_FILE, _DIRECTORY = Kind.FILE, Kind.DIRECTORY


class Members(Protocol):
    """Members of an archive, one after the other, and the content of the latest."""

    def __iter__(self) -> Iterator[Member]: ...
    def copy_to(self, descriptor: int) -> None: ...


class TreeWriter:
    """Writes members of an archive into a tree: the later wins, and directories merge.

    Use as a context manager: it keeps directories open. Subclasses say what else is special.
    """

    tree_is_new = False
    """Nothing but this writer made the tree, and `claim` was called for its root: what it creates
    belongs to root:root by itself, with the mode it asks for."""

    def __init__(self, tree: RootFS, reader: Members) -> None:
        self._tree = tree
        self._reader = reader
        self._open: dict[bytes, int] = {}
        """Directories by clean path."""
        self._spelled: dict[bytes, int] = {}
        """The same directories by the parents' names as the archive writes them."""
        self._retired: set[int] = set()
        """One that was closed to newcomers while in use."""
        self._directories: dict[bytes, Member] = {}
        """Entries of directories, whose metadata is due when nothing more is written to them."""
        self._times: dict[bytes, int] = {}
        """Of directories that are as they should be but for these, in nanoseconds."""
        self._has_replaced = False
        """Whether a later entry took the place of an earlier one."""
        self.devices: dict[bytes, Member] = {}
        """Those that the tree should have, by path: no user namespace may make them."""
        self.links: dict[int, Owner] = {}
        """Owners of links and FIFOs, where these are recorded, to be stored with the layer."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_directories()

    def write(self) -> None:
        """Write all members.

        Raises:
            ArchiveError: an entry that is malformed or cannot be.
            OSError: what else the kernel refuses; `filename` is the entry's name.
        """
        for member in self._reader:
            try:
                self._write_member(member)
            except OSError as error:
                explain(error, member)
                raise
        self._finish()

    def list_devices(self) -> list[dict[str, Any]]:
        """Describe `devices` in JSON values."""
        return [
            {
                "path": os.fsdecode(path),
                "kind": member.kind.value,
                "major": member.device[0],
                "minor": member.device[1],
                "mode": member.mode,
                "uid": member.uid,
                "gid": member.gid,
            }
            for path, member in sorted(self.devices.items())
        ]

    def _write_member(self, member: Member) -> None:
        kind = member.kind
        name = member.name.rstrip(b"/") if kind is _DIRECTORY else member.name
        parent, _, base = name.rpartition(b"/")
        directory = self._spelled.get(parent)
        # `.`, `..` and deletions begin with a dot; parents in `_spelled` were found harmless.
        if directory is None or not base or base[0] == _DOT:
            path = clean(name)
            if not path:
                self._write_root(member)
                return
            if self._divert(member, path):
                return
            clean_parent, _, clean_base = path.rpartition(b"/")
            directory = self._directory(clean_parent)
            if base == clean_base:
                self._spelled[parent] = directory
            base = clean_base
        if self.devices:
            self.devices.pop(clean(name), None)
        if kind is _FILE:
            self._write_file(member, base, directory)
        elif kind is _DIRECTORY:
            self._write_directory(member, base, directory)
        else:
            self._write_other(member, base, directory)

    def _divert(self, member: Member, path: bytes) -> bool:
        """Take care of an entry that is not to be written, and tell so."""
        return False

    def _make_room(self, member: Member, base: bytes, directory: int) -> None:
        """Remove what is where `member` goes and does not merge with it."""
        remove(base, directory)
        self._has_replaced = True
        # Open directories may have been in what is gone, or found through it.
        self._close_directories(but=directory)

    def _write_file(self, member: Member, base: bytes, directory: int) -> None:
        mode = member.mode & 0o777
        try:
            descriptor = os.open(base, _CREATE, mode, dir_fd=directory)
        except FileExistsError:
            self._make_room(member, base, directory)
            descriptor = os.open(base, _CREATE, mode, dir_fd=directory)
        try:
            if member.size:
                self._reader.copy_to(descriptor)
            self._dress(member, descriptor)
        finally:
            os.close(descriptor)

    def _dress(self, member: Member, descriptor: int) -> None:
        """Give an open new file what the entry says, in the order that loses nothing.

        chown clears setuid bits and file capabilities; everything changes the times.
        """
        if member.uid or member.gid or not self.tree_is_new:
            owners.give(descriptor, (member.uid, member.gid))
        # A default ACL of an existing directory takes bits from the mode given to open(2).
        if member.mode & _SPECIAL_BITS or not self.tree_is_new:
            os.fchmod(descriptor, member.mode)
        if member.xattrs:
            set_xattrs(descriptor, member.xattrs, name=member.name)
        os.utime(descriptor, ns=(member.mtime_ns, member.mtime_ns))

    def _write_directory(self, member: Member, base: bytes, directory: int) -> bool:
        """Make a directory, or merge with it; tell whether it is new."""
        path, mode = clean(member.name), member.mode
        # Files are written into it first, which its own mode may not allow.
        is_plain = self.tree_is_new and mode & _SPECIAL_BITS == 0 and mode & 0o700 == 0o700
        if not is_plain or member.uid or member.gid or member.xattrs:
            is_plain, mode = False, 0o755
        try:
            os.mkdir(base, mode, dir_fd=directory)
        except FileExistsError:
            status = os.stat(base, dir_fd=directory, follow_symlinks=False)
            if S_ISDIR(status.st_mode):
                self._times.pop(path, None)
                self._directories[path] = member
                return False
            self._make_room(member, base, directory)
            os.mkdir(base, mode, dir_fd=directory)
        if is_plain:
            self._directories.pop(path, None)
            self._times[path] = member.mtime_ns
        else:
            self._times.pop(path, None)
            self._directories[path] = member
        return True

    def _write_root(self, member: Member) -> None:
        if member.kind is not _DIRECTORY:
            raise ArchiveError(f"{show(member.name)}: the root directory as a {member.kind.value}")
        self._directories[b""] = member

    def _finish(self) -> None:
        self._finish_times()
        for path, member in self._directories.items():
            try:
                self._finish_directory(member, path)
            except OSError as error:
                explain(error, member)
                raise

    def _finish_times(self) -> None:
        """Set `_times`, by names in open parents: as good as by descriptor if nothing was replaced.

        Before the other directories' modes, which may keep this process from what is in them.
        """
        if self._has_replaced:
            for path, time in self._times.items():
                descriptor = self._reopen(path)
                if descriptor is not None:
                    try:
                        os.utime(descriptor, ns=(time, time))
                    finally:
                        os.close(descriptor)
            return
        siblings: dict[bytes, list[tuple[bytes, int]]] = {}
        for path, time in self._times.items():
            parent, _, base = path.rpartition(b"/")
            siblings.setdefault(parent, []).append((base, time))
        for parent, times in siblings.items():
            directory = self._directory(parent)
            for base, time in times:
                os.utime(base, ns=(time, time), dir_fd=directory, follow_symlinks=False)

    def _reopen(self, path: bytes) -> int | None:
        """Open a directory that was written; None if another entry took its place."""
        try:
            return self._tree.open(path, READ_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            # Or that of one that it was in.
            if error.errno in UNUSABLE:
                return None
            raise

    def _finish_directory(self, member: Member, path: bytes) -> None:
        descriptor = self._reopen(path)
        if descriptor is None:
            return
        try:
            owners.give(descriptor, (member.uid, member.gid))
            os.fchmod(descriptor, member.mode)
            if member.xattrs:
                set_xattrs(descriptor, member.xattrs, name=member.name)
            os.utime(descriptor, ns=(member.mtime_ns, member.mtime_ns))
        finally:
            os.close(descriptor)

    def _write_other(self, member: Member, base: bytes, directory: int) -> None:
        match member.kind:
            case Kind.SYMLINK:
                make = self._make_symlink
            case Kind.HARD_LINK:
                make = self._make_hard_link
            case Kind.FIFO:
                make = self._make_fifo
            case _:
                make = self._make_device
        try:
            make(member, base, directory)
        except FileExistsError:
            if member.kind is Kind.HARD_LINK and self._is_same(member, base, directory):
                return
            self._make_room(member, base, directory)
            make(member, base, directory)

    def _make_symlink(self, member: Member, base: bytes, directory: int) -> None:
        os.symlink(member.link, base, dir_fd=directory)
        if owners.are_recorded():
            status = os.stat(base, dir_fd=directory, follow_symlinks=False)
            self._record_link(member, status)
        elif member.uid or member.gid or not self.tree_is_new:
            os.chown(base, member.uid, member.gid, dir_fd=directory, follow_symlinks=False)
        times = (member.mtime_ns, member.mtime_ns)
        os.utime(base, ns=times, dir_fd=directory, follow_symlinks=False)

    def _make_hard_link(self, member: Member, base: bytes, directory: int) -> None:
        path = clean(member.link)
        if path in self.devices:
            self._make_device(replace(self.devices[path], name=member.name), base, directory)
            return
        with self._parent_of(path) as (target, target_directory):
            status = os.stat(target, dir_fd=target_directory, follow_symlinks=False)
            if S_ISDIR(status.st_mode) or is_whiteout(status):
                raise ArchiveError(
                    f"{show(member.name)} is a hard link to {show(member.link)}, which is no file"
                )
            os.link(
                target,
                base,
                src_dir_fd=target_directory,
                dst_dir_fd=directory,
                follow_symlinks=False,
            )

    def _is_same(self, member: Member, base: bytes, directory: int) -> bool:
        """Tell whether the entry is a hard link already: to itself, or written twice."""
        with self._parent_of(clean(member.link)) as (target, target_directory):
            there = os.stat(target, dir_fd=target_directory, follow_symlinks=False)
        here = os.stat(base, dir_fd=directory, follow_symlinks=False)
        return os.path.samestat(here, there)

    def _make_fifo(self, member: Member, base: bytes, directory: int) -> None:
        os.mkfifo(base, 0o600, dir_fd=directory)
        descriptor = os.open(base, _OPEN_FIFO, dir_fd=directory)
        try:
            if owners.are_recorded():
                self._record_link(member, os.fstat(descriptor))
            else:
                os.fchown(descriptor, member.uid, member.gid)
            os.fchmod(descriptor, member.mode)
            os.utime(descriptor, ns=(member.mtime_ns, member.mtime_ns))
        finally:
            os.close(descriptor)

    def _record_link(self, member: Member, status: os.stat_result) -> None:
        # The inode may have been that of a link that an earlier entry made and a later replaced.
        self.links.pop(status.st_ino, None)
        if member.uid or member.gid:
            self.links[status.st_ino] = member.uid, member.gid

    def _make_device(self, member: Member, base: bytes, directory: int) -> None:
        self._hold_place(base, directory)
        self.devices[clean(member.name)] = member

    def _hold_place(self, base: bytes, directory: int) -> None:
        """Put nothing where a device should be. Raises FileExistsError: something is there."""
        try:
            os.stat(base, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return
        raise FileExistsError(EEXIST, os.strerror(EEXIST), base)

    @contextmanager
    def _parent_of(self, path: bytes) -> Iterator[tuple[bytes, int]]:
        """Open the directory of a hard link's target, which must exist; yield the name in it too.

        Not from the cache: another directory may be in use, and must not be closed for this one.
        """
        parent, _, base = path.rpartition(b"/")
        directory = self._tree.open_directory(parent)
        try:
            yield base or b".", directory
        finally:
            os.close(directory)

    def _directory(self, path: bytes) -> int:
        """Return the open directory at a clean path; made if it is not there.

        It stays open until the next call of this or of `_close_directories`.
        """
        directory = self._open.get(path)
        if directory is None:
            if len(self._open) >= _MOST_OPEN:
                self._close_directories()
            directory = self._open[path] = self._open_directory(path)
        return directory

    def _open_directory(self, path: bytes) -> int:
        parent, _, base = path.rpartition(b"/")
        above = self._open.get(parent) if base else None
        if above is not None:
            try:
                # What the whole path leads to, unless the last component is a link.
                return os.open(base, READ_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
            except OSError as error:
                if error.errno not in UNUSABLE:
                    raise
        try:
            return self._tree.open_directory(path)
        except FileNotFoundError:
            self._note_implicit(self._tree.make_directories(path))
            return self._tree.open_directory(path)

    def _note_implicit(self, paths: list[bytes]) -> None:
        """Take note of directories that were made because an entry is in them."""

    def _close_directories(self, *, but: int | None = None) -> None:
        for directory in {*self._open.values(), *self._retired}:
            if directory != but:
                os.close(directory)
        self._retired = set() if but is None else {but}
        self._open.clear()
        self._spelled.clear()
