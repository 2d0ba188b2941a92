import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from asynckaniko.errors import StepFailed
from asynckaniko.isolation.stub_layer import StubLayer, locate


@pytest.fixture
def image(tmp_path: Path) -> Path:
    root = tmp_path / "image"
    for directory in ("etc", "run", "var/empty", "srv/data"):
        (root / directory).mkdir(parents=True)
    (root / "etc/hosts").write_text("the image's\n")
    (root / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    (root / "var/run").symlink_to("/run")
    (root / "loop").symlink_to("loop")
    (root / "up").symlink_to("../../../../../../srv")
    return root


@pytest.fixture
def root(image: Path) -> Iterator[int]:
    descriptor = os.open(image, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def stubs(tmp_path: Path) -> Path:
    (tmp_path / "stubs").mkdir()
    return tmp_path / "stubs"


def tree(directory: Path) -> set[str]:
    return {
        f"{path.relative_to(directory)}{'/' if path.is_dir() else ''}"
        for path in directory.rglob("*")
    }


@pytest.mark.parametrize(
    ("path", "existing", "missing"),
    [
        ("etc/hosts", "etc/hosts", ""),
        ("var/run", "run", ""),
        ("var/run/secrets/token", "run", "secrets/token"),
        ("etc/resolv.conf", "run", "systemd/resolve/stub-resolv.conf"),
        ("up/data", "srv/data", ""),
        ("../../etc", "etc", ""),
        ("new/./a/../b/", "", "new/b"),
        ("srv/../../..", "", ""),
        ("", "", ""),
    ],
)
def test_path_is_followed_inside_the_root_as_far_as_it_exists(
    root: int, path: str, existing: str, missing: str
) -> None:
    found, lacking = locate(root, path)

    assert ("/".join(found), "/".join(lacking)) == (existing, missing)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("loop/x", "cannot mount at /loop/x: too many levels of symbolic links"),
        ("etc/hosts/x", "cannot mount at /etc/hosts/x: /etc/hosts is not a directory"),
        ("n" * 300, "the name is too long"),
    ],
)
def test_path_that_leads_nowhere_is_named(root: int, path: str, words: str) -> None:
    with pytest.raises(StepFailed, match=words):
        locate(root, path)


def test_what_exists_needs_no_stub(root: int, stubs: Path) -> None:
    layer = StubLayer(root, str(stubs))

    assert layer.require("etc/hosts", is_directory=False) == "etc/hosts"
    assert layer.require("var/run", is_directory=True) == "run"

    assert not layer.finish()
    assert tree(stubs) == set()
    assert layer.stubs == []


def test_missing_mount_points_are_made_and_named(root: int, stubs: Path) -> None:
    layer = StubLayer(root, str(stubs))

    assert layer.require("etc/resolv.conf", is_directory=False) == (
        "run/systemd/resolve/stub-resolv.conf"
    )
    assert layer.require("run/secrets/a", is_directory=False) == "run/secrets/a"
    assert layer.require("run/secrets/b", is_directory=False) == "run/secrets/b"
    assert layer.require("cache/dir", is_directory=True) == "cache/dir"

    assert layer.finish()
    assert tree(stubs) == {
        "run/",
        "run/systemd/",
        "run/systemd/resolve/",
        "run/systemd/resolve/stub-resolv.conf",
        "run/secrets/",
        "run/secrets/a",
        "run/secrets/b",
        "cache/",
        "cache/dir/",
    }
    assert layer.stubs == ["run/systemd", "run/secrets", "cache"]


def test_directories_of_the_image_look_as_they_did(image: Path, root: int, stubs: Path) -> None:
    os.setxattr(image / "var", "user.note", b"kept")
    os.chown(image / "var", 33, 34)
    os.chmod(image / "var", 0o2751)
    os.chmod(image, 0o711)
    os.utime(image / "var", ns=(1_000_000_001, 2_000_000_002))
    layer = StubLayer(root, str(stubs))

    layer.require("var/lib/x", is_directory=True)
    layer.finish()

    status = (stubs / "var").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (33, 34, 0o2751)
    assert status.st_mtime_ns == 2_000_000_002
    assert os.getxattr(stubs / "var", "user.note") == b"kept"
    assert stubs.stat().st_mode & 0o7777 == 0o711


def test_wrong_kind_in_the_way_is_refused(root: int, stubs: Path) -> None:
    layer = StubLayer(root, str(stubs))

    with pytest.raises(StepFailed, match="cannot mount a directory at /etc/hosts: a file is there"):
        layer.require("etc/hosts", is_directory=True)
    with pytest.raises(StepFailed, match="cannot mount a file at /srv: a directory is there"):
        layer.require("srv", is_directory=False)
