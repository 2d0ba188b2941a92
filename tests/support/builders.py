"""One Builder for all tests of a worker that build through the library, as a service would."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from anyio import connect_tcp

from asynckaniko.build.builder import Builder
from asynckaniko.build.request import BuildRequest
from asynckaniko.settings import Settings


@pytest.fixture(scope="session")
async def builder(
    private_tmpdir: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Builder]:
    # With its first stream a loop opens a spare descriptor, which lives as long as the loop.
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with await connect_tcp(*server.getsockname()):
            pass
    state = tmp_path_factory.mktemp("builder") / "state"
    context = tmp_path_factory.mktemp("first")
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\nWORKDIR /w\n")
    async with Builder(Settings(state_dir=state)) as builder:
        # What starts when it is needed is there before the first test counts processes.
        await builder.build(BuildRequest(context=str(context)))
        yield builder
