"""The directory of a listed layer: what its entries are, and what its files hold."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from asynckaniko.errors import HostError
from asynckaniko.records import dataclass
from asynckaniko.rootfs.tar_member import Kind, Member
from asynckaniko.rootfs.tar_reader import TarReader

_INDEX, DATA = "index", "data"
_KINDS = {kind.value: kind for kind in Kind}


@dataclass(slots=True)
class Entry:
    """A member of a layer's archive; the content of a file begins at `offset` of `data`."""

    member: Member
    offset: int


def read_entries(reader: TarReader, data: int) -> Iterator[Entry]:
    """Read an archive, and append the contents of its files to the open file `data`.

    Raises ArchiveError, OSError.
    """
    offset = os.lseek(data, 0, os.SEEK_END)
    for member in reader:
        entry = Entry(member, offset)
        if member.kind is Kind.FILE and member.size:
            for piece in reader.data():
                _write(data, piece)
            offset += member.size
        yield entry


def write_index(directory: str, entries: list[Entry]) -> None:
    """Write the index of a layer whose `data` is complete. Raises OSError."""
    rows = [_row(entry) for entry in entries]
    Path(directory, _INDEX).write_bytes(orjson.dumps(rows))


def read_index(directory: str) -> list[Entry]:
    """Read what `write_index` wrote. Raises OSError, HostError."""
    path = Path(directory, _INDEX)
    try:
        rows = orjson.loads(path.read_bytes())
        return [_entry(row) for row in rows]
    except (orjson.JSONDecodeError, ValueError, TypeError, KeyError) as error:
        raise HostError(f"{path.absolute()}: not an index of a layer; remove it") from error


def _row(entry: Entry) -> list[Any]:
    member = entry.member
    attributes = {name: value.hex() for name, value in (member.xattrs or {}).items()}
    return [
        # Names are bytes, and times may need more than 64 bits.
        member.name.decode("latin-1"),
        member.kind.value,
        member.mode,
        member.uid,
        member.gid,
        str(member.mtime_ns),
        member.size,
        member.link.decode("latin-1"),
        {os.fsencode(name).decode("latin-1"): value for name, value in attributes.items()},
        list(member.device),
        entry.offset,
    ]


def _entry(row: Any) -> Entry:
    name, kind, mode, uid, gid, mtime, size, link, attributes, device, offset = row
    member = Member(
        name.encode("latin-1"),
        _KINDS[kind],
        mode,
        uid,
        gid,
        int(mtime),
        size,
        link.encode("latin-1"),
    )
    if attributes:
        member.xattrs = {
            os.fsdecode(key.encode("latin-1")): bytes.fromhex(value)
            for key, value in attributes.items()
        }
    member.device = (device[0], device[1])
    return Entry(member, offset)


def _write(descriptor: int, piece: memoryview) -> None:
    while len(piece):
        piece = piece[os.write(descriptor, piece) :]
