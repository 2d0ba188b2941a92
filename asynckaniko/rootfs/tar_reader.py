"""Read a tar archive as a stream: ustar, GNU and pax, sparse files included.

Bounded memory, no seeking, nothing kept of earlier entries. Whatever the bytes are, the only
error is ArchiveError. Names come as they are written: making them safe is `paths`' business.

As Go's reader, and so Docker, has it: an archive may end without end-of-archive blocks, and what
follows them is not looked at. Unlike there, global pax headers count (POSIX says so); one that
would rename or resize every entry is refused.
"""

import os
from collections.abc import Iterator
from dataclasses import field

from asynckaniko.errors import ArchiveError
from asynckaniko.records import dataclass
from asynckaniko.rootfs import tar_header, tar_sparse
from asynckaniko.rootfs.decompress import ReadChunk
from asynckaniko.rootfs.tar_header import BLOCK, show
from asynckaniko.rootfs.tar_member import ArchiveLimits, Kind, Member

_END = bytes(BLOCK)
_ZEROS = memoryview(bytes(64 * 1024))
_XATTR = b"SCHILY.xattr."
_NOT_GLOBAL = (b"path", b"linkpath", b"size", b"GNU.sparse.")
_MOST_CACHED = 4096
_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"S": Kind.FILE,
    b"1": Kind.HARD_LINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER_DEVICE,
    b"4": Kind.BLOCK_DEVICE,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}
_EXTENSIONS = frozenset((b"x", b"g", b"L", b"K", b"V"))
"""Headers that describe the next entry, every entry, or (a volume label) nothing."""


@dataclass(slots=True)
class _Extensions:
    """What extended headers said about the entry to come."""

    records: list[tuple[bytes, bytes]] = field(default_factory=list)
    long_name: bytes | None = None
    long_link: bytes | None = None


class TarReader:
    """Iterates over the members of an archive. `data` and `copy_to` read the latest one's content.

    A member's content can be read once; what is not read is passed over.
    """

    def __init__(self, read_chunk: ReadChunk, limits: ArchiveLimits | None = None) -> None:
        self._read_chunk = read_chunk
        self._limits = limits or ArchiveLimits()
        self._buffer = b""
        self._view = memoryview(b"")
        self._position = 0
        self._received = 0
        self._holes = 0
        self._unread = 0
        self._padding = 0
        self._name = b""
        self._sparse: tar_sparse.SparseMap | None = None
        self._attributes: dict[bytes, tuple[int, int, int]] = {}
        self._global: dict[bytes, bytes] = {}
        self._headers = 0
        self.entries = 0
        """Members so far."""
        self.is_ended = False
        """Whether the mark of the archive's end was read, which some archives do without."""

    def __iter__(self) -> Iterator[Member]:
        """Yield each member. Raises ArchiveError where the archive is damaged or over a limit."""
        extensions: _Extensions | None = None
        kinds, attributes = _KINDS, self._attributes
        while (header := self._next_header()) is not None:
            name, ids, size, mtime, checksum, flag, link, magic, prefix = tar_header.split(header)
            if not tar_header.checksum_matches(header, checksum):
                raise ArchiveError(f"{self._where(BLOCK)}: not a tar header, or a damaged one")
            if flag in _EXTENSIONS:
                extensions = self._read_extension(flag, size, extensions or _Extensions())
                continue
            kind = kinds.get(flag)
            if kind is None:
                raise ArchiveError(f"{self._where(BLOCK)}: {show(name)} has unknown type {flag!r}")
            mode, uid, gid = attributes.get(ids) or self._remember(ids)
            name = name.partition(b"\0")[0]
            if prefix[0] and magic == b"ustar\x0000":
                name = tar_header.join_prefix(prefix, name, header)
            if flag == b"\0" and name.endswith(b"/"):
                kind = Kind.DIRECTORY
            member = Member(
                name,
                kind,
                mode,
                uid,
                gid,
                tar_header.seconds(mtime),
                tar_header.number(size),
            )
            if kind is not Kind.FILE:
                member.link = link.partition(b"\0")[0]
                if flag in b"34":
                    member.device = tar_header.device(header)
            records = extensions.records if extensions else []
            if extensions or self._global:
                self._extend(member, extensions or _Extensions())
                extensions = None
            self._start(member, flag, header, records)
            self.entries += 1
            yield member
        if extensions:
            raise ArchiveError("the archive ends after an extended header")

    def data(self) -> Iterator[memoryview]:
        """Yield what is left of the latest member's content, holes as zeros."""
        if self._sparse is None:
            yield from self._stored(self._unread)
            return
        position = 0
        for offset, extent in [*self._sparse.segments, (self._sparse.size, 0)]:
            while position < offset:
                zeros = _ZEROS[: offset - position]
                position += len(zeros)
                yield zeros
            yield from self._stored(extent)
            position += extent

    def copy_to(self, descriptor: int) -> None:
        """Write the latest member's content to an empty file; holes stay holes."""
        if self._sparse is not None:
            for offset, extent in self._sparse.segments:
                os.lseek(descriptor, offset, os.SEEK_SET)
                for piece in self._stored(extent):
                    _write(descriptor, piece)
            os.ftruncate(descriptor, self._sparse.size)
            return
        end = self._position + self._unread
        if end <= len(self._buffer):
            content = self._view[self._position : end]
            self._position = end
            self._unread = 0
            if content:
                _write(descriptor, content)
            return
        for piece in self._stored(self._unread):
            _write(descriptor, piece)

    def drain(self) -> None:
        """Read on to the end of the stream: digests cover what follows the archive."""
        while self._receive():
            pass

    def _next_header(self) -> bytes | None:
        """Pass over what is left of the latest member; None at the end of the archive."""
        if self._unread or self._padding:
            self._skip()
        position = self._position
        header = self._buffer[position : position + BLOCK]
        if len(header) == BLOCK:
            self._position = position + BLOCK
        elif self._fill(BLOCK):
            header = self._take(BLOCK)
        elif self._buffer:
            raise self._cut_short()
        else:
            return None
        self._headers += 1
        if self._headers > self._limits.entries:
            raise ArchiveError(f"the archive has more than {self._limits.entries} entries")
        if header == _END:
            if self._fill(BLOCK) and self._take(BLOCK) != _END:
                raise ArchiveError(f"{self._where()}: an empty block between entries")
            self.is_ended = True
            return None
        return header

    def _read_extension(self, flag: bytes, size: bytes, extensions: _Extensions) -> _Extensions:
        length = tar_header.length(tar_header.number(size))
        if length > self._limits.extension:
            raise ArchiveError(f"{self._where()}: an extended header of {length} bytes is too long")
        content = self._take(length + (-length % BLOCK))[:length]
        match flag:
            case b"L":
                extensions.long_name = content.partition(b"\0")[0]
            case b"K":
                extensions.long_link = content.partition(b"\0")[0]
            case b"x":
                extensions.records = tar_header.pax_records(content)
            case b"g":
                self._read_global(content)
        return extensions

    def _read_global(self, content: bytes) -> None:
        for key, value in tar_header.pax_records(content):
            if key.startswith(_NOT_GLOBAL):
                raise ArchiveError(f"a global pax header sets {show(key)} for every entry")
            self._global[key] = value
        # A chain of global headers must not pile up without bound.
        if sum(len(key) + len(value) for key, value in self._global.items()) > (
            self._limits.extension
        ):
            raise ArchiveError("the global pax headers are too long")

    def _extend(self, member: Member, extensions: _Extensions) -> None:
        """Let extended headers overrule the header's own fields; of names, GNU's win."""
        values = dict(extensions.records)
        if self._global:
            values = self._global | values
        xattrs = {}
        for key, value in values.items():
            if key.startswith(_XATTR):
                xattrs[os.fsdecode(key[len(_XATTR) :])] = value
            elif value:
                # An empty value only withdraws what a global header said.
                _overrule(member, key, value)
        if xattrs:
            member.xattrs = xattrs
        if extensions.long_name is not None:
            member.name = extensions.long_name
        if extensions.long_link is not None:
            member.link = extensions.long_link
        longest = self._limits.name
        if len(member.name) > longest or len(member.link) > longest:
            raise ArchiveError(f"the name or target of {show(member.name)} is too long")

    def _start(
        self, member: Member, flag: bytes, header: bytes, records: list[tuple[bytes, bytes]]
    ) -> None:
        """Make the content of `member` the one that is read."""
        # Other kinds have no content, whatever their size field says: POSIX lets it be anything.
        stored = tar_header.length(member.size) if member.kind is Kind.FILE else 0
        member.size = stored
        self._name = member.name
        self._padding = -stored % BLOCK
        self._sparse = None
        if flag == b"S":
            self._sparse = tar_sparse.from_gnu_header(header, self._take_block)
        elif records and member.kind is Kind.FILE and tar_sparse.is_sparse(records):
            self._sparse = tar_sparse.from_pax(records, self._take_block, stored)
            member.name = self._sparse.name or member.name
        self._unread = stored
        if self._sparse is not None:
            self._sparse.check(stored)
            self._unread -= self._sparse.read_size
            member.size = self._sparse.size
            self._holes += member.size - self._unread
        # Refused now, not when the disk is full.
        if (
            self._unread > len(self._buffer) - self._position or self._holes
        ) and self._offset() + self._unread + self._holes > self._limits.size:
            raise self._too_large()

    def _stored(self, size: int) -> Iterator[memoryview]:
        """Yield the next `size` bytes of the content as they are in the archive."""
        while size:
            piece = self._view[self._position : self._position + size]
            if not piece:
                if not self._receive():
                    raise self._cut_short()
                continue
            self._position += len(piece)
            self._unread -= len(piece)
            size -= len(piece)
            yield piece

    def _skip(self) -> None:
        missing = self._unread + self._padding
        padding = self._padding
        self._unread = self._padding = 0
        while (available := len(self._buffer) - self._position) < missing:
            missing -= available
            if not self._receive():
                # The last entry's padding may be missing, as the end-of-archive blocks may.
                if missing > padding:
                    raise self._cut_short()
                return
        self._position += missing

    def _take_block(self) -> bytes:
        return self._take(BLOCK)

    def _take(self, size: int) -> bytes:
        if not self._fill(size):
            raise self._cut_short()
        position = self._position
        self._position = position + size
        return self._buffer[position : position + size]

    def _fill(self, size: int) -> bool:
        """Have the next `size` bytes in the buffer; False if the stream ends before them."""
        have = len(self._buffer) - self._position
        if have >= size:
            return True
        pieces = [self._buffer[self._position :]]
        while have < size and self._receive():
            pieces.append(self._buffer)
            have += len(self._buffer)
        self._buffer = b"".join(pieces)
        self._view = memoryview(self._buffer)
        self._position = 0
        return have >= size

    def _receive(self) -> bool:
        """Replace the buffer, which is used up, by the next piece of the stream."""
        self._buffer = self._read_chunk()
        self._view = memoryview(self._buffer)
        self._position = 0
        self._received += len(self._buffer)
        if self._received + self._holes > self._limits.size:
            raise self._too_large()
        return bool(self._buffer)

    def _offset(self) -> int:
        return self._received - len(self._buffer) + self._position

    def _where(self, back: int = 0) -> str:
        after = f", after {show(self._name)}" if self._name else ""
        return f"byte {self._offset() - back} of the archive{after}"

    def _cut_short(self) -> ArchiveError:
        return ArchiveError(f"{self._where()}: the archive is cut short")

    def _too_large(self) -> ArchiveError:
        return ArchiveError(f"{self._where()}: it is larger than {self._limits.size} bytes")

    def _remember(self, ids: bytes) -> tuple[int, int, int]:
        """Read mode and owner; most entries repeat those of one before."""
        if len(self._attributes) >= _MOST_CACHED:
            self._attributes.clear()
        found = self._attributes[ids] = tar_header.attributes(ids)
        return found


def _overrule(member: Member, key: bytes, value: bytes) -> None:
    if key == b"mtime":
        member.mtime_ns = tar_header.pax_time(value)
    elif key == b"path":
        member.name = tar_header.pax_text(key, value)
    elif key == b"linkpath":
        if member.kind is not Kind.FILE:
            member.link = tar_header.pax_text(key, value)
    elif key == b"size":
        member.size = tar_header.pax_number(key, value)
    elif key == b"uid":
        member.uid = tar_header.owner(tar_header.pax_number(key, value))
    elif key == b"gid":
        member.gid = tar_header.owner(tar_header.pax_number(key, value))


def _write(descriptor: int, content: memoryview) -> None:
    while written := os.write(descriptor, content):
        if written == len(content):
            return
        content = content[written:]
