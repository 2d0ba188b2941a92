"""What a build begins before it knows its cache keys: contexts are read, the base is sent."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from asynckaniko import Builder, BuildRequest, Push, Settings
from asynckaniko.build.request import Cache
from asynckaniko.errors import CopyFailed
from asynckaniko.isolation.fork_server import ForkServer
from tests.integration.context.servers import serving
from tests.support.images import Image
from tests.support.registry import Registry

PATIENCE = 30.0
"""Seconds after which what is waited for counts as never begun."""
FILES = {"a.txt": "a", "d/b.txt": "b", "d/c.txt": "c"}


@pytest.fixture
def digests(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The sources of each digest of a context that a helper is asked for."""
    asked: list[list[str]] = []
    call = ForkServer.call

    async def noted(
        self: ForkServer,
        function: str,
        arguments: Mapping[str, Any],
        *,
        fds: Sequence[int] = (),
        directory: Path | None = None,
    ) -> Any:
        if arguments.get("output") == "digest":
            asked.append(list(arguments["sources"]))
        return await call(self, function, arguments, fds=fds, directory=directory)

    monkeypatch.setattr(ForkServer, "call", noted)
    return asked


def context(directory: Path, dockerfile: str) -> str:
    for name, text in FILES.items():
        path = directory / "context" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (directory / "context" / "Dockerfile").write_text(dockerfile)
    return str(directory / "context")


def answering_after(condition: Callable[[], bool]) -> Any:
    """Answer requests for files when the condition holds; never, if it does not in time."""

    async def answer(_: web.Request) -> web.StreamResponse:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                return web.Response(status=404)
            await asyncio.sleep(0.01)
        return web.Response(body=b"downloaded")

    return serving(answer)


async def build(tmp_path: Path, dockerfile: str, **options: Any) -> None:
    request = BuildRequest(
        context=context(tmp_path, dockerfile), cache=Cache(copy_layers=True), **options
    )
    async with Builder(Settings(state_dir=tmp_path / "state")) as builder:
        await builder.build(request)


async def test_context_is_read_before_what_keys_wait_for_has_come(
    tmp_path: Path, digests: list[list[str]]
) -> None:
    with answering_after(lambda: ["d"] in digests) as host:
        await build(tmp_path, f"FROM scratch\nADD http://{host}/x /x\nCOPY d /d\n")


async def test_base_is_asked_for_at_the_destination_before_keys_are_known(
    tmp_path: Path, registry: Registry, busybox_image: Image
) -> None:
    busybox_image.push(registry, "library/busybox")
    layers = {layer["digest"] for layer in json.loads(busybox_image.manifest)["layers"]}
    wanted = {("HEAD", f"/v2/team/app/blobs/{layer}") for layer in layers}

    def asked() -> bool:
        return wanted <= {(request.method, request.path) for request in registry.requests()}

    with answering_after(asked) as host:
        await build(
            tmp_path,
            f"FROM {registry.host}/library/busybox\nADD http://{host}/x /x\n",
            outputs=(Push(reference=f"{registry.host}/team/app:1"),),
        )


@pytest.mark.parametrize(
    "copies",
    [
        ["COPY a.txt /"],
        ["COPY --chmod=640 --chown=1:2 'a.txt' /"],
        ["COPY --exclude=*.md --parents d /x/"],
        ["ADD d a.txt /x/"],
        ["ADD --unpack=true a.txt /x/"],
        ["COPY a.txt /", "COPY d /d", "ADD d /e/"],
    ],
)
async def test_each_copy_is_read_once_for_its_key(
    tmp_path: Path, digests: list[list[str]], copies: list[str]
) -> None:
    await build(tmp_path, "\n".join(["# syntax=docker/dockerfile:1-labs", "FROM scratch", *copies]))

    assert len(digests) == len(copies)


@pytest.mark.parametrize(
    "copy", ["COPY ${NAME} /", "COPY --chmod=$MODE a.txt /", "COPY a.txt <<end /x/\ntext\nend"]
)
async def test_copy_that_is_not_known_ahead_is_read_for_its_key(
    tmp_path: Path, digests: list[list[str]], copy: str
) -> None:
    await build(tmp_path, f"FROM scratch\nARG NAME=a.txt\nARG MODE=640\n{copy}\n")

    assert digests == [["a.txt"]]


async def test_stages_that_are_not_needed_are_not_read(
    tmp_path: Path, digests: list[list[str]]
) -> None:
    dockerfile = "FROM scratch AS a\nCOPY d /\nFROM scratch AS b\nCOPY a.txt /\n"

    await build(tmp_path, dockerfile)

    assert digests == [["a.txt"]]


async def test_without_a_cache_nothing_is_read_for_keys(
    tmp_path: Path, digests: list[list[str]]
) -> None:
    request = BuildRequest(context=context(tmp_path, "FROM scratch\nCOPY d /\n"), cache=None)

    async with Builder(Settings(state_dir=tmp_path / "state")) as builder:
        await builder.build(request)

    assert digests == []


async def test_missing_source_is_an_error_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(CopyFailed, match=r"no-such-file") as raised:
        await build(tmp_path, "FROM scratch\nCOPY a.txt /\nCOPY no-such-file /\n")

    assert raised.value.span is not None
    assert raised.value.span.first == 3
