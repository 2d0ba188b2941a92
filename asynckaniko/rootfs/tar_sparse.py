"""Where the stored stretches of a sparse file belong (GNU tar manual, "Sparse Formats").

Four notations: a table in the old GNU header, and pax versions 0.0 (repeated records), 0.1 (one
record) and 1.0 (text before the content).
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from asynckaniko.errors import ArchiveError
from asynckaniko.records import dataclass
from asynckaniko.rootfs import tar_header
from asynckaniko.rootfs.tar_header import BLOCK

Segment: TypeAlias = tuple[int, int]
"""Offset and length of a stretch that is stored; the rest is holes."""

_MOST_SEGMENTS = 1 << 18
_LONGEST_NUMBER = 20
_PREFIX = b"GNU.sparse."


@dataclass(slots=True)
class SparseMap:
    """The map of one file."""

    segments: list[Segment]
    size: int
    """Of the file with its holes."""
    read_size: int = 0
    """Bytes of the entry's content that were the map."""
    name: bytes = b""
    """The file's name, if the entry's is a stand-in."""

    def check(self, stored: int) -> None:
        """Require ascending stretches inside the file that use up `stored` bytes."""
        position = total = 0
        for offset, extent in self.segments:
            if offset < position or extent < 0 or offset + extent > self.size:
                raise ArchiveError(f"sparse map: {extent} bytes at {offset} do not fit")
            position = offset + extent
            total += extent
        if total != stored - self.read_size:
            raise ArchiveError(f"sparse map: {total} bytes instead of {stored - self.read_size}")


def is_sparse(records: Sequence[tuple[bytes, bytes]]) -> bool:
    for key, _ in records:  # noqa: SIM110  every entry with extended headers comes here
        if key.startswith(_PREFIX):
            return True
    return False


def from_gnu_header(header: bytes, take_block: Callable[[], bytes]) -> SparseMap:
    """Read the table of an old GNU header, and the blocks that continue it."""
    segments = _table(header[386:482])
    more = header[482]
    while more:
        block = take_block()
        segments += _table(block[:504])
        more = block[504]
        if len(segments) > _MOST_SEGMENTS:
            raise ArchiveError(f"sparse map: more than {_MOST_SEGMENTS} stretches")
    size = tar_header.length(tar_header.number(header[483:495]))
    return SparseMap(segments, size)


def from_pax(
    records: Sequence[tuple[bytes, bytes]], take_block: Callable[[], bytes], stored: int
) -> SparseMap:
    """Read a pax map of any version.

    `take_block` reads on in the entry's content of `stored` bytes, where version 1.0 has its map.
    """
    values = dict(records)
    version = values.get(b"GNU.sparse.major"), values.get(b"GNU.sparse.minor")
    text = values.get(b"GNU.sparse.realsize") or values.get(b"GNU.sparse.size") or b""
    found = SparseMap([], tar_header.length(tar_header.pax_number(b"GNU.sparse.size", text)))
    found.name = tar_header.pax_text(b"GNU.sparse.name", values.get(b"GNU.sparse.name", b""))
    if version == (b"1", b"0"):
        found.segments, found.read_size = _read_map(take_block, stored)
    elif b"GNU.sparse.map" in values:
        numbers = values[b"GNU.sparse.map"]
        found.segments = _pairs(numbers.split(b",") if numbers else [])
    elif b"GNU.sparse.numblocks" in values:
        keys = [b"GNU.sparse.offset", b"GNU.sparse.numbytes"]
        listed = [(key, value) for key, value in records if key in keys]
        if [key for key, _ in listed] != keys * (len(listed) // 2):
            raise ArchiveError("sparse map: offsets and lengths do not alternate")
        found.segments = _pairs([value for _, value in listed])
    else:
        raise ArchiveError(f"sparse map: unknown version {version}")
    return found


def _table(entries: bytes) -> list[Segment]:
    found = []
    for position in range(0, len(entries) - 23, 24):
        if not entries[position]:
            break
        offset = tar_header.number(entries[position : position + 12])
        found.append((offset, tar_header.number(entries[position + 12 : position + 24])))
    return found


def _pairs(numbers: Sequence[bytes]) -> list[Segment]:
    if len(numbers) % 2:
        raise ArchiveError("sparse map: an offset without a length")
    values = [tar_header.pax_number(b"GNU.sparse.map", value) for value in numbers]
    return list(zip(values[::2], values[1::2], strict=True))


def _read_map(take_block: Callable[[], bytes], stored: int) -> tuple[list[Segment], int]:
    """Read a version 1.0 map: decimal lines, the number of stretches first, padded to a block."""
    numbers: list[bytes] = []
    rest = b""
    read_size = 0
    wanted = 1
    while len(numbers) < wanted:
        read_size += BLOCK
        if read_size > stored or len(rest) > _LONGEST_NUMBER:
            raise ArchiveError("sparse map: it is not complete")
        *lines, rest = (rest + take_block()).split(b"\n")
        numbers += lines
        if wanted == 1 and numbers:
            count = tar_header.pax_number(b"GNU.sparse.map", numbers[0])
            if count > _MOST_SEGMENTS:
                raise ArchiveError(f"sparse map: more than {_MOST_SEGMENTS} stretches")
            wanted = 1 + 2 * count
    return _pairs(numbers[1:wanted]), read_size
