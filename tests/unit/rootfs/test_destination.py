"""resolve_destination: where a COPY goes and who owns it, in the files so far."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from asynckaniko.errors import CopyFailed
from asynckaniko.rootfs.destination import resolve_destination
from tests.unit.rootfs.children import in_namespaces
from tests.unit.rootfs.trees import Node, directory, file, make, symlink

TREE: Mapping[str, Node] = {
    "etc/passwd": file(b"root:x:0:0::/root:/bin/sh\nbob:x:1000:1001::/:/bin/sh\n"),
    "etc/group": file(b"root:x:0:\nstaff:x:50:bob\n"),
    "usr/bin": directory(),
    "bin": symlink("usr/bin"),
    "absolute": symlink("/usr"),
    "above": symlink("../../../usr"),
    "dangling": symlink("new/place"),
    "to-file": symlink("etc/passwd"),
    "loop": symlink("loop"),
}


def find(
    tmp_path: Path,
    destination: str,
    *,
    lowers: Sequence[Mapping[str, Node]] = (TREE,),
    with_parents: bool = False,
    **more: Any,
) -> dict[str, Any]:
    def work() -> dict[str, Any]:
        for number, nodes in enumerate(lowers):
            make(Path(f"lower{number}"), nodes)
        Path("scratch").mkdir()
        arguments = {
            "lowers": [f"lower{number}" for number in range(len(lowers))],
            "scratch": "scratch",
            "destination": destination,
            "chown": None,
            **more,
        }
        result = resolve_destination(arguments, [])
        return result if with_parents else {k: v for k, v in result.items() if k != "parents"}

    base = tmp_path / "base"
    base.mkdir()
    return in_namespaces(base, work)


def found(path: str, what: str = "", missing_parents: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "path": path,
        "exists": what != "",
        "is_directory": what == "directory",
        "missing_parents": list(missing_parents),
        "uid": None,
        "gid": None,
    }


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ("/", found("", "directory")),
        ("/etc", found("etc", "directory")),
        ("etc/", found("etc", "directory")),
        ("/etc/passwd", found("etc/passwd", "file")),
        ("/etc/new", found("etc/new")),
        ("/a/b/c", found("a/b/c", missing_parents=["a", "a/b"])),
        ("/usr/x/y", found("usr/x/y", missing_parents=["usr/x"])),
        ("/bin", found("usr/bin", "directory")),
        ("/bin/tool", found("usr/bin/tool")),
        ("/absolute/bin", found("usr/bin", "directory")),
        ("/above/bin/x", found("usr/bin/x")),
        ("/dangling", found("new/place", missing_parents=["new"])),
        ("/dangling/x", found("new/place/x", missing_parents=["new", "new/place"])),
        ("/to-file", found("etc/passwd", "file")),
        ("/a/../../etc/./x", found("etc/x")),
        ("/bin/../x", found("x")),
    ],
)
def test_links_are_followed_inside_the_image(
    tmp_path: Path, destination: str, expected: Mapping[str, Any]
) -> None:
    trailing_slash = destination.endswith("/")

    assert find(tmp_path, destination) == {**expected, "trailing_slash": trailing_slash}


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        ("/etc/passwd/x", "cannot write to /etc/passwd/x: Not a directory"),
        ("/to-file/x", "cannot write to /to-file/x: Not a directory"),
        ("/loop/x", "cannot write to /loop/x: Too many levels of symbolic links"),
        ("/" + "n" * 256, "File name too long"),
        ("/a\0b", "cannot write to /a\0b: "),
    ],
)
def test_what_is_in_the_way_is_named(tmp_path: Path, destination: str, message: str) -> None:
    with pytest.raises(CopyFailed) as caught:
        find(tmp_path, destination)

    assert message in str(caught.value)


def test_upper_layers_count(tmp_path: Path) -> None:
    upper = {"etc/new": directory(), "bin": directory()}

    assert find(tmp_path, "/bin/x", lowers=[TREE, upper])["path"] == "bin/x"


def test_what_a_layer_deleted_is_not_there(tmp_path: Path) -> None:
    def work() -> dict[str, Any]:
        make(Path("lower"), {"etc/x": file()})
        make(Path("upper"), {"etc": directory()})
        os.mknod("upper/etc/x", 0o020000, 0)
        Path("scratch").mkdir()
        both, alone = (
            resolve_destination(
                {"lowers": lowers, "scratch": "scratch", "destination": "/etc/x", "chown": ""}, []
            )
            for lowers in (["lower", "upper"], ["upper"])
        )
        assert both == alone
        return both

    assert in_namespaces(tmp_path, work)["exists"] is False


def test_empty_tree_is_a_root_directory(tmp_path: Path) -> None:
    assert find(tmp_path, "/a/b", lowers=[])["missing_parents"] == ["a"]


@pytest.mark.parametrize(
    ("chown", "owner"),
    [
        ("55", (55, 55)),
        ("10:11", (10, 11)),
        ("bob", (1000, 1001)),
        ("bob:staff", (1000, 50)),
        ("bob:7", (1000, 7)),
        ("7:staff", (7, 50)),
        ("root", (0, 0)),
        ("", (None, None)),
    ],
)
def test_owner_comes_from_the_accounts_of_the_image(
    tmp_path: Path, chown: str, owner: tuple[int | None, int | None]
) -> None:
    result = find(tmp_path, "/x", chown=chown)

    assert (result["uid"], result["gid"]) == owner


@pytest.mark.parametrize(
    ("chown", "name"), [("ghost", "ghost"), ("bob:ghosts", "ghosts"), ("4294967296", "range")]
)
def test_unknown_owner_is_an_error_that_names_it(tmp_path: Path, chown: str, name: str) -> None:
    with pytest.raises(CopyFailed, match=rf"^--chown={chown}: .*{name}"):
        find(tmp_path, "/x", chown=chown)


def test_accounts_may_be_those_of_another_tree(tmp_path: Path) -> None:
    def work() -> dict[str, Any]:
        make(Path("image"), TREE)
        Path("scratch").mkdir()
        arguments = {"scratch": "scratch", "destination": "/bin/x", "chown": "bob"}
        return resolve_destination({"lowers": [], "accounts": ["image"], **arguments}, [])

    result = in_namespaces(tmp_path, work)

    assert (result["path"], result["uid"], result["gid"]) == ("bin/x", 1000, 1001)


def test_accounts_that_are_no_files_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(CopyFailed, match="--chown=bob: /etc/passwd"):
        find(tmp_path, "/x", lowers=[{"etc/passwd": directory()}], chown="bob")


def test_directories_on_the_way_are_told_as_they_are(tmp_path: Path) -> None:
    tree = {
        "srv": directory(mode=0o1775, owner=(7, 8), mtime=1_000),
        "srv/www": directory(mode=0o700, mtime=2_000),
    }

    found = find(tmp_path, "/srv/www/new/file", lowers=[tree], with_parents=True)

    assert found["parents"] == [
        ["srv", 0o1775, 7, 8, 1_000],
        ["srv/www", 0o700, 0, 0, 2_000],
    ]
