"""Write tar archives as layers need them: one byte sequence for one tree, and fast.

POSIX.1-2017 pax, "ustar Interchange Format" and "pax Extended Header". An entry is plain ustar if
it fits; what does not (long or non-ASCII names, large ids and sizes, fractions of a second,
extended attributes) goes to a PAX record in front of it. User and group names are never written:
ids are what an image means. Names are bytes without a leading slash, as the kernel has them.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple
from zlib import adler32

BUFFER_SIZE = 1 << 20
_WHOLE_FILE = 1 << 17
"""A file up to this size is read with one call."""

FILE, HARD_LINK, SYMLINK, CHARACTER, BLOCK, DIRECTORY, FIFO = (b"%d" % kind for kind in range(7))
_EXTENDED = b"x"

_ID_LIMIT = 1 << 21
_SIZE_LIMIT = _TIME_LIMIT = 1 << 33
_SECOND = 1_000_000_000
_ZEROS = bytes(512)
_BLANK_CHECKSUM = 8 * 32

_START = b"%b%07o\x00%07o\x00%07o\x00%011o\x00%011o\x00"
_MAGIC = b"ustar\x0000" + bytes(64)
_NO_DEVICE = b"%07o\x00%07o\x00" % (0, 0)
_PLAIN_END = bytes(100) + _MAGIC + _NO_DEVICE + bytes(167)


class SizeChanged(Exception):
    """A file did not have the size that its header promised already."""

    def __init__(self, promised: int, found: int) -> None:
        super().__init__(f"{promised} bytes became {found}")
        self.promised = promised
        self.found = found
        """At least this many: reading stops one byte past the promise."""


class Attributes(NamedTuple):
    """What every entry has. `mtime` is in nanoseconds; of `mode` the permission bits are used."""

    mode: int
    uid: int
    gid: int
    mtime: int


class TarWriter:
    """Formats entries and hands them on in pieces of exactly BUFFER_SIZE, but for the last.

    Compressed bytes depend on how the input is cut, so the cuts depend on the archive alone.
    `write` owns the pieces it gets: each is a new buffer. Times after `clamp` (POSIX seconds) are
    written as `clamp`. A file's content, unless it is empty, follows its entry by one call of a
    `content` method.
    """

    def __init__(
        self, write: Callable[[bytes | bytearray], None], *, clamp: int | None = None
    ) -> None:
        self._write = write
        self._clamp = None if clamp is None else clamp * _SECOND
        self._buffer = bytearray()
        self._extended_headers: dict[int, bytes] = {}
        self.entries = 0

    def directory(
        self, name: bytes, attributes: Attributes, xattrs: Mapping[str, bytes] | None = None
    ) -> None:
        self._entry(DIRECTORY, name + b"/", attributes, xattrs=xattrs)

    def file(
        self,
        name: bytes,
        attributes: Attributes,
        size: int,
        xattrs: Mapping[str, bytes] | None = None,
    ) -> None:
        self._entry(FILE, name, attributes, size=size, xattrs=xattrs)

    def symlink(self, name: bytes, attributes: Attributes, target: bytes) -> None:
        self._entry(SYMLINK, name, attributes._replace(mode=0o777), target=target)

    def hard_link(self, name: bytes, attributes: Attributes, target: bytes) -> None:
        """Write another name for `target`, an entry before this one."""
        self._entry(HARD_LINK, name, attributes, target=target)

    def fifo(self, name: bytes, attributes: Attributes) -> None:
        self._entry(FIFO, name, attributes)

    def device(self, kind: bytes, name: bytes, attributes: Attributes, number: int) -> None:
        """Write a device node; `kind` is CHARACTER or BLOCK, `number` as in `st_rdev`."""
        device = b"%07o\x00%07o\x00" % (os.major(number), os.minor(number))
        self._entry(kind, name, attributes, device=device)

    def content(self, descriptor: int, size: int) -> None:
        """Read `size` bytes up to the end of the file at `descriptor` as the entry's content.

        Raises:
            SizeChanged: the file ends earlier or goes on; the archive is of no use any more.
        """
        if size <= _WHOLE_FILE:
            data = os.read(descriptor, size + 1)
            if len(data) != size:
                data = _read_rest(descriptor, data, size)
            self._buffer += data
        else:
            self._stream(descriptor, size)
        self._finish_content(size)

    def content_bytes(self, data: bytes) -> None:
        self._buffer += data
        self._finish_content(len(data))

    def content_pieces(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Write pieces whose sizes add up to what the header says."""
        size = 0
        for piece in pieces:
            size += len(piece)
            self._buffer += piece
            if len(self._buffer) >= BUFFER_SIZE:
                self._flush()
        self._finish_content(size)

    def finish(self) -> None:
        """Write the end-of-archive mark and hand on what is left. Call once."""
        self._buffer += bytes(1024)
        self._flush()
        self._write(self._buffer)
        self._buffer = bytearray()

    def _stream(self, descriptor: int, size: int) -> None:
        self._flush()
        left = size
        while left:
            data = os.read(descriptor, min(left, BUFFER_SIZE - len(self._buffer)))
            if not data:
                raise SizeChanged(size, size - left)
            left -= len(data)
            if len(data) == BUFFER_SIZE:
                self._write(data)  # most of a large file: it need not be copied
                continue
            self._buffer += data
            if len(self._buffer) == BUFFER_SIZE:
                self._flush()
        if os.read(descriptor, 1):
            raise SizeChanged(size, size + 1)

    def _finish_content(self, size: int) -> None:
        if size & 511:
            self._buffer += _ZEROS[size & 511 :]
        if len(self._buffer) >= BUFFER_SIZE:
            self._flush()

    def _flush(self) -> None:
        while len(self._buffer) >= BUFFER_SIZE:
            piece = self._buffer
            self._buffer = piece[BUFFER_SIZE:]
            del piece[BUFFER_SIZE:]
            self._write(piece)

    def _entry(
        self,
        kind: bytes,
        name: bytes,
        attributes: Attributes,
        *,
        size: int = 0,
        target: bytes = b"",
        device: bytes = _NO_DEVICE,
        xattrs: Mapping[str, bytes] | None = None,
    ) -> None:
        mode, uid, gid, mtime = attributes
        if self._clamp is not None and mtime > self._clamp:
            mtime = self._clamp
        seconds, fraction = divmod(mtime, _SECOND)
        records = b""
        prefix = b""
        if len(name) > 100 or not name.isascii():
            name, prefix, records = _fit_name(name)
        if target and (len(target) > 100 or not target.isascii()):
            records += _record(b"linkpath", target)
            target = _shorten(target)
        if size >= _SIZE_LIMIT:
            records += _record(b"size", b"%d" % size)
            size = 0
        if uid >= _ID_LIMIT:
            records += _record(b"uid", b"%d" % uid)
            uid = 0
        if gid >= _ID_LIMIT:
            records += _record(b"gid", b"%d" % gid)
            gid = 0
        if fraction or not 0 <= seconds < _TIME_LIMIT:
            records += _time_record(mtime)
            seconds = min(max(seconds, 0), _TIME_LIMIT - 1)
        if xattrs:
            records += _xattr_records(xattrs)
        if records:
            self._extended(records)
        start = _START % (name.ljust(100, b"\0"), mode & 0o7777, uid, gid, size, seconds)
        if target or prefix or device is not _NO_DEVICE:
            end = target.ljust(100, b"\0") + _MAGIC + device + prefix.ljust(167, b"\0")
        else:
            end = _PLAIN_END
        self._append(start, kind, end)
        self.entries += 1

    def _append(self, start: bytes, kind: bytes, end: bytes) -> None:
        # Of ASCII bytes, at most 512 * 127, adler32 modulo 65521 is their sum plus one: twelve
        # times faster than sum().
        checksum = (adler32(start) & 0xFFFF) + (adler32(end) & 0xFFFF) - 2 + ord(kind)
        self._buffer += b"%b%06o\x00 %b%b" % (start, checksum + _BLANK_CHECKSUM, kind, end)

    def _extended(self, records: bytes) -> None:
        size = len(records)
        header = self._extended_headers.get(size)
        if header is None:
            start = _START % (b"././@PaxHeader".ljust(100, b"\0"), 0o644, 0, 0, size, 0)
            before = len(self._buffer)
            self._append(start, _EXTENDED, _PLAIN_END)
            self._extended_headers[size] = bytes(self._buffer[before:])
        else:
            self._buffer += header
        self._buffer += records
        self._buffer += _ZEROS[size & 511 or 512 :]


def _read_rest(descriptor: int, data: bytes, size: int) -> bytes:
    """Go on after a short read, which a file on a network may give; `data` is what there is."""
    while len(data) <= size and (more := os.read(descriptor, size + 1 - len(data))):
        data += more
    if len(data) != size:
        raise SizeChanged(size, len(data))
    return data


def _fit_name(name: bytes) -> tuple[bytes, bytes, bytes]:
    """Split a name that is no plain one into ustar's name and prefix, or add a record for it."""
    if name.isascii() and len(name) <= 256:
        # The prefix field holds 155 bytes; the slash between the two is in neither.
        slash = name.rfind(b"/", 0, min(156, len(name) - 1))
        if slash > 0 and len(name) - slash - 1 <= 100:
            return name[slash + 1 :], name[:slash], b""
    return _shorten(name), b"", _record(b"path", name)


def _shorten(name: bytes) -> bytes:
    """Return what readers without PAX see: 100 ASCII bytes of the name."""
    return name[:100].decode("ascii", "replace").replace("\ufffd", "?").encode("ascii")


def _record(key: bytes, value: bytes) -> bytes:
    """Format one record. Its length counts the digits of the length itself."""
    size = len(key) + len(value) + 3
    length = size + len(b"%d" % size)
    if len(b"%d" % length) > len(b"%d" % size):
        length += 1
    return b"%d %b=%b\n" % (length, key, value)


def _time_record(mtime: int) -> bytes:
    sign = b"-" if mtime < 0 else b""
    seconds, fraction = divmod(abs(mtime), _SECOND)
    if fraction and 10**9 <= seconds < 10**10 and not sign:
        # Nearly every file of a context or step: from 2001 to 2286, and no whole second.
        return b"30 mtime=%d.%09d\n" % (seconds, fraction)
    if not fraction:
        return _record(b"mtime", b"%b%d" % (sign, seconds))
    return _record(b"mtime", b"%b%d.%09d" % (sign, seconds, fraction))


def _xattr_records(xattrs: Mapping[str, bytes]) -> bytes:
    # A key with `=` has no notation in PAX, and readers disagree about made-up ones.
    return b"".join(
        _record(b"SCHILY.xattr." + os.fsencode(key), xattrs[key])
        for key in sorted(xattrs)
        if "=" not in key
    )
