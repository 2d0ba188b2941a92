"""Read a compressed stream, whatever its compression, in pieces of bounded size.

Every format here is a chain of streams (gzip members, zstd frames), and the libraries stop after
the first: reading only that silently drops the rest of what pigz, pzstd or a stargz writer made.
They also report a cut stream as "more input, please", so the cut is found here.
"""

import bz2
import lzma
import sys
from collections.abc import Callable
from typing import Protocol, TypeAlias

from isal import igzip_lib

from asynckaniko.errors import ArchiveError
from asynckaniko.records import dataclass

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ReadChunk: TypeAlias = Callable[[], bytes]
"""Returns the next piece of a stream; empty at its end, and from then on."""

PIECE_SIZE = 256 * 1024
"""The most that one step of decompression yields: a bomb unfolds no faster than it is consumed."""

_XZ_MEMORY = 256 << 20
_HEAD_SIZE = 6
# isal's stub declares its error class as an instance.
_IsalError: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]


class _Stream(Protocol):
    """The interface that bz2, lzma, zstd and igzip share."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Compression:
    """One format: how to recognise it and how to read one of its streams."""

    name: str
    magics: tuple[bytes, ...] = ()
    start: Callable[[], _Stream] | None = None
    errors: tuple[type[Exception], ...] = ()


NONE = Compression("none")
GZIP = Compression(
    "gzip",
    (b"\x1f\x8b\x08",),
    lambda: igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP),
    (_IsalError,),
)
ZSTD = Compression(
    "zstd",
    # A frame, or one of the sixteen kinds of skippable frame.
    (b"\x28\xb5\x2f\xfd", *(bytes([kind]) + b"\x2a\x4d\x18" for kind in range(0x50, 0x60))),
    # The window limit is the library's own: 128 MiB.
    zstd.ZstdDecompressor,
    (zstd.ZstdError,),
)
BZIP2 = Compression("bzip2", (b"BZh",), bz2.BZ2Decompressor, (OSError, ValueError))
XZ = Compression(
    "xz",
    (b"\xfd7zXZ\x00",),
    lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY),
    (lzma.LZMAError,),
)


def sniff(head: bytes) -> Compression:
    """Name the compression of a stream from its first six bytes."""
    for compression in (GZIP, ZSTD, BZIP2, XZ):
        if head.startswith(compression.magics):
            return compression
    return NONE


def decompressed(read_chunk: ReadChunk) -> ReadChunk:
    """Sniff a stream's compression and return a reader of what is inside.

    Reading to the end checks every stream of the chain, its checksum included; zero bytes may
    follow them. The reader raises ArchiveError: damaged, cut, or followed by something else.
    """
    head = b""
    while len(head) < _HEAD_SIZE and (chunk := read_chunk()):
        head += chunk
    compression = sniff(head)
    if compression.start is None:
        return _prepended(head, read_chunk)
    return _Decompressor(compression, compression.start, head, read_chunk).read


def _prepended(head: bytes, read_chunk: ReadChunk) -> ReadChunk:
    def read() -> bytes:
        nonlocal head
        if head:
            first, head = head, b""
            return first
        return read_chunk()

    return read


class _Decompressor:
    def __init__(
        self,
        compression: Compression,
        start: Callable[[], _Stream],
        head: bytes,
        read_chunk: ReadChunk,
    ) -> None:
        self._compression = compression
        self._start = start
        self._read_chunk = read_chunk
        self._stream: _Stream | None = start()
        self._pending = head

    def read(self) -> bytes:
        while True:
            stream = self._stream or self._next_stream()
            if stream is None:
                return b""
            chunk = b""
            if self._pending:
                chunk, self._pending = self._pending, b""
            elif stream.needs_input:
                chunk = self._read_chunk()
                if not chunk:
                    raise ArchiveError(f"the {self._compression.name} stream is cut short")
            piece = self._decompress(stream, chunk)
            if stream.eof:
                self._pending = stream.unused_data
                self._stream = None
            if piece:
                return piece

    def _next_stream(self) -> _Stream | None:
        """Pass over padding; None at the end of the input."""
        pending = self._pending
        while not (pending := pending.lstrip(b"\0")):
            pending = self._read_chunk()
            if not pending:
                return None
        self._pending = pending
        self._stream = self._start()
        return self._stream

    def _decompress(self, stream: _Stream, chunk: bytes) -> bytes:
        try:
            return stream.decompress(chunk, PIECE_SIZE)
        except self._compression.errors as error:
            name = self._compression.name
            raise ArchiveError(f"the {name} stream is damaged: {error}") from error
