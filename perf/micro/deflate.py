"""Bytes become a compressed layer (rootfs.compression), in pieces as the tar writer gives them."""

import hashlib
import zlib
from collections.abc import Iterator
from functools import partial

from isal import isal_zlib

from asynckaniko.rootfs.compression import open_compressor
from perf.micro._result import Result, rate
from perf.micro._trees import sample

_SIZE = 64 << 20
_PIECE_SIZE = 256 * 1024
_GZIP = 31


def run() -> Iterator[Result]:
    plain = sample(_SIZE)
    amount = _SIZE / 1e6
    limit = rate("ISA-L in one call", amount, "MB", partial(isal_zlib.compress, plain, 1, _GZIP))
    for compression, level in (("gzip", None), ("gzip", 6), ("zstd", None)):
        share = len(_compress(plain, compression, level)) / len(plain)
        name = f"{compression}, level {level or 'default'}, to {share:.1%}"
        work = partial(_compress, plain, compression, level)
        yield rate(name, amount, "MB", work).beside(limit)
    yield rate("zlib level 1 in one call", amount, "MB", partial(zlib.compress, plain, 1))
    yield rate("sha256", amount, "MB", partial(hashlib.sha256, plain))
    yield rate("memcpy", amount, "MB", partial(bytearray, plain))


def _compress(plain: bytes, compression: str, level: int | None) -> bytes:
    compressor = open_compressor(compression, level)
    assert compressor is not None
    pieces = [
        compressor.compress(plain[start : start + _PIECE_SIZE])
        for start in range(0, len(plain), _PIECE_SIZE)
    ]
    return b"".join([*pieces, compressor.flush()])
