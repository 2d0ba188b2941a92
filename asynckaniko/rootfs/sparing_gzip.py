"""A gzip stream by ISA-L that stores what does not compress, as deflate lets it (RFC 1951, 3.2.4).

To find out that noise is noise takes a compressor as long as to compress text. Samples tell sooner.
"""

from collections.abc import Iterator
from zlib import DEFLATED

from isal import isal_zlib

_RAW_WINDOW = -15
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
"""RFC 1952, 2.3: deflate, no flags, no time, no system."""
_SMALLEST = 256 << 10
"""Bytes of a piece that is worth samples."""
_SAMPLE_SIZE = 2 << 10
_SAMPLES = 8
_GAIN = 32
"""A sample that loses less than one byte of so many counts as noise."""
_LARGEST_BLOCK = 0xFFFF


class SparingGzip:
    """One stream: pieces in, pieces out, and the rest. Equal pieces make equal streams."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._deflate = self._new()
        self._is_clean = True
        """Nothing has been compressed since the stream was last at the start of a byte."""
        self._start = _HEADER
        self._crc = 0
        self._size = 0

    def compress(self, data: bytes | bytearray, /) -> bytes:
        self._crc = isal_zlib.crc32(data, self._crc)
        self._size += len(data)
        start, self._start = self._start, b""
        if len(data) < _SMALLEST or not _is_noise(data):
            self._is_clean = False
            packed: bytes = self._deflate.compress(data)
            return start + packed if start else packed
        if not self._is_clean:
            # What comes after the stored bytes must not refer to what was before them.
            start += self._deflate.flush(isal_zlib.Z_FULL_FLUSH)
            self._deflate = self._new()
            self._is_clean = True
        return b"".join([start, *_stored(data)])

    def flush(self) -> bytes:
        """End the stream; call it once."""
        end = self._crc.to_bytes(4, "little") + (self._size & 0xFFFF_FFFF).to_bytes(4, "little")
        packed: bytes = self._deflate.flush()
        return self._start + packed + end

    def _new(self) -> "isal_zlib.Compress":
        return isal_zlib.compressobj(self._level, DEFLATED, _RAW_WINDOW)


def _is_noise(data: bytes | bytearray) -> bool:
    distance = len(data) // _SAMPLES
    with memoryview(data) as view:
        for start in range(distance // 2, len(data), distance):
            sample = view[start : start + _SAMPLE_SIZE]
            if len(isal_zlib.compress(sample, 1, _RAW_WINDOW)) < len(sample) - len(sample) // _GAIN:
                return False
    return True


def _stored(data: bytes | bytearray) -> Iterator[bytes | memoryview]:
    view = memoryview(data)
    for start in range(0, len(view), _LARGEST_BLOCK):
        block = view[start : start + _LARGEST_BLOCK]
        size = len(block)
        yield b"\0" + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little")
        yield block
