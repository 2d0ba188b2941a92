"""ADD: archives are recognised by content and unpacked in place of being copied."""

import bz2
import gzip
import io
import lzma
import os
import random
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asynckaniko.errors import ArchiveError, CopyFailed
from tests.unit.rootfs.copying import DIRECTORY, FILE, ROOT, at, copy
from tests.unit.rootfs.trees import file, make, symlink

if TYPE_CHECKING or sys.version_info < (3, 14):
    from backports import zstd
else:
    from compression import zstd

COMPRESSIONS: Mapping[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd.compress,
}


def entry(name: str, content: bytes | None = None, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """Make a member; without content and type it is a directory."""
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
    info.mode, info.mtime, info.size = 0o644, 1_600_000_000, len(content or b"")
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content or b""


def link(name: str, target: str, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.SYMTYPE, linkname=target, **fields)


def hard(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.LNKTYPE, linkname=target)


def archive(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return output.getvalue()


LONG = "n" * 200 + "/" + "n" * 100
SMALL = archive(entry("f", b"content", uid=7, gid=9, mode=0o4711))


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_archive_is_unpacked_whatever_its_name(tmp_path: Path, compression: str) -> None:
    context = make(tmp_path / "context", {"data.bin": file(COMPRESSIONS[compression](SMALL))})

    copied = copy(context, ["data.bin"], at("x"), add=True)

    assert copied.contents == {"x/f": b"content"}
    assert copied.result["needs_replace"] is True


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", gzip.compress(b"plain"), bytes(2048), SMALL[:300], b"\x1f\x8b\x08 damaged"],
    ids=["empty", "text", "gzip of text", "empty archive", "half a header", "damaged gzip"],
)
def test_what_is_no_archive_is_copied(tmp_path: Path, content: bytes) -> None:
    context = make(tmp_path / "context", {"a.tar.gz": file(content)})

    copied = copy(context, ["a.tar.gz"], at("x/"), add=True)

    assert copied.contents == {"x/a.tar.gz": content}
    assert copied.result["needs_replace"] is False


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({}, ["x"]),
        ({"add": True, "unpack": False}, ["x"]),
        ({"add": True}, ["x", "x/f"]),
        ({"add": True, "unpack": True}, ["x", "x/f"]),
    ],
)
def test_only_add_unpacks_and_only_if_it_may(
    tmp_path: Path, more: Mapping[str, Any], names: Sequence[str]
) -> None:
    context = make(tmp_path / "context", {"t.tar": file(SMALL)})

    assert copy(context, ["t.tar"], at("x"), **more).names == names


def test_downloads_are_unpacked_on_request_only(tmp_path: Path) -> None:
    context = make(tmp_path / "context", {"t.tar": file(SMALL)})
    given = {"name": "d", "fd_index": 1, "mode": 0o600, "mtime": 5}
    with (context / "t.tar").open("rb") as download:
        results = [
            copy(
                context,
                [],
                at("x/"),
                files=[given],
                fds=[download.fileno()],
                add=True,
                unpack=unpack,
            ).names
            for unpack in (None, False, True)
        ]

    assert results == [["x", "x/d"], ["x", "x/d"], ["x", "x/f"]]


def test_owners_and_modes_are_the_archives(tmp_path: Path) -> None:
    context = make(tmp_path / "context", {"t.tar": file(SMALL, owner=(5, 5))})

    copied = copy(context, ["t.tar"], at("x"), add=True, chmod="0700")
    owned = copy(context, ["t.tar"], at("x"), add=True, owner=[100, 200])

    assert copied.owners == {"x": (0, 0), "x/f": (7, 9)}
    assert copied.modes == {"x": 0o755, "x/f": 0o4711}
    assert owned.owners == {"x": (100, 200), "x/f": (100, 200)}


def test_every_kind_of_entry_arrives(tmp_path: Path) -> None:
    content = archive(
        entry("d", mode=0o1777),
        entry("d/f", b"f" * 100_000, mtime=1_600_000_000.25, pax_headers={}),
        hard("d/h", "./d/f"),
        link("d/s", "../../outside"),
        entry("d/p", type=tarfile.FIFOTYPE),
        entry(LONG, b"long", pax_headers={"SCHILY.xattr.user.x": "1"}),
        entry("x", b"", pax_headers={"SCHILY.xattr.trusted.overlay.opaque": "y"}),
    )
    context = make(tmp_path / "context", {"t.tar": file(content)})

    found = copy(context, ["t.tar"], ROOT, add=True).members

    assert list(found) == ["d", "d/f", "d/h", "d/s", "d/p", LONG, "x"]
    assert found["d"].mode == 0o1777
    assert (found["d/f"].size, found["d/f"].mtime) == (100_000, 1_600_000_000.25)
    assert (found["d/h"].linkname, found["d/s"].linkname) == ("d/f", "../../outside")
    assert found[LONG].pax_headers["SCHILY.xattr.user.x"] == "1"
    assert found["d/p"].isfifo()
    assert not found["x"].pax_headers


def test_device_nodes_and_their_links_are_left_out_with_a_warning(tmp_path: Path) -> None:
    content = archive(
        entry("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        entry("disk", type=tarfile.BLKTYPE, devmajor=8, devminor=0),
        hard("link", "./null"),
        hard("again", "link"),
        entry("disk", b"a file after all"),
        hard("file", "disk"),
    )
    context = make(tmp_path / "context", {"t.tar": file(content)})

    copied = copy(context, ["t.tar"], ROOT, add=True)

    assert copied.names == ["disk", "file"]
    assert copied.result["warnings"] == ['"/t.tar": 4 device nodes were left out']


def test_hard_link_keeps_the_attributes_of_its_entry(tmp_path: Path) -> None:
    link_entry, content = hard("h", "f")
    link_entry.uid, link_entry.mode, link_entry.mtime = 7, 0o600, 1_600_000_000
    tar = archive(entry("f", b"x", mode=0o644, uid=5), (link_entry, content))
    context = make(tmp_path / "context", {"t.tar": file(tar)})

    found = copy(context, ["t.tar"], ROOT, add=True).members

    assert (found["f"].uid, found["f"].mode) == (5, 0o644)
    assert (found["h"].uid, found["h"].mode, found["h"].mtime) == (7, 0o600, 1_600_000_000)


@pytest.mark.parametrize("name", ["./", ".", "/", "a/.."])
def test_entry_of_the_root_changes_no_destination(tmp_path: Path, name: str) -> None:
    content = archive(entry(name, mode=0o700, uid=3), entry("f", b""))
    context = make(tmp_path / "context", {"t.tar": file(content)})

    assert copy(context, ["t.tar"], at("x", DIRECTORY), add=True).names == ["x/f"]
    assert copy(context, ["t.tar"], at("x"), add=True).modes["x"] == 0o755


def test_implied_directories_are_written_below_a_new_destination(tmp_path: Path) -> None:
    content = archive(
        entry("etc/dnf/dnf.conf", b"c"),
        link("lib", "usr/lib"),
        entry("lib/x", b""),
        entry("etc", mode=0o700),
    )
    context = make(tmp_path / "context", {"t.tar": file(content)})
    in_order = ["x/etc", "x/etc/dnf", "x/etc/dnf/dnf.conf", "x/lib", "x/lib/x"]

    new = copy(context, ["t.tar"], at("x"), add=True, output="layer", compression="none")
    existing = copy(context, ["t.tar"], at("x", DIRECTORY), add=True)

    with tarfile.open(fileobj=io.BytesIO(new.content)) as tar:
        assert tar.getnames() == ["x", *in_order, "x/etc"]
    assert existing.names == ["x/etc/dnf/dnf.conf", "x/lib", "x/lib/x", "x/etc"]


def test_several_archives_meet_in_the_destination(tmp_path: Path) -> None:
    context = make(
        tmp_path / "context",
        {
            "a.tar": file(archive(entry("same", b"a"), entry("d/a", b""))),
            "b.tar": file(archive(entry("same", b"b"), entry("d/b", b""))),
            "c.txt": file(b"plain"),
        },
    )

    copied = copy(context, ["*.tar", "c.txt"], at("x"), add=True)

    with tarfile.open(fileobj=io.BytesIO(copied.content)) as tar:
        assert tar.getnames() == [
            "x",
            "x/same",
            "x/d",
            "x/d/a",
            "x/same",
            "x/d/b",
            "x/c.txt",
        ]
        last = tar.extractfile("x/same")
        assert last is not None
        assert last.read() == b"b"


@pytest.mark.parametrize(
    "evil",
    [
        entry("../evil", b"x"),
        entry("ok/../../evil", b"x"),
        entry("/../evil", b"x"),
        hard("evil", "../../etc/passwd"),
        hard("evil", "."),
    ],
    ids=["above", "through", "absolute", "hard link", "hard link to the root"],
)
def test_entries_that_leave_the_destination_are_refused_by_name(
    tmp_path: Path, evil: tuple[tarfile.TarInfo, bytes]
) -> None:
    context = make(tmp_path / "context", {"sub/t.tar": file(archive(entry("ok", b""), evil))})

    with pytest.raises(ArchiveError, match=r'^"/sub/t.tar": .*(evil|etc/passwd)'):
        copy(context, ["sub/t.tar"], at("d/e/", missing_parents=["d"]), add=True)


@pytest.mark.parametrize(
    "content",
    [
        archive(entry("f", bytes(5000)))[:3000],
        gzip.compress(SMALL * 50)[:-5],
        gzip.compress(archive(entry("f", random.Random(1).randbytes(5000))))[:-8] + bytes(8),
    ],
    ids=["cut short", "compression cut short", "wrong checksum"],
)
def test_damaged_archive_is_named(tmp_path: Path, content: bytes) -> None:
    context = make(tmp_path / "context", {"t.tar": file(content)})

    with pytest.raises(ArchiveError, match=r'^"/t.tar": '):
        copy(context, ["t.tar"], at("x"), add=True)


def test_archive_does_not_go_where_a_file_is(tmp_path: Path) -> None:
    context = make(tmp_path / "context", {"t.tar": file(SMALL)})

    with pytest.raises(CopyFailed, match=r"^cannot copy directory onto file /x$"):
        copy(context, ["t.tar"], at("x", FILE), add=True)


def test_link_to_an_archive_is_followed(tmp_path: Path) -> None:
    context = make(tmp_path / "context", {"t.tar": file(SMALL), "l": symlink("t.tar")})

    assert copy(context, ["l"], at("x"), add=True).names == ["x", "x/f"]


def test_detection_reads_no_more_than_the_beginning(tmp_path: Path) -> None:
    context = make(tmp_path / "context", {"sparse": file()})
    os.truncate(context / "sparse", 1 << 40)

    with pytest.raises(CopyFailed, match="cannot copy"):
        copy(context, ["sparse", "."], at("x"), add=True)
