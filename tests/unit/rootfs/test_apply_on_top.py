"""apply_on_top: archives of COPY and ADD over the files of a stage."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asynckaniko.errors import ArchiveError, CopyFailed
from asynckaniko.rootfs.apply_layer import apply_on_top
from asynckaniko.rootfs.trees import open_tree
from tests.unit.rootfs import rawtar as raw
from tests.unit.rootfs.children import in_namespaces
from tests.unit.rootfs.trees import Node, describe, directory, file, make, symlink
from tests.unit.rootfs.unpacking import apply

LOWER = {
    "usr/lib/old": file(b"old"),
    "lib": symlink("/usr/lib"),
    "link": symlink("usr/lib/old"),
    "dir": directory(mode=0o700, owner=(5, 5)),
    "dir/f": file(b"f"),
    "mail": directory(mode=0o2775, owner=(0, 8)),
}


def applied(
    tmp_path: Path, archive: bytes, conflicts: str = "error", lower: dict[str, Node] = LOWER
) -> dict[str, dict[str, Any]]:
    """Apply an archive in namespaces; describe what the stage then has."""

    def work() -> dict[str, dict[str, Any]]:
        make(Path("lower"), lower)
        result = apply(archive + raw.END, conflicts, ["lower"])
        assert set(result) == {"entries", "devices"}
        with open_tree(["lower"], scratch="scratch", upper="upper", work="work") as tree:
            return describe(Path(f"/proc/self/fd/{tree.root}"))

    return in_namespaces(tmp_path, work)


def test_file_lands_where_links_of_its_parents_lead_inside(tmp_path: Path) -> None:
    found = applied(tmp_path, raw.file(b"lib/new", b"new", uid=7, gid=8, mtime=9))

    assert found["lib"]["target"] == "/usr/lib"
    assert found["usr/lib/new"]["content"] == b"new"
    assert found["usr/lib/new"]["owner"] == (7, 8)
    assert found["usr/lib/new"]["mtime"] == 9_000_000_000


@pytest.mark.parametrize("conflicts", ["error", "replace"])
@pytest.mark.parametrize("entry", [raw.file, raw.symlink, raw.hard_link])
def test_link_is_replaced_and_its_target_left_alone(
    tmp_path: Path, entry: Callable[..., bytes], conflicts: str
) -> None:
    archive = entry(b"link", b"dir/f")

    found = applied(tmp_path, archive, conflicts)

    assert found["usr/lib/old"]["content"] == b"old"
    if entry is raw.symlink:
        assert found["link"]["target"] == "dir/f"
    else:
        assert found["link"]["content"] == (b"dir/f" if entry is raw.file else b"f")


def test_directory_merges_and_takes_what_its_entry_says(tmp_path: Path) -> None:
    archive = raw.directory(b"dir", mode=0o1777, uid=3, mtime=4) + raw.file(b"dir/new", b"new")

    found = applied(tmp_path, archive)

    assert (found["dir"]["mode"], found["dir"]["owner"]) == (0o1777, (3, 0))
    assert found["dir"]["mtime"] == 4_000_000_000
    assert (found["dir/f"]["content"], found["dir/new"]["content"]) == (b"f", b"new")


def test_file_in_a_setgid_directory_has_the_group_of_its_entry(tmp_path: Path) -> None:
    archive = raw.file(b"mail/f") + raw.symlink(b"mail/l", b"f") + raw.directory(b"mail/d")

    found = applied(tmp_path, archive)

    assert {found[path]["owner"] for path in ("mail/f", "mail/l", "mail/d")} == {(0, 0)}
    assert found["mail/d"]["mode"] == 0o755


def test_default_acl_of_a_directory_takes_nothing_from_the_mode(tmp_path: Path) -> None:
    # Version 2; user::rwx, group::---, other::---.
    acl = b"\2\0\0\0" + b"".join(
        tag.to_bytes(2, "little") + rights.to_bytes(2, "little") + b"\xff" * 4
        for tag, rights in ((1, 7), (4, 0), (0x20, 0))
    )
    lower = {"acl": directory(xattrs={"system.posix_acl_default": acl})}

    found = applied(tmp_path, raw.file(b"acl/f", mode=0o664), lower=lower)

    assert found["acl/f"]["mode"] == 0o664


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (raw.file(b"dir"), "cannot replace directory /dir with file"),
        (raw.symlink(b"./dir", b"x"), "cannot replace directory /dir with file"),
        (raw.directory(b"dir/f"), "cannot copy directory onto file /dir/f"),
        (raw.directory(b"link"), "cannot copy directory onto file /link"),
        (raw.directory(b"lib"), "cannot copy directory onto file /lib"),
    ],
)
def test_directory_and_other_kinds_conflict_in_copies(
    tmp_path: Path, archive: bytes, message: str
) -> None:
    with pytest.raises(CopyFailed) as caught:
        applied(tmp_path, archive)

    assert caught.value.message == message


def test_archives_replace_what_is_in_the_way(tmp_path: Path) -> None:
    archive = raw.file(b"dir", b"file now") + raw.directory(b"link") + raw.file(b"link/f", b"in")

    found = applied(tmp_path, archive, "replace")

    assert found["dir"]["content"] == b"file now"
    assert "dir/f" not in found
    assert stat.S_ISDIR(found["link"]["kind"])
    assert found["link/f"]["content"] == b"in"


def test_names_of_deletions_are_ordinary_in_copies(tmp_path: Path) -> None:
    found = applied(tmp_path, raw.file(b"dir/.wh.f", b"content"))

    assert found["dir/f"]["content"] == b"f"
    assert found["dir/.wh.f"]["content"] == b"content"


def test_parents_that_are_missing_are_made(tmp_path: Path) -> None:
    found = applied(tmp_path, raw.file(b"a/b/f"))

    assert (found["a/b"]["mode"], found["a/b"]["owner"]) == (0o755, (0, 0))


def test_file_as_a_parent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="Not a directory"):
        applied(tmp_path, raw.file(b"dir/f/g"), "replace")


@pytest.mark.parametrize("conflicts", ["error", "replace", "layer"])
def test_archive_for_an_empty_stage_goes_straight_into_the_upper(
    tmp_path: Path, conflicts: str
) -> None:
    def work() -> list[str]:
        apply(raw.file(b"f") + raw.END, conflicts, [])
        return os.listdir("upper")

    assert in_namespaces(tmp_path, work) == ["f"]


def test_upper_holds_what_was_written_and_nothing_else(tmp_path: Path) -> None:
    def work() -> list[str]:
        make(Path("lower"), LOWER)
        apply(raw.file(b"dir/new") + raw.END, "error", ["lower"])
        return sorted(describe(Path("upper")))

    assert in_namespaces(tmp_path, work) == ["dir", "dir/new"]


def test_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    def work() -> tuple[int, bytes]:
        for name in ("upper", "work", "scratch"):
            os.mkdir(name)
        read_end, write_end = os.pipe()
        os.write(write_end, raw.file(b"f") + raw.END + bytes(20_000))
        os.close(write_end)
        arguments = {"lowers": [], "upper": "upper", "work": "work", "scratch": "scratch"}
        result = apply_on_top(arguments | {"conflicts": "error"}, [read_end])
        return result["entries"], os.read(read_end, 1)

    assert in_namespaces(tmp_path, work) == (1, b"")
