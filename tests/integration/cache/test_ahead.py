"""What a build begins before it knows its cache keys: the base is sent."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from asynckaniko import Builder, BuildRequest, Push, Settings
from asynckaniko.build.request import Cache
from tests.integration.context.servers import serving
from tests.support.images import Image
from tests.support.registry import Registry

PATIENCE = 30.0
"""Seconds after which what is waited for counts as never begun."""
FILES = {"a.txt": "a", "d/b.txt": "b", "d/c.txt": "c"}


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
