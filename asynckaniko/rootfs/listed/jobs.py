"""Jobs on listed layers; they need no right but to read and write files of their own."""

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from stat import S_ISGID
from typing import Any

from asynckaniko.errors import ArchiveError, CopyFailed
from asynckaniko.rootfs.destination import (
    existing_directories,
    find_owner,
    find_place,
    inherited_group,
    missing_directories,
)
from asynckaniko.rootfs.layer_sink import LayerSink
from asynckaniko.rootfs.layer_stream import LayerStream
from asynckaniko.rootfs.listed.apply import Applier
from asynckaniko.rootfs.listed.index import DATA, Entry, read_entries, write_index
from asynckaniko.rootfs.listed.nodes import write_node
from asynckaniko.rootfs.listed.stack import open_listed
from asynckaniko.rootfs.listed.tree import ListedTree, Node
from asynckaniko.rootfs.tar_member import ArchiveLimits, Kind
from asynckaniko.rootfs.tar_reader import TarReader
from asynckaniko.rootfs.tar_writer import Attributes, TarWriter
from asynckaniko.rootfs.whiteout import OPAQUE_MARKER

_CHUNK_SIZE = 256 * 1024
_SECOND = 1_000_000_000
_WRITE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_MARK = Attributes(0, 0, 0, 0)


def unpack_layer(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Make the new `directory` of the blob from fds[0]; otherwise as `apply_layer.unpack_layer`.

    Raises:
        IntegrityError: other bytes than those that were asked for.
        ArchiveError: the right bytes, but malformed, hostile or over `limits`.
        OSError: the directory cannot be written.
    """
    digest, limits, directory = arguments["digest"], arguments["limits"], arguments["directory"]
    spool = fds[1] if len(fds) > 1 else None
    stream = LayerStream(fds[0], digest=digest, size=arguments["size"], spool=spool)
    reader = TarReader(
        stream.read_chunk, ArchiveLimits(size=limits["size"], entries=limits["entries"])
    )
    os.mkdir(directory, 0o700)
    data = os.open(os.path.join(directory, DATA), _WRITE, 0o600)
    try:
        with stream:
            try:
                entries = _checked(reader, data)
                reader.drain()
            except ArchiveError as error:
                # Damaged bytes are worth saying before what they look like.
                stream.verify_blob()
                raise ArchiveError(f"layer {digest}: {error}") from error
            stream.verify_blob()
            stream.verify_content(arguments["diff_id"])
        write_index(directory, entries)
        size = os.fstat(data).st_size
    finally:
        os.close(data)
    return {"entries": reader.entries, "size": size, "implicit": [], "devices": []}


def _checked(reader: TarReader, data: int) -> list[Entry]:
    """Read all entries, and see to it now that they can be applied."""
    applier = Applier(ListedTree(), data, "layer")
    entries = []
    for entry in read_entries(reader, data):
        # A link may lead to what an older layer has: that shows when they are put together.
        if entry.member.kind is not Kind.HARD_LINK:
            applier.apply(entry)
        entries.append(entry)
    return entries


def apply_on_top(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Apply the tar from fds[0] over `lowers` and write what changed as a layer to fds[1].

    `conflicts` is "error" or "replace"; the rest is as for `apply_layer.apply_on_top`, the result
    as that of `pack_layer.pack_upper`.

    Raises:
        CopyFailed: a conflict, with "error".
        ArchiveError: the archive is malformed.
    """
    reader = TarReader(lambda: os.read(fds[0], _CHUNK_SIZE))
    with (
        tempfile.TemporaryFile(dir=arguments["scratch"]) as data,
        open_listed(arguments["lowers"]) as tree,
    ):
        applier = Applier(tree, data.fileno(), arguments["conflicts"])
        for entry in read_entries(reader, data.fileno()):
            applier.apply(entry)
        # Whoever writes the pipe must not find it closed.
        reader.drain()
        return _pack(tree, applier.changed, applier.replaced, arguments, fds[1])


def make_directory(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Make `path` for `user` over `lowers`, and write what changed as a layer to fds[0].

    New directories have the time `time` (POSIX seconds), if it is given.

    Raises:
        CopyFailed: something that is no directory is in the way, or nobody has the user's name.
    """
    user = arguments.get("user") or ""
    changed: dict[bytes, Node] = {}
    with open_listed(arguments["lowers"]) as tree:
        place = find_place(tree, arguments["path"])
        found = tree.follow(place.path)
        if found.node is not None and not found.node.is_directory:
            raise CopyFailed(f"WORKDIR: /{os.fsdecode(place.path)} exists and is not a directory")
        if place.missing:
            group = inherited_group(existing_directories(tree, place))
            mode = 0o755 if group is None else 0o755 | S_ISGID
            uid, gid = 0, group or 0
            if user:
                uid, gid = find_owner(tree, user, what=f"WORKDIR as USER {user}")
            given = arguments.get("time")
            now = time.time_ns() if given is None else given * _SECOND
            for path in map(os.fsencode, missing_directories(place)):
                parent, _, name = path.rpartition(b"/")
                above = tree.follow(parent).node
                assert above is not None, "made before"
                node = Node(Kind.DIRECTORY, mode, uid, gid, now)
                above.children[name] = changed[path] = node
        return _pack(tree, changed, set(), arguments, fds[0])


def _pack(
    tree: ListedTree,
    changed: Mapping[bytes, Node],
    replaced: set[bytes],
    arguments: Mapping[str, Any],
    output: int,
) -> dict[str, Any]:
    """Write what is at the changed paths, and the directories above, as a layer."""
    nodes = dict(sorted(_with_parents(tree, changed), key=lambda item: _order(item[0])))
    links: dict[int, bytes] = {}
    with LayerSink(
        output, compression=arguments["compression"], level=arguments.get("level")
    ) as sink:
        tar = TarWriter(sink.write, clamp=arguments.get("clamp"))
        for path, node in nodes.items():
            write_node(tar, path, node, links)
            if node.is_directory and path in replaced:
                tar.file(path + b"/" + OPAQUE_MARKER, _MARK, 0)
        tar.finish()
        return sink.finish() | {"entries": tar.entries}


def _with_parents(tree: ListedTree, changed: Mapping[bytes, Node]) -> set[tuple[bytes, Node]]:
    found: set[tuple[bytes, Node]] = set()
    for path, changed_node in changed.items():
        node, above = tree.root, []
        names = path.split(b"/")
        for end, name in enumerate(names, 1):
            below = node.children.get(name)
            if below is None:
                break
            node = below
            above.append((b"/".join(names[:end]), node))
        else:
            # Otherwise something else has its place by now.
            if node is changed_node:
                found.update(above)
    return found


def _order(path: bytes) -> list[str]:
    return [os.fsdecode(name) for name in path.split(b"/")]
