"""Write tar archives byte by byte: also such as no sane writer would make."""

from collections.abc import Iterable

BLOCK = 512
USTAR = b"ustar\x0000"
GNU = b"ustar  \0"
V7 = bytes(8)
END = bytes(2 * BLOCK)


def header(  # noqa: PLR0913  a header has that many fields
    name: bytes,
    kind: bytes = b"0",
    *,
    size: int | bytes = 0,
    link: bytes = b"",
    mode: int | bytes = 0o644,
    uid: int | bytes = 0,
    gid: int | bytes = 0,
    mtime: int | bytes = 0,
    magic: bytes = USTAR,
    device: tuple[int | bytes, int | bytes] = (0, 0),
    prefix: bytes = b"",
    checksum: int | bytes | None = None,
) -> bytes:
    """Format one header. Numbers may be given as the bytes of their field."""
    fields = [
        _text(name, 100),
        number(mode, 8),
        number(uid, 8),
        number(gid, 8),
        number(size, 12),
        number(mtime, 12),
        b" " * 8,
        kind,
        _text(link, 100),
        magic,
        bytes(64),
        number(device[0], 8),
        number(device[1], 8),
        _text(prefix, 155),
        bytes(12),
    ]
    block = b"".join(fields)
    assert len(block) == BLOCK
    if checksum is None:
        checksum = sum(block)
    field = checksum if isinstance(checksum, bytes) else b"%06o\0 " % checksum
    return block[:148] + field + block[156:]


def number(value: int | bytes, width: int) -> bytes:
    """Format a number: octal, or base-256 where octal cannot hold it."""
    if isinstance(value, bytes):
        return _text(value, width)
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    digits = (value % (1 << (8 * width))).to_bytes(width, "big")
    return bytes([digits[0] | 0x80]) + digits[1:]


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def file(name: bytes, content: bytes = b"x", **fields: object) -> bytes:
    return header(name, size=len(content), **fields) + padded(content)  # type: ignore[arg-type]


def directory(name: bytes, mode: int = 0o755, **fields: object) -> bytes:
    return header(name, b"5", mode=mode, **fields)  # type: ignore[arg-type]


def symlink(name: bytes, target: bytes, **fields: object) -> bytes:
    return header(name, b"2", link=target, mode=0o777, **fields)  # type: ignore[arg-type]


def hard_link(name: bytes, target: bytes, **fields: object) -> bytes:
    return header(name, b"1", link=target, **fields)  # type: ignore[arg-type]


def pax(records: Iterable[tuple[bytes, bytes]], kind: bytes = b"x") -> bytes:
    """Format an extended header; kind `g` makes it global."""
    return pax_raw(b"".join(record(key, value) for key, value in records), kind)


def pax_raw(content: bytes, kind: bytes = b"x") -> bytes:
    return header(b"PaxHeaders/x", kind, size=len(content)) + padded(content)


def record(key: bytes, value: bytes) -> bytes:
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def gnu_long(kind: bytes, text: bytes) -> bytes:
    """Format GNU's header for a long name (`L`) or a long link (`K`)."""
    content = text + b"\0"
    return header(b"././@LongLink", kind, size=len(content), magic=GNU) + padded(content)


def _text(value: bytes, width: int) -> bytes:
    return value[:width].ljust(width, b"\0")
