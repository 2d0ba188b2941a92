"""Apply the entries of archives to a tree in memory: layers of images, files of COPY and ADD.

image-spec layer.md, "Applying Changesets": a layer replaces, merges and deletes what the layers
below have. A COPY does not delete, and refuses to turn files into directories or the reverse.
"""

import os
from typing import Literal, TypeAlias

from asynckaniko.errors import ArchiveError, CopyFailed
from asynckaniko.rootfs import whiteout
from asynckaniko.rootfs.listed.index import Entry
from asynckaniko.rootfs.listed.nodes import node_of
from asynckaniko.rootfs.listed.tree import ListedTree, Node, new_directory
from asynckaniko.rootfs.paths import clean
from asynckaniko.rootfs.tar_header import show
from asynckaniko.rootfs.tar_member import Kind, Member
from asynckaniko.rootfs.xattrs import CAPABILITY, is_portable, without_root_id

Rules: TypeAlias = Literal["layer", "error", "replace"]
_DEVICES = frozenset((Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE))


class Applier:
    """Applies one archive, entry by entry. `data` holds the contents of its files.

    `rules` say what happens between a directory and what is none: "error" (COPY), "replace" (ADD
    of an archive), or "layer", which also carries out deletions.
    """

    def __init__(self, tree: ListedTree, data: int, rules: Rules) -> None:
        self._tree = tree
        self._data = data
        self._rules = rules
        self._touched: set[int] = {tree.root.number}
        """Numbers of nodes that this archive has made, or has entries for or in."""
        self._parents: dict[bytes, tuple[list[bytes], Node]] = {}
        """Where entries went, by their parents' names; good until something is removed."""
        self.changed: dict[bytes, Node] = {}
        """What the archive has made or changed, by path; some may have been replaced since."""
        self.replaced: set[bytes] = set()
        """Paths where the archive has removed what was there before."""

    def apply(self, entry: Entry) -> None:
        """Raises ArchiveError: an entry that cannot be; CopyFailed: a conflict."""
        member = entry.member
        path = clean(member.name)
        if not path:
            if member.kind is not Kind.DIRECTORY:
                kind = member.kind.value
                raise ArchiveError(f"{show(member.name)}: the root directory as a {kind}")
            self._dress(self._tree.root, member)
            return
        parent, _, base = path.rpartition(b"/")
        known = self._parents.get(parent)
        if known is None:
            # In this order: what is in the way of it may be removed for it.
            known = self._parent(parent, member)
            self._parents[parent] = known
        names, directory = known
        if self._rules == "layer" and whiteout.WHITEOUT_PREFIX in path:
            whiteout.refuse_reserved(parent)
            if base == whiteout.OPAQUE_MARKER:
                self._delete_older(directory)
                return
            deleted = whiteout.deleted_name(base)
            if deleted is not None:
                self._delete(directory, deleted)
                return
        self._put(entry, b"/".join([*names, base]), directory)

    def _put(self, entry: Entry, path: bytes, directory: Node) -> None:
        member = entry.member
        base = path.rpartition(b"/")[2]
        existing = directory.children.get(base)
        if member.kind is Kind.DIRECTORY and existing is not None and existing.is_directory:
            self._dress(existing, member)
            self._touched.add(existing.number)
            self.changed[path] = existing
            return
        node = self._linked(member) if member.kind is Kind.HARD_LINK else self._made(entry)
        if existing is not None and existing is not node:
            self._make_room(existing, member, path, directory)
        if node is None:
            return
        if existing is not node:
            directory.children[base] = node
        self._touched.add(node.number)
        self.changed[path] = node

    def _made(self, entry: Entry) -> Node | None:
        member = entry.member
        if member.kind in _DEVICES and self._rules == "layer":
            # Builds with namespaces do not have them either: nobody may make devices there.
            return None
        return node_of(entry, self._data, _portable(member))

    def _linked(self, member: Member) -> Node | None:
        target = clean(member.link)
        parent, _, base = target.rpartition(b"/")
        try:
            found = self._tree.follow(parent)
        except OSError as error:
            raise _unusable(member, error) from error
        directory = found.node
        node = directory.children.get(base) if directory is not None else None
        if node is None:
            raise ArchiveError(
                f"cannot unpack {show(member.name)}, a hard link to {show(member.link)}: there is"
                " no such entry before it"
            )
        if node.is_directory:
            raise ArchiveError(
                f"{show(member.name)} is a hard link to {show(member.link)}, which is no file"
            )
        node.names += 1
        self.changed[b"/".join([*found.path, base])] = node
        return node

    def _parent(self, path: bytes, member: Member) -> tuple[list[bytes], Node]:
        """Return the directory that an entry goes into; made if it is not there."""
        try:
            found = self._tree.follow(path)
        except NotADirectoryError as error:
            if self._rules != "layer" or not self._give_way(path):
                raise _unusable(member, error) from error
            return self._parent(path, member)
        except (OSError, ValueError) as error:
            raise _unusable(member, error) from error
        if found.node is not None and not found.node.is_directory:
            if self._rules != "layer" or not self._give_way(path):
                raise ArchiveError(f"cannot unpack {show(member.name)}: Not a directory")
            return self._parent(path, member)
        node = self._tree.root
        self._touched.add(node.number)
        for end, name in enumerate(found.path, 1):
            child = node.children.get(name)
            if child is None:
                child = node.children[name] = new_directory(mtime_ns=member.mtime_ns)
                self.changed[b"/".join(found.path[:end])] = child
            self._touched.add(child.number)
            node = child
        return found.path, node

    def _give_way(self, path: bytes) -> bool:
        """Remove the older layer's file that is in the way of a directory; tell if there is one."""
        names = path.split(b"/")
        for end in range(1, len(names) + 1):
            found = self._tree.follow(b"/".join(names[:end]))
            node = found.node
            if node is None or node.is_directory:
                continue
            if node.number in self._touched:
                return False
            above = self._tree.follow(b"/".join(found.path[:-1])).node
            assert above is not None, "what was found is in a directory"
            self._remove(above, found.path[-1])
            return True
        return False

    def _make_room(self, existing: Node, member: Member, path: bytes, directory: Node) -> None:
        if self._rules == "error":
            name = os.fsdecode(path)
            if member.kind is Kind.DIRECTORY:
                raise CopyFailed(f"cannot copy directory onto file /{name}")
            if existing.is_directory:
                raise CopyFailed(f"cannot replace directory /{name} with file")
        # A file below would not shine through a directory, but overlays mark those, too.
        if existing.is_directory or existing.number not in self._touched:
            self.replaced.add(path)
        self._remove(directory, path.rpartition(b"/")[2])

    def _dress(self, node: Node, member: Member) -> None:
        node.mode, node.uid, node.gid = member.mode, member.uid, member.gid
        node.mtime_ns = member.mtime_ns
        own = _portable(member)
        node.xattrs = own if self._rules == "layer" else node.xattrs | own

    def _delete(self, directory: Node, name: bytes) -> None:
        node = directory.children.get(name)
        if node is None:
            return
        if node.number not in self._touched:
            self._remove(directory, name)
        elif node.is_directory:
            self._delete_older(node)

    def _delete_older(self, directory: Node) -> None:
        """Delete what is below a directory, except for entries of this layer."""
        pending = [directory]
        while pending:
            directory = pending.pop()
            for name, node in list(directory.children.items()):
                if node.number not in self._touched:
                    self._remove(directory, name)
                elif node.is_directory:
                    pending.append(node)

    def _remove(self, directory: Node, name: bytes) -> None:
        del directory.children[name]
        self._parents.clear()


def _portable(member: Member) -> dict[str, bytes]:
    return {
        name: without_root_id(value) if name == CAPABILITY else value
        for name, value in (member.xattrs or {}).items()
        if is_portable(name)
    }


def _unusable(member: Member, error: Exception) -> ArchiveError:
    detail = error.strerror if isinstance(error, OSError) else str(error)
    return ArchiveError(f"cannot unpack {show(member.name)}: {detail}")
