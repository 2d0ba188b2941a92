"""Decompression: all streams of a chain, in bounded pieces, and no cut goes unnoticed."""

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asynckaniko.errors import ArchiveError
from asynckaniko.rootfs.decompress import PIECE_SIZE, ReadChunk, decompressed, sniff

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SKIPPABLE = b"\x50\x2a\x4d\x18" + (8).to_bytes(4, "little") + b"whatever"
TEXT = b"".join(b"line %d\n" % number for number in range(5000))


def compress_gzip(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": compress_gzip,
    "zstd": lambda content: zstd.compress(
        content, options={zstd.CompressionParameter.checksum_flag: 1}
    ),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
EVERY_COMPRESSION = pytest.mark.parametrize("name", COMPRESSORS)


def chunks_of(content: bytes, size: int = 4096) -> ReadChunk:
    stream = io.BytesIO(content)
    return lambda: stream.read(size)


def read_all(read: ReadChunk) -> bytes:
    return b"".join(iter(read, b""))


def decompress(content: bytes, size: int = 4096) -> bytes:
    return read_all(decompressed(chunks_of(content, size)))


@EVERY_COMPRESSION
def test_compression_is_known_by_its_first_bytes(name: str) -> None:
    assert sniff(COMPRESSORS[name](b"content")[:6]).name == name


@pytest.mark.parametrize("content", [b"", b"\x1f", b"\x1f\x8b", b"plain", b"\0" * 600])
def test_what_is_not_compressed_passes_as_it_is(content: bytes) -> None:
    assert decompress(content) == content


@EVERY_COMPRESSION
def test_every_stream_of_a_chain_is_read(name: str) -> None:
    compress = COMPRESSORS[name]

    assert decompress(compress(b"one") + compress(b"") + compress(TEXT)) == b"one" + TEXT


def test_skippable_zstd_frames_are_skipped() -> None:
    frame = zstd.compress(TEXT)

    assert decompress(SKIPPABLE + frame + SKIPPABLE + frame + SKIPPABLE) == TEXT + TEXT


@EVERY_COMPRESSION
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_size_of_input_chunks_does_not_matter(name: str, size: int) -> None:
    compress = COMPRESSORS[name]

    assert decompress(compress(b"first") + compress(TEXT), size) == b"first" + TEXT


@EVERY_COMPRESSION
def test_zero_bytes_may_follow(name: str) -> None:
    assert decompress(COMPRESSORS[name](TEXT) + bytes(10_000)) == TEXT


@EVERY_COMPRESSION
@pytest.mark.parametrize("garbage", [b"GARBAGE", bytes(600) + b"GARBAGE" * 100])
def test_other_bytes_may_not_follow(name: str, garbage: bytes) -> None:
    with pytest.raises(ArchiveError):
        decompress(COMPRESSORS[name](TEXT) + garbage)


@EVERY_COMPRESSION
def test_every_cut_is_noticed(name: str) -> None:
    content = COMPRESSORS[name](b"content that is long enough" * 3)
    first_sniffed = {"gzip": 3, "zstd": 4, "bzip2": 3, "xz": 6}[name]

    for end in range(first_sniffed, len(content)):
        with pytest.raises(ArchiveError, match="cut short"):
            decompress(content[:end])


@EVERY_COMPRESSION
def test_second_stream_that_is_cut_is_noticed(name: str) -> None:
    content = COMPRESSORS[name](TEXT)

    for missing in (1, 4, len(content) // 2):
        with pytest.raises(ArchiveError):
            decompress(content + content[:-missing])


@settings(max_examples=400)
@given(name=st.sampled_from(sorted(COMPRESSORS)), data=st.data())
def test_flipped_bit_is_noticed_or_harmless(name: str, data: st.DataObject) -> None:
    content = bytearray(COMPRESSORS[name](TEXT[:500]))
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    if sniff(bytes(content[:6])).name != name:
        return

    try:
        read = decompress(bytes(content))
    except ArchiveError:
        return
    assert read == TEXT[:500]


def test_bomb_unfolds_in_small_pieces() -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    bomb = b"".join(compressor.compress(zeros) for _ in range(256)) + compressor.flush()
    read = decompressed(chunks_of(bomb, len(bomb)))

    pieces = [len(read()) for _ in range(20)]

    assert max(pieces) <= PIECE_SIZE


def test_zstd_window_that_would_take_gigabytes_is_refused() -> None:
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 30})

    with pytest.raises(ArchiveError, match="memory"):
        decompress(compressor.compress(b"x") + compressor.flush())


def test_xz_dictionary_that_would_take_gigabytes_is_refused() -> None:
    content = bytearray(lzma.compress(b"x"))
    # The block header follows 12 bytes of stream header: the size of the dictionary is the last
    # of its fields, 36 stands for 1 GiB, and its last four bytes are a checksum of the others.
    content[16] = 36
    content[20:24] = zlib.crc32(content[12:20]).to_bytes(4, "little")

    with pytest.raises(ArchiveError, match="Memory"):
        decompress(bytes(content))


def test_reading_goes_on_returning_nothing_after_the_end() -> None:
    read = decompressed(chunks_of(compress_gzip(b"content")))

    assert [read(), read(), read()] == [b"content", b"", b""]


def test_end_of_a_stream_at_the_end_of_a_chunk_is_not_the_end() -> None:
    pieces = [compress_gzip(b"one"), compress_gzip(b"two"), b""]

    assert read_all(decompressed(lambda: pieces.pop(0) if len(pieces) > 1 else pieces[0])) == (
        b"onetwo"
    )
