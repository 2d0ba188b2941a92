"""Names inside a root filesystem: lookups that no link, `..` or rename can lead out of it.

Checking a path and then opening it loses against whoever renames in between (CVE-2018-15664), so
nothing is checked: the kernel resolves each name with the root's descriptor as `/` (openat2(2),
RESOLVE_IN_ROOT), or, where it cannot or must not, a walk goes from one open directory to the next.
What is then done happens relative to the descriptor.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from stat import S_ISDIR, S_ISLNK
from typing import NamedTuple, Self, TypeAlias

from asynckaniko.errors import ArchiveError
from asynckaniko.linux import owners, syscalls
from asynckaniko.linux.accounts import lookup_owner
from asynckaniko.linux.owners import Links
from asynckaniko.rootfs.tar_header import show

OpenInRoot: TypeAlias = Callable[[int, bytes, int], int]
"""Open a path (never to create it) as seen with the first argument as root directory."""

READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
MOST_LINKS = 40
"""As the kernel has it."""
DEEPEST = 256
_LONGEST_COMPONENT = 255
_PROBE_FAILURES = frozenset((errno.ENOSYS, errno.EPERM))
"""A kernel before 5.6 or gVisor; a seccomp profile that does not know the call."""


def clean(name: bytes) -> bytes:
    """Return an archive's name for an entry as a path from the root: no `.`, no `..`, no `//`.

    Empty is the root itself. Raises ArchiveError: it leads out of the root, is too deep, or has a
    component that no file can have.
    """
    # Nearly every name needs no work. So short a one cannot be too deep either.
    path = name.removeprefix(b"./").rstrip(b"/")
    if (
        0 < len(path) <= _LONGEST_COMPONENT
        and path[0] not in b"./"
        and b"/." not in path
        and b"//" not in path
        and b"\0" not in path
    ):
        return path
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part in {b"", b"."}:
            continue
        if part == b"..":
            if not parts:
                raise ArchiveError(f"{show(name)} leads out of the root directory")
            parts.pop()
        elif len(part) > _LONGEST_COMPONENT or b"\0" in part:
            raise ArchiveError(f"{show(name)} has a component that is no file name")
        else:
            parts.append(part)
    if len(parts) > DEEPEST:
        raise ArchiveError(f"{show(name)} is more than {DEEPEST} directories deep")
    return b"/".join(parts)


class Place(NamedTuple):
    """Where a path leads."""

    path: bytes
    """Without links; empty is the root."""
    missing: tuple[bytes, ...]
    """The last components of `path`, as many as do not exist."""


class RootFS:
    """A directory that is, or will be, `/`. Paths are bytes, with or without a leading slash.

    Every method raises OSError as the kernel would for a process that has it as its root.
    """

    def __init__(
        self, root: int, *, links: Links | None = None, open_in_root: OpenInRoot | None = None
    ) -> None:
        """Take the open directory `root`, which the caller closes; `open_in_root` is for tests.

        `links` has owners of links where these are recorded.
        """
        self.root = root
        self.links = links or {}
        self.open_in_root = open_in_root or best_opener(root)

    @classmethod
    @contextmanager
    def at(cls, directory: str | bytes, *, links: Links | None = None) -> Iterator[Self]:
        """Open a directory of the host as root."""
        root = os.open(directory, READ_DIRECTORY)
        try:
            yield cls(root, links=links)
        finally:
            os.close(root)

    def open(self, path: bytes, flags: int) -> int:
        """Open what `path` leads to; links are followed, the last only without O_NOFOLLOW."""
        return self.open_in_root(self.root, path, flags | os.O_CLOEXEC)

    def open_directory(self, path: bytes) -> int:
        return self.open_in_root(self.root, path, READ_DIRECTORY)

    def lookup(self, path: bytes, *, follow: bool = True) -> os.stat_result | None:
        """Return the status of what `path` leads to; None if nothing. The owner is the image's.

        Links are followed, the last component's only with `follow`.
        """
        try:
            descriptor = self.open(path, os.O_PATH if follow else os.O_PATH | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return owners.seen(os.fstat(descriptor), descriptor, self.links)
        finally:
            os.close(descriptor)

    def read_link(self, path: bytes) -> bytes | None:
        """Return the text of the link at `path`, None if that is no link."""
        descriptor = self.open(path, os.O_PATH | os.O_NOFOLLOW)
        try:
            is_link = S_ISLNK(os.fstat(descriptor).st_mode)
            return os.readlink(b"", dir_fd=descriptor) if is_link else None
        finally:
            os.close(descriptor)

    def list_directory(self, path: bytes) -> list[tuple[str, bool]]:
        """List (name, is a directory), sorted."""
        descriptor = self.open_directory(path)
        try:
            with os.scandir(descriptor) as entries:
                return sorted(
                    (entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries
                )
        finally:
            os.close(descriptor)

    def lookup_owner(self, spec: str) -> tuple[int, int]:
        """Resolve --chown. Raises UnknownAccount as well."""
        return lookup_owner(self.root, spec)

    def resolve(self, path: bytes) -> Place:
        """Follow all links, the last too, also where they dangle.

        Raises:
            NotADirectoryError: a file is used as a directory.
            OSError: ELOOP, and whatever else keeps a directory from being read.
        """
        with _Walk(self.root) as walk:
            last = walk.follow(path, keep_last_link=False, allow_missing=True)
            missing = tuple(walk.names[len(walk.descriptors) :])
            return Place(b"/".join(walk.names + ([last] if last else [])), missing)

    def make_directories(self, path: bytes, mode: int = 0o755) -> list[bytes]:
        """Make the directory that `path` leads to and those on the way that do not exist.

        Returns the new ones as paths without links, outermost first.
        """
        place = self.resolve(path)
        if not place.missing:
            return []
        names = place.path.split(b"/")
        existing = len(names) - len(place.missing)
        descriptor = self.open_directory(b"/".join(names[:existing]))
        try:
            for name in place.missing:
                os.mkdir(name, mode, dir_fd=descriptor)
                inner = os.open(name, READ_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
        finally:
            os.close(descriptor)
        return [b"/".join(names[: end + 1]) for end in range(existing, len(names))]


def best_opener(root: int) -> OpenInRoot:
    """Choose the kernel's resolution where this process may use it."""
    try:
        os.close(open_by_kernel(root, b"", os.O_PATH))
    except OSError as error:
        if error.errno not in _PROBE_FAILURES:
            raise
        return open_by_walk
    return open_by_kernel


def open_by_kernel(root: int, path: bytes, flags: int) -> int:
    """Be OpenInRoot by openat2(2)."""
    return syscalls.openat2(root, path or b".", flags)


def open_by_walk(root: int, path: bytes, flags: int) -> int:
    """Be OpenInRoot by openat(2) for each component, with the same results as the kernel's."""
    with _Walk(root) as walk:
        last = walk.follow(path, keep_last_link=bool(flags & os.O_NOFOLLOW), allow_missing=False)
        if last is None:
            return os.open(b".", flags & ~os.O_NOFOLLOW, dir_fd=walk.here)
        # If it has become a link since, O_NOFOLLOW makes this fail.
        return os.open(last, flags | os.O_NOFOLLOW, dir_fd=walk.here)


class _Walk:
    """From directory to directory by open descriptors; `..` goes back to the one before."""

    def __init__(self, root: int) -> None:
        self._root = root
        self.descriptors: list[int] = []
        self.names: list[bytes] = []
        """Of `descriptors`, and then of what does not exist."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._return(0)

    @property
    def here(self) -> int:
        return self.descriptors[-1] if self.descriptors else self._root

    def follow(self, path: bytes, *, keep_last_link: bool, allow_missing: bool) -> bytes | None:
        """Go where `path` leads; return a last component that is no directory and so not entered.

        With `allow_missing`, `names` goes on where there is nothing.
        """
        pending = split_path(path)
        links = 0
        while pending:
            name = pending.pop()
            if name == b".":
                continue
            if name == b"..":
                self._return(max(len(self.names) - 1, 0))
                continue
            if len(self.names) == DEEPEST:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
            descriptor = self._look(name, allow_missing=allow_missing)
            if descriptor is None:
                continue
            mode = os.fstat(descriptor).st_mode
            if S_ISDIR(mode):
                self.names.append(name)
                self.descriptors.append(descriptor)
                continue
            target = os.readlink(b"", dir_fd=descriptor) if S_ISLNK(mode) else b""
            os.close(descriptor)
            if not target or (keep_last_link and not pending):
                if pending:
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
                return name
            links += 1
            if links > MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            if target.startswith(b"/"):
                self._return(0)
            pending += split_path(target)
        return None

    def _look(self, name: bytes, *, allow_missing: bool) -> int | None:
        """Open an entry of the current directory itself; None if it does not exist and may not."""
        missing = len(self.names) > len(self.descriptors)
        if not missing:
            try:
                return os.open(name, _LOOK, dir_fd=self.here)
            except FileNotFoundError:
                if not allow_missing:
                    raise
        self.names.append(name)
        return None

    def _return(self, depth: int) -> None:
        del self.names[depth:]
        for descriptor in self.descriptors[depth:]:
            os.close(descriptor)
        del self.descriptors[depth:]


def split_path(path: bytes) -> list[bytes]:
    """Split a path, last component first; a slash at the end asks for a directory, as `.` does."""
    parts = [part for part in path.split(b"/") if part]
    if path.endswith(b"/"):
        parts.append(b".")
    return parts[::-1]
