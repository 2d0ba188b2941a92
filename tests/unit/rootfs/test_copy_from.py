"""produce: what COPY --from reads of a stack of layers, and how it meets `apply_on_top`."""

import io
import os
import socket
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from asynckaniko.errors import CopyFailed
from asynckaniko.linux.overlay import mount_overlay
from asynckaniko.rootfs.apply_layer import apply_on_top
from asynckaniko.rootfs.copy_tree import produce
from asynckaniko.rootfs.destination import resolve_destination
from tests.unit.rootfs.children import in_namespaces
from tests.unit.rootfs.copying import ROOT, arguments, at
from tests.unit.rootfs.trees import (
    Node,
    describe,
    directory,
    file,
    hard_link,
    make,
    members,
    symlink,
)

BASE: Mapping[str, Node] = {
    "t/one": file(b"1", owner=(100, 200)),
    "t/two": hard_link("t/one"),
    "t/gone": file(),
    "t/sub": directory(owner=(7, 8), mode=0o750),
    "t/sub/f": file(owner=(7, 8), mode=0o4755),
    "link": symlink("/t"),
}


def copy_from(
    tmp_path: Path,
    sources: Sequence[str],
    destination: Mapping[str, Any] = ROOT,
    *,
    lowers: Sequence[Mapping[str, Node]] = (BASE,),
    **more: Any,
) -> dict[str, tarfile.TarInfo]:
    def work() -> bytes:
        for number, nodes in enumerate(lowers):
            make(Path(f"lower{number}"), nodes)
        Path("scratch").mkdir()
        stack = [f"lower{number}" for number in range(len(lowers))]
        job = {
            "source": {"lowers": stack, "scratch": "scratch"},
            **arguments(sources, destination, keep_owner=True, **more),
        }
        with open("archive", "w+b") as output:
            produce(job, [output.fileno()])
            output.seek(0)
            return output.read()

    base = tmp_path / "base"
    base.mkdir()
    return members(in_namespaces(base, work))


def test_owners_and_links_are_those_of_the_stage(tmp_path: Path) -> None:
    found = copy_from(tmp_path, ["/link"], at("new"))

    assert {name: (member.uid, member.gid) for name, member in found.items()} == {
        "new": (0, 0),
        "new/gone": (0, 0),
        "new/one": (100, 200),
        "new/sub": (7, 8),
        "new/sub/f": (7, 8),
        "new/two": (100, 200),
    }
    assert found["new/sub/f"].mode == 0o4755
    assert found["new/two"].linkname == "new/one"


def test_given_owner_replaces_those_of_the_stage(tmp_path: Path) -> None:
    found = copy_from(tmp_path, ["t"], at("new"), owner=[1, 2])

    assert {(member.uid, member.gid) for member in found.values()} == {(1, 2)}


def test_layers_are_seen_as_one_tree(tmp_path: Path) -> None:
    upper = {
        "t/gone": file(xattrs={"user.overlay.whiteout": b"y"}),
        "t/sub": directory(xattrs={"user.overlay.opaque": b"y"}),
        "t": directory(xattrs={"user.overlay.opaque": b"x"}),
        "t/sub/new": file(),
    }

    found = copy_from(tmp_path, ["t"], lowers=[BASE, upper])

    assert list(found) == ["one", "sub", "sub/new", "two"]


def test_image_without_files_has_only_its_root(tmp_path: Path) -> None:
    assert copy_from(tmp_path, ["/"], at("x/"), lowers=[]).keys() == {"x"}


def test_missing_path_of_a_stage_is_named(tmp_path: Path) -> None:
    with pytest.raises(CopyFailed, match='"/nothing": not found'):
        copy_from(tmp_path, ["nothing"], lowers=[BASE, {}])


def test_sockets_of_a_stage_are_not_there(tmp_path: Path) -> None:
    """A socket is in no layer, so a stage must not show one because it was not packed yet."""

    def work() -> bytes:
        make(Path("lower"), {"run/f": file()})
        Path("scratch").mkdir()
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("lower/run/s")
        job = {
            "source": {"lowers": ["lower"], "scratch": "scratch"},
            **arguments(["run"], ROOT, keep_owner=True),
        }
        with open("archive", "w+b") as output:
            produce(job, [output.fileno()])
            output.seek(0)
            return output.read()

    assert list(members(in_namespaces(tmp_path, work))) == ["f"]


Copy = tuple[Sequence[str], str, Mapping[str, Any]]
"""Sources, destination as written, further arguments."""


def build(
    tmp_path: Path, lower: Mapping[str, Node], context: Mapping[str, Node], *copies: Copy
) -> dict[str, dict[str, Any]]:
    """Carry instructions out one after the other; describe the files at the end."""

    def work() -> dict[str, dict[str, Any]]:
        make(Path("context"), context)
        Path("scratch").mkdir()
        lowers = [os.fspath(make(Path("lower"), lower))]
        for number, copy in enumerate(copies):
            Path(f"upper{number}").mkdir()
            Path(f"work{number}").mkdir()
            _carry_out(copy, lowers, f"upper{number}", f"work{number}")
            lowers.append(f"upper{number}")
        Path("merged").mkdir()
        mount_overlay(lowers, "merged", scratch="scratch")
        return describe(Path("merged"))

    base = tmp_path / "base"
    base.mkdir()
    return in_namespaces(base, work)


def _carry_out(copy: Copy, lowers: Sequence[str], upper: str, work: str) -> None:
    sources, written, more = copy
    tree = {"lowers": lowers, "scratch": "scratch"}
    found = resolve_destination({**tree, "destination": written, "chown": None}, [])
    job = {"source": {"directory": "context"}, **arguments(sources, found, **more)}
    with open("archive", "w+b") as archive:
        replaces = produce(job, [archive.fileno()])["needs_replace"]
        archive.seek(0)
        conflicts = {"conflicts": "replace" if replaces else "error"}
        apply_on_top({**tree, "upper": upper, "work": work, **conflicts}, [archive.fileno()])


def test_copies_merge_with_what_is_there(tmp_path: Path) -> None:
    found = build(
        tmp_path,
        {"d/n": directory(owner=(7, 8), mode=0o700), "d/n/a": file(owner=(7, 8))},
        {"two/n": directory(mode=0o711), "two/n/b": file(b"b")},
        (["two"], "/d", {}),
    )

    assert (found["d/n"]["owner"], found["d/n"]["mode"]) == ((0, 0), 0o711)
    assert found["d/n/a"]["owner"] == (7, 8)
    assert found["d/n/b"]["content"] == b"b"


def test_link_as_destination_is_followed_and_link_inside_is_replaced(tmp_path: Path) -> None:
    found = build(
        tmp_path,
        {"other": file(b"old"), "link": symlink("other"), "d/link": symlink("../other")},
        {"new": file(b"new"), "tree/link": file(b"tree")},
        (["new"], "/link", {}),
        (["tree"], "/d", {}),
    )

    assert found["link"]["target"] == "other"
    assert found["other"]["content"] == b"new"
    assert found["d/link"]["content"] == b"tree"


def test_directory_that_is_a_link_receives_files(tmp_path: Path) -> None:
    found = build(
        tmp_path,
        {"symlink": symlink("../tmp/target")},
        {"f": file(b"f")},
        (["f"], "/symlink/", {}),
        (["f"], "/symlink/g", {}),
    )

    assert found["tmp/target/f"]["content"] == found["tmp/target/g"]["content"] == b"f"


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("file", "directory", "cannot copy directory onto file /t/item"),
        ("directory", "file", "cannot replace directory /t/item with file"),
    ],
)
def test_conflicts_inside_the_destination_are_errors(
    tmp_path: Path, first: str, second: str, message: str
) -> None:
    context = {"file/item": file(), "directory/item/x": file()}

    with pytest.raises(CopyFailed, match=f"^{message}$"):
        build(tmp_path, {}, context, ([first], "/t/", {}), ([second], "/t/", {}))


def test_archives_replace_what_is_in_their_way(tmp_path: Path) -> None:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        for name, kind in (("./", tarfile.DIRTYPE), ("a", tarfile.REGTYPE), ("b", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid = kind, 0o711, 5
            tar.addfile(info)

    found = build(
        tmp_path,
        {"d": directory(owner=(9, 9)), "d/a/x": file(), "d/b": file(), "d/c": file()},
        {"t.tar": file(output.getvalue())},
        (["t.tar"], "/d", {"add": True}),
    )

    assert sorted(found) == ["d", "d/a", "d/b", "d/c"]
    assert (found["d"]["owner"], found["d"]["mode"]) == ((9, 9), 0o755)
    assert found["d/b"]["mode"] == 0o711
