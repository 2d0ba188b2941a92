"""Several layers become one that says the same, as the image specification's rules have it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from asynckaniko.errors import ArchiveError, IntegrityError
from asynckaniko.rootfs.listed import jobs
from asynckaniko.rootfs.listed.stack import open_listed
from asynckaniko.rootfs.merge_layers import merge_layers
from tests.support.images import Entry, Files, directory, hardlink, make_tar, read_tar
from tests.support.images import symlink as link
from tests.unit.rootfs.unpacking import LIMITS, memory_file, sha256

D = directory()
BASE: Files = {
    "a": "base", "d/": D, "d/x": "base", "d/sub/": D, "d/sub/y": "base", "f": "base",
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def merged(*layers: Files, is_on_others: bool = True, **changes: Any) -> bytes:
    described = []
    for number, files in enumerate(layers):
        tar = make_tar(files)
        path = Path(f"blob{number}")
        path.write_bytes(tar)
        facts = {"path": str(path), "digest": sha256(tar), "size": len(tar), "diff_id": sha256(tar)}
        described.append(facts | changes)
    arguments = {
        "layers": described, "limits": LIMITS, "is_on_others": is_on_others, "compression": "none",
    }  # fmt: skip
    with memory_file() as output, memory_file() as contents:
        result = merge_layers(arguments, [output, contents])
        return os.pread(output, result["size"], 0)


def applied(tars: Sequence[bytes]) -> dict[str, tuple[Any, ...]]:
    """Put layers together; say of each path what is there, hard links by their first name."""
    names = []
    for number, tar in enumerate(tars):
        names.append(f"layer{len(os.listdir('.'))}-{number}")
        arguments = {"directory": names[-1], "digest": sha256(tar), "size": len(tar)}
        with memory_file(tar) as file:
            jobs.unpack_layer(arguments | {"diff_id": sha256(tar), "limits": LIMITS}, [file])
    found: dict[str, tuple[Any, ...]] = {}
    first: dict[int, str] = {}
    with open_listed(names) as tree:
        pending = [("", tree.root)]
        while pending:
            prefix, node = pending.pop()
            for name, child in sorted(node.children.items()):
                path = f"{prefix}{name.decode()}"
                content = b"".join(child.content.pieces()) if child.content else child.target
                same = "" if child.is_directory else first.setdefault(child.number, path)
                facts = (child.kind, child.mode, child.uid, child.gid, child.xattrs)
                found[path] = (*facts, content, same)
                if child.is_directory:
                    pending.append((f"{path}/", child))
    return found


CASES: dict[str, tuple[Files, ...]] = {
    "replaced": ({"n": "1", "a": "1"}, {"n": "2"}),
    "new and deleted": ({"n": "1", "d/": D, "d/n": "1"}, {".wh.n": "", "d/": D, "d/.wh.n": ""}),
    "deleted and new": ({".wh.a": "", "d/": D, "d/.wh.x": ""}, {"a": "2", "d/": D, "d/x": "2"}),
    "directory deleted and new": ({".wh.d": ""}, {"d/": D, "d/n": "2"}),
    "file in the place of a directory, and a directory again": (
        {"d": "1"}, {"d/": D, "d/n": "2"},
    ),
    "file becomes a directory": ({"f/": D, "f/n": "1"}, {"f/": directory(0o700), "f/m": "2"}),
    "link becomes a directory": ({"l": link("d")}, {".wh.l": "", "l/": D, "l/n": "2"}),
    "directory becomes a file": ({"d/": D, "d/n": "1"}, {".wh.d": "", "d": "2"}),
    "opaque": ({"d/": D, "d/n": "1"}, {"d/": D, "d/.wh..wh..opq": "", "d/m": "2"}),
    "opaque, then more": ({"d/": D, "d/.wh..wh..opq": "", "d/n": "1"}, {"d/": D, "d/m": "2"}),
    "deletion in an opaque directory": (
        {"d/": D, "d/.wh..wh..opq": "", "d/n": "1"}, {"d/": D, "d/.wh.n": ""},
    ),
    "deletion that spares its own layer's": (
        {"d/": D, "d/n": "1"}, {"d/": D, ".wh.d": "", "d/m": "2"},
    ),
    "hard links": ({"h1": "1", "h2": hardlink("h1"), "h3": hardlink("h1")}, {}),
    "first of hard links replaced": ({"h1": "1", "h2": hardlink("h1")}, {"h1": "2"}),
    "first of hard links deleted": (
        {"h1": "1", "h2": hardlink("h1"), "h3": hardlink("h1")}, {".wh.h1": ""},
    ),
    "directory without an entry": ({"d/n": "1", "new/n": "1"}, {"d/m": "2", "new/m": "2"}),
    "directory without an entry where one was deleted": ({".wh.d": ""}, {"d/n": "2"}),
    "owner and mode": ({"d/": directory(0o1777, 5, 6)}, {"n": Entry(content=b"2", mode=0o4755)}),
    "attributes": ({"n": Entry(xattrs={"user.a": b"1"})}, {"m": Entry(xattrs={"user.b": b"2"})}),
    "three": ({"n/": D, "n/x": "1"}, {".wh.n": ""}, {"n/": D, "n/y": "3"}),
}  # fmt: skip


@pytest.mark.parametrize("base", [(), (BASE,)], ids=["scratch", "base"])
@pytest.mark.parametrize("name", CASES)
def test_one_layer_says_what_all_of_them_said(name: str, base: tuple[Files, ...]) -> None:
    layers = CASES[name]
    below = [make_tar(files) for files in base]

    one = merged(*layers, is_on_others=bool(base))

    expected = applied([*below, *(make_tar(files) for files in layers)])
    assert applied([*below, one]) == expected


def test_what_a_later_layer_replaced_or_deleted_is_not_in_the_bytes() -> None:
    one = merged(
        {"kept": "k", "secret": "S3CRET", "old": "OLDTEXT"}, {".wh.secret": "", "old": "n"}
    )

    assert b"S3CRET" not in one
    assert b"OLDTEXT" not in one
    assert list(read_tar(one)) == ["kept", "old", ".wh.secret"]


def test_nothing_is_deleted_where_nothing_lies_below() -> None:
    one = merged({"n": "1", "d/": D}, {".wh.n": "", ".wh.d": ""}, {"d/": D}, is_on_others=False)

    assert list(read_tar(one)) == ["d"]


def test_same_layers_give_the_same_bytes() -> None:
    first = merged({"b": "1", "a": "1"}, {"c": "2"})

    assert merged({"a": "1", "b": "1"}, {"c": "2"}) == first


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"digest": sha256(b"other")}, IntegrityError),
        ({"diff_id": sha256(b"other")}, IntegrityError),
        ({"size": 3}, IntegrityError),
    ],
)
def test_other_bytes_are_refused(changes: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        merged({"a": "1"}, **changes)


@pytest.mark.parametrize(
    "files",
    [{"l": hardlink("missing")}, {"../x": ""}, {".wh.d/x": ""}, {"l/": D, "m": hardlink("l")}],
)
def test_entry_that_cannot_be_is_refused(files: Files) -> None:
    with pytest.raises(ArchiveError):
        merged(files)
