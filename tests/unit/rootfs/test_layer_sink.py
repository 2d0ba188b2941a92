"""LayerSink: one pass gives the blob and both digests, whatever the size."""

import gzip
import hashlib
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from asynckaniko.errors import HostError, OutOfSpace
from asynckaniko.rootfs.layer_sink import FileSink, LayerSink, ReaderGone
from asynckaniko.rootfs.tar_writer import BUFFER_SIZE


@pytest.fixture
def output(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "blob", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


def pieces(count: int) -> list[bytearray]:
    source = random.Random(7)
    return [bytearray(source.randbytes(1000) * (BUFFER_SIZE // 1000)) for _ in range(count)]


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("count", [0, 1, 9, 30])
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_digests_and_sizes_are_those_of_the_bytes(
    output: int, count: int, compression: str
) -> None:
    archive = b"".join(pieces(count))

    with LayerSink(output, compression=compression) as sink:
        for piece in pieces(count):
            sink.write(piece)
        result = sink.finish()

    blob = os.pread(output, 1 << 30, 0)
    assert (gzip.decompress(blob) if compression == "gzip" else blob) == archive
    assert result == {
        "digest": digest(blob),
        "size": len(blob),
        "diff_id": digest(archive),
        "uncompressed_size": len(archive),
    }


def test_full_disk_is_out_of_space() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        with LayerSink(full) as sink, pytest.raises(OutOfSpace, match="No space left"):
            for piece in pieces(30):
                sink.write(piece)
            sink.finish()
    finally:
        os.close(full)


def test_output_that_cannot_be_written_is_an_error_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    read_only = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        with pytest.raises(HostError, match="cannot write the layer"):
            FileSink(read_only).write(bytearray(b"x"))
    finally:
        os.close(read_only)


def test_reader_that_left_is_told_apart() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        with pytest.raises(ReaderGone):
            FileSink(write_end).write(bytearray(b"x"))
    finally:
        os.close(write_end)


def test_leaving_early_ends_the_second_thread(output: int) -> None:
    before = threading.active_count()

    with LayerSink(output, level=9) as sink:
        for piece in pieces(20):
            sink.write(piece)
        assert threading.active_count() == before + 1

    assert threading.active_count() == before


GROWTH = """
import os, random
from asynckaniko.rootfs.layer_sink import LayerSink

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

source = random.Random(3)
noise = source.randbytes(1 << 20)
numbers = b"".join(b"%d " % source.randrange(10**9) for _ in range(8000))
text = numbers[: 1 << 16] * 16
with LayerSink(os.open(os.devnull, os.O_WRONLY)) as sink:
    for piece in range(800):
        sink.write(bytearray(noise if piece % 2 else text))
        if piece == 200:
            print(resident())
    print(resident())
    sink.finish()
"""


def test_memory_does_not_grow_with_the_size_of_a_layer() -> None:
    printed = subprocess.check_output([sys.executable, "-c", GROWTH], text=True)

    after_200, after_800 = map(int, printed.split())
    # Blocks of 1 MiB between blocks of half of it: malloc kept 30 KiB and more of each piece.
    assert after_800 - after_200 < 10 << 20
