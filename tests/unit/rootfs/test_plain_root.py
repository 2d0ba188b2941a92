"""Listed layers written out as a plain tree, around what has to stay."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asynckaniko.errors import ArchiveError
from asynckaniko.rootfs.plain.preserved import preserve, restore
from asynckaniko.rootfs.plain.root import empty, write_layers
from tests.support.images import Entry, directory, hardlink, make_tar, symlink
from tests.unit.rootfs.test_listed import unpack

Layer = dict[str, Entry | bytes | str]
KEPT = {"whole": ["/kept", "/etc/hosts"], "inside": ["dev"]}


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """Give a function that writes layers over `root`, as the job that has umask 0."""

    numbers = itertools.count()

    def write(*layers: Layer, fresh: bool = True) -> dict[str, Any]:
        directories = []
        for layer in layers:
            directories.append(os.fspath(tmp_path / f"layer{next(numbers)}"))
            unpack(make_tar(layer), directories[-1])
        arguments = {"root": os.fspath(tmp_path / "root"), "layers": directories}
        return write_layers({**arguments, "ignored": KEPT, "fresh": fresh}, [])

    umask = os.umask(0)
    yield write
    os.umask(umask)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with files of somebody else's."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "kept").mkdir()
    (root / "etc/hosts").write_text("theirs")
    (root / "kept/file").write_text("theirs")
    (root / "old").write_text("old")
    return root


def tree(root: Path) -> dict[str, str]:
    """Show what is there: a file's text, a link's target, / for a directory."""
    return {
        str(path.relative_to(root)): f"-> {os.readlink(path)}"
        if path.is_symlink()
        else "/"
        if path.is_dir()
        else path.read_text()
        for path in sorted(root.rglob("*"))
    }


STAYS = {"etc": "/", "etc/hosts": "theirs", "kept": "/", "kept/file": "theirs"}


def test_layers_lie_over_one_another_and_delete(root: Path, write: Callable[..., Any]) -> None:
    write(
        {"a/": directory(0o711, 5, 6), "a/one": "1", "a/two": "2", "b/x": "x", "c": symlink("a")},
        {"a/.wh.one": b"", "b/.wh..wh..opq": b"", "b/y": "y", "c/three": "3"},
        {"same": hardlink("a/two")},
    )

    assert tree(root) == STAYS | {
        "a": "/",
        "a/two": "2",
        "a/three": "3",
        "b": "/",
        "b/y": "y",
        "c": "-> a",
        "same": "2",
    }
    assert (root / "same").stat().st_ino == (root / "a/two").stat().st_ino
    status = (root / "a").stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o711, 5, 6)


def test_tree_is_continued_unless_it_is_to_be_fresh(root: Path, write: Callable[..., Any]) -> None:
    write({"a": "1"})
    write({"b": "2"}, fresh=False)

    assert tree(root) == STAYS | {"a": "1", "b": "2"}


def test_what_stays_is_neither_written_nor_deleted(root: Path, write: Callable[..., Any]) -> None:
    write(
        {"etc/": directory(), "etc/hosts": "ours", "etc/gone": "1", "kept/file": "ours",
         "kept/new": "1", "dev/": directory(), "dev/null": "file"},
        {".wh.etc": b"", "kept/.wh..wh..opq": b"", ".wh.kept": b""},
    )  # fmt: skip

    assert tree(root) == STAYS | {"dev": "/"}


def test_link_in_the_place_of_a_directory_that_stays_is_left_out_and_told(
    root: Path, write: Callable[..., Any]
) -> None:
    result = write({"etc": symlink("usr/etc"), "usr/etc/conf": "1"})

    assert result["left_out"] == ["etc"]
    assert tree(root) == STAYS | {"usr": "/", "usr/etc": "/", "usr/etc/conf": "1"}


@pytest.mark.parametrize(
    "layer",
    [
        {"way": symlink("/kept"), "way/file": "hostile"},
        {"way": symlink("kept"), "way/new/deep": "hostile"},
        {"way": symlink("/"), "way/kept/.wh.file": b""},
        {"way": hardlink("kept/file")},
    ],
    ids=["absolute", "relative", "deletion", "hard link"],
)
def test_link_that_leads_to_what_stays_is_refused(
    root: Path, write: Callable[..., Any], layer: Layer
) -> None:
    with pytest.raises(ArchiveError, match="kept"):
        write(layer)

    assert tree(root).items() >= STAYS.items()
    assert os.listdir(root / "kept") == ["file"]


def test_links_cannot_lead_out_of_the_root(
    root: Path, tmp_path: Path, write: Callable[..., Any]
) -> None:
    (tmp_path / "outside").mkdir()

    write({"way": symlink(f"{tmp_path}/outside"), "way/file": "x", "up": symlink("../outside")})

    assert os.listdir(tmp_path / "outside") == []


def test_emptied_root_has_what_stays_and_nothing_else(root: Path) -> None:
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/stays").write_text("1")
    (root / "a/b/goes").write_text("1")
    (root / "etc").chmod(0o700)
    os.chown(root / "etc", 5, 6)

    empty({"root": os.fspath(root), "ignored": {**KEPT, "patterns": ["a/*/st*"]}}, [])

    assert tree(root) == STAYS | {"a": "/", "a/b": "/", "a/b/stays": "1"}
    status = (root / "etc").stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o755, 0, 0)


def test_what_was_there_comes_back(root: Path, write: Callable[..., Any], tmp_path: Path) -> None:
    (root / "old").chmod(0o640)
    os.utime(root / "old", ns=(1, 2))
    os.link(root / "old", root / "same")
    before, archive = tree(root), os.fspath(tmp_path / "archive")
    arguments = {"root": os.fspath(root), "ignored": KEPT, "archive": archive}

    preserve(arguments, [])
    write({"old/": directory(), "old/new": "new", "more": "more"})
    (root / "kept/file").write_text("changed")
    restore(arguments, [])

    assert tree(root) == before | {"kept/file": "changed"}
    status = (root / "old").stat()
    assert (status.st_mode & 0o7777, status.st_mtime_ns, status.st_nlink) == (0o640, 2, 2)
