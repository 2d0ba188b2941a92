"""Write files of a source as tar entries under the names they get in the image."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from stat import S_ISBLK, S_ISCHR, S_ISDIR, S_ISFIFO, S_ISGID, S_ISREG, S_ISSOCK

from asynckaniko.dockerfile.chmod import Chmod
from asynckaniko.dockerfile.patterns import PatternMatcher
from asynckaniko.errors import CopyFailed
from asynckaniko.linux import owners
from asynckaniko.linux.owners import Links
from asynckaniko.records import dataclass
from asynckaniko.rootfs.copy_plan import GivenFile
from asynckaniko.rootfs.copy_sources import PickedDirectory, PickedFile, SourceView
from asynckaniko.rootfs.listed.tree import ListedTree
from asynckaniko.rootfs.paths import RootFS
from asynckaniko.rootfs.tar_writer import BLOCK, CHARACTER, Attributes, SizeChanged, TarWriter
from asynckaniko.rootfs.trees import Tree
from asynckaniko.rootfs.walk import walk
from asynckaniko.rootfs.xattrs import CAPABILITY, list_xattrs, read_xattrs

_IMPLICIT_MODE = 0o755
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class Owners:
    """Who owns what is written: `given` for everything, else the source's ids or root."""

    given: tuple[int, int] | None = None
    keep: bool = False

    @property
    def implicit(self) -> tuple[int, int]:
        """For directories that no source stands for."""
        return self.given or (0, 0)

    def of(self, status: os.stat_result) -> tuple[int, int]:
        if self.keep and self.given is None:
            return status.st_uid, status.st_gid
        return self.implicit


class Emitter:
    """Writes entries with the owners and modes that the instruction asks for.

    With `later_first`, sources are written from the last to the first: a name that is there
    already was given by a later source, which wins, so no name is ever written twice.
    """

    def __init__(
        self, tar: TarWriter, *, owners: Owners, chmod: Chmod | None, later_first: bool
    ) -> None:
        self.tar = tar
        self.owners = owners
        self.chmod = chmod
        self._taken: dict[bytes, bool] | None = {} if later_first else None
        """Name to whether it is a directory."""
        self._links: dict[tuple[int, int], bytes] = {}

    def begin_source(self) -> None:
        """Forget links between sources, where a later one may replace what was linked to."""
        if self._taken is None:
            self._links.clear()

    def existing_directory(self, name: bytes, attributes: Attributes) -> None:
        """Write a directory of the destination as it is there."""
        self.tar.directory(name, attributes)

    def implicit_directory(
        self,
        name: bytes,
        mtime: int,
        group: int | None = None,
        *,
        keeps_mode: bool = False,
        owner: tuple[int, int] | None = None,
    ) -> None:
        """Write a directory that no source stands for: octal modes are for those too.

        `group` is the one that it inherits, if it does; `owner` is whose it is, else the usual.
        """
        octal = self.chmod.octal if self.chmod and not keeps_mode else None
        mode = _IMPLICIT_MODE if octal is None else octal
        uid, gid = owner or self.owners.implicit
        if group is not None:
            mode |= S_ISGID
            gid = gid if self.owners.given else group
        self.check_name(name)
        if self._taken is not None:
            self._taken[name] = True
        self.tar.directory(name, Attributes(mode, uid, gid, mtime))

    def directory(self, name: bytes, status: os.stat_result, xattrs: Mapping[str, bytes]) -> None:
        if not self._is_taken(name, is_directory=True):
            self.tar.directory(name, self._attributes(status), xattrs)

    def file(self, name: bytes, descriptor: int) -> None:
        """Write a regular file that is open at its beginning. Raises SizeChanged, OSError."""
        if self._is_taken(name, is_directory=False):
            return
        status = owners.seen(os.fstat(descriptor), descriptor, {})
        attributes = self._attributes(status)
        if status.st_nlink > 1:
            first = self._links.setdefault((status.st_dev, status.st_ino), name)
            if first is not name:
                self.tar.hard_link(name, attributes, first)
                return
        self.tar.file(name, attributes, status.st_size, self.xattrs(descriptor))
        self.tar.content(descriptor, status.st_size)

    def xattrs(self, descriptor: int) -> dict[str, bytes]:
        """Read the attributes that go with a file.

        `user.*` of a context tell of the machine that it is on, downloads' addresses for instance.
        """
        names = list_xattrs(descriptor)
        if names and not self.owners.keep:
            names = [name for name in names if name == CAPABILITY]
        return read_xattrs(descriptor, names) if names else {}

    def stored_file(
        self,
        name: bytes,
        status: os.stat_result,
        xattrs: Mapping[str, bytes],
        content: Iterable[bytes],
    ) -> None:
        """Write a file of a listed tree."""
        if self._is_taken(name, is_directory=False):
            return
        attributes = self._attributes(status)
        if status.st_nlink > 1:
            first = self._links.setdefault((status.st_dev, status.st_ino), name)
            if first is not name:
                self.tar.hard_link(name, attributes, first)
                return
        self.tar.file(name, attributes, status.st_size, xattrs)
        self.tar.content_pieces(content)

    def symlink(self, name: bytes, target: bytes, status: os.stat_result) -> None:
        if not self._is_taken(name, is_directory=False):
            owner = self.owners.of(status)
            self.tar.symlink(name, Attributes(0, *owner, status.st_mtime_ns), target)

    def special(self, name: bytes, status: os.stat_result) -> None:
        """Write a FIFO or device.

        Of a context, sockets arrive as empty files, as by BuildKit's transfer; a stage's are in no
        layer of it and so are not there.
        """
        mode, number = status.st_mode, status.st_rdev
        is_absent = S_ISSOCK(mode) and self.owners.keep
        if is_absent or self._is_taken(name, is_directory=False):
            return
        attributes = self._attributes(status)
        if S_ISFIFO(mode):
            self.tar.fifo(name, attributes)
        elif S_ISCHR(mode) or S_ISBLK(mode):
            self.tar.device(CHARACTER if S_ISCHR(mode) else BLOCK, name, attributes, number)
        elif S_ISSOCK(mode):
            self.tar.file(name, attributes, 0)

    def given(self, name: bytes, attributes: Attributes, file: GivenFile) -> None:
        """Write a file that is not in the source. Raises SizeChanged, OSError."""
        if self._is_taken(name, is_directory=False):
            return
        if file.descriptor < 0:
            self.tar.file(name, attributes, len(file.content))
            self.tar.content_bytes(file.content)
            return
        size = os.lseek(file.descriptor, 0, os.SEEK_END)
        os.lseek(file.descriptor, 0, os.SEEK_SET)
        self.tar.file(name, attributes, size)
        self.tar.content(file.descriptor, size)

    def check_name(self, name: bytes) -> None:
        """Refuse names that a layer cannot hold. Raises CopyFailed."""
        if b".wh." in name and (name.startswith(b".wh.") or b"/.wh." in name):
            raise CopyFailed(
                f"/{os.fsdecode(name)}: names that begin with .wh. mean deletions in an image"
                " layer and cannot be copied; exclude or rename it"
            )

    def _attributes(self, status: os.stat_result) -> Attributes:
        mode = status.st_mode
        if self.chmod is not None:
            mode = self.chmod.apply(mode, S_ISDIR(mode))
        return Attributes(mode, *self.owners.of(status), status.st_mtime_ns)

    def _is_taken(self, name: bytes, *, is_directory: bool) -> bool:
        """Tell whether a later source has written `name`, and take it if not."""
        self.check_name(name)
        if self._taken is None:
            return False
        later = self._taken.get(name)
        if later is None:
            self._taken[name] = is_directory
            return False
        if later != is_directory:
            shown = os.fsdecode(name)
            if later:
                raise CopyFailed(f"cannot copy directory onto file /{shown}")
            raise CopyFailed(f"cannot replace directory /{shown} with file")
        return True


def emit_file(emitter: Emitter, tree: Tree, picked: PickedFile, name: bytes) -> None:
    """Write one file of the source as `name`. Raises CopyFailed: it cannot be read."""
    if not S_ISREG(picked.status.st_mode):
        emitter.special(name, picked.status)
        return
    if isinstance(tree, ListedTree):
        emitter.stored_file(name, *tree.read_file(os.fsencode(picked.path)))
        return
    with open_file(tree, picked) as descriptor:
        emitter.file(name, descriptor)


@contextmanager
def open_file(tree: Tree, picked: PickedFile) -> Iterator[int]:
    """Open a file of the source; what goes wrong with it in the block becomes CopyFailed."""
    assert isinstance(tree, RootFS), "the files of listed trees have no descriptors"
    try:
        descriptor = tree.open(os.fsencode(picked.path), _OPEN)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    except (OSError, SizeChanged) as error:
        raise cannot_read(picked.path, error) from error


def emit_given(emitter: Emitter, given: GivenFile, name: bytes) -> None:
    """Write a file that came with the instruction. Raises CopyFailed."""
    mode = emitter.chmod.apply(given.mode, False) if emitter.chmod else given.mode
    attributes = Attributes(mode, *(emitter.owners.given or given.owner), given.mtime)
    try:
        emitter.given(name, attributes, given)
    except (OSError, SizeChanged) as error:
        raise cannot_read(given.name, error) from error


def emit_directory(
    emitter: Emitter,
    view: SourceView,
    picked: PickedDirectory,
    prefix: bytes,
    *,
    excludes: PatternMatcher | None,
) -> None:
    """Write what a directory of the source contains, each name with `prefix` before it.

    Raises:
        CopyFailed: something in it cannot be read.
    """
    filters = [(matcher, "") for matcher in picked.filters()]
    if excludes is not None:
        filters.append((excludes, ""))
    if view.ignore is not None:
        filters.append((view.ignore, f"{picked.path}/" if picked.path else ""))
    links = view.tree.links if isinstance(view.tree, RootFS) else {}
    copy = _TreeCopy(emitter, prefix, filters, links)
    if isinstance(view.tree, ListedTree):
        view.tree.walk(os.fsencode(picked.path), copy)
        return
    try:
        root = view.tree.open_directory(os.fsencode(picked.path))
        try:
            walk(root, copy)
        finally:
            os.close(root)
    except SizeChanged as error:
        raise cannot_read(f"{picked.path}/{copy.latest}".lstrip("/"), error) from error
    except OSError as error:
        below = error.filename if isinstance(error.filename, str) else ""
        raise cannot_read(f"{picked.path}/{below}".strip("/"), error) from error


def cannot_read(path: str, error: OSError | SizeChanged) -> CopyFailed:
    """Say what is wrong with a file of the source, by its name there."""
    if isinstance(error, SizeChanged):
        return CopyFailed(f'"/{path}": changed while it was being read: {error}')
    if isinstance(error, FileNotFoundError):
        return CopyFailed(f'"/{path}": vanished while it was being copied')
    return CopyFailed(f'cannot read "/{path}": {error.strerror}')


class _TreeCopy:
    """Visits a directory of the source and writes what no filter excludes.

    A directory that is excluded, but may contain what is not, is written when something in it is.
    """

    def __init__(
        self,
        emitter: Emitter,
        prefix: bytes,
        filters: Sequence[tuple[PatternMatcher, str]],
        links: Links,
    ) -> None:
        self._emitter = emitter
        self._owners = links
        self._prefix = prefix
        self._filters = filters
        self._waiting: list[tuple[bytes, os.stat_result, Mapping[str, bytes]]] = []
        self._path = b""

    @property
    def latest(self) -> str:
        """The path that was visited last."""
        return os.fsdecode(self._path)

    def skips(self, path: bytes, is_directory: bool) -> bool:
        if not self._filters:
            return False
        text = os.fsdecode(path)
        for matcher, before in self._filters:
            if matcher.excludes(before + text) and not (
                is_directory and matcher.may_include_below(before + text)
            ):
                return True
        return False

    def directory(self, path: bytes, descriptor: int) -> None:
        status = owners.seen(os.fstat(descriptor), descriptor, {})
        self.stored_directory(path, status, self._emitter.xattrs(descriptor))

    def stored_directory(
        self, path: bytes, status: os.stat_result, xattrs: Mapping[str, bytes]
    ) -> None:
        if self._filters:
            self._forget_siblings(path)
            text = os.fsdecode(path)
            if any(matcher.excludes(before + text) for matcher, before in self._filters):
                self._waiting.append((path, status, xattrs))
                return
            self._write_waiting()
        self._emitter.directory(self._prefix + path, status, xattrs)

    def file(self, path: bytes, descriptor: int) -> None:
        self._path = path
        self._bring_parents(path)
        self._emitter.file(self._prefix + path, descriptor)

    def stored_file(
        self,
        path: bytes,
        status: os.stat_result,
        xattrs: Mapping[str, bytes],
        content: Iterable[bytes],
    ) -> None:
        self._bring_parents(path)
        self._emitter.stored_file(self._prefix + path, status, xattrs, content)

    def symlink(self, path: bytes, target: bytes, status: os.stat_result) -> None:
        self._bring_parents(path)
        seen = owners.seen_link(status, self._owners)
        self._emitter.symlink(self._prefix + path, target, seen)

    def special(self, path: bytes, status: os.stat_result) -> None:
        self._bring_parents(path)
        self._emitter.special(self._prefix + path, owners.seen_link(status, self._owners))

    def _bring_parents(self, path: bytes) -> None:
        if self._waiting:
            self._forget_siblings(path)
            self._write_waiting()

    def _forget_siblings(self, path: bytes) -> None:
        """Drop waiting directories that `path` is not in: the walk has left them."""
        while self._waiting and not path.startswith(self._waiting[-1][0] + b"/"):
            self._waiting.pop()

    def _write_waiting(self) -> None:
        for path, status, xattrs in self._waiting:
            self._emitter.directory(self._prefix + path, status, xattrs)
        self._waiting.clear()
