"""Caches that machines share: an image that is its own cache, layouts on a volume, base images."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import BrokenResourceError, EndOfStream, create_task_group, create_tcp_listener
from anyio.abc import SocketAttribute, SocketStream

from asynckaniko import Builder, BuildRequest, BuildResult, OciLayout, Push, Settings
from asynckaniko.build.request import Cache
from asynckaniko.build.warm import WarmRequest, warm
from asynckaniko.cache.inline import FIELD
from asynckaniko.errors import CommandFailed
from asynckaniko.events import (
    BuildFinished,
    BuildWarning,
    Event,
    LayerPulled,
    StepFinished,
)
from asynckaniko.settings import Retry
from tests.support.images import Image, read_layout
from tests.support.registry import Registry

DOCKERFILE = """\
FROM {base}
RUN echo one > /one
WORKDIR /work
COPY a.txt a.txt
RUN cat /one a.txt > all
"""
STEPS = 4


class Site:
    """A context, and a registry with its base image."""

    def __init__(self, registry: Registry, image: Image, directory: Path) -> None:
        self.registry = registry
        image.push(registry, "library/busybox")
        self.base = f"{registry.host}/library/busybox"
        self.directory = directory
        self.context = directory / "context"
        self.context.mkdir()
        (self.context / "a.txt").write_text("a\n")
        self.write(DOCKERFILE)
        self.app = f"{registry.host}/team/app"
        self.events: list[Event] = []
        self.finished = anyio.Event()

    def write(self, dockerfile: str) -> None:
        (self.context / "Dockerfile").write_text(dockerfile.format(base=self.base))

    async def build(self, state: str, settings: Any = None, **changes: Any) -> BuildResult:
        """Build with an own state directory; `events` are those of the latest build."""
        self.events = []
        options: dict[str, Any] = {"outputs": (Push(reference=f"{self.app}:{state}"),)}
        request = BuildRequest(
            context=str(self.context),
            source_date_epoch=1_700_000_000,
            rewrite_timestamp=True,
            **{**options, **changes},
        )
        settings = {"state_dir": self.directory / state, **(settings or {})}
        async with Builder(Settings(**settings)) as builder:
            return await builder.build(request, on_event=self.see)

    def see(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, BuildFinished):
            self.finished.set()

    def cached(self) -> list[bool]:
        steps = [event for event in self.events if isinstance(event, StepFinished)]
        return [s.cached for s in steps if s.step.instruction.startswith(("RUN", "COPY", "WORK"))]

    def warnings(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, BuildWarning)]


@pytest.fixture
def site(registry: Registry, busybox_image: Image, tmp_path: Path) -> Site:
    return Site(registry, busybox_image, tmp_path)


def inline(*sources: str) -> Cache:
    return Cache(local=False, sources=sources, inline=True, copy_layers=True)


async def test_image_with_keys_is_a_cache(site: Site) -> None:
    cold = await site.build("cold", cache=inline())

    warm = await site.build("warm", cache=inline(f"{site.app}:cold"))

    assert site.cached() == [True] * STEPS
    assert warm.digest == cold.digest
    assert not any(isinstance(event, LayerPulled) for event in site.events)


async def test_keys_stand_beside_the_layers_that_steps_made(site: Site) -> None:
    result = await site.build("app", cache=inline())

    config = json.loads(site.registry.blob("team/app", result.manifest.config.digest))
    keys = config[FIELD]
    assert [bool(key) for key in keys] == [False] + [True] * STEPS
    assert len(set(keys)) == 1 + STEPS


async def test_image_has_no_keys_unless_they_are_asked_for(site: Site) -> None:
    """Not those of its base either; so a cache does not change what is built."""
    plain = await site.build("plain")
    cached = await site.build("cached", cache=Cache(copy_layers=True))
    await site.build("with", cache=inline())
    site.base = f"{site.app}:with"
    site.write("FROM {base}\nRUN true\n")
    above = await site.build("above")

    assert plain.digest == cached.digest
    assert FIELD not in plain.config.other
    assert FIELD not in above.config.other


async def test_changed_step_of_an_image_that_is_a_cache_is_built_again(site: Site) -> None:
    await site.build("cold", cache=inline())
    (site.context / "a.txt").write_text("other\n")

    await site.build("warm", cache=inline(f"{site.app}:cold"))

    assert site.cached() == [True, True, False, False]


async def test_image_that_is_not_there_yet_is_no_warning(site: Site) -> None:
    await site.build("first", cache=inline(f"{site.app}:never"))

    assert site.cached() == [False] * STEPS
    assert site.warnings() == []


def layouts(site: Site, **changes: Any) -> Cache:
    path = site.directory / "volume" / "cache"
    path.parent.mkdir(exist_ok=True)
    return Cache(repository=f"oci:{path}", local=False, copy_layers=True, **changes)


async def test_layouts_on_a_volume_are_a_cache(site: Site) -> None:
    cold = await site.build("cold", cache=layouts(site))
    names = [path.name for path in (site.directory / "volume").iterdir()]
    assert len(names) == STEPS
    assert all(name.startswith("cache:") for name in names)

    warm = await site.build("warm", cache=layouts(site))

    assert site.cached() == [True] * STEPS
    assert warm.digest == cold.digest


async def test_nothing_is_put_where_nothing_shall_be(site: Site) -> None:
    await site.build("cold", cache=layouts(site, write=False))

    assert list((site.directory / "volume").iterdir()) == []


def lose(layout: Path) -> None:
    shutil.rmtree(layout / "blobs")


def garble(layout: Path) -> None:
    largest = max((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(bytes(largest.stat().st_size))


def mislead(layout: Path) -> None:
    (layout / "index.json").write_text("{}")


@pytest.mark.parametrize("damage", [lose, garble, mislead])
async def test_damaged_layouts_are_built_again(site: Site, damage: Callable[[Path], None]) -> None:
    await site.build("cold", cache=layouts(site))
    for layout in (site.directory / "volume").iterdir():
        damage(layout)
    out = site.directory / "out"

    await site.build("warm", cache=layouts(site), outputs=(OciLayout(path=out),))

    assert read_layout(out).tree["work/all"].content == b"one\na\n"
    assert site.warnings()


def remote(site: Site, name: str = "team/cache") -> Cache:
    return Cache(repository=f"{site.registry.host}/{name}", local=False, copy_layers=True)


async def test_look_up_is_one_request_whether_it_hits_or_not(site: Site) -> None:
    seen = site.registry.mark()
    await site.build("cold", cache=remote(site))
    asked = [r for r in site.registry.requests(seen) if "team/cache" in r.path]
    misses = [r for r in asked if r.method == "GET"]
    assert [(r.status, "/manifests/" in r.path) for r in misses] == [(404, True)] * STEPS

    seen = site.registry.mark()
    await site.build("warm", cache=remote(site))
    asked = [r for r in site.registry.requests(seen) if "team/cache" in r.path]
    assert [(r.method, r.status) for r in asked] == [("GET", 200)] * STEPS


async def test_entries_without_annotations_are_read_by_their_config(site: Site) -> None:
    """Entries of kaniko have none."""
    await site.build("cold", cache=remote(site))
    _, tags, _ = site.registry.call("GET", "/v2/team/cache/tags/list")
    for tag in json.loads(tags)["tags"]:
        manifest = site.registry.manifest("team/cache", tag)
        del manifest["annotations"]
        content = json.dumps(manifest).encode()
        site.registry.put_manifest("team/cache", tag, manifest["mediaType"], content)

    await site.build("warm", cache=remote(site))
    assert site.cached() == [True] * STEPS

    old = Cache(repository=f"{site.registry.host}/team/cache", local=False, ttl_seconds=0)
    await site.build("old", cache=old)
    assert not any(site.cached())


async def test_what_a_cached_step_deleted_is_not_copied(site: Site) -> None:
    """Neither the files nor the marks of their deletion."""
    stage = (
        "FROM {base} AS made\n"
        "RUN mkdir -p /d/emptied && touch /d/kept /d/gone /d/emptied/old\n"
        "RUN rm -r /d/gone /d/emptied && mkdir /d/emptied && touch /d/emptied/new\n"
        "FROM scratch\n"
    )
    site.write(stage + "COPY --from=made /d /first\n")
    await site.build("cold", cache=remote(site))
    site.write(stage + "COPY --from=made /d /second\n")
    layout = site.directory / "layout"

    await site.build("warm", cache=remote(site), outputs=(OciLayout(path=layout),))

    assert site.cached() == [True, True, False]
    assert set(read_layout(layout).tree) == {
        *("second", "second/kept", "second/emptied", "second/emptied/new"),
    }


async def test_no_build_waits_until_its_layers_are_put(site: Site) -> None:
    """Here the cache takes nothing until the build is finished, and then refuses: one warning."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            # The client may leave a connection that it does not need after all.
            with suppress(EndOfStream, BrokenResourceError):
                await answer(stream)

    async def answer(stream: SocketStream) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive()
        if not head.startswith(b"GET"):
            await site.finished.wait()
        status = b"404 Not Found" if head.startswith(b"GET /v2/team") else b"403 Forbidden"
        await stream.send(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)

    async with (
        await create_tcp_listener(local_host="127.0.0.1") as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, serve)
        host = f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        await site.build("app", cache=Cache(repository=f"{host}/team/cache", local=False))
        tasks.cancel_scope.cancel()

    assert len([text for text in site.warnings() if "not put into the cache" in text]) == 1


async def test_cache_that_cannot_be_asked_is_one_warning(site: Site) -> None:
    retry = Retry(attempts=1, connect_seconds=1)
    nowhere = Cache(repository="127.0.0.1:9/team/cache", local=False, write=False)

    await site.build("app", {"retry": retry}, cache=nowhere)

    assert len(site.warnings()) == 1


async def test_layers_of_a_build_that_failed_are_put_all_the_same(site: Site) -> None:
    site.write(DOCKERFILE + "RUN false\n")
    with pytest.raises(CommandFailed):
        await site.build("failed", cache=remote(site))
    site.write(DOCKERFILE)

    await site.build("warm", cache=remote(site))

    assert site.cached() == [True] * STEPS


async def test_damaged_layer_of_the_state_directory_is_replaced(site: Site) -> None:
    cache = Cache(copy_layers=True)
    out = site.directory / "out"
    cold = await site.build("app", cache=cache)
    for layer in cold.manifest.layers[1:]:
        blob = site.directory / "app" / "blobs" / layer.digest.hex
        blob.write_bytes(bytes(layer.size))
    for directory in (site.directory / "app/rootfs/layers").iterdir():
        shutil.rmtree(directory) if directory.is_dir() else directory.unlink()
    site.write(DOCKERFILE + "RUN cat /one /work/all > /seen\n")

    await site.build("app", cache=cache, outputs=(OciLayout(path=out),))

    assert read_layout(out).tree["seen"].content == b"one\none\na\n"
    assert site.warnings()
    await site.build("app", cache=cache, outputs=(OciLayout(path=out),))
    assert site.cached() == [True] * (STEPS + 1)
    assert site.warnings() == []


async def warmed(site: Site) -> Cache:
    directory = site.directory / "bases"
    await warm(WarmRequest(directory=directory, images=(site.base,)), settings=Settings())
    return Cache(local=False, base_directory=directory)


async def test_base_of_a_warmed_directory_is_not_pulled(site: Site) -> None:
    cache = await warmed(site)
    plain = await site.build("plain")
    seen = site.registry.mark()

    result = await site.build("warm", cache=cache)

    assert result.digest == plain.digest
    assert not any(isinstance(event, LayerPulled) for event in site.events)
    big = [r for r in site.registry.requests(seen) if r.is_blob_download and r.size > 100_000]
    assert big == []


async def test_base_named_by_its_digest_needs_no_registry(site: Site, busybox_image: Image) -> None:
    cache = await warmed(site)
    site.base += f"@{busybox_image.digest}"
    site.write(DOCKERFILE)
    seen = site.registry.mark()

    await site.build("warm", cache=cache, outputs=())

    assert site.registry.requests(seen) == []


@pytest.mark.parametrize("to_layout", [False, True])
async def test_damaged_base_is_pulled(site: Site, busybox_image: Image, to_layout: bool) -> None:
    cache = await warmed(site)
    layer = busybox_image.layers[0].removeprefix("sha256:")
    (blob,) = (site.directory / "bases").glob(f"sha256:*/blobs/sha256/{layer}")
    blob.write_bytes(bytes(blob.stat().st_size))
    out = site.directory / "out"
    # Without a RUN the layer is only sent on, never unpacked.
    site.write("FROM {base}\nCOPY a.txt /\n" if to_layout else DOCKERFILE)

    await site.build("warm", cache=cache, outputs=(OciLayout(path=out),))

    assert read_layout(out).tree["bin/busybox"].content
    assert any("the layer is pulled" in text for text in site.warnings())
