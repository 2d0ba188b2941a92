"""The file system of the state directory is tried before anything is built on it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from asynckaniko.errors import HostError, UnsuitableStateDir
from asynckaniko.isolation.fork_server import ForkServer
from tests.integration.isolation.conftest import PRELOAD, Machine

CHECK = "asynckaniko.isolation.probe:check_state_directory"


async def check(directory: Path) -> None:
    preload = [*PRELOAD, "asynckaniko.isolation.probe"]
    async with ForkServer.start(directory=directory, preload=preload, namespaces=True) as server:
        machine = Machine(server, directory)
        await machine.make("scratch", {})
        await server.call(CHECK, {"scratch": "scratch"})
        assert await machine.read("scratch") == {}


async def test_ordinary_file_system_is_good(directory: Path) -> None:
    await check(directory)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "mounted"
    place.mkdir()
    yield place
    subprocess.run(["umount", place], check=True)


def mount(kind: str, place: Path, options: str = "rw") -> None:
    subprocess.run(["mount", "-t", kind, kind, "-o", options, place], check=True)


async def test_overlay_is_refused_with_its_name(tmp_path: Path, mounted: Path) -> None:
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    mount("overlay", mounted, options)

    with pytest.raises(UnsuitableStateDir, match=f"{mounted} is on overlay, .*emptyDir"):
        await check(mounted)


async def test_memory_is_good_where_it_has_extended_attributes(mounted: Path) -> None:
    mount("tmpfs", mounted)

    await check(mounted)


async def test_ramfs_is_refused(mounted: Path) -> None:
    mount("ramfs", mounted)

    with pytest.raises(UnsuitableStateDir, match="is on ramfs"):
        await check(mounted)


async def test_read_only_directory_is_refused(mounted: Path) -> None:
    mount("tmpfs", mounted, "ro")

    with pytest.raises(HostError, match="cannot give it to the build's root: Read-only"):
        await check(mounted)
