"""A directory of caches may be on a volume where others can write."""

import os
from pathlib import Path

import pytest

from asynckaniko.errors import HostError
from asynckaniko.store.cache_mounts import CacheMounts
from asynckaniko.store.state import StateDirectory

PLACES = ("rootfs", "listed", "mounts", "locks")
SOMEBODY = 12345


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path / "state")


@pytest.mark.parametrize("place", PLACES)
def test_link_in_the_place_of_a_directory_is_refused(
    state: StateDirectory, tmp_path: Path, place: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "caches").mkdir()
    (tmp_path / "caches" / place).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(HostError, match=f"--cache-mount-dir .*{place}: is a symbolic link"):
        CacheMounts.open(tmp_path / "caches", state)


@pytest.mark.parametrize("name", ["map", "locks/map.flock"])
def test_link_in_the_place_of_a_file_is_not_followed(
    state: StateDirectory, tmp_path: Path, name: str
) -> None:
    caches = CacheMounts.open(tmp_path / "caches", state)
    target = tmp_path / "elsewhere"
    target.write_text("")
    (tmp_path / "caches" / name).symlink_to(target)

    with pytest.raises(HostError, match=r"--cache-mount-dir .*: Too many levels of symbolic links"):
        caches.claim(os.geteuid())

    assert target.read_text() == ""


def test_place_that_became_a_link_is_not_given_away(state: StateDirectory, tmp_path: Path) -> None:
    caches = CacheMounts.open(tmp_path / "caches", state)
    (tmp_path / "elsewhere").mkdir()
    caches.namespaced.rmdir()
    caches.namespaced.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(HostError, match=r"--cache-mount-dir .*rootfs: Not a directory"):
        caches.claim(SOMEBODY)

    assert (tmp_path / "elsewhere").stat().st_uid == os.geteuid()


def test_owner_is_recorded_once_and_kept(state: StateDirectory, tmp_path: Path) -> None:
    caches = CacheMounts.open(tmp_path / "caches", state)
    caches.claim(os.geteuid())

    with pytest.raises(HostError, match=f"whose root is id {os.geteuid()} .* it is id {SOMEBODY}"):
        caches.claim(SOMEBODY)

    assert (tmp_path / "caches/map").read_text() == str(os.geteuid())
    assert sorted(os.listdir(tmp_path / "caches")) == sorted((*PLACES, "map"))
