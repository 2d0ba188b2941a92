"""TarWriter: other programs read what it writes, and the bytes depend on nothing else."""

import io
import os
import random
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asynckaniko.rootfs.tar_writer import (
    BLOCK,
    BUFFER_SIZE,
    CHARACTER,
    Attributes,
    SizeChanged,
    TarWriter,
)

PLAIN = Attributes(0o644, 0, 0, 1_700_000_000 * 10**9)


def write(fill: Callable[[TarWriter], None], *, clamp: int | None = None) -> bytes:
    pieces: list[bytes | bytearray] = []
    tar = TarWriter(pieces.append, clamp=clamp)
    fill(tar)
    tar.finish()
    return b"".join(pieces)


def read(archive: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getmembers()


def read_one(fill: Callable[[TarWriter], None], *, clamp: int | None = None) -> tarfile.TarInfo:
    (member,) = read(write(fill, clamp=clamp))
    return member


def test_plain_entry_is_one_ustar_header_without_names_of_accounts() -> None:
    archive = write(lambda tar: tar.file(b"a/b", Attributes(0o4755, 7, 8, 10**9), 0))

    assert len(archive) == 512 + 1024
    assert archive[257:265] == b"ustar\x0000"
    (member,) = read(archive)
    assert (member.name, member.mode, member.uid, member.gid, member.mtime) == (
        "a/b",
        0o4755,
        7,
        8,
        1,
    )
    assert (member.uname, member.gname) == ("", "")


@pytest.mark.parametrize(
    "name",
    [
        "x" * 100,
        "x" * 101,
        "d" * 155 + "/" + "n" * 100,
        "d" * 156 + "/" + "n" * 100,
        "d" * 155 + "/" + "n" * 101,
        "d/" * 200 + "n",
        "a" * 3 + "/" + "b" * 250,
        "ä" * 40,
        "日本/語",
        "new\nline",
        "not\udcff utf8",
    ],
)
def test_any_name_is_read_back(name: str) -> None:
    encoded = os.fsencode(name)

    assert read_one(lambda tar: tar.file(encoded, PLAIN, 0)).name == name
    assert read_one(lambda tar: tar.directory(encoded, PLAIN)).name == name
    assert read_one(lambda tar: tar.symlink(b"l", PLAIN, encoded)).linkname == name


@pytest.mark.parametrize(
    ("name", "is_extended"),
    [
        ("n" * 100, False),
        ("n" * 101, True),
        ("d/" + "n" * 100, False),
        ("d/" + "n" * 101, True),
        ("d" * 155 + "/" + "n" * 100, False),
        ("d" * 156 + "/" + "n" * 99, True),
        ("d" * 50 + "/" + "e" * 104 + "/n", False),
        ("ä", True),
    ],
)
def test_names_that_ustar_can_split_need_no_extension(name: str, is_extended: bool) -> None:
    archive = write(lambda tar: tar.file(name.encode(), PLAIN, 0))

    assert (b" path=" in archive) == is_extended


@pytest.mark.parametrize("number", [0, 2**21 - 1, 2**21, 2**31, 2**32 - 2])
def test_any_id_is_read_back(number: int) -> None:
    member = read_one(lambda tar: tar.file(b"f", Attributes(0o600, number, number, 0), 0))

    assert (member.uid, member.gid) == (number, number)


@pytest.mark.parametrize("mtime", [0, 1, 1_500_000_000, 2**33 - 1, 2**33, 2**40, -1, -(2**31)])
@pytest.mark.parametrize("fraction", [0, 1, 500_000_000, 999_999_999])
def test_any_time_is_read_back_to_the_nanosecond(mtime: int, fraction: int) -> None:
    time = mtime * 10**9 + fraction

    member = read_one(lambda tar: tar.file(b"f", PLAIN._replace(mtime=time), 0))

    whole, _, digits = str(member.pax_headers.get("mtime", member.mtime)).partition(".")
    sign = -1 if whole.startswith("-") else 1
    assert int(whole) * 10**9 + sign * int(digits.ljust(9, "0") or 0) == time


def test_sizes_over_8_gib_are_written() -> None:
    pieces: list[bytes | bytearray] = []
    tar = TarWriter(pieces.append)
    tar.file(b"large", PLAIN, 2**33)
    tar.finish()

    header = tarfile.TarInfo.frombuf(b"".join(pieces)[:512], "utf-8", "strict")
    assert header.type == b"x"
    assert b" size=8589934592\n" in b"".join(pieces)


def test_times_after_the_clamp_become_the_clamp() -> None:
    def fill(tar: TarWriter) -> None:
        tar.file(b"old", PLAIN._replace(mtime=5_500_000_000), 0)
        tar.file(b"new", PLAIN._replace(mtime=10_500_000_000), 0)

    old, new = read(write(fill, clamp=10))

    assert (old.mtime, new.mtime) == (5.5, 10)


def test_extended_attributes_become_schily_records() -> None:
    values = {"user.b": b"\x00\xff\n", "user.a": b"", "security.capability": bytes(20)}

    archive = write(lambda tar: tar.file(b"f", PLAIN, 0, values))

    for name, value in values.items():
        assert b" SCHILY.xattr." + name.encode() + b"=" + value + b"\n" in archive
    assert archive.index(b"user.a=") < archive.index(b"user.b=")


def test_attributes_that_pax_cannot_name_are_left_out() -> None:
    archive = write(lambda tar: tar.file(b"f", PLAIN, 0, {"user.a=b": b"1", "user.c": b"2"}))

    assert b"user.c=2\n" in archive
    assert b"user.a" not in archive


def test_every_kind_of_entry_is_read_back() -> None:
    def fill(tar: TarWriter) -> None:
        tar.directory(b"d", PLAIN._replace(mode=0o1777))
        tar.file(b"d/f", PLAIN, 3)
        tar.content_bytes(b"abc")
        tar.hard_link(b"d/h", PLAIN, b"d/f")
        tar.symlink(b"d/s", PLAIN, b"../f")
        tar.fifo(b"d/p", PLAIN)
        tar.device(CHARACTER, b"d/c", PLAIN, os.makedev(10, 229))
        tar.device(BLOCK, b"d/b", PLAIN, os.makedev(8, 1))

    members = {member.name: member for member in read(write(fill))}

    assert [member.type for member in members.values()] == [
        tarfile.DIRTYPE,
        tarfile.REGTYPE,
        tarfile.LNKTYPE,
        tarfile.SYMTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
    ]
    assert members["d"].mode == 0o1777
    assert members["d/s"].mode == 0o777
    assert (members["d/h"].linkname, members["d/s"].linkname) == ("d/f", "../f")
    assert (members["d/c"].devmajor, members["d/c"].devminor) == (10, 229)


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 131072, 131073, BUFFER_SIZE * 2 + 7])
def test_content_is_padded_to_blocks(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "f").write_bytes(content)

    def fill(tar: TarWriter) -> None:
        with (tmp_path / "f").open("rb") as file:
            tar.file(b"f", PLAIN, size)
            tar.content(file.fileno(), size)
        tar.file(b"after", PLAIN, 0)

    archive = write(fill)

    assert len(archive) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = tar.extractfile("f")
        assert found is not None
        assert found.read() == content
        assert tar.getnames() == ["f", "after"]


@pytest.mark.parametrize("promised", [3, 5, 200_000, 2_000_000])
def test_content_of_another_size_than_promised_is_refused(tmp_path: Path, promised: int) -> None:
    (tmp_path / "f").write_bytes(bytes(4 if promised < 10 else promised + 1))
    tar = TarWriter(lambda piece: None)

    with (tmp_path / "f").open("rb") as file, pytest.raises(SizeChanged):
        tar.content(file.fileno(), promised)


def test_content_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(1_500_000))
    tar = TarWriter(lambda piece: None)

    with (tmp_path / "f").open("rb") as file, pytest.raises(SizeChanged) as caught:
        tar.content(file.fileno(), 2_000_000)

    assert (caught.value.promised, caught.value.found) == (2_000_000, 1_500_000)


def test_pieces_are_cut_at_fixed_places() -> None:
    """Compressed bytes depend on the cuts, so these may not depend on how content arrives."""

    def cuts(pieces_of: int) -> list[int]:
        sizes: list[int] = []
        tar = TarWriter(lambda piece: sizes.append(len(piece)))
        content = bytes(3 * BUFFER_SIZE + 5)
        tar.file(b"f", PLAIN, len(content))
        tar.content_pieces(content[at : at + pieces_of] for at in range(0, len(content), pieces_of))
        tar.finish()
        return sizes

    assert cuts(1000) == cuts(5 * BUFFER_SIZE)
    assert set(cuts(1000)[:-1]) == {BUFFER_SIZE}


def test_file_that_is_read_is_cut_as_its_bytes_are(tmp_path: Path) -> None:
    """Whatever stands in front of it: nothing, a part of a piece, or more than one."""
    content = random.Random(1).randbytes(3 * BUFFER_SIZE + 5)
    path = tmp_path / "file"
    path.write_bytes(content)

    def pieces(directories: int, fill: Callable[[TarWriter], None]) -> list[bytes]:
        kept: list[bytes | bytearray] = []
        tar = TarWriter(kept.append)
        for number in range(directories):
            tar.directory(b"%d" % number, PLAIN)
        tar.file(b"f", PLAIN, len(content))
        fill(tar)
        tar.finish()
        return [bytes(piece) for piece in kept]

    for directories in (0, 1, BUFFER_SIZE // 512 - 1, 2 * BUFFER_SIZE // 512 + 3):
        with path.open("rb") as file:
            read = pieces(directories, lambda tar: tar.content(file.fileno(), len(content)))

        assert read == pieces(directories, lambda tar: tar.content_bytes(content))
        assert {len(piece) for piece in read[:-1]} == {BUFFER_SIZE}


def test_pieces_are_the_receivers_to_keep() -> None:
    pieces: list[bytes | bytearray] = []
    tar = TarWriter(pieces.append)
    tar.file(b"f", PLAIN, 2 * BUFFER_SIZE)
    tar.content_bytes(b"a" * BUFFER_SIZE + b"b" * BUFFER_SIZE)
    tar.finish()

    assert len({id(piece) for piece in pieces}) == len(pieces)
    assert b"".join(pieces)[512 : 512 + BUFFER_SIZE] == b"a" * BUFFER_SIZE


def test_gnu_tar_agrees(tmp_path: Path) -> None:
    def fill(tar: TarWriter) -> None:
        tar.directory(b"long/" + b"d" * 90, Attributes(0o2750, 70_000, 3_000_000, 10**9))
        tar.file("long/ä".encode(), Attributes(0o4711, 1, 2, 1_234_567_890_123_456_789), 5)
        tar.content_bytes(b"hello")
        tar.symlink(b"long/link", PLAIN, b"t" * 150)

    listing = subprocess.run(
        ["tar", "--numeric-owner", "--full-time", "-tvf", "-"],
        input=write(fill),
        capture_output=True,
        check=True,
        env={"TZ": "UTC", "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]},
    ).stdout.decode()

    assert [line.split() for line in listing.splitlines()] == [
        ["drwxr-s---", "70000/3000000", "0", "1970-01-01", "00:00:01", "long/" + "d" * 90 + "/"],
        ["-rws--x--x", "1/2", "5", "2009-02-13", "23:31:30.123456789", "long/ä"],
        ["lrwxrwxrwx", "0/0", "0", "2023-11-14", "22:13:20", "long/link", "->", "t" * 150],
    ]


@given(
    name=st.binary(min_size=1, max_size=400).filter(
        lambda name: b"\0" not in name and not name.endswith(b"/")
    ),
    target=st.binary(min_size=1, max_size=300).filter(lambda target: b"\0" not in target),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 1),
    mtime=st.integers(-(2**62), 2**62),
    xattrs=st.dictionaries(
        st.text("abc.", min_size=1, max_size=9).map("user.".__add__), st.binary(), max_size=3
    ),
)
def test_checksums_and_records_hold_for_any_values(
    name: bytes, target: bytes, mode: int, uid: int, mtime: int, xattrs: dict[str, bytes]
) -> None:
    def fill(tar: TarWriter) -> None:
        tar.directory(name, Attributes(mode, uid, uid, mtime), xattrs)
        tar.symlink(name, Attributes(mode, uid, uid, mtime), target)

    directory, link = read(write(fill))

    assert os.fsencode(directory.name) == name.rstrip(b"/")
    assert (directory.mode, directory.uid) == (mode, uid)
    assert os.fsencode(link.linkname) == target
