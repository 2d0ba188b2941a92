"""ADD unpacks archives: their entries become entries below the destination.

What is an archive is decided by content, as BuildKit does: a tar header that can be read, in gzip,
bzip2, xz, zstd or plain. Owners are the archive's unless --chown says otherwise; modes always are.
"""

import os
from collections.abc import Iterator
from functools import partial

from asynckaniko.errors import ArchiveError
from asynckaniko.rootfs.copy_emit import Emitter
from asynckaniko.rootfs.decompress import decompressed
from asynckaniko.rootfs.paths import clean
from asynckaniko.rootfs.tar_header import show
from asynckaniko.rootfs.tar_member import Kind, Member
from asynckaniko.rootfs.tar_reader import TarReader
from asynckaniko.rootfs.tar_writer import Attributes
from asynckaniko.rootfs.xattrs import is_portable

_CHUNK_SIZE = 128 * 1024
_FIRST_CHUNK_SIZE = 64
"""Damage further on is no reason to take an archive for something else and copy it as it is."""
_DEVICES = frozenset((Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE))


def is_archive(descriptor: int) -> bool:
    """Tell whether an open regular file starts with a tar header. Leaves it at its beginning."""
    try:
        return next(iter(_open(descriptor, _FIRST_CHUNK_SIZE)), None) is not None
    except ArchiveError:
        return False
    finally:
        os.lseek(descriptor, 0, os.SEEK_SET)


class ArchiveEmitter:
    """Writes the members of archives that are all added to one destination.

    With `is_new` the destination did not exist: directories that archives only imply are written
    too, since nothing of that name can be there.
    """

    def __init__(self, emitter: Emitter, prefix: bytes, *, is_new: bool) -> None:
        self._emitter = emitter
        self._prefix = prefix
        self._is_new = is_new
        self._present: set[bytes] = set()
        self._devices: set[bytes] = set()

    def emit(self, descriptor: int, name: str) -> int:
        """Write every member of the archive at `descriptor`; `name` is what errors call it.

        The entry of the archive's root is left out: a destination keeps its owner and mode. So are
        device nodes and links to them, which no user namespace can have. Return how many.

        Raises:
            ArchiveError: damaged, or an entry or link leads out of the destination.
        """
        try:
            reader = _open(descriptor, _CHUNK_SIZE)
            left_out = 0
            for member in reader:
                path = clean(member.name)
                if path and self._is_device(path, member):
                    left_out += 1
                elif path:
                    self._emit(path, member, reader)
            # What follows the last member holds the checksum of the compression.
            reader.drain()
        except ArchiveError as error:
            raise ArchiveError(f'"/{name}": {error}') from error
        return left_out

    def _is_device(self, path: bytes, member: Member) -> bool:
        is_link = member.kind is Kind.HARD_LINK and bool(self._devices)
        if member.kind in _DEVICES or (is_link and clean(member.link) in self._devices):
            self._devices.add(path)
            return True
        self._devices.discard(path)
        return False

    def _emit(self, path: bytes, member: Member, reader: TarReader) -> None:
        if self._is_new:
            self._imply_parents(path, member)
        tar, name = self._emitter.tar, self._prefix + path
        self._emitter.check_name(name)
        owner = self._emitter.owners.given or (member.uid, member.gid)
        attributes = Attributes(member.mode, *owner, member.mtime_ns)
        xattrs = {key: value for key, value in (member.xattrs or {}).items() if is_portable(key)}
        match member.kind:
            case Kind.FILE:
                tar.file(name, attributes, member.size, xattrs)
                tar.content_pieces(reader.data())
            case Kind.DIRECTORY:
                tar.directory(name, attributes, xattrs)
            case Kind.SYMLINK:
                tar.symlink(name, attributes, member.link)
            case Kind.HARD_LINK:
                tar.hard_link(name, attributes, self._prefix + _link_target(member))
            case Kind.FIFO:
                tar.fifo(name, attributes)

    def _imply_parents(self, path: bytes, member: Member) -> None:
        for parent in _parents(path):
            if parent not in self._present:
                self._present.add(parent)
                # Root's even with --chown, which in BuildKit is for the entries.
                self._emitter.implicit_directory(
                    self._prefix + parent, member.mtime_ns, keeps_mode=True, owner=(0, 0)
                )
        if member.kind is not Kind.FILE:
            # A link may stand for a directory: later entries then go through it.
            self._present.add(path)


def _open(descriptor: int, chunk_size: int) -> TarReader:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return TarReader(decompressed(partial(os.read, descriptor, chunk_size)))


def _link_target(member: Member) -> bytes:
    target = clean(member.link)
    if not target:
        raise ArchiveError(f"{show(member.name)} is a hard link to the root directory")
    return target


def _parents(path: bytes) -> Iterator[bytes]:
    slash = path.find(b"/")
    while slash >= 0:
        yield path[:slash]
        slash = path.find(b"/", slash + 1)
