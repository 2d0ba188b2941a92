import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from anyio import CancelScope, create_task_group

from asynckaniko.build.sides import LazyServer
from asynckaniko.errors import HostError
from asynckaniko.isolation.fork_server import ForkServer

MAKE = "asynckaniko.rootfs.directories:make_directories"


class Starter:
    """Starts servers, and counts; the first `failures` starts fail."""

    def __init__(self, directory: Path, failures: int = 0) -> None:
        self.directory = directory
        self.failures = failures
        self.starts = 0
        self.running = 0

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[ForkServer]:
        self.starts += 1
        if self.starts <= self.failures:
            raise HostError("refused")
        async with ForkServer.start(
            directory=self.directory, preload=["asynckaniko.rootfs.directories"], namespaces=False
        ) as server:
            self.running += 1
            yield server
            self.running -= 1


async def test_server_starts_once_for_all_who_need_it(tmp_path: Path) -> None:
    starter = Starter(tmp_path)
    async with create_task_group() as serving:
        server = LazyServer(starter, serving)
        assert starter.starts == 0
        async with create_task_group() as calls:
            for name in "abc":
                calls.start_soon(server.call, MAKE, {"paths": [name]})
        server.stop()

    assert (starter.starts, starter.running) == (1, 0)
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c"]


async def test_refused_start_is_the_error_of_who_needed_it_and_is_tried_again(
    tmp_path: Path,
) -> None:
    starter = Starter(tmp_path, failures=1)
    async with create_task_group() as serving:
        server = LazyServer(starter, serving)
        with pytest.raises(HostError, match="refused"):
            await server.call(MAKE, {"paths": ["a"]})
        await server.call(MAKE, {"paths": ["a"]})
        server.stop()

    assert starter.starts == 2
    assert (tmp_path / "a").is_dir()


async def test_cancelled_builds_can_clean_up_with_it(tmp_path: Path) -> None:
    starter = Starter(tmp_path)
    with CancelScope() as everything:
        async with create_task_group() as serving:
            server = LazyServer(starter, serving)
            try:
                await server.started()
                everything.cancel()
                await server.call(MAKE, {"paths": ["never"]})
            finally:
                with CancelScope(shield=True):
                    await server.call(MAKE, {"paths": ["cleaned"]})
                server.stop()

    assert (tmp_path / "cleaned").is_dir()
    assert starter.running == 0


async def test_job_works_in_the_directory_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    async with create_task_group() as serving:
        server = LazyServer(Starter(tmp_path), serving)
        await server.call(MAKE, {"paths": ["a"]}, directory=tmp_path / "there")
        server.stop()

    assert (tmp_path / "there/a").is_dir()
