"""Job: make one layer of several that lie on one another (--single-snapshot).

What a later layer replaces or deletes is not in the result. Deletions stay, since what lies below
is not known here, and so does what a deletion hides when something new is made in its place.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from asynckaniko.errors import ArchiveError
from asynckaniko.records import dataclass
from asynckaniko.rootfs.layer_sink import LayerSink
from asynckaniko.rootfs.layer_stream import LayerStream
from asynckaniko.rootfs.listed.index import Entry, read_entries
from asynckaniko.rootfs.listed.nodes import node_of, write_node
from asynckaniko.rootfs.listed.tree import Node, new_directory
from asynckaniko.rootfs.paths import clean
from asynckaniko.rootfs.tar_header import show
from asynckaniko.rootfs.tar_member import ArchiveLimits, Kind, Member
from asynckaniko.rootfs.tar_reader import TarReader
from asynckaniko.rootfs.tar_writer import Attributes, TarWriter
from asynckaniko.rootfs.whiteout import (
    OPAQUE_MARKER,
    WHITEOUT_PREFIX,
    deleted_name,
    refuse_reserved,
)

_MARK = Attributes(0, 0, 0, 0)


def merge_layers(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Write `layers`, the lowest first, as one layer to fds[0]; fds[1] is an empty file to use.

    A layer is a `path` with its `digest`, `size` and `diff_id`, which are verified. Without
    `is_on_others`, nothing lies below, and no deletion is written. The result is as for
    `pack_layer.pack_upper`.

    Raises:
        IntegrityError: other bytes than those that were asked for.
        ArchiveError: the right bytes, but malformed or over `limits`.
        OSError: a file cannot be read.
    """
    merged = MergedLayers(fds[1])
    for layer in arguments["layers"]:
        merged.add(_read(layer, fds[1], arguments["limits"]))
    with LayerSink(
        fds[0], compression=arguments["compression"], level=arguments.get("level")
    ) as sink:
        tar = TarWriter(sink.write)
        merged.write(tar, with_deletions=arguments["is_on_others"])
        tar.finish()
        return sink.finish() | {"entries": tar.entries}


def _read(layer: Mapping[str, Any], data: int, limits: Mapping[str, int]) -> list[Entry]:
    source = os.open(layer["path"], os.O_RDONLY | os.O_CLOEXEC)
    try:
        stream = LayerStream(source, digest=layer["digest"], size=layer["size"])
        reader = TarReader(
            stream.read_chunk, ArchiveLimits(size=limits["size"], entries=limits["entries"])
        )
        with stream:
            try:
                entries = list(read_entries(reader, data))
                reader.drain()
            except ArchiveError as error:
                # Damaged bytes are worth saying before what they look like.
                stream.verify_blob()
                raise ArchiveError(f"layer {layer['digest']}: {error}") from error
            stream.verify_blob()
            stream.verify_content(layer["diff_id"])
        return entries
    finally:
        os.close(source)


@dataclass(slots=True)
class _Place:
    """What the layers say of one path."""

    node: Node | None = None
    """None: only what is below is known. Hard links are the same object."""
    is_deleted: bool = False
    """What lies below at this path is gone, and nothing is there."""
    is_opaque: bool = False
    """A directory that shows nothing of what lies below."""
    children: "dict[bytes, _Place]" = field(default_factory=dict)

    @property
    def is_directory(self) -> bool:
        return self.node is None or self.node.is_directory


class MergedLayers:
    """The entries of layers, as one layer would say them (image-spec layer.md)."""

    def __init__(self, data: int) -> None:
        """The contents of files are in the open file `data`."""
        self._data = data
        self._root = _Place()

    def add(self, entries: Sequence[Entry]) -> None:
        """Put a layer on top. Raises ArchiveError: an entry that cannot be."""
        own = []
        # A layer's deletions are about the layers below it, wherever they stand in it.
        for entry in entries:
            path = clean(entry.member.name)
            parent, _, base = path.rpartition(b"/")
            if base == OPAQUE_MARKER:
                directory = self._directory(parent, entry.member)
                directory.children.clear()
                directory.is_opaque = True
            elif (deleted := deleted_name(base)) is not None:
                above = self._directory(parent, entry.member)
                above.children[deleted] = _Place(is_deleted=True)
            else:
                own.append((path, entry))
        for path, entry in own:
            self._put(path, entry)

    def _put(self, path: bytes, entry: Entry) -> None:
        member = entry.member
        if not path:
            self._root.node = node_of(entry, self._data, {})
            return
        parent, _, base = path.rpartition(b"/")
        if member.kind is Kind.HARD_LINK:
            node = self._linked(member)
        else:
            node = node_of(entry, self._data, member.xattrs or {})
        directory = self._directory(parent, member)
        place = directory.children.get(base)
        if place is None or member.kind is not Kind.DIRECTORY:
            directory.children[base] = _Place(node)
            return
        if place.is_deleted or not place.is_directory:
            # What lies below at this path must not show in the new directory.
            place.is_deleted, place.is_opaque = False, True
        place.node = node

    def _linked(self, member: Member) -> Node:
        place: _Place | None = self._root
        for name in clean(member.link).split(b"/"):
            place = place.children.get(name) if place else None
        if place is None or place.node is None or place.is_directory:
            raise ArchiveError(
                f"{show(member.name)} is a hard link to {show(member.link)}, which is no file of"
                " its layer"
            )
        return place.node

    def _directory(self, path: bytes, member: Member) -> _Place:
        """Find the directory `path`, in which `member` is; a layer need not have entries for it."""
        refuse_reserved(path)
        place = self._root
        for name in path.split(b"/") if path else ():
            place = place.children.setdefault(name, _Place())
            if place.is_deleted or not place.is_directory:
                place.node = new_directory(mtime_ns=member.mtime_ns)
                place.is_deleted, place.is_opaque = False, True
        return place

    def write(self, tar: TarWriter, *, with_deletions: bool) -> None:
        """Write all of it, directories before what is in them. Raises OSError."""
        links: dict[int, bytes] = {}
        if (root := self._root.node) is not None:
            tar.directory(b".", Attributes(root.mode, root.uid, root.gid, root.mtime_ns))
        for path, place in self._walk():
            if place.node is not None:
                write_node(tar, path, place.node, links)
            if place.is_deleted and with_deletions:
                parent, slash, base = path.rpartition(b"/")
                tar.file(parent + slash + WHITEOUT_PREFIX + base, _MARK, 0)
            if place.is_opaque and with_deletions:
                tar.file(path + b"/" + OPAQUE_MARKER, _MARK, 0)

    def _walk(self) -> Iterator[tuple[bytes, _Place]]:
        levels = [(b"", iter(_sorted(self._root)))]
        while levels:
            prefix, places = levels[-1]
            for name, place in places:
                yield prefix + name, place
                if place.children:
                    levels.append((prefix + name + b"/", iter(_sorted(place))))
                    break
            else:
                levels.pop()


def _sorted(place: _Place) -> list[tuple[bytes, _Place]]:
    return sorted(place.children.items(), key=lambda item: os.fsdecode(item[0]))
