"""What a state directory keeps after builds, what goes first, and what stays while it is used."""

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from anyio import Event, create_task_group, sleep, to_thread

from asynckaniko import Builder, BuildRequest, Settings
from asynckaniko.build.housekeeping import Housekeeping
from asynckaniko.build.request import Cache
from asynckaniko.cache.contents import Stored
from asynckaniko.cache.eviction import Bounds
from asynckaniko.events import StepFinished, StepOutput
from asynckaniko.linux.locks import create_locked

LONG_AGO = time.time() - 10_000


class Site:
    """Builds over one state directory, one process after the other."""

    def __init__(self, directory: Path, busybox: Path) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.busybox = busybox
        self.builds = 0

    async def build(self, *lines: str, **settings: Any) -> list[str]:
        """Build; return the instructions that no cache had."""
        request = self.request(*lines)
        events: list[Any] = []
        async with Builder(Settings(state_dir=self.state, **settings)) as builder:
            await builder.build(request, on_event=events.append)
        finished = [event for event in events if isinstance(event, StepFinished)]
        return [event.step.instruction for event in finished if not event.cached]

    def request(self, *lines: str) -> BuildRequest:
        self.builds += 1
        context = self.directory / f"context{self.builds}"
        context.mkdir()
        (context / "Dockerfile").write_text("\n".join(("FROM busybox", *lines, "")))
        return BuildRequest(
            context=str(context),
            build_contexts={"busybox": f"oci-layout://{self.busybox}"},
            cache=Cache(),
        )

    async def contents(self) -> list[Stored]:
        async with Housekeeping.open(Settings(state_dir=self.state)) as keeping:
            return await keeping.contents()

    async def prune(self, **bounds: Any) -> list[Stored]:
        async with Housekeeping.open(Settings(state_dir=self.state)) as keeping:
            return list((await keeping.prune(Bounds(**bounds))).removed)

    def make_old(self) -> None:
        """Let everything look as if nobody had used it for hours."""
        kept = (*self.state.glob("cache/*"), *self.state.glob("blobs/*"))
        records = self.state.glob("rootfs/layers/*.json")
        for path in (*kept, *records, *self.state.glob("mounts/*")):
            os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.fixture
async def site(tmp_path: Path, busybox_layout: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path, busybox_layout)
    yield site
    assert not list(site.state.glob("rootfs/*/.pruned-*"))


async def test_layers_and_mounts_are_listed_with_what_made_them(site: Site) -> None:
    await site.build("RUN --mount=type=cache,id=stuff,target=/c echo 12 > /c/x", "RUN echo 1 > /a")

    contents = await site.contents()

    found = {(item.kind, item.what) for item in contents}
    assert ("layer", "RUN echo 1 > /a") in found
    assert ("unpacked", "RUN echo 1 > /a") in found
    assert ("mount", "stuff") in found
    assert all(item.size > 0 for item in contents if item.kind != "unpacked")
    assert [item.last_used for item in contents] == sorted(
        (item.last_used for item in contents), reverse=True
    )


async def test_pruned_layer_is_built_again_and_others_are_not(site: Site) -> None:
    await site.build("RUN echo old > /a")
    site.make_old()
    await site.build("RUN echo new > /a")

    removed = await site.prune(used_since=LONG_AGO + 1000)

    assert "RUN echo old > /a" in {item.what for item in removed}
    assert await site.build("RUN echo new > /a") == []
    assert await site.build("RUN echo old > /a") == ["RUN echo old > /a"]


async def test_use_makes_a_layer_young_again(site: Site) -> None:
    await site.build("RUN echo 1 > /a")
    site.make_old()
    assert await site.build("RUN echo 1 > /a", "ENV A=1") == ["ENV A=1"]

    await site.prune(used_since=LONG_AGO + 1000)

    assert await site.build("RUN echo 1 > /a") == []


async def test_everything_goes_if_it_shall(site: Site) -> None:
    await site.build("RUN --mount=type=cache,target=/c echo > /c/x", "RUN echo 1 > /a")
    site.make_old()

    await site.prune(everything=True)

    assert await site.contents() == []
    for place in ("blobs", "cache", "mounts", "rootfs/layers", "rootfs/caches"):
        assert list((site.state / place).iterdir()) == []


async def test_caches_of_mounts_have_their_own_bound(site: Site) -> None:
    await site.build("RUN --mount=type=cache,target=/c dd if=/dev/zero of=/c/x bs=1k count=99")
    site.make_old()

    assert await site.prune(mount_size=1 << 20) == []
    (removed,) = await site.prune(mount_size=10_000)

    assert removed.kind == "mount"
    assert removed.size >= 99 * 1024


async def test_state_is_within_bounds_after_a_build(site: Site) -> None:
    await site.build("RUN dd if=/dev/urandom of=/a bs=1k count=500")
    site.make_old()

    await site.build("RUN echo 2 > /b", state_size=300_000)

    assert {item.what for item in await site.contents()} >= {"RUN echo 2 > /b"}
    assert "RUN dd if=/dev/urandom of=/a bs=1k count=500" not in {
        item.what for item in await site.contents()
    }


async def test_what_a_running_build_uses_stays(site: Site) -> None:
    """Its layers and its mount, although pruning wants everything gone."""
    fifo = "while [ ! -e /c/go ]; do sleep 0.05; done; cat /a > /c/seen"
    await site.build("RUN echo 1 > /a")
    site.make_old()
    request = site.request("RUN echo 1 > /a", f"RUN --mount=type=cache,target=/c echo up; {fifo}")
    running = Event()

    def watch(event: object) -> None:
        if isinstance(event, StepOutput) and event.line == "up":
            running.set()

    async with Builder(Settings(state_dir=site.state)) as builder, create_task_group() as tasks:

        async def build() -> None:
            await builder.build(request, on_event=watch)

        tasks.start_soon(build)
        await running.wait()
        await sleep(1.1)  # what was used just now always stays; the build has to be the reason
        await site.prune(everything=True)
        (cache,) = (site.state / "rootfs/caches").iterdir()
        await to_thread.run_sync((cache / "go").touch)

    assert (cache / "seen").read_text() == "1\n"


async def test_cache_that_was_not_filled_goes_unless_somebody_fills_it(site: Site) -> None:
    await site.build("RUN true")
    places = [site.state / side / "caches" for side in ("rootfs", "listed")]
    for name in (".dead.part", ".alive.part"):
        for place in places:
            (place / name).mkdir()
            os.chown(place / name, *[place.stat().st_uid] * 2)
    lock = create_locked(site.state / "builds/seed-alive.flock")

    await site.prune(everything=True)

    assert [os.listdir(place) for place in places] == [[".alive.part"]] * 2
    os.close(lock)
