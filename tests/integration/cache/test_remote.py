"""A cache in a real registry: what is asked of it, and what happens when it is damaged."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anyio import create_task_group

from asynckaniko import Builder, BuildRequest, BuildResult, OciLayout, Push, Settings
from asynckaniko.build.request import Cache
from asynckaniko.events import BuildWarning, Event, LayerPulled, StepFinished
from tests.support.images import Image, read_layout
from tests.support.registry import Registry

DOCKERFILE = """\
FROM {base} AS tools
RUN echo tool > /tool
FROM {base}
WORKDIR /work
COPY a.txt a.txt
COPY --from=tools /tool /tool
RUN cat /tool a.txt > all
CMD ["cat", "all"]
"""


class Site:
    """A context, and a base image and a cache in one registry."""

    def __init__(self, registry: Registry, image: Image, directory: Path) -> None:
        self.registry = registry
        image.push(registry, "library/busybox")
        self.directory = directory
        self.context = directory / "context"
        self.context.mkdir()
        (self.context / "a.txt").write_text("a\n")
        base = f"{registry.host}/library/busybox"
        (self.context / "Dockerfile").write_text(DOCKERFILE.format(base=base))
        self.events: list[Event] = []

    async def build(self, state: str, **changes: Any) -> BuildResult:
        """Build with an own state directory; `events` are those of the latest build."""
        self.events = []
        options: dict[str, Any] = {
            "cache": Cache(
                repository=f"{self.registry.host}/team/cache", local=False, copy_layers=True
            ),
            "outputs": (Push(reference=f"{self.registry.host}/team/app:{state}"),),
            "source_date_epoch": 1_700_000_000,
        }
        request = BuildRequest(context=str(self.context), **{**options, **changes})
        async with Builder(Settings(state_dir=self.directory / state)) as builder:
            return await builder.build(request, on_event=self.events.append)

    def cached(self) -> list[bool]:
        """Say of each step with a layer whether a cache had it."""
        kinds = ("RUN", "COPY", "WORKDIR")
        steps = [event for event in self.events if isinstance(event, StepFinished)]
        return [s.cached for s in steps if s.step.instruction.startswith(kinds)]


@pytest.fixture
def site(registry: Registry, busybox_image: Image, tmp_path: Path) -> Site:
    return Site(registry, busybox_image, tmp_path)


async def test_another_machine_builds_the_same_without_a_layer(site: Site) -> None:
    cold = await site.build("cold")
    assert not any(site.cached())
    seen = site.registry.mark()

    warm = await site.build("warm")

    assert warm.digest == cold.digest
    assert all(site.cached())
    assert not any(isinstance(event, LayerPulled) for event in site.events)
    requests = site.registry.requests(since=seen)
    layers = {layer.digest for layer in warm.manifest.layers}
    fetched = [r for r in requests if r.method == "GET" and r.path.rpartition("/")[2] in layers]
    assert fetched == []
    assert [r for r in requests if r.method in {"PATCH", "DELETE"} and "cache" in r.path] == []


async def test_stage_whose_readers_all_hit_is_not_built(site: Site) -> None:
    await site.build("cold")

    await site.build("warm")

    built = {event.step.stage for event in site.events if isinstance(event, StepFinished)}
    assert built == {"1"}


async def test_two_executors_may_race_for_one_key(site: Site) -> None:
    results: list[BuildResult] = []

    async def build(state: str) -> None:
        results.append(await Site.build(site, state))

    async with create_task_group() as executors:
        executors.start_soon(build, "one")
        executors.start_soon(build, "two")
    third = await site.build("three")

    assert all(site.cached())
    # Of each key the last writer's layer is there, whosever that is.
    made = {layer.digest for result in results for layer in result.manifest.layers}
    assert {layer.digest for layer in third.manifest.layers} <= made


def lose(registry: Registry, digest: str) -> None:
    blob_file(registry, digest).unlink()


def garble(registry: Registry, digest: str) -> None:
    file = blob_file(registry, digest)
    file.write_bytes(bytes(file.stat().st_size))


def blob_file(registry: Registry, digest: str) -> Path:
    name = digest.partition(":")[2]
    blobs = registry.log.parent / "data" / "docker" / "registry" / "v2" / "blobs" / "sha256"
    return blobs / name[:2] / name / "data"


@pytest.mark.parametrize("damage", [lose, garble])
async def test_damaged_layer_of_a_cache_is_built_again(
    site: Site, damage: Callable[[Registry, str], None]
) -> None:
    """Each layer of the cache in turn, with a last step that looks at all files."""
    latest = await site.build("cold")
    dockerfile = site.context / "Dockerfile"
    text = dockerfile.read_text()
    for number in range(1, 5):
        damage(site.registry, latest.manifest.layers[number].digest)
        dockerfile.write_text(text + f"RUN cat /tool a.txt > n{number}\n")
        outputs = (OciLayout(path=site.directory / f"out{number}"),)

        latest = await site.build(f"damaged{number}", outputs=outputs)

        image = read_layout(site.directory / f"out{number}")
        assert image.tree[f"work/n{number}"].content == b"tool\na\n"
        warnings = [e.message for e in site.events if isinstance(e, BuildWarning)]
        assert any("cached layer is not used" in text for text in warnings)


async def test_cache_that_cannot_be_reached_costs_a_warning(site: Site, tmp_path: Path) -> None:
    nowhere = Cache(repository="127.0.0.1:9/team/cache", local=False, copy_layers=True)

    result = await site.build("unreachable", cache=nowhere)

    assert result.digest
    assert any(isinstance(event, BuildWarning) for event in site.events)
