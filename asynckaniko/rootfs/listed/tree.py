"""A tree of files that exists in memory only, but for the contents."""

import errno
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from functools import partial
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG
from typing import Protocol

from asynckaniko.linux.accounts import Accounts, look_up_owner
from asynckaniko.records import dataclass
from asynckaniko.rootfs.paths import DEEPEST, MOST_LINKS, Place, split_path
from asynckaniko.rootfs.tar_member import Kind
from asynckaniko.rootfs.walk import Visitor

_TYPES = {
    Kind.FILE: S_IFREG,
    Kind.DIRECTORY: S_IFDIR,
    Kind.SYMLINK: S_IFLNK,
    Kind.FIFO: S_IFIFO,
    Kind.CHARACTER_DEVICE: S_IFCHR,
    Kind.BLOCK_DEVICE: S_IFBLK,
}
_PIECE_SIZE = 1 << 20
_MOST_ACCOUNTS = 1 << 20
_numbers = itertools.count(1)


class StoredVisitor(Visitor, Protocol):
    """Visits directories and files that the kernel does not know."""

    def stored_directory(
        self, path: bytes, status: os.stat_result, xattrs: Mapping[str, bytes]
    ) -> None: ...
    def stored_file(
        self,
        path: bytes,
        status: os.stat_result,
        xattrs: Mapping[str, bytes],
        content: Iterable[bytes],
    ) -> None: ...


@dataclass(slots=True)
class Content:
    """Part of a file that is open as `descriptor`: what a file of the tree holds."""

    descriptor: int
    offset: int
    size: int

    def pieces(self) -> Iterator[bytes]:
        """Read it. Raises OSError."""
        position, left = self.offset, self.size
        while left:
            piece = os.pread(self.descriptor, min(left, _PIECE_SIZE), position)
            if not piece:
                raise OSError(errno.EIO, "the contents of a layer are cut short")
            position += len(piece)
            left -= len(piece)
            yield piece


@dataclass(slots=True, eq=False)
class Node:
    """What may have names: a file, directory, link or other. Hard links are the same node."""

    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: dict[str, bytes] = field(default_factory=dict)
    target: bytes = b""
    """A symlink's text."""
    content: Content | None = None
    device: int = 0
    names: int = 1
    """How many names it was given."""
    children: "dict[bytes, Node]" = field(default_factory=dict)
    number: int = field(default_factory=partial(next, _numbers))

    @property
    def is_directory(self) -> bool:
        return self.kind is Kind.DIRECTORY

    @property
    def size(self) -> int:
        return self.content.size if self.content else len(self.target)

    def status(self) -> os.stat_result:
        """Describe it as lstat(2) would."""
        seconds = self.mtime_ns // 1_000_000_000
        mode = _TYPES[self.kind] | self.mode
        fields = (mode, self.number, 0, self.names, self.uid, self.gid, self.size)
        more = {"st_mtime_ns": self.mtime_ns, "st_rdev": self.device}
        return os.stat_result((*fields, seconds, seconds, seconds), more)


def new_directory(*, mtime_ns: int, mode: int = 0o755) -> Node:
    return Node(Kind.DIRECTORY, mode, 0, 0, mtime_ns)


@dataclass(slots=True)
class Found:
    """Where a path leads: `node` is None if the last names of `path` do not exist."""

    path: list[bytes]
    node: Node | None
    missing: int = 0


class ListedTree:
    """Looks names up as `RootFS` does, with the same errors."""

    def __init__(self) -> None:
        self.root = new_directory(mtime_ns=0)

    def follow(self, path: bytes, *, keep_last_link: bool = False) -> Found:
        """Go where `path` leads; where nothing is, `missing` names remain. Raises OSError."""
        pending = split_path(path)
        names: list[bytes] = []
        nodes = [self.root]
        links = 0
        while pending:
            name = pending.pop()
            if name == b".":
                continue
            if name == b"..":
                del names[-1:]
                nodes = nodes[: len(names) + 1]
                continue
            if len(names) == DEEPEST:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
            node = nodes[-1].children.get(name) if len(nodes) == len(names) + 1 else None
            if node is None:
                if b"\0" in name:
                    raise ValueError("embedded null byte")
                names.append(name)
            elif node.is_directory:
                names.append(name)
                nodes.append(node)
            elif node.kind is not Kind.SYMLINK or (keep_last_link and not pending):
                if pending:
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
                return Found([*names, name], node)
            else:
                links += 1
                if links > MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                if node.target.startswith(b"/"):
                    names, nodes = [], [self.root]
                pending += split_path(node.target)
        missing = len(names) + 1 - len(nodes)
        return Found(names, None if missing else nodes[-1], missing)

    def resolve(self, path: bytes) -> Place:
        found = self.follow(path)
        end = len(found.path)
        return Place(b"/".join(found.path), tuple(found.path[end - found.missing :]))

    def lookup(self, path: bytes) -> os.stat_result | None:
        try:
            node = self.follow(path).node
        except NotADirectoryError:
            return None
        return node.status() if node else None

    def read_link(self, path: bytes) -> bytes | None:
        """Return the text of the link at `path`, None if that is no link. Raises OSError."""
        node = self.follow(path, keep_last_link=True).node
        return node.target if node and node.kind is Kind.SYMLINK else None

    def list_directory(self, path: bytes) -> list[tuple[str, bool]]:
        """List (name, is a directory), sorted. Raises OSError."""
        children = self._directory(path).children
        return sorted((os.fsdecode(name), node.is_directory) for name, node in children.items())

    def walk(self, path: bytes, visitor: StoredVisitor) -> None:
        """Visit all below a directory as `walk.walk` does."""
        top = self._directory(path)
        levels = [(b"", iter(_sorted(top)))]
        while levels:
            prefix, entries = levels[-1]
            for name, node in entries:
                below = prefix + name
                if visitor.skips(below, node.is_directory):
                    continue
                if node.is_directory:
                    visitor.stored_directory(below, node.status(), node.xattrs)
                    levels.append((below + b"/", iter(_sorted(node))))
                    break
                if node.content is not None:
                    visitor.stored_file(below, node.status(), node.xattrs, node.content.pieces())
                elif node.kind is Kind.SYMLINK:
                    visitor.symlink(below, node.target, node.status())
                else:
                    visitor.special(below, node.status())
            else:
                levels.pop()

    def read_file(self, path: bytes) -> tuple[os.stat_result, dict[str, bytes], Iterator[bytes]]:
        """Return status, attributes and content of the regular file at `path`."""
        node = self.follow(path).node
        if node is None or node.content is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return node.status(), node.xattrs, node.content.pieces()

    def lookup_owner(self, spec: str) -> tuple[int, int]:
        """Resolve --chown. Raises UnknownAccount, OSError."""
        return look_up_owner(
            spec,
            lambda: Accounts(self._account_file("etc/passwd"), self._account_file("etc/group")),
        )

    def _account_file(self, path: str) -> bytes:
        try:
            node = self.follow(os.fsencode(path)).node
        except NotADirectoryError:
            return b""
        if node is None:
            return b""
        if node.content is None:
            raise OSError(errno.EINVAL, "not a regular file", f"/{path}")
        if node.content.size > _MOST_ACCOUNTS:
            raise OSError(errno.EFBIG, f"larger than {_MOST_ACCOUNTS} bytes", f"/{path}")
        return b"".join(node.content.pieces())

    def _directory(self, path: bytes) -> Node:
        node = self.follow(path).node
        if node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if not node.is_directory:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return node


def _sorted(directory: Node) -> list[tuple[bytes, Node]]:
    return sorted(directory.children.items(), key=lambda item: os.fsdecode(item[0]))
