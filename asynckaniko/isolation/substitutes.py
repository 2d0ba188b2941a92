"""What stands at the target of a RUN --mount where nothing can be mounted.

Each can be placed at a free name of an open directory, and cleared from there when the command has
ended, whatever the command did to it. Content is copied, never linked: what a command writes to a
copy must reach no other step.
"""

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from asynckaniko.errors import StepFailed
from asynckaniko.isolation.mounts import make_cache
from asynckaniko.isolation.stub_layer import locate
from asynckaniko.isolation.swap_journal import Kind
from asynckaniko.linux import syscalls
from asynckaniko.linux.relocate import copy, discard, move
from asynckaniko.records import dataclass

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
REAL = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS | syscalls.RESOLVE_NO_MAGICLINKS
"""For paths that are known to have no links."""
PART = ".asynckaniko-part"
"""What is not finished yet, beside a target."""


class Substitute(ABC):
    """Something to stand at a target for the length of a step."""

    is_directory: bool
    kind = Kind.THROWN_AWAY

    @abstractmethod
    def place(self, name: str, parent: int) -> None:
        """Put it at `name` in `parent`, where nothing is."""

    def clear(self, name: str, parent: int) -> None:
        """Leave nothing at `name` in `parent`.

        Raises StepFailed when the command did what a mount would not have let it do.
        """
        discard(name, parent)

    def close(self) -> None:  # noqa: B027  most hold nothing
        """Give descriptors back."""


class EmptyDirectory(Substitute):
    """type=tmpfs. It is on disk, and has no limit of its own."""

    is_directory = True

    def place(self, name: str, parent: int) -> None:
        os.mkdir(name, dir_fd=parent)
        os.chmod(name, 0o1777, dir_fd=parent)  # noqa: S103  as of a tmpfs


@dataclass
class Content(Substitute):
    """A small file that the build gives, such as /etc/hosts."""

    content: bytes
    mode: int
    is_directory = False

    def place(self, name: str, parent: int) -> None:
        descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
        try:
            _write(descriptor, self.content)
            os.fchmod(descriptor, self.mode)
        finally:
            os.close(descriptor)


@dataclass
class Secret(Substitute):
    """A file that only its owner can read, overwritten when the step ends.

    What of it the file system or the disk still holds then is beyond the reach of a program.
    """

    content: bytes
    mode: int
    uid: int
    gid: int
    is_directory = False
    kind = Kind.WIPED
    _file: int = -1

    def place(self, name: str, parent: int) -> None:
        self._file = os.open(name, _NEW_FILE, 0, dir_fd=parent)

    def fill(self) -> os.stat_result:
        """Write it once the journal knows the file, and return the file's status."""
        _write(self._file, self.content)
        os.fchown(self._file, self.uid, self.gid)
        os.fchmod(self._file, self.mode)
        return os.fstat(self._file)

    def status(self) -> os.stat_result:
        return os.fstat(self._file)

    def clear(self, name: str, parent: int) -> None:
        # By the descriptor: it reaches the file wherever the command has moved or linked it.
        if self._file != -1:
            wipe(self._file)
        discard(name, parent)

    def close(self) -> None:
        if self._file != -1:
            os.close(self._file)
            self._file = -1


@dataclass
class Socket(Substitute):
    """The socket of an agent: a second name for it, for a socket cannot be copied."""

    path: str
    root: int
    is_directory = False

    def place(self, name: str, parent: int) -> None:
        try:
            os.link(self.path, name, dst_dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            if not os.path.samestat(os.fstat(self.root), os.stat("/")):
                raise StepFailed(
                    "--mount=type=ssh: where nothing can be mounted, the agent's socket and the"
                    " root filesystem must be on one file system; keep the state directory on one"
                ) from error
            os.symlink(os.path.abspath(self.path), name, dir_fd=parent)


class Moved(Substitute):
    """A directory that is made for this step and ends with it."""

    is_directory = True

    def __init__(self, path: str) -> None:
        parent, self._name = os.path.split(path.rstrip("/"))
        self._directory = os.open(parent or ".", _DIRECTORY)

    def place(self, name: str, parent: int) -> None:
        move(self._name, self._directory, name, parent, part=PART)

    def close(self) -> None:
        os.close(self._directory)


class Copied(Substitute):
    """type=bind, and a read-only cache: what is written is thrown away."""

    def __init__(self, tree: str | None, wanted: str, what: str) -> None:
        """Take the part `wanted` of a directory; None is an empty one."""
        self._origin = None if tree is None else _Origin(tree, wanted, what)
        if self._origin is None and wanted.strip("/") not in {"", "."}:
            raise StepFailed(f"{what}: not found")
        self.is_directory = self._origin is None or self._origin.is_directory

    def place(self, name: str, parent: int) -> None:
        if self._origin is None:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            copy(self._origin.name, self._origin.directory, name, parent)

    def close(self) -> None:
        if self._origin is not None:
            self._origin.close()


class Cache(Substitute):
    """type=cache: the directory itself, moved in and home again. One step at a time has it.

    On another file system it is copied, and home keeps the old one until the copy is back.
    """

    kind = Kind.SENT_HOME

    def __init__(self, spec: Mapping[str, Any], root: int, what: str) -> None:
        directory = spec["directory"]
        wanted = spec.get("source") or ""
        _settle(f"{directory}/{wanted}".rstrip("/."))
        make_cache(directory, spec)
        self._what, self._root = what, root
        self._origin = _Origin(directory, wanted, what)
        self.is_directory = self._origin.is_directory
        self.home = self._origin.path, self._origin.name
        self._self = os.open(
            self._origin.name, os.O_PATH | os.O_NOFOLLOW, dir_fd=self._origin.directory
        )
        status = os.fstat(self._self)
        self.identity = status.st_dev, status.st_ino
        self._is_copy = self._is_placed = False

    def place(self, name: str, parent: int) -> None:
        home = self._origin
        try:
            os.rename(home.name, name, src_dir_fd=home.directory, dst_dir_fd=parent)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._is_copy = True
            copy(home.name, home.directory, name, parent)
        self._is_placed = True

    def clear(self, name: str, parent: int) -> None:
        if not self._is_placed:
            discard(name, parent)
            return
        if self._is_copy:
            self._bring_copy_home(name, parent)
        elif is_same(name, parent, self.identity):
            send_home(name, parent, self._origin.name, self._origin.directory)
        elif os.fstat(self._self).st_nlink and (place := _whereabouts(self._self, self._root)):
            directory, found = place
            try:
                send_home(found, directory, self._origin.name, self._origin.directory)
            finally:
                os.close(directory)
            discard(name, parent)
            raise StepFailed(f"{self._what}: the command moved it away from its target")
        elif self.is_directory and _is_directory(name, parent):
            # Deleted and made anew; on a mount, the delete would have left the directory.
            send_home(name, parent, self._origin.name, self._origin.directory)
        discard(name, parent)

    def close(self) -> None:
        os.close(self._self)
        self._origin.close()

    def _bring_copy_home(self, name: str, parent: int) -> None:
        home = self._origin
        if _is_directory(name, parent) != self.is_directory:
            return
        new, old = f"{home.name}.new", f"{home.name}.old"
        discard(new, home.directory)
        copy(name, parent, new, home.directory)
        os.rename(home.name, old, src_dir_fd=home.directory, dst_dir_fd=home.directory)
        os.rename(new, home.name, src_dir_fd=home.directory, dst_dir_fd=home.directory)
        discard(old, home.directory)


class _Origin:
    """A part of a tree: the open directory that has it, and its name."""

    def __init__(self, tree: str, wanted: str, what: str) -> None:
        """Find `wanted` in the directory `tree`, with links as if that were `/`."""
        top = os.open(tree, _DIRECTORY | os.O_NOFOLLOW)
        try:
            names, missing = locate(top, wanted)
        finally:
            os.close(top)
        if missing:
            raise StepFailed(f"{what}: not found")
        path, self.name = os.path.split("/".join([tree.rstrip("/"), *names]))
        self.path = path or "."
        self.directory = os.open(self.path, _DIRECTORY)
        status = os.lstat(self.name, dir_fd=self.directory)
        self.is_directory = stat.S_ISDIR(status.st_mode)

    def close(self) -> None:
        os.close(self.directory)


def wipe(file: int) -> None:
    """Overwrite an open file with zeros, on the disk too, and empty it."""
    left, offset = os.fstat(file).st_size, 0
    while offset < left:
        offset += os.pwrite(file, bytes(min(left - offset, 1 << 20)), offset)
    os.fsync(file)
    os.ftruncate(file, 0)


def send_home(name: str, parent: int, home: str, directory: int) -> None:
    """Give a cache back its place, unless another process has put one there meanwhile."""
    try:
        os.rename(name, home, src_dir_fd=parent, dst_dir_fd=directory)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise


def is_same(name: str, parent: int, identity: tuple[int, int] | None) -> bool:
    """Tell whether `name` is the file with this device and inode."""
    try:
        status = os.lstat(name, dir_fd=parent)
    except FileNotFoundError:
        return False
    return (status.st_dev, status.st_ino) == identity


def _is_directory(name: str, parent: int) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode)
    except FileNotFoundError:
        return False


def _whereabouts(descriptor: int, root: int) -> tuple[int, str] | None:
    """Find the open directory in the root, and the name, by which an open file can be found now."""
    status = os.fstat(descriptor)
    top, path = (os.readlink(f"/proc/self/fd/{number}") for number in (root, descriptor))
    parent, name = os.path.split(os.path.relpath(path, top))
    try:
        directory = syscalls.openat2(root, parent or ".", _DIRECTORY, resolve=REAL)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.EXDEV}:
            raise
        return None
    if is_same(name, directory, (status.st_dev, status.st_ino)):
        return directory, name
    os.close(directory)
    return None


def _settle(home: str) -> None:
    """Finish or take back the exchange of a cache that was cut short."""
    parent, name = os.path.split(home)
    try:
        directory = os.open(parent or ".", _DIRECTORY)
    except FileNotFoundError:
        return
    try:
        if not os.path.lexists(home) and os.path.lexists(f"{home}.old"):
            os.rename(f"{name}.old", name, src_dir_fd=directory, dst_dir_fd=directory)
        for leftover in (f"{name}.old", f"{name}.new"):
            discard(leftover, directory)
    finally:
        os.close(directory)


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
