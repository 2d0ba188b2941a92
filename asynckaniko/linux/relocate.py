"""Copy or move an entry of a directory to another one, with all below it, as it is.

Owners, modes, times, extended attributes, devices and the links among what is copied: what a layer
can hold. Sockets are left out, as layers leave them out. Data is never shared with the original
other than by the file system's own copy on write.
"""

import errno
import os
import stat

from asynckaniko.linux.remove import remove

_DEEPEST = 256
_LISTED = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FOREIGN_XATTRS = ("user.overlay.", "trusted.", "security.selinux")
"""They describe this machine, or a mount of it."""
_CANNOT_CLONE = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
_MOST_AT_ONCE = 1 << 30


def copy(name: str, source: int, new: str, target: int) -> None:
    """Copy an entry of the open directory `source` to the missing name `new` in `target`.

    Nobody may change either meanwhile. Raises OSError; what was copied until then stays.
    """
    _Copy(target).entry(name, source, new, target, new, 0)


def move(name: str, source: int, new: str, target: int, *, part: str) -> None:
    """Rename, or copy and remove where the kernel cannot rename (overlays, other file systems).

    What is not finished is called `part`, in either directory; one of that name is removed.
    `new` is complete as soon as it is there, and `name` for as long as it can be. Raises OSError.
    """
    try:
        os.rename(name, new, src_dir_fd=source, dst_dir_fd=target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    else:
        return
    discard(part, target)
    copy(name, source, part, target)
    os.rename(part, new, src_dir_fd=target, dst_dir_fd=target)
    discard(part, source)
    try:
        # Where it can be, the old one is gone at once: nobody takes half of it for all.
        os.rename(name, part, src_dir_fd=source, dst_dir_fd=source)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        remove(os.fsencode(name), source)
    else:
        remove(os.fsencode(part), source)


def discard(name: str, directory: int) -> None:
    """Delete an entry with all below it, if there is one. Raises OSError."""
    try:
        remove(os.fsencode(name), directory)
    except FileNotFoundError:
        return


class _Copy:
    """One copy; knows where each file with several names went first."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._first_names: dict[tuple[int, int], str] = {}

    def entry(self, name: str, source: int, new: str, target: int, path: str, depth: int) -> None:
        status = os.lstat(name, dir_fd=source)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            self._directory(name, source, new, target, path, depth)
            return
        if kind == stat.S_IFSOCK:
            return
        if status.st_nlink > 1:
            identity = status.st_dev, status.st_ino
            first = self._first_names.setdefault(identity, path)
            if first != path:
                places = {"src_dir_fd": self._top, "dst_dir_fd": target}
                os.link(first, new, **places, follow_symlinks=False)
                return
        if kind == stat.S_IFREG:
            _copy_file(name, source, new, target)
            return
        if kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=source), new, dir_fd=target)
        else:
            os.mknod(new, status.st_mode, status.st_rdev, dir_fd=target)
        os.chown(new, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        if kind != stat.S_IFLNK:
            os.chmod(new, stat.S_IMODE(status.st_mode), dir_fd=target)
        times = status.st_atime_ns, status.st_mtime_ns
        os.utime(new, ns=times, dir_fd=target, follow_symlinks=False)

    def _directory(
        self, name: str, source: int, new: str, target: int, path: str, depth: int
    ) -> None:
        if depth == _DEEPEST:
            raise OSError(errno.ENAMETOOLONG, f"more than {_DEEPEST} directories deep", path)
        os.mkdir(new, 0o700, dir_fd=target)
        reader = os.open(name, _LISTED, dir_fd=source)
        writer = os.open(new, _LISTED, dir_fd=target)
        try:
            for inner in os.listdir(reader):
                self.entry(inner, reader, inner, writer, f"{path}/{inner}", depth + 1)
            _copy_metadata(reader, writer)
        finally:
            os.close(reader)
            os.close(writer)


def _copy_file(name: str, source: int, new: str, target: int) -> None:
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    reader = os.open(name, os.O_RDONLY | flags, dir_fd=source)
    writer = -1
    try:
        writer = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600, dir_fd=target)
        try:
            while os.copy_file_range(reader, writer, _MOST_AT_ONCE):
                continue
        except OSError as error:
            if error.errno not in _CANNOT_CLONE:
                raise
            while os.sendfile(writer, reader, None, _MOST_AT_ONCE):
                continue
        _copy_metadata(reader, writer)
    finally:
        os.close(reader)
        if writer != -1:
            os.close(writer)


def _copy_metadata(reader: int, writer: int) -> None:
    status = os.fstat(reader)
    # chown clears capabilities and set-id bits, so these come after it (chown(2)).
    os.fchown(writer, status.st_uid, status.st_gid)
    for name in _xattrs(reader):
        os.setxattr(writer, name, os.getxattr(reader, name))
    os.fchmod(writer, stat.S_IMODE(status.st_mode))
    os.utime(writer, ns=(status.st_atime_ns, status.st_mtime_ns))


def _xattrs(descriptor: int) -> list[str]:
    try:
        names = os.listxattr(descriptor)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return []
    return [name for name in names if not name.startswith(_FOREIGN_XATTRS)]
