"""The fields of a tar archive: numbers, checksums, texts, PAX records. Pure.

POSIX.1-2017 pax; the GNU tar manual, "Basic Tar Format". Where readers disagree this one follows
Go's archive/tar, which wrote and reads nearly all layers.
"""

import os
import re
from struct import Struct
from zlib import adler32

from asynckaniko.errors import ArchiveError

BLOCK = 512

split = Struct("100s24s12s12s8sc100s8s80x155s12x").unpack
"""name, mode+uid+gid, size, mtime, checksum, type, link, magic+version, prefix."""

_LARGEST = 1 << 62
_LARGEST_ID = (1 << 32) - 2
_LARGEST_SECONDS = 1 << 40
_MOST_RECORDS = 1024
_NEWLINE = 0x0A
_DECIMAL = re.compile(rb"[0-9]{1,19}")
_TIME = re.compile(rb"(-?)([0-9]{1,19})(?:\.([0-9]*))?")


def show(name: bytes) -> str:
    """Write an entry's name for an error message: one line, no control characters, not too long."""
    text = os.fsdecode(name)
    return repr(text if len(text) <= 200 else f"{text[:120]}...{text[-60:]}")


def number(field: bytes) -> int:
    """Read an octal or base-256 number, which may be negative. Raises ArchiveError."""
    digits = field.strip(b"\0 ")
    if digits.isdigit():
        try:
            return int(digits, 8)
        except ValueError as error:
            raise ArchiveError(f"tar header: {digits!r} is not an octal number") from error
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
        return value
    digits = digits.partition(b"\0")[0]
    if not digits:
        return 0
    if not digits.isdigit():
        raise ArchiveError(f"tar header: {digits!r} is not an octal number")
    return number(digits)


def attributes(field: bytes) -> tuple[int, int, int]:
    """Read mode (permission bits only), uid and gid from their 24 bytes."""
    return (
        number(field[:8]) & 0o7777,
        owner(number(field[8:16])),
        owner(number(field[16:])),
    )


def owner(value: int) -> int:
    if not 0 <= value <= _LARGEST_ID:
        raise ArchiveError(f"tar header: {value} is no user or group id")
    return value


def length(value: int) -> int:
    if not 0 <= value <= _LARGEST:
        raise ArchiveError(f"tar header: {value} is no size")
    return value


def nanoseconds(seconds: int, fraction: int = 0) -> int:
    if abs(seconds) > _LARGEST_SECONDS:
        raise ArchiveError(f"tar header: {seconds} is no time of modification")
    return seconds * 1_000_000_000 + fraction


def seconds(field: bytes) -> int:
    """Read a time of modification as nanoseconds."""
    return nanoseconds(number(field))


def device(header: bytes) -> tuple[int, int]:
    """Read major and minor number."""
    numbers = number(header[329:337]), number(header[337:345])
    if not all(0 <= value < 1 << 32 for value in numbers):
        raise ArchiveError(f"tar header: {numbers} is no device number")
    return numbers


def join_prefix(prefix: bytes, name: bytes, header: bytes) -> bytes:
    """Put a ustar name's two parts together. star keeps times in the end of the prefix field."""
    if header.endswith(b"tar\0"):
        prefix = prefix[:131]
    return prefix.partition(b"\0")[0] + b"/" + name


def checksum_matches(header: bytes, field: bytes) -> bool:
    """Compare the sum of the bytes, the checksum's own counted as blanks.

    The low half of an adler32 is 1 + the sum modulo 65521: exact for 512 ASCII bytes and for 256
    of any kind, and twelve times faster than `sum`.
    """
    if header.isascii():
        total = adler32(header) & 0xFFFF
    else:
        total = (adler32(header[:256]) & 0xFFFF) + (adler32(header[256:]) & 0xFFFF) - 1
    expected = number(field)
    if total - (adler32(field) & 0xFFFF) + 256 == expected:
        return True
    # Old Sun and GNU writers summed signed bytes.
    signed = sum(byte - 256 if byte > 127 else byte for byte in header)
    return signed - sum(byte - 256 if byte > 127 else byte for byte in field) + 256 == expected


def pax_records(content: bytes) -> list[tuple[bytes, bytes]]:
    """Split `LENGTH KEY=VALUE\\n` records, in order, repetitions kept. Raises ArchiveError."""
    records: list[tuple[bytes, bytes]] = []
    position = 0
    while position < len(content):
        blank = content.find(b" ", position, position + 20)
        digits = content[position:blank] if blank > 0 else b""
        end = position + int(digits) if digits.isdigit() else 0
        if not blank < end <= len(content) or content[end - 1] != _NEWLINE:
            raise ArchiveError("pax header: a record's length does not fit")
        key, equals, value = content[blank + 1 : end - 1].partition(b"=")
        if not equals or not key or b"\0" in key:
            raise ArchiveError(f"pax header: not KEY=VALUE: {content[blank + 1 : end][:40]!r}")
        if len(records) == _MOST_RECORDS:
            raise ArchiveError(f"pax header: more than {_MOST_RECORDS} records")
        records.append((key, value))
        position = end
    return records


def pax_number(key: bytes, value: bytes) -> int:
    if not _DECIMAL.fullmatch(value):
        raise ArchiveError(f"pax header: {key.decode()} is {value[:40]!r}, not a number")
    return int(value)


def pax_time(value: bytes) -> int:
    """Read decimal seconds as nanoseconds; further digits are cut off."""
    match = _TIME.fullmatch(value)
    if not match:
        raise ArchiveError(f"pax header: mtime is {value[:40]!r}, not a number")
    sign, seconds, digits = match.groups()
    fraction = int((digits or b"").ljust(9, b"0")[:9])
    result = nanoseconds(int(seconds), fraction)
    return -result if sign else result


def pax_text(key: bytes, value: bytes) -> bytes:
    if b"\0" in value:
        raise ArchiveError(f"pax header: {key.decode()} contains a zero byte")
    return value
