"""Mirrors: a real pull-through cache, and some that are down, slow, stale or lying."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asynckaniko.errors import IntegrityError, NotFound, RegistryError
from asynckaniko.oci.reference import Reference, Repository
from asynckaniko.registry.client import RegistryClient
from tests.integration.registry.clients import (
    IMPATIENT,
    PLATFORM,
    Image,
    SkippedTime,
    connect,
    read,
)
from tests.integration.registry.servers import (
    Answer,
    ChangeAnswer,
    Connection,
    CutAnswer,
    FaultProxy,
    Rule,
    Script,
    StallAnswer,
)
from tests.support.registry import Registry, run_registry


@pytest.fixture
async def image(registry: Registry) -> Image:
    image = Image.make(3 << 20, 1000)
    async with connect() as client:
        await image.push(client, Reference.parse(f"{registry.host}/app:1"))
    return image


@pytest.fixture
def cache(registry: Registry, tmp_path: Path) -> Iterator[Registry]:
    with run_registry(tmp_path / "cache", mirror_of=registry.url) as server:
        yield server


async def pull(
    origin: str, *mirrors: str, time: SkippedTime | None = None, **options: Any
) -> tuple[bytes, ...]:
    """Pull the image by its mirrors; returns the layers."""
    tag = Reference.parse(f"{origin}/app:1")
    async with connect(mirrors={origin: mirrors}, time=time, **options) as client:
        image = await client.resolve(tag, PLATFORM)
        return tuple([await read(client, tag.repository, layer) for layer in image.manifest.layers])


def through(registry: Registry, mirror: str) -> RegistryClient:
    return connect(mirrors={registry.host: (f"http://{mirror}",)})


def contents(image: Image) -> tuple[bytes, ...]:
    return tuple(blob.content for blob in image.layers)


async def test_everything_comes_from_the_mirror(
    registry: Registry, cache: Registry, image: Image
) -> None:
    layers = await pull(registry.host, f"http://{cache.host}")

    assert layers == contents(image)
    assert len([r for r in cache.requests() if r.is_blob_download]) == 3


async def test_mirror_with_a_prefix_is_asked_below_it(registry: Registry, image: Image) -> None:
    mirror = Script()

    async with mirror.serve() as host:
        await pull(registry.host, f"http://{host}/hub/proxy")

    assert mirror.requests[0].path == "/v2/hub/proxy/app/manifests/1"


async def test_mirror_without_the_image_is_passed_over(registry: Registry, image: Image) -> None:
    mirror = Script().on(".*", Answer(404))

    async with mirror.serve() as host:
        assert await pull(registry.host, f"http://{host}") == contents(image)


async def test_mirror_that_is_down_is_asked_once_for_the_whole_pull(
    registry: Registry, image: Image
) -> None:
    time = SkippedTime()

    layers = await pull(registry.host, "http://127.0.0.1:1", time=time)

    assert layers == contents(image)
    assert len(time.sleeps) == 1


async def test_mirror_that_never_answers_costs_one_short_wait(
    registry: Registry, image: Image
) -> None:
    asked = 0

    async def silence(connection: Connection) -> None:
        nonlocal asked
        asked += 1
        await connection.until_gone()

    mirror = Script().on(".*", silence)
    async with mirror.serve() as host:
        layers = await pull(registry.host, f"http://{host}", retry=IMPATIENT)

    assert layers == contents(image)
    assert asked <= 2


async def test_mirror_that_refuses_for_now_is_passed_over(registry: Registry, image: Image) -> None:
    mirror = Script().on(".*", Answer(429, {"Retry-After": "3600"}))
    time = SkippedTime()

    async with mirror.serve() as host:
        assert await pull(registry.host, f"http://{host}", time=time) == contents(image)

    assert len(mirror.requests) == 1
    assert time.skipped < 5


async def test_rest_of_a_blob_comes_from_the_registry_when_the_mirror_breaks_off(
    registry: Registry, image: Image
) -> None:
    digest = image.layers[0].descriptor.digest
    mirror = FaultProxy(registry.host, Rule(f"GET .*{digest}", CutAnswer(1 << 20), times=99))

    async with mirror.serve() as host:
        mark = registry.mark()
        layers = await pull(registry.host, f"http://{host}")

    assert layers == contents(image)
    resumed = [r.size for r in registry.requests(mark) if r.path.endswith(digest)]
    assert resumed[-1] <= 2 << 20


async def test_stalling_mirror_is_left_for_the_registry(registry: Registry, image: Image) -> None:
    digest = image.layers[0].descriptor.digest
    mirror = FaultProxy(registry.host, Rule(f"GET .*{digest}", StallAnswer(1 << 20), times=99))

    async with mirror.serve() as host:
        layers = await pull(registry.host, f"http://{host}", retry=IMPATIENT)

    assert layers == contents(image)


@pytest.mark.parametrize("what", ["manifests/1", "blobs/.*"])
async def test_lying_mirror_is_not_believed_about_manifest_and_config(
    registry: Registry, image: Image, what: str
) -> None:
    lie = Rule(f"GET .*/{what}$", ChangeAnswer(flip=5), times=99)
    mirror = FaultProxy(registry.host, lie)
    tag = Reference.parse(f"{registry.host}/app:1")

    async with mirror.serve() as host, through(registry, host) as client:
        resolved = await client.resolve(tag, PLATFORM)
        asked = len(mirror.requests)
        layers = [await read(client, tag.repository, layer) for layer in resolved.manifest.layers]

    assert resolved.manifest == image.manifest
    assert tuple(layers) == contents(image)
    assert len(mirror.requests) == asked  # for good


async def test_layer_from_a_lying_mirror_is_an_error_and_the_next_try_goes_elsewhere(
    registry: Registry, image: Image
) -> None:
    layer = image.layers[0].descriptor
    mirror = FaultProxy(registry.host, Rule(f"GET .*{layer.digest}", ChangeAnswer(flip=5), 99))
    repository = Repository(registry.host, "app")

    async with mirror.serve() as host, through(registry, host) as client:
        with pytest.raises(IntegrityError, match=f"from {host}.*altered it"):
            await read(client, repository, layer)
        content = await read(client, repository, layer)

    assert content == image.layers[0].content


async def test_reader_that_verifies_itself_can_turn_away_from_mirrors(
    registry: Registry, image: Image
) -> None:
    layer = image.layers[0].descriptor
    mirror = FaultProxy(registry.host, Rule(f"GET .*{layer.digest}", ChangeAnswer(flip=5), 99))
    repository = Repository(registry.host, "app")

    async with mirror.serve() as host, through(registry, host) as client:
        damaged = await read(client, repository, layer, verify=False)
        whole = await read(client, repository, layer, verify=False, use_mirrors=False)

    assert damaged != whole == image.layers[0].content


async def test_mirrors_only_means_that_the_registry_is_not_asked(
    registry: Registry, image: Image
) -> None:
    mirror = Script().on(".*", Answer(404))
    mark = registry.mark()

    async with mirror.serve() as host:
        with pytest.raises(NotFound, match=host):
            await pull(registry.host, f"http://{host}", fall_back_to_origin=False)

    assert registry.requests(mark) == []


async def test_mirror_never_sees_the_credentials_of_the_registry(tmp_path: Path) -> None:
    mirror, origin = Script(), Script()
    mirror.on(".*", Answer(401, {"WWW-Authenticate": 'Basic realm="give"'}))
    origin.on("GET /v2/$", Answer(200)).on(
        ".*", Answer(401, {"WWW-Authenticate": 'Basic realm="give"'})
    )
    async with mirror.serve() as mirror_host, origin.serve() as host:
        auths = {host: {"auth": base64.b64encode(b"u:canary").decode()}}
        async with connect(
            auths=auths, directory=tmp_path, mirrors={host: (f"http://{mirror_host}",)}
        ) as client:
            with pytest.raises(RegistryError):
                await client.resolve(Reference.parse(f"{host}/app:1"), PLATFORM)

    assert len(mirror.requests) == 1
    assert "authorization" not in mirror.requests[0].headers
    assert origin.requests[-1].user == "u:canary"


async def test_mirror_gets_credentials_of_its_own(tmp_path: Path) -> None:
    mirror = Script().on(".*", Answer(401, {"WWW-Authenticate": 'Basic realm="give"'}))
    async with mirror.serve() as host:
        auths = {host: {"auth": base64.b64encode(b"mirror:own").decode()}}
        options: dict[str, Any] = {
            "mirrors": {"r.example": (f"http://{host}",)},
            "fall_back_to_origin": False,
        }
        async with connect(auths=auths, directory=tmp_path, **options) as client:
            with pytest.raises(RegistryError):
                await client.resolve(Reference.parse("r.example/app:1"), PLATFORM)

    assert mirror.requests[-1].user == "mirror:own"
