"""A fork server's process that was begun ahead of its use."""

import socket
from pathlib import Path

import pytest

from asynckaniko.build.builder import Builder
from asynckaniko.build.job_modules import OUTER
from asynckaniko.errors import HostError
from asynckaniko.isolation.fork_server import ForkServer
from asynckaniko.isolation.launch import Launch, launched
from asynckaniko.settings import Settings
from tests.integration.isolation.conftest import PRELOAD
from tests.integration.isolation.test_fork_server import server_processes

JOBS = PRELOAD[0]
MAKE = "asynckaniko.rootfs.directories:make_directories"


@pytest.mark.parametrize("namespaces", [False, True])
async def test_launch_becomes_the_server(tmp_path: Path, namespaces: bool) -> None:
    with launched(PRELOAD) as launch:
        assert launch
        async with ForkServer.start(
            directory=tmp_path, preload=PRELOAD, namespaces=namespaces, launch=launch
        ) as server:
            await server.call(f"{JOBS}:make_tree", {"directory": "made", "files": {"by": "it"}})

            assert launch.process.pid in server_processes()
            assert (tmp_path / "made/by").exists()
        assert launch.process.returncode == 0


def test_launch_that_nobody_used_ends_with_its_block() -> None:
    with launched(PRELOAD) as launch:
        assert launch
        assert launch.process.poll() is None

    assert launch.process.returncode == -9


def test_launch_ends_when_its_client_is_gone() -> None:
    with launched(PRELOAD) as launch:
        assert launch
        launch.control.shutdown(socket.SHUT_WR)

        assert launch.process.wait(timeout=60) == 0


def test_launch_without_python_is_the_error_of_who_needs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))

    with pytest.raises(HostError, match=r"cannot start .*/python: No such file or directory"):
        Launch.begin(PRELOAD)
    with launched(PRELOAD) as launch:
        assert launch is None


async def test_module_that_cannot_be_loaded_is_told_to_who_uses_the_launch(tmp_path: Path) -> None:
    modules = ["no_such_module"]
    with (
        launched(modules) as launch,
        pytest.raises(HostError, match="No module named 'no_such_module'"),
    ):
        async with ForkServer.start(
            directory=tmp_path, preload=modules, namespaces=False, launch=launch
        ):
            pytest.fail("started")


async def test_builder_works_with_the_launch_it_is_given(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with launched(OUTER) as launch:
        assert launch
        async with Builder(Settings(state_dir=state), launch=launch) as builder:
            await builder.call(MAKE, {"paths": ["made"]})

            assert server_processes() == [launch.process.pid]
            assert (state / "made").is_dir()
        assert launch.process.returncode == 0
