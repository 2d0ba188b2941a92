"""Compression: what each choice makes, and that equal input is equal output."""

import gzip
import random
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from asynckaniko.errors import UsageError
from asynckaniko.rootfs.compression import MEDIA_TYPES, open_compressor

if TYPE_CHECKING or sys.version_info < (3, 14):
    from backports import zstd
else:
    from compression import zstd

TEXT = b"".join(b"line %d of a text that compresses\n" % number for number in range(50_000))


def compress(
    compression: str, level: int | None, pieces: Sequence[bytes | bytearray] = (TEXT,)
) -> bytes:
    compressor = open_compressor(compression, level)
    assert compressor is not None
    return b"".join([*map(compressor.compress, pieces), compressor.flush()])


@pytest.mark.parametrize("level", [None, *range(-1, 10)])
def test_gzip_is_one_member_without_time_or_name(level: int | None) -> None:
    blob = compress("gzip", level)

    assert gzip.decompress(blob) == TEXT
    assert blob[:3] == b"\x1f\x8b\x08"
    assert blob[3] == 0, "no flags: no name, no comment, no extra field"
    assert blob[4:8] == bytes(4), "no time"
    subprocess.run(["gzip", "-t"], input=blob, check=True)


def test_default_of_gzip_is_its_level_1() -> None:
    assert compress("gzip", None) == compress("gzip", -1) == compress("gzip", 1)


def test_denser_gzip_levels_are_denser() -> None:
    sizes = [len(compress("gzip", level)) for level in (0, 1, 9)]

    assert sizes[0] > len(TEXT) > sizes[1] > sizes[2]


@pytest.mark.parametrize("level", [None, -1, 1, 3, 19, 22])
def test_zstd_needs_no_larger_window_than_every_decoder_has(level: int | None) -> None:
    blob = compress("zstd", level, [TEXT] * 20)

    limit: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}
    assert zstd.decompress(blob, options=limit) == TEXT * 20


def test_incompressible_bytes_hardly_grow() -> None:
    noise = random.Random(1).randbytes(1_000_000)

    assert len(compress("gzip", None, [noise])) < len(noise) * 1.001


NOISE = random.Random(2).randbytes(1 << 20)
MIXTURES = {
    "nothing": [],
    "noise": [NOISE],
    "noise first": [NOISE, TEXT],
    "noise last": [TEXT, NOISE],
    "noise twice": [TEXT, NOISE, NOISE, TEXT],
    "in turn": [TEXT, NOISE, TEXT, NOISE, NOISE[:70_000], TEXT[:10]],
    "text that follows noise and repeats what is before it": [TEXT[-9_000:], NOISE, TEXT[-9_000:]],
    "a block and a byte": [NOISE[: 5 * 0xFFFF + 1]],
}


@pytest.mark.parametrize("pieces", MIXTURES.values(), ids=MIXTURES)
@pytest.mark.parametrize("level", [1, 3])
def test_what_is_stored_and_what_is_compressed_make_one_stream(
    pieces: list[bytes], level: int
) -> None:
    blob = compress("gzip", level, pieces)

    assert gzip.decompress(blob) == b"".join(pieces)
    subprocess.run(["gzip", "-t"], input=blob, check=True)
    assert blob == compress("gzip", level, [bytearray(piece) for piece in pieces])


def test_noise_is_stored() -> None:
    """RFC 1951, 3.2.4: five bytes before at most 65535 that stay as they are."""
    blob = compress("gzip", None, [NOISE])

    assert NOISE[:0xFFFF] in blob
    assert blob[10:15] == b"\0\xff\xff\0\0"


def test_piece_that_is_noise_in_part_is_compressed() -> None:
    half = NOISE[: 1 << 19] + TEXT[: 1 << 19]

    assert len(compress("gzip", None, [half])) < 0.7 * len(half)


def test_nothing_is_done_for_none() -> None:
    assert open_compressor("none", None) is None


@pytest.mark.parametrize(
    ("compression", "level"), [("gzip", 10), ("gzip", -2), ("zstd", 0), ("zstd", 23), ("lz4", None)]
)
def test_what_does_not_exist_is_a_usage_error(compression: str, level: int | None) -> None:
    with pytest.raises(UsageError, match=str(level) if level is not None else compression):
        open_compressor(compression, level)


def test_every_compression_has_a_media_type_of_its_own() -> None:
    assert len(set(MEDIA_TYPES.values())) == len(MEDIA_TYPES) == 3
