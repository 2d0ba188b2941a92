"""make_directory: what WORKDIR makes."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from asynckaniko.errors import CopyFailed
from asynckaniko.rootfs.workdir import make_directory
from tests.unit.rootfs.children import in_namespaces
from tests.unit.rootfs.trees import Node, describe, directory, file, make, symlink

TREE: Mapping[str, Node] = {
    "etc/passwd": file(b"bob:x:1000:1001::/:/bin/sh\n"),
    "srv": directory(owner=(9, 9), mode=0o700),
    "group": directory(mode=0o2775, owner=(0, 50)),
    "link": symlink("srv/real"),
}


def work_in(
    tmp_path: Path, path: str, *, lower: Mapping[str, Node] | None = TREE, **more: Any
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return what the job says it made, and the upper as it is afterwards."""

    def work() -> tuple[list[str], dict[str, dict[str, Any]]]:
        os.umask(0o077)
        lowers = [os.fspath(make(Path("lower"), lower))] if lower is not None else []
        for name in ("upper", "work", "scratch"):
            Path(name).mkdir()
        arguments = {
            "lowers": lowers,
            "upper": "upper",
            "work": "work",
            "scratch": "scratch",
            "path": path,
            "user": "",
            "time": None,
            **more,
        }
        return make_directory(arguments, [])["created"], describe(Path("upper"))

    base = tmp_path / "base"
    base.mkdir()
    return in_namespaces(base, work)


def test_directory_and_parents_are_made_for_the_user(tmp_path: Path) -> None:
    created, upper = work_in(tmp_path, "/a/b/c", user="bob", time=1000)

    assert created == ["a", "a/b", "a/b/c"]
    for path in created:
        entry = upper[path]
        assert (entry["mode"], entry["owner"], entry["mtime"]) == (
            0o755,
            (1000, 1001),
            1000 * 10**9,
        )


@pytest.mark.parametrize(
    ("user", "owner"), [("", (0, 0)), ("1000", (1000, 1000)), ("5:6", (5, 6)), ("bob:7", (1000, 7))]
)
def test_owner_is_the_user(tmp_path: Path, user: str, owner: tuple[int, int]) -> None:
    _, upper = work_in(tmp_path, "/new", user=user)

    assert upper["new"]["owner"] == owner


def test_existing_directory_is_left_alone(tmp_path: Path) -> None:
    assert work_in(tmp_path, "/srv", user="bob") == ([], {})


def test_root_needs_nothing(tmp_path: Path) -> None:
    assert work_in(tmp_path, "/") == ([], {})


def test_links_are_followed(tmp_path: Path) -> None:
    created, upper = work_in(tmp_path, "/link/x")

    assert created == ["srv/real", "srv/real/x"]
    assert upper["srv"]["owner"] == (9, 9)


@pytest.mark.parametrize(("user", "owner"), [("", (0, 50)), ("5:6", (5, 6))])
def test_bit_and_group_of_a_setgid_parent_are_inherited(
    tmp_path: Path, user: str, owner: tuple[int, int]
) -> None:
    created, upper = work_in(tmp_path, "/group/x/y", user=user)

    for path in created:
        assert (upper[path]["mode"], upper[path]["owner"]) == (0o2755, owner)


def test_bit_of_the_volume_that_holds_the_state_is_not_inherited(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)

    _, upper = work_in(tmp_path, "/new")

    assert (upper["new"]["mode"], upper["new"]["owner"]) == (0o755, (0, 0))


def test_empty_image_gets_its_first_directory(tmp_path: Path) -> None:
    created, upper = work_in(tmp_path, "/foo", lower=None)

    assert (created, list(upper)) == (["foo"], ["foo"])


@pytest.mark.parametrize("path", ["/etc/passwd", "/etc/passwd/x"])
def test_file_in_the_way_is_an_error(tmp_path: Path, path: str) -> None:
    with pytest.raises(CopyFailed, match=r"/etc/passwd.*not a directory|Not a directory"):
        work_in(tmp_path, path)


def test_unknown_user_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(CopyFailed, match=r"WORKDIR as USER ghost: .*ghost"):
        work_in(tmp_path, "/new", user="ghost")
