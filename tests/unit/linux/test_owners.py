"""Owners beside files: what is recorded, and what is not taken for a record."""

import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_IFCHR

import pytest

from asynckaniko.linux import owners
from asynckaniko.linux.owners import ROOT, UNCHANGED, Owner

NAME = "user.asynckaniko.owner"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize("owner", [(1, 0), (0, 5), (1234, 5678), (2**32 - 2, 2**32 - 2)])
def test_owner_is_read_as_it_was_recorded(file: int, owner: Owner) -> None:
    owners.record(file, owner)

    assert owners.recorded(file) == owner
    assert os.getxattr(file, NAME) == f"{owner[0]}:{owner[1]}".encode()


def test_root_needs_no_record(file: int) -> None:
    owners.record(file, (1, 2))

    owners.record(file, ROOT)
    owners.record(file, ROOT)

    assert os.listxattr(file) == []
    assert owners.recorded(file) is None


@pytest.mark.parametrize(
    "value", [b"", b":", b"1", b"1:", b"1:2:3", b"-1:2", b"4294967295:0", b"1" * 30 + b":2", b"a:b"]
)
def test_what_a_command_may_have_written_there_says_nothing(file: int, value: bytes) -> None:
    os.setxattr(file, NAME, value)

    assert owners.recorded(file) is None


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ((5, UNCHANGED), (5, 2)),
        ((UNCHANGED, 6), (1, 6)),
        ((UNCHANGED, UNCHANGED), (1, 2)),
        ((0, 0), (0, 0)),
    ],
)
def test_minus_one_leaves_an_id_as_it_was(file: int, wanted: Owner, found: Owner) -> None:
    owners.record(file, (1, 2))

    owners.record_wanted(file, wanted)

    assert owners.recorded(file) == found
    assert not owners.is_echo(file)


def test_what_is_given_to_root_without_having_been_anybodys_is_known(file: int) -> None:
    owners.record_wanted(file, ROOT)

    assert owners.is_echo(file)
    assert owners.recorded(file) is None

    owners.record_wanted(file, (UNCHANGED, 7))

    assert not owners.is_echo(file)
    assert owners.recorded(file) == (UNCHANGED, 7)


def test_owners_of_links_are_whiteouts_in_the_layer(tmp_path: Path) -> None:
    layer = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    os.symlink("x", tmp_path / "link")
    inode = (tmp_path / "link").lstat().st_ino

    owners.store_links(layer, {inode: (5, 6)})
    os.close(layer)

    (mark,) = [name for name in os.listdir(tmp_path) if name != "link"]
    status = os.lstat(tmp_path / mark)
    # overlayfs.rst: "A whiteout is created as a character device with 0/0 device number".
    assert (status.st_mode, status.st_rdev) == (S_IFCHR, 0)
    assert owners.is_mark(os.fsencode(mark), status)
    assert not owners.is_mark(b"dir/" + os.fsencode(mark), status)
    assert not owners.is_mark(b"file", status)
