"""Compress layers: gzip (RFC 1952), zstd (RFC 8878) or not at all.

The gzip header has no time and no name: equal archives are equal blobs. ISA-L compresses five times
faster than zlib at the size of Go's fastest level, so it is the default; its level 0 expands what
does not compress and is not offered. What does not compress is stored (`sparing_gzip`).
"""

import importlib
import importlib.util
import sys
import zlib
from typing import TYPE_CHECKING, Any, Protocol

from asynckaniko.errors import UsageError
from asynckaniko.oci import media_types
from asynckaniko.rootfs.sparing_gzip import SparingGzip

if TYPE_CHECKING or sys.version_info < (3, 14):
    from backports import zstd
else:
    from compression import zstd

MEDIA_TYPES = {
    "gzip": media_types.OCI_LAYER_GZIP,
    "zstd": media_types.OCI_LAYER_ZSTD,
    "none": media_types.OCI_LAYER,
}
"""What can be asked for, and what it makes of a layer."""

_GZIP_WINDOW = 31
_ISAL_LEVELS = range(1, 4)
_ZSTD_DEFAULT = 3
_ZSTD_LEVELS = range(1, 23)
_ZSTD_LARGE_WINDOW = 20
"""From this level on zstd would look back further than every decoder does..."""
_ZSTD_WINDOW_LOG = 23
"""... which is 8 MiB (RFC 8878, 3.1.1.1.2)."""


class Compressor(Protocol):
    """One stream: pieces in, pieces out (often empty), and the rest."""

    def compress(self, data: bytes | bytearray, /) -> bytes: ...
    def flush(self) -> bytes: ...


def open_compressor(compression: str, level: int | None) -> Compressor | None:
    """Start a stream; None means that the bytes stay as they are.

    `level` None or -1 is the default. gzip takes 0 (stored) to 9: 1 to 3 are ISA-L's, those above
    are zlib-ng's where it is installed and zlib's elsewhere. zstd takes 1 to 22.

    Raises:
        UsageError: no such compression or level.
    """
    if level == -1:
        level = None
    match compression:
        case "gzip":
            return _open_gzip(1 if level is None else level)
        case "zstd":
            return _open_zstd(_ZSTD_DEFAULT if level is None else level)
        case "none":
            return None
    raise UsageError(f"compression {compression!r}: use one of {', '.join(MEDIA_TYPES)}")


def _open_gzip(level: int) -> Compressor:
    if level in _ISAL_LEVELS:
        return SparingGzip(level)
    if not 0 <= level <= 9:
        raise UsageError(f"compression level {level}: gzip takes 0 to 9, or -1 for the default")
    if level and importlib.util.find_spec("zlib_ng"):
        return _compressor(importlib.import_module("zlib_ng.zlib_ng"), level)
    return _compressor(zlib, level)


def _compressor(module: Any, level: int) -> Compressor:
    compressor: Compressor = module.compressobj(level, zlib.DEFLATED, _GZIP_WINDOW)
    return compressor


def _open_zstd(level: int) -> Compressor:
    if level not in _ZSTD_LEVELS:
        raise UsageError(f"compression level {level}: zstd takes 1 to 22, or -1 for the default")
    options: dict[int, int] = {zstd.CompressionParameter.compression_level: level}
    if level >= _ZSTD_LARGE_WINDOW:
        options[zstd.CompressionParameter.window_log] = _ZSTD_WINDOW_LOG
    compressor: Compressor = zstd.ZstdCompressor(options=options)
    return compressor
