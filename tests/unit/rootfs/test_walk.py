"""walk: what is visited, and what happens when the tree changes meanwhile."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asynckaniko.rootfs.walk import walk
from tests.unit.rootfs.trees import directory, fifo, file, make, symlink


class Recorder:
    """Remembers the visits; `on_visit` may change the tree."""

    def __init__(self, on_visit: Callable[[str], None] | None = None) -> None:
        self.visits: list[tuple[str, str]] = []
        self.skipped: set[str] = set()
        self._on_visit = on_visit or (lambda path: None)

    def skips(self, path: bytes, is_directory: bool) -> bool:
        return os.fsdecode(path) in self.skipped

    def directory(self, path: bytes, descriptor: int) -> None:
        self._record("directory", path)

    def file(self, path: bytes, descriptor: int) -> None:
        self._record(f"file {os.read(descriptor, 10).decode()}", path)

    def symlink(self, path: bytes, target: bytes, status: os.stat_result) -> None:
        self._record(f"link {target.decode()}", path)

    def special(self, path: bytes, status: os.stat_result) -> None:
        self._record("special", path)

    def _record(self, what: str, path: bytes) -> None:
        self.visits.append((what, os.fsdecode(path)))
        self._on_visit(os.fsdecode(path))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make(
        tmp_path / "tree",
        {
            "b/y": file(b"y"),
            "b/x": file(b"x"),
            "a": symlink("b"),
            "c": fifo(),
            "b.": file(),
            "empty": directory(),
        },
    )


@pytest.fixture
def opened(tree: Path) -> Iterator[int]:
    descriptor = os.open(tree, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_names_are_sorted_and_parents_come_first(opened: int) -> None:
    recorder = Recorder()

    walk(opened, recorder)

    assert recorder.visits == [
        ("link b", "a"),
        ("directory", "b"),
        ("file x", "b/x"),
        ("file y", "b/y"),
        ("file ", "b."),
        ("special", "c"),
        ("directory", "empty"),
    ]


def test_skipped_directories_are_not_entered(opened: int) -> None:
    recorder = Recorder()
    recorder.skipped = {"b", "c"}

    walk(opened, recorder)

    assert [path for _, path in recorder.visits] == ["a", "b.", "empty"]


def test_file_that_vanishes_is_named(tree: Path, opened: int) -> None:
    def remove_next(path: str) -> None:
        if path == "b/x":
            (tree / "b/y").unlink()

    with pytest.raises(FileNotFoundError) as caught:
        walk(opened, Recorder(remove_next))

    assert caught.value.filename == "b/y"


@pytest.mark.parametrize("name", ["b/y", "empty"])
def test_name_that_becomes_a_link_is_not_followed(tree: Path, opened: int, name: str) -> None:
    def turn_into_link(path: str) -> None:
        if path == "b/x":
            (tree / name).rmdir() if name == "empty" else (tree / name).unlink()
            (tree / name).symlink_to("/etc")

    with pytest.raises(OSError, match=r"symbolic links|Not a directory") as caught:
        walk(opened, Recorder(turn_into_link))

    assert caught.value.filename == name


DEPTH = 200


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "deep"
    root.mkdir()
    opened = os.open(root, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("d", dir_fd=opened)
        os.mkdir("z", dir_fd=opened)
        inner = os.open("d", os.O_RDONLY, dir_fd=opened)
        os.close(opened)
        opened = inner
    os.close(opened)
    yield root
    subprocess.run(["rm", "-r", root], check=True)


def test_few_directories_are_open_at_a_time(deep: Path) -> None:
    most = 0

    def count(path: str) -> None:
        nonlocal most
        most = max(most, len(os.listdir("/proc/self/fd")))

    recorder = Recorder(count)
    before = len(os.listdir("/proc/self/fd"))
    root = os.open(deep, os.O_RDONLY)
    try:
        walk(root, recorder)
    finally:
        os.close(root)

    assert len(recorder.visits) == 2 * DEPTH
    assert most - before < 140


def test_directory_that_moves_out_of_the_tree_ends_the_walk(deep: Path, tmp_path: Path) -> None:
    """The way back by `..` must not lead to somewhere else."""
    (tmp_path / "outside").mkdir()

    def move_away(path: str) -> None:
        if path.count("/") == DEPTH - 1 and path.endswith("d"):
            os.rename(deep / "d/d", tmp_path / "outside/moved")

    root = os.open(deep, os.O_RDONLY)
    try:
        with pytest.raises(FileNotFoundError, match="moved while it was being read"):
            walk(root, Recorder(move_away))
    finally:
        os.close(root)
        subprocess.run(["rm", "-r", tmp_path / "outside"], check=True)
