"""Mount points that an image lacks, as a layer of their own below what a command writes.

A mount needs something to be mounted on. Made in the overlay's upper directory it would become
part of the image; made in a layer between the image and the upper, it is gone with the mount.
"""

import errno
import os
import stat

from asynckaniko.errors import StepFailed

_MOST_LINKS = 40
"""What the kernel follows in one path (path_resolution(7))."""


class StubLayer:
    """Collects mount points below `directory` (new, empty) for the tree at the descriptor `root`.

    Directories of the image that a stub lies in are repeated with their metadata: the uppermost
    layer that has a directory decides what it looks like.
    """

    def __init__(self, root: int, directory: str) -> None:
        self._root = root
        self._directory = directory
        self._repeated: list[str] = []
        self._made: set[str] = set()
        self.stubs: list[str] = []
        """What exists only in this layer: outermost missing directories, and files."""

    def require(self, path: str, *, is_directory: bool) -> str:
        """Make sure that `path` exists, and return it with all symlinks resolved in the root.

        Raises StepFailed when something of the wrong kind is in the way.
        """
        existing, missing = locate(self._root, path)
        if missing:
            self._make(existing, missing, is_directory=is_directory)
        else:
            self._check_kind(path, existing, is_directory=is_directory)
        return "/".join([*existing, *missing])

    def finish(self) -> bool:
        """Copy the metadata of repeated directories; return whether the layer is needed at all."""
        for path in sorted(self._repeated, reverse=True):
            source = os.open(path or ".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._root)
            try:
                copy_metadata(source, f"{self._directory}/{path}")
            finally:
                os.close(source)
        return bool(self.stubs)

    def _make(self, existing: list[str], missing: list[str], *, is_directory: bool) -> None:
        for depth in range(len(existing) + 1):
            self._repeat("/".join(existing[:depth]))
        names = list(existing)
        for name in missing:
            names.append(name)
            path = "/".join(names)
            target = f"{self._directory}/{path}"
            if path in self._made:
                continue
            if is_directory or len(names) < len(existing) + len(missing):
                os.mkdir(target, 0o755)
            else:
                os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
            self._made.add(path)
            if "/".join(names[:-1]) not in self._made:
                self.stubs.append(path)

    def _repeat(self, path: str) -> None:
        if path not in self._repeated:
            if path:
                os.mkdir(f"{self._directory}/{path}")
            self._repeated.append(path)

    def _check_kind(self, path: str, existing: list[str], *, is_directory: bool) -> None:
        found = os.lstat("/".join(existing) or ".", dir_fd=self._root)
        if stat.S_ISDIR(found.st_mode) != is_directory:
            wanted, there = ("directory", "file") if is_directory else ("file", "directory")
            raise StepFailed(f"cannot mount a {wanted} at /{path}: a {there} is there in the image")


def locate(root: int, path: str) -> tuple[list[str], list[str]]:
    """Follow `path` in the tree `root` as far as it exists: real names, then missing ones.

    Symlinks are resolved as if `root` were `/`. Nobody may change the tree meanwhile. Raises
    StepFailed for a loop, or a path through something that is no directory.
    """
    existing: list[str] = []
    missing: list[str] = []
    pending = path.split("/")[::-1]
    links = 0
    while pending:
        name = pending.pop()
        if name in {"", "."}:
            continue
        if name == "..":
            (missing or existing or [""]).pop()
            continue
        status = None if missing else _lstat(root, [*existing, name], path)
        if status is None:
            missing.append(name)
        elif stat.S_ISLNK(status.st_mode):
            links += 1
            if links > _MOST_LINKS:
                raise StepFailed(f"cannot mount at /{path}: too many levels of symbolic links")
            target = os.readlink("/".join([*existing, name]), dir_fd=root)
            if target.startswith("/"):
                existing = []
            pending += target.split("/")[::-1]
        else:
            existing.append(name)
    return existing, missing


def copy_metadata(source: int, target: str) -> None:
    """Give the directory `target` the owner, mode, extended attributes and times of `source`."""
    status = os.fstat(source)
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source):
        if not name.startswith(("user.overlay.", "trusted.", "security.selinux")):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _lstat(root: int, names: list[str], path: str) -> os.stat_result | None:
    try:
        return os.lstat("/".join(names), dir_fd=root)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        parent = "/".join(names[:-1])
        raise StepFailed(f"cannot mount at /{path}: /{parent} is not a directory") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise StepFailed(f"cannot mount at /{path}: the name is too long") from None
        raise
