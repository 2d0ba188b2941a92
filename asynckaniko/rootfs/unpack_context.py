"""Unpack a build context from an archive, while it arrives.

Its files become the executor's own; everything else an archive may say is held against what a
context can be. The directory is private to the build, so setuid bits are kept: they are what COPY
puts into the image.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from asynckaniko.errors import ArchiveError
from asynckaniko.linux.remove import remove
from asynckaniko.rootfs.claim import claim
from asynckaniko.rootfs.decompress import ReadChunk, decompressed
from asynckaniko.rootfs.kept_source import KeptSource
from asynckaniko.rootfs.needed_entries import InDoubt, NeededEntries
from asynckaniko.rootfs.paths import READ_DIRECTORY, RootFS, clean
from asynckaniko.rootfs.tar_member import ArchiveLimits, Kind, Member
from asynckaniko.rootfs.tar_reader import TarReader
from asynckaniko.rootfs.tree_writer import TreeWriter
from asynckaniko.rootfs.xattrs import CAPABILITY

_CHUNK_SIZE = 256 * 1024
_FDS_WITHOUT_CHOICE = 2
_MOST_KEPT = 256 << 20
"""Bytes of an archive that arrives by a pipe. Of a larger one, everything is unpacked."""
_RATIO_FROM = 1 << 30
"""Below this, an archive that unfolds enormously does no harm."""


def unpack_context(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Unpack the archive from fds[0] into the empty `directory`. A job.

    Compression is recognised by content. When the first file of `announce` (clean paths) is in
    place, a byte is written to fds[1]. With fds[2], a pipe that does not block and on which
    `NeededEntries` listens, what no instruction can read is checked and left out. `limits` are
    `size` and `entries` of the archive, and `ratio` of its size to that of the bytes that arrive.
    `devices` of the result counts devices left out.

    Raises:
        ArchiveError: not an archive, damaged, cut short, hostile, or over a limit.
        OSError: the directory cannot be written.
    """
    os.umask(0)
    announced = {os.fsencode(name) for name in arguments.get("announce") or ()}
    announcements = fds[1] if announced else -1
    if len(fds) == _FDS_WITHOUT_CHOICE:
        return _unpack(arguments, lambda: os.read(fds[0], _CHUNK_SIZE), announced, announcements)
    directory = arguments["directory"]
    with KeptSource(fds[0], f"{directory}.archive", limit=_MOST_KEPT) as kept:
        needed = NeededEntries(fds[2])

        def read() -> bytes:
            piece = kept.read()
            needed.listen()
            if not kept.is_whole and needed.is_open:
                needed.doubt()
            if not needed.is_open:
                kept.forget()
            return piece

        try:
            return _unpack(arguments, read, announced, announcements, needed)
        except InDoubt:
            _clear(directory)
            kept.rewind()
        return _unpack(arguments, kept.read, announced, announcements)


def _unpack(
    arguments: Mapping[str, Any],
    read_chunk: ReadChunk,
    announced: set[bytes],
    announcements: int,
    needed: NeededEntries | None = None,
) -> dict[str, Any]:
    source = _Counted(read_chunk)
    content = _Counted(decompressed(source.read))
    limits = arguments["limits"]
    floor = limits.get("ratio_from", _RATIO_FROM)

    def read() -> bytes:
        piece = content.read()
        if content.size > max(floor, limits["ratio"] * source.size):
            raise ArchiveError(
                f"it unfolds to more than {limits['ratio']} times its size; a context that truly"
                " does is better sent without compression"
            )
        return piece

    reader = TarReader(read, ArchiveLimits(size=limits["size"], entries=limits["entries"]))
    with (
        RootFS.at(arguments["directory"]) as tree,
        _ContextWriter(tree, reader, announced, announcements, needed) as writer,
    ):
        claim(tree.root, os.geteuid(), os.getegid())
        try:
            writer.write()
        except ArchiveError as error:
            if reader.entries:
                raise
            raise ArchiveError(
                "it does not begin as a tar archive does, plain or in gzip, bzip2, xz or zstd"
                f" ({error})"
            ) from error
        reader.drain()
        if not source.size:
            raise ArchiveError("nothing arrived: the archive is empty")
        if not reader.is_ended:
            raise ArchiveError("the archive is cut short: its end mark is missing")
        return {"entries": reader.entries, "size": content.size, "devices": writer.count_devices}


def _clear(directory: str) -> None:
    """Delete what is in a directory."""
    root = os.open(directory, READ_DIRECTORY)
    try:
        for name in os.listdir(root):
            remove(os.fsencode(name), root)
    finally:
        os.close(root)


class _Counted:
    def __init__(self, read: ReadChunk) -> None:
        self._read = read
        self.size = 0

    def read(self) -> bytes:
        piece = self._read()
        self.size += len(piece)
        return piece


class _ContextWriter(TreeWriter):
    """Gives everything to this process's user, and leaves devices out."""

    tree_is_new = True

    def __init__(
        self,
        tree: RootFS,
        reader: TarReader,
        announced: set[bytes],
        announcements: int,
        needed: NeededEntries | None,
    ) -> None:
        super().__init__(tree, reader)
        self._owner = os.geteuid(), os.getegid()
        self._announced = announced
        self._announcements = announcements
        self._needed = needed
        self.count_devices = 0

    def _write_member(self, member: Member) -> None:
        kind = member.kind
        if kind is Kind.CHARACTER_DEVICE or kind is Kind.BLOCK_DEVICE:
            # Hostile names are refused all the same.
            if not clean(member.name):
                raise ArchiveError(f"the root directory as a {kind.value}")
            self.count_devices += 1
            return
        if self._needed is not None and self._needed.is_open and self._needed.passes_over(member):
            return
        member.uid, member.gid = self._owner
        if member.xattrs and self._owner[0]:
            # Only root may store file capabilities.
            member.xattrs = {k: v for k, v in member.xattrs.items() if k != CAPABILITY}
        super()._write_member(member)
        if self._announced and kind is not Kind.DIRECTORY:
            self._announce(clean(member.name))

    def _finish(self) -> None:
        if self._needed is not None:
            # Before directories get modes that may keep this process out of them.
            self._needed.finish()
        super()._finish()

    def _announce(self, path: bytes) -> None:
        if path in self._announced:
            os.write(self._announcements, b"\n")
            self._announced.clear()
