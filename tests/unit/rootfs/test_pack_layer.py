"""pack_upper: an overlay's upper directory becomes a layer."""

import os
import random
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from asynckaniko.errors import HostError, StepFailed
from asynckaniko.rootfs.pack_layer import pack_upper
from tests.unit.rootfs.trees import (
    RANDOM,
    Node,
    contents,
    describe,
    directory,
    fifo,
    file,
    hard_link,
    make,
    members,
    symlink,
    unpack,
)


def pack(upper: Path, output: Path, **more: Any) -> dict[str, Any]:
    arguments = {"upper": os.fspath(upper), "compression": "gzip", "level": None, **more}
    with output.open("wb") as opened:
        return pack_upper(arguments, [opened.fileno()])


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    path = tmp_path / "upper"
    path.mkdir()
    return path


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    return tmp_path / "layer"


def test_tree_arrives_as_it_is(upper: Path, layer: Path, tmp_path: Path) -> None:
    make(
        upper,
        {
            "etc": directory(mode=0o711),
            "etc/conf": file(b"c" * 1000, mode=0o640, xattrs={"user.origin": b"here\0"}),
            "etc/same": hard_link("etc/conf"),
            "etc/link": symlink("../usr/nowhere"),
            "bin/su": file(b"#!", mode=0o4755),
            "tmp": directory(mode=0o1777, xattrs={"user.of": b"directory"}),
            "run/pipe": fifo(mode=0o600),
            "big": file(os.urandom(3_000_000)),
            "ünï\udcff/" + "n" * 200: file(b"odd"),
        },
    )

    result = pack(upper, layer)

    assert describe(unpack(layer, tmp_path / "unpacked")) == describe(upper)
    assert result["entries"] == len(describe(upper))


def test_root_itself_is_no_entry(upper: Path, layer: Path) -> None:
    upper.chmod(0o700)

    assert pack(upper, layer, compression="none")["entries"] == 0
    assert layer.read_bytes() == bytes(1024)


def test_entries_are_sorted_with_parents_first(upper: Path, layer: Path) -> None:
    make(upper, {"b/z": file(), "b/a": file(), "a.b": file(), "a/x": file()})

    pack(upper, layer)

    assert list(members(layer.read_bytes())) == ["a", "a/x", "a.b", "b", "b/a", "b/z"]


def test_bytes_depend_on_the_tree_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"d{number % 7}/f{number}" for number in range(60)]
    results = []
    for seed, zone, umask in ((1, "UTC", 0o022), (2, "Pacific/Kiritimati", 0o077)):
        random.Random(seed).shuffle(names)
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        before = os.umask(umask)
        try:
            root = make(tmp_path / zone, {name: file(name.encode()) for name in names})
            results.append(pack(root, tmp_path / f"layer{seed}"))
        finally:
            os.umask(before)
    monkeypatch.undo()
    time.tzset()

    assert results[0] == results[1]


def test_clamp_holds_for_newer_times_only(upper: Path, layer: Path) -> None:
    make(
        upper,
        {"old": file(mtime=10**18), "new": file(mtime=2 * 10**18), "link": symlink("x")},
    )

    pack(upper, layer, clamp=1_500_000_000)

    times = {name: member.mtime for name, member in members(layer.read_bytes()).items()}
    assert times == {"old": 1_000_000_000, "new": 1_500_000_000, "link": 1_500_000_000}


def test_skipped_paths_are_left_out_with_what_they_contain(upper: Path, layer: Path) -> None:
    make(upper, {"etc/hosts": file(), "etc/hosts2": file(), "mnt/src/x": file()})

    pack(upper, layer, skip=["etc/hosts", "mnt/src"])

    assert list(members(layer.read_bytes())) == ["etc", "etc/hosts2", "mnt"]


def test_marks_of_the_overlay_become_those_of_a_layer(upper: Path, layer: Path) -> None:
    make(
        upper,
        {
            "gone-by-xattr": file(xattrs={"user.overlay.whiteout": b"y"}),
            "new": directory(xattrs={"user.overlay.opaque": b"y", "user.overlay.origin": b"o"}),
            "new/a": file(),
            "has-xattr-whiteouts": directory(xattrs={"user.overlay.opaque": b"x"}),
            "copied-up": file(b"x", xattrs={"user.overlay.origin": b"o", "user.mine": b"m"}),
        },
    )
    os.mknod(upper / "gone", 0o020000, 0)

    pack(upper, layer)

    found = members(layer.read_bytes())
    assert list(found) == [
        "copied-up",
        ".wh.gone",
        ".wh.gone-by-xattr",
        "has-xattr-whiteouts",
        "new",
        "new/.wh..wh..opq",
        "new/a",
    ]
    assert contents(layer.read_bytes())[".wh.gone"] == b""
    headers = [key for member in found.values() for key in member.pax_headers]
    assert [key for key in headers if "xattr" in key] == ["SCHILY.xattr.user.mine"]


def test_capabilities_of_one_namespace_become_everyones(upper: Path, layer: Path) -> None:
    make(upper, {"ping": file(b"elf", mode=0o755)})
    revision_3 = bytes.fromhex("0100000300200000" + "00" * 12 + "a0860100")
    os.setxattr(upper / "ping", "security.capability", revision_3)

    pack(upper, layer, compression="none")

    revision_2 = bytes.fromhex("0100000200200000" + "00" * 12)
    assert b"SCHILY.xattr.security.capability=" + revision_2 + b"\n" in layer.read_bytes()


def test_sockets_are_left_out(upper: Path, layer: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.fspath(upper / "s"))
        pack(upper, layer)

    assert members(layer.read_bytes()) == {}


def test_devices_keep_their_numbers(upper: Path, layer: Path) -> None:
    os.mknod(upper / "fuse", 0o020666, os.makedev(10, 229))

    pack(upper, layer)

    fuse = members(layer.read_bytes())["fuse"]
    assert (fuse.ischr(), fuse.devmajor, fuse.devminor) == (True, 10, 229)


@pytest.mark.parametrize("name", [".wh.x", "d/.wh..wh..opq"])
def test_names_that_would_delete_are_refused(upper: Path, layer: Path, name: str) -> None:
    make(upper, {name: file()})

    with pytest.raises(StepFailed, match=rf"^/{name}: .*deletions"):
        pack(upper, layer)


@pytest.mark.parametrize("mark", ["user.overlay.redirect", "user.overlay.metacopy"])
def test_upper_that_does_not_hold_all_changes_is_refused(
    upper: Path, layer: Path, mark: str
) -> None:
    make(upper, {"x": file(b"x", xattrs={mark: b"/elsewhere"})})

    with pytest.raises(HostError, match=f"/x has {mark}"):
        pack(upper, layer)


def test_depth_costs_neither_recursion_nor_descriptors(upper: Path, layer: Path) -> None:
    depth = 1500
    opened = os.open(upper, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=opened)
        inner = os.open("d", os.O_RDONLY, dir_fd=opened)
        os.mkdir("e", dir_fd=opened)
        os.close(opened)
        opened = inner
    os.close(opened)

    try:
        assert pack(upper, layer)["entries"] == 2 * depth
    finally:
        # pytest's own clean-up recurses.
        subprocess.run(["rm", "-r", upper], check=True)
    assert len(members(layer.read_bytes())) == 2 * depth


@settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(nodes=RANDOM)
def test_packing_and_unpacking_is_identity(
    tmp_path_factory: pytest.TempPathFactory, nodes: dict[str, Node]
) -> None:
    base = tmp_path_factory.mktemp("identity")
    upper = make(base / "upper", nodes)

    pack(upper, base / "layer")

    assert describe(unpack(base / "layer", base / "unpacked")) == describe(upper)
