"""unpack_context that is told what is needed leaves the rest out, and nobody sees a difference."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from asynckaniko.errors import ArchiveError
from asynckaniko.rootfs.unpack_context import unpack_context
from tests.unit.rootfs import rawtar as raw
from tests.unit.rootfs.children import in_child
from tests.unit.rootfs.unpacking import memory_file

LIMITS = {"size": 1 << 30, "entries": 1_000_000, "ratio": 200}


def needs(
    *required: str, optional: Sequence[str] = (), prefixes: Sequence[str] = ()
) -> dict[str, Any]:
    return {"required": required, "optional": optional, "prefixes": prefixes}


def unpack(
    source: int, directory: Path, needed: object, *, limits: dict[str, int] | None = None
) -> set[str]:
    """Unpack into a new directory, told from the beginning; list what is there afterwards."""
    directory.mkdir()
    reader, writer = os.pipe2(os.O_NONBLOCK)
    try:
        os.write(writer, json.dumps(needed).encode())
        arguments = {"directory": str(directory), "limits": limits or LIMITS}
        in_child(lambda: unpack_context(arguments, [source, -1, reader]))
    finally:
        os.close(reader)
        os.close(writer)
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def unpack_bytes(archive: bytes, directory: Path, needed: object) -> set[str]:
    with memory_file(archive + raw.END) as source:
        return unpack(source, directory, needed)


PLAIN = (
    raw.file(b"./a")
    + raw.directory(b"./d", mtime=7)
    + raw.directory(b"./d/e")
    + raw.file(b"./d/e/f")
    + raw.file(b"./d/g")
    + raw.file(b"./dd")
    + raw.symlink(b"./link", b"a")
    + raw.hard_link(b"./again", b"./dd")
)
ALL = {"a", "d", "d/e", "d/e/f", "d/g", "dd", "link", "again"}


@pytest.mark.parametrize(
    ("needed", "found"),
    [
        (needs("a"), {"a"}),
        (needs("d"), {"d", "d/e", "d/e/f", "d/g"}),
        (needs("d/e/f"), {"d", "d/e", "d/e/f"}),
        (needs("a", optional=[".dockerignore", "dd"]), {"a", "dd"}),
        (needs(prefixes=["d"]), {"d", "d/e", "d/e/f", "d/g", "dd"}),
        (needs(prefixes=["d/"]), {"d", "d/e", "d/e/f", "d/g"}),
        (needs(prefixes=["nothing"]), set()),
        (None, ALL),
    ],
)
def test_only_what_is_needed_is_unpacked(tmp_path: Path, needed: object, found: set[str]) -> None:
    assert unpack_bytes(PLAIN, tmp_path / "context", needed) == found


def test_directory_on_the_way_has_its_time(tmp_path: Path) -> None:
    unpack_bytes(PLAIN, tmp_path / "context", needs("d/e/f"))

    assert (tmp_path / "context/d").stat().st_mtime == 7


@pytest.mark.parametrize(
    ("archive", "needed"),
    [
        (raw.file(b"x") + raw.symlink(b"link", b"."), needs("link/x")),
        (raw.file(b"x") + raw.symlink(b"link", b"x"), needs("link")),
        (raw.file(b"x") + raw.symlink(b"link", b"x"), needs(prefixes=["l"])),
        (raw.file(b"x") + raw.hard_link(b"link", b"x"), needs("link")),
        (raw.file(b"x"), needs("missing")),
        (raw.file(b"x/y"), needs("missing")),
        (raw.file(b"x") + raw.file(b"x", b"later") + raw.file(b"y"), needs("y")),
        (raw.file(b"x") + raw.directory(b"x") + raw.file(b"y"), needs("y")),
        (raw.file(b"x/z") + raw.file(b"x") + raw.file(b"y"), needs("y")),
        (raw.directory(b"x") + raw.symlink(b"l", b"x") + raw.file(b"l/z"), needs(prefixes=["q"])),
    ],
    ids=[
        "link on the way",
        "needed link",
        "link that a wildcard matches",
        "hard link to what is not needed",
        "nothing there",
        "nothing there, implied directory",
        "file twice",
        "directory in the place of a file",
        "file in the place of a directory",
        "through a link",
    ],
)
@pytest.mark.parametrize("form", ["file", "pipe"])
def test_in_doubt_the_whole_archive_is_unpacked(
    tmp_path: Path, archive: bytes, needed: object, form: str
) -> None:
    archive = raw.file(b"first") + archive
    whole = unpack_bytes(archive, tmp_path / "whole", None)

    with memory_file(archive + raw.END) as source:
        if form == "file":
            found = unpack(source, tmp_path / "context", needed)
        else:
            reader, writer = os.pipe()
            with open(writer, "wb") as pipe:
                pipe.write(archive + raw.END)
            try:
                found = unpack(reader, tmp_path / "context", needed)
            finally:
                os.close(reader)

    assert "first" in found
    assert found == whole
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "context"}


def test_rest_of_a_pipe_is_read_after_the_beginning_was_read_again(tmp_path: Path) -> None:
    big = os.urandom(3 << 20)
    archive = raw.file(b"x", big) + raw.hard_link(b"link", b"x") + raw.file(b"y", big) + raw.END
    (tmp_path / "archive").write_bytes(archive)

    with subprocess.Popen(["cat", tmp_path / "archive"], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        found = unpack(cat.stdout.fileno(), tmp_path / "context", needs("link"))

    assert found == {"x", "link", "y"}
    assert (tmp_path / "context/y").read_bytes() == big


def test_archive_too_large_to_be_kept_is_unpacked_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asynckaniko.rootfs.unpack_context._MOST_KEPT", 1 << 20)
    big = os.urandom(3 << 20)
    archive = raw.file(b"first") + raw.file(b"x") + raw.file(b"y", big) + raw.file(b"z") + raw.END
    (tmp_path / "archive").write_bytes(archive)

    with subprocess.Popen(["cat", tmp_path / "archive"], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        found = unpack(cat.stdout.fileno(), tmp_path / "context", needs("first"))

    assert found == {"first", "x", "y", "z"}
    assert (tmp_path / "context/y").read_bytes() == big


def test_archive_with_more_names_than_are_remembered_is_unpacked_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number}" for number in range(9)]
    archive = b"".join(raw.file(name.encode()) for name in names)
    assert unpack_bytes(archive, tmp_path / "few", needs("0")) == {"0"}
    monkeypatch.setattr("asynckaniko.rootfs.needed_entries._MOST_REMEMBERED", 5)

    assert unpack_bytes(archive, tmp_path / "many", needs("0")) == set(names)


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (raw.file(b"x") + raw.file(b"../y"), "leads out of the root directory"),
        (raw.hard_link(b"x", b"nothing"), "nothing"),
        (raw.directory(b"x") + raw.hard_link(b"y", b"x"), "which is no file"),
        (raw.file(b"x") + raw.file(b"x/y"), "x/y"),
        (raw.file(b"x", bytes(2000))[:512], "cut short"),
        (raw.file(b"x") + b"no header".ljust(512), "not a tar header"),
    ],
)
def test_error_in_what_is_left_out_is_the_error_of_the_whole(
    tmp_path: Path, archive: bytes, message: str
) -> None:
    archive = raw.file(b"needed") + archive
    with pytest.raises(ArchiveError) as whole:
        unpack_bytes(archive, tmp_path / "whole", None)

    with pytest.raises(ArchiveError, match=message) as partial:
        unpack_bytes(archive, tmp_path / "context", needs("needed"))

    assert str(partial.value) == str(whole.value)


@pytest.mark.parametrize("limits", [{**LIMITS, "entries": 2}, {**LIMITS, "size": 3000}])
def test_limits_count_what_is_left_out(tmp_path: Path, limits: dict[str, int]) -> None:
    archive = raw.file(b"needed") + raw.file(b"x", bytes(1024)) + raw.file(b"y") + raw.END

    with memory_file(archive) as source, pytest.raises(ArchiveError, match=r"more than|larger"):
        unpack(source, tmp_path / "context", needs("needed"), limits=limits)
