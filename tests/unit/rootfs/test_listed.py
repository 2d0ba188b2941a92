"""Layers as lists: put together as the image specification says, and looked at like real trees."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from asynckaniko.errors import ArchiveError, CopyFailed, HostError, IntegrityError
from asynckaniko.rootfs.destination import resolve_destination
from asynckaniko.rootfs.listed import jobs
from asynckaniko.rootfs.listed.stack import open_listed
from asynckaniko.rootfs.listed.tree import ListedTree
from tests.support.images import Entry, Files, directory, hardlink, make_tar, read_tar
from tests.support.images import symlink as link
from tests.unit.rootfs.unpacking import LIMITS, memory_file, sha256


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def unpack(tar: bytes, directory: str, **changes: Any) -> None:
    arguments = {"directory": directory, "digest": sha256(tar), "size": len(tar)}
    arguments |= {"diff_id": sha256(tar), "limits": LIMITS} | changes
    with memory_file(tar) as descriptor:
        jobs.unpack_layer(arguments, [descriptor])


def layers(*contents: Files) -> list[str]:
    names = [f"layer{number}" for number in range(len(contents))]
    for name, files in zip(names, contents, strict=True):
        unpack(make_tar(files), name)
    return names


@contextmanager
def stack(*contents: Files) -> Iterator[ListedTree]:
    with open_listed(layers(*contents)) as tree:
        yield tree


def paths(tree: ListedTree) -> dict[str, bytes]:
    """List everything with its content; directories end with a slash."""
    found: dict[str, bytes] = {}
    pending = [""]
    while pending:
        parent = pending.pop()
        for name, is_directory in tree.list_directory(parent.encode()):
            path = f"{parent}{name}"
            if is_directory:
                found[f"{path}/"] = b""
                pending.append(f"{path}/")
            elif tree.read_link(path.encode()) is not None:
                found[path] = b"-> " + (tree.read_link(path.encode()) or b"")
            else:
                found[path] = b"".join(tree.read_file(path.encode())[2])
    return found


def packed(job: str, arguments: Mapping[str, Any], archive: bytes = b"") -> dict[str, Entry]:
    """Run a job that makes a layer, and read that."""
    Path("scratch").mkdir(exist_ok=True)
    with memory_file(archive) as source, memory_file() as output:
        fds = [source, output] if job == "apply_on_top" else [output]
        result = getattr(jobs, job)({"compression": "none", "scratch": "scratch", **arguments}, fds)
        assert os.listdir("scratch") == []
        return read_tar(os.pread(output, result["size"], 0))


def test_layer_replaces_merges_and_deletes() -> None:
    below: Files = {
        "a/": directory(),
        "a/kept": "1",
        "a/gone": "2",
        "b": "3",
        "c/": directory(),
        "c/x": "",
    }
    above: Files = {"a/.wh.gone": "", "a/new": "4", "b/": directory(), "b/in": "5", "c": "6"}

    with stack(below, above) as tree:
        assert paths(tree) == {
            "a/": b"", "a/kept": b"1", "a/new": b"4", "b/": b"", "b/in": b"5", "c": b"6",
        }  # fmt: skip


@pytest.mark.parametrize("deletion", [".wh.d", "d/.wh..wh..opq"])
@pytest.mark.parametrize("is_first", [True, False])
def test_deletion_spares_what_its_own_layer_has(deletion: str, is_first: bool) -> None:
    deleting: Files = {deletion: ""}
    own: Files = {"d/": directory(), "d/new": "own"}
    above: Files = {**deleting, **own} if is_first else {**own, **deleting}

    with stack({"d/": directory(), "d/old": "", "d/sub/": directory(), "d/sub/x": ""}, above) as t:
        assert paths(t) == {"d/": b"", "d/new": b"own"}


def test_entry_goes_through_a_link_of_the_layer_below() -> None:
    with stack({"usr/bin/": directory(), "bin": link("usr/bin")}, {"bin/tool": "x"}) as tree:
        assert paths(tree)["usr/bin/tool"] == b"x"
        assert paths(tree)["bin"] == b"-> usr/bin"


@pytest.mark.parametrize("end", [{"l/": directory()}, {".wh.l": ""}])
def test_entry_goes_no_more_through_a_link_that_its_layer_replaced(end: Files) -> None:
    above: Files = {"l/x": "1", **end, "l/y": "2"}

    with stack({"d/": directory(), "l": link("d")}, above) as tree:
        assert paths(tree) == {"d/": b"", "d/x": b"1", "l/": b"", "l/y": b"2"}


def test_hard_links_are_one_file() -> None:
    with stack({"a": "text", "b": hardlink("a")}) as tree:
        status = tree.lookup(b"b")
        assert status is not None
        assert status.st_nlink == 2
        assert status.st_ino == getattr(tree.lookup(b"a"), "st_ino", 0)


def test_links_lead_nowhere_but_inside() -> None:
    with stack({"up": link("../../etc"), "etc/": directory(), "loop": link("loop")}) as tree:
        assert tree.resolve(b"up/passwd") == (b"etc/passwd", (b"passwd",))
        with pytest.raises(OSError, match="symbolic links"):
            tree.resolve(b"loop/x")


def test_file_is_no_directory() -> None:
    with stack({"f": ""}) as tree, pytest.raises(NotADirectoryError):
        tree.resolve(b"f/x")


@pytest.mark.parametrize(
    "contents",
    [
        ({"f": "", "f/x": ""},),
        ({"a": hardlink("missing")},),
        ({"d/": directory()}, {"l": hardlink("d")}),
        ({"a/.wh.b/c": ""},),
        ({"../out": ""},),
    ],
)
def test_entry_that_cannot_be_is_refused(contents: tuple[Files, ...]) -> None:
    with pytest.raises(ArchiveError), stack(*contents):
        pass


def test_other_bytes_are_refused() -> None:
    tar = make_tar({"a": "text"})

    with pytest.raises(IntegrityError, match="diffID"):
        unpack(tar, "wrong", diff_id=sha256(b"other"))


def test_damaged_index_is_named() -> None:
    (layer,) = layers({"a": "text"})
    Path(layer, "index").write_bytes(b"[[1]]")

    with pytest.raises(HostError, match="layer0/index"), open_listed([layer]):
        pass


def test_destination_and_owner_are_found_as_in_a_real_tree() -> None:
    lowers = layers(
        {
            "etc/passwd": "app:x:33:34::/:/bin/sh\n",
            "srv/": directory(0o750, 5, 6),
            "www": link("/srv"),
        }
    )

    found = resolve_destination({"lowers": lowers, "destination": "/www/new/x", "chown": "app"}, [])

    assert (found["path"], found["missing_parents"]) == ("srv/new/x", ["srv/new"])
    assert (found["uid"], found["gid"]) == (33, 34)
    assert [parent[:4] for parent in found["parents"]] == [["srv", 0o750, 5, 6]]


@pytest.mark.parametrize(
    ("below", "above", "words"),
    [
        ({"d/": directory()}, {"d": ""}, "cannot replace directory /d with file"),
        ({"d": ""}, {"d/": directory()}, "cannot copy directory onto file /d"),
    ],
)
def test_copy_refuses_to_change_the_kind(below: Files, above: Files, words: str) -> None:
    arguments = {"lowers": layers(below), "conflicts": "error"}

    with pytest.raises(CopyFailed, match=words):
        packed("apply_on_top", arguments, make_tar(above))


def test_copy_goes_through_links_and_writes_the_parents_as_they_are() -> None:
    lowers = layers(
        {"usr/": directory(0o711, 1, 2), "usr/bin/": directory(), "bin": link("usr/bin")}
    )
    arguments = {"lowers": lowers, "conflicts": "error"}

    layer = packed("apply_on_top", arguments, make_tar({"bin/tool": "x", "other": "y"}))

    assert list(layer) == ["other", "usr", "usr/bin", "usr/bin/tool"]
    assert (layer["usr"].mode, layer["usr"].uid, layer["usr"].gid) == (0o711, 1, 2)
    assert layer["usr/bin/tool"].content == b"x"


def test_archive_replaces_a_directory_by_a_file() -> None:
    below: Files = {"d/": directory(), "d/old": ""}
    arguments = {"lowers": layers(below), "conflicts": "replace"}

    layer = packed("apply_on_top", arguments, make_tar({"d": "file"}))

    assert {path: entry.content for path, entry in layer.items()} == {"d": b"file"}


def test_directory_in_the_place_of_one_that_was_replaced_is_opaque() -> None:
    below: Files = {"d/": directory(), "d/old": ""}
    arguments = {"lowers": layers(below), "conflicts": "replace"}

    layer = packed("apply_on_top", arguments, make_tar({"d": "file", "d/": directory()}))

    assert list(layer) == ["d", "d/.wh..wh..opq"]


def test_workdir_is_made_for_its_user() -> None:
    lowers = layers({"etc/passwd": "app:x:33:34::/:/bin/sh\n", "srv/": directory()})
    arguments = {"lowers": lowers, "path": "/srv/a/b", "user": "app", "clamp": 7}

    layer = packed("make_directory", arguments)

    assert {path: (e.mode, e.uid, e.gid) for path, e in layer.items()} == {
        "srv": (0o755, 0, 0),
        "srv/a": (0o755, 33, 34),
        "srv/a/b": (0o755, 33, 34),
    }


def test_workdir_that_is_there_changes_nothing() -> None:
    assert packed("make_directory", {"lowers": layers({"srv/": directory()}), "path": "/srv"}) == {}


def test_workdir_over_a_file_fails() -> None:
    with pytest.raises(CopyFailed, match="/f exists and is not a directory"):
        packed("make_directory", {"lowers": layers({"f": ""}), "path": "/f"})
