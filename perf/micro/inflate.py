"""A compressed stream becomes bytes, in pieces of bounded size (rootfs.decompress)."""

import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from functools import partial

from isal import isal_zlib

from asynckaniko.rootfs.compression import open_compressor
from asynckaniko.rootfs.decompress import decompressed
from perf.micro._result import Result, rate
from perf.micro._trees import sample

_SIZE = 64 << 20
_CHUNK_SIZE = 128 * 1024
_GZIP = 31


def run() -> Iterator[Result]:
    plain = sample(_SIZE)
    amount = _SIZE / 1e6
    packed = {name: _compress(name, plain) for name in ("gzip", "zstd")}
    limit = rate("ISA-L alone", amount, "MB", partial(_read_raw, packed["gzip"]))
    inflate = rate("gzip", amount, "MB", partial(_read, packed["gzip"]))
    yield inflate.beside(limit)
    yield rate("zlib in one call", amount, "MB", partial(zlib.decompress, packed["gzip"], _GZIP))
    hashed = rate("sha256 of the same", amount, "MB", partial(hashlib.sha256, plain))
    yield rate("zstd", amount, "MB", partial(_read, packed["zstd"])).beside(hashed)
    yield rate("gzip and sha256", amount, "MB", partial(_hash, packed["gzip"])).beside(hashed)


def _compress(name: str, plain: bytes) -> bytes:
    compressor = open_compressor(name, None)
    assert compressor is not None
    return compressor.compress(plain) + compressor.flush()


def _read(packed: bytes, use: Callable[[bytes], object] = len) -> None:
    read = decompressed(partial(io.BytesIO(packed).read, _CHUNK_SIZE))
    while piece := read():
        use(piece)


def _read_raw(packed: bytes) -> None:
    """Hand the library the same chunks; nobody limits or looks at what comes."""
    stream = isal_zlib.decompressobj(_GZIP)
    for start in range(0, len(packed), _CHUNK_SIZE):
        stream.decompress(packed[start : start + _CHUNK_SIZE])


def _hash(packed: bytes) -> None:
    _read(packed, hashlib.sha256().update)
