"""remove_trees: everything goes, whatever it is, and nothing else."""

import os
import resource
from pathlib import Path

import pytest

from asynckaniko.rootfs.remove import remove_trees
from tests.unit.rootfs.children import in_child, in_namespaces


def remove(*paths: str) -> None:
    remove_trees({"paths": list(paths)}, [])


def test_tree_of_everything_is_deleted(tmp_path: Path) -> None:
    def work() -> list[str]:
        os.makedirs("tree/closed/inner", 0o000)
        os.makedirs("tree/open/deep/deeper")
        for name in ("a", "open/b", "open/deep/c", "open/deep/deeper/d"):
            os.close(os.open(f"tree/{name}", os.O_CREAT, 0))
        os.mkfifo("tree/fifo")
        os.symlink("../kept", "tree/link")
        os.chown("tree/a", 1000, 1000)
        os.chmod("tree/open/deep", 0o000)
        os.mknod("tree/whiteout", 0o020000, 0)
        os.mkdir("kept")
        os.close(os.open("kept/file", os.O_CREAT))
        remove("tree")
        return [*os.listdir("."), *os.listdir("kept")]

    assert in_namespaces(tmp_path, work) == ["kept", "file"]


def test_files_links_and_what_is_missing_are_fine(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "target").mkdir()
    (tmp_path / "target/kept").touch()
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "tree").mkdir()

    names = ("file", "link", "missing", "no/such/parent", "tree/")
    remove(*(f"{tmp_path}/{name}" for name in names))

    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert (tmp_path / "target/kept").exists()


def test_deep_tree_needs_few_descriptors(tmp_path: Path) -> None:
    def work() -> None:
        # The test runner itself may hold many.
        few = max(int(name) for name in os.listdir("/proc/self/fd")) + 20
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
        os.chdir(tmp_path)
        os.mkdir("deep")
        os.chdir("deep")
        for _ in range(500):
            os.mkdir("d")
            os.close(os.open("f", os.O_CREAT))
            os.chdir("d")
        os.chdir(tmp_path)
        remove("deep")

    in_child(work)

    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_deleted_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours/theirs").mkdir()
    (tmp_path / "ours/theirs/file").touch()

    with pytest.raises(PermissionError):
        in_namespaces(tmp_path / "ours", lambda: remove("theirs"))
