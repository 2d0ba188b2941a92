"""Jobs that write archives into root filesystems: layers of base images, files of COPY and ADD."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from stat import S_ISDIR
from typing import Any

from asynckaniko.errors import ArchiveError, CopyFailed
from asynckaniko.linux import memory, owners
from asynckaniko.rootfs.claim import claim
from asynckaniko.rootfs.layer_stream import LayerStream
from asynckaniko.rootfs.layer_writer import LowerWriter, OntoWriter
from asynckaniko.rootfs.paths import RootFS, clean
from asynckaniko.rootfs.tar_member import ArchiveLimits, Kind, Member
from asynckaniko.rootfs.tar_reader import TarReader
from asynckaniko.rootfs.tree_writer import TreeWriter
from asynckaniko.rootfs.trees import open_tree

_CHUNK_SIZE = 256 * 1024
_KEPT_FREE = 4 << 20


def unpack_layer(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Unpack the blob from fds[0] into the new `directory`, as an overlay's lower.

    The blob is written as it is to fds[1], if given. Everything is verified: `size`, `digest`, and
    `diff_id` of the content. `implicit` of the result lists directories without an entry of their
    own (not the root); `devices` those entries that no user namespace can have.

    Raises:
        IntegrityError: other bytes than those that were asked for.
        ArchiveError: the right bytes, but malformed, hostile or over `limits`.
        OSError: the directory cannot be written.
    """
    os.umask(0)
    memory.keep_free(_KEPT_FREE)
    digest, limits = arguments["digest"], arguments["limits"]
    stream = LayerStream(
        fds[0],
        digest=digest,
        size=arguments["size"],
        spool=fds[1] if len(fds) > 1 else None,
    )
    reader = TarReader(
        stream.read_chunk, ArchiveLimits(size=limits["size"], entries=limits["entries"])
    )
    with (
        _new_root(arguments["directory"]) as tree,
        stream,
        LowerWriter(tree, reader) as writer,
    ):
        try:
            writer.write()
            reader.drain()
        except ArchiveError as error:
            # Damaged bytes are worth saying before what they look like.
            stream.verify_blob()
            raise ArchiveError(f"layer {digest}: {error}") from error
        stream.verify_blob()
        stream.verify_content(arguments["diff_id"])
        owners.store_links(tree.root, writer.links)
        return {
            "entries": reader.entries,
            "size": stream.uncompressed_size,
            "implicit": writer.list_implicit(),
            "devices": writer.list_devices(),
        }


def apply_on_top(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Write the tar from fds[0] over the tree of `lowers`, into `upper`.

    Parents that are links lead to where they lead inside the tree; what an entry itself replaces
    is never followed. `conflicts` says what happens between a directory and what is none: "error"
    (COPY), "replace" (ADD of an archive), or "layer", which also carries out deletions.

    Raises:
        CopyFailed: a conflict, with "error".
        ArchiveError: the archive is malformed.
        OSError: the upper cannot be written.
    """
    os.umask(0)
    reader = TarReader(lambda: os.read(fds[0], _CHUNK_SIZE))
    write = _WRITERS[arguments["conflicts"]]
    with (
        open_tree(
            arguments["lowers"],
            scratch=arguments["scratch"],
            upper=arguments["upper"],
            work=arguments["work"],
        ) as tree,
        write(tree, reader) as writer,
    ):
        writer.write()
        # Whoever writes the pipe must not find it closed.
        reader.drain()
        if writer.links:
            upper = os.open(arguments["upper"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            owners.store_links(upper, writer.links)
            os.close(upper)
        return {"entries": reader.entries, "devices": writer.list_devices()}


class _CopyWriter(TreeWriter):
    """Refuses to turn directories into something else, or the other way round."""

    def _make_room(self, member: Member, base: bytes, directory: int) -> None:
        name = os.fsdecode(clean(member.name))
        if member.kind is Kind.DIRECTORY:
            raise CopyFailed(f"cannot copy directory onto file /{name}")
        if S_ISDIR(os.stat(base, dir_fd=directory, follow_symlinks=False).st_mode):
            raise CopyFailed(f"cannot replace directory /{name} with file")
        super()._make_room(member, base, directory)


@contextmanager
def _new_root(directory: str) -> Iterator[RootFS]:
    """Make the directory that will be a layer's root."""
    os.mkdir(directory)
    with RootFS.at(directory) as tree:
        claim(tree.root, 0, 0)
        yield tree


_WRITERS = {"error": _CopyWriter, "replace": TreeWriter, "layer": OntoWriter}
