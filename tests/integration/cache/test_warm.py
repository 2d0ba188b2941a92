"""The warmer: what it leaves in its directory, and what it does not do twice."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from anyio import create_task_group

from asynckaniko.build.warm import WarmedImage, WarmRequest, warm
from asynckaniko.errors import NotFound
from asynckaniko.settings import Settings
from tests.support.images import Image, digest
from tests.support.registry import Registry

BLOBS = "blobs/sha256"


class Volume:
    """A directory for base images, and a registry that has one."""

    def __init__(self, registry: Registry, image: Image, directory: Path) -> None:
        self.registry = registry
        self.directory = directory
        image.push(registry, "library/busybox")
        self.name = f"{registry.host}/library/busybox"
        self.digest = digest(image.manifest)
        self.layout = directory / self.digest

    async def warm(self, *images: str, **options: Any) -> list[WarmedImage]:
        request = WarmRequest(directory=self.directory, images=images, **options)
        return await warm(request, settings=Settings())

    def downloads(self, since: int = 0) -> int:
        return sum(request.is_blob_download for request in self.registry.requests(since))


@pytest.fixture
def volume(registry: Registry, busybox_image: Image, tmp_path: Path) -> Volume:
    return Volume(registry, busybox_image, tmp_path / "cache")


async def test_image_becomes_a_layout_named_by_its_digest(
    volume: Volume, busybox_image: Image
) -> None:
    (image,) = await volume.warm(volume.name)

    assert (image.state, image.digest) == ("fetched", volume.digest)
    index = json.loads((volume.layout / "index.json").read_bytes())
    assert [entry["digest"] for entry in index["manifests"]] == [volume.digest]
    held = {path.name: path.read_bytes() for path in (volume.layout / BLOBS).iterdir()}
    assert held == {
        name.removeprefix("sha256:"): content
        for name, content in {**busybox_image.blobs, volume.digest: busybox_image.manifest}.items()
    }
    assert not (volume.directory / ".warming").exists()


async def test_image_that_is_there_is_not_downloaded_again(volume: Volume) -> None:
    await volume.warm(volume.name)
    seen = volume.registry.mark()

    (image,) = await volume.warm(volume.name)

    assert image.state == "present"
    assert not any(r.is_blob_download and r.size > 5000 for r in volume.registry.requests(seen))


async def test_digest_that_is_there_asks_no_registry(volume: Volume) -> None:
    reference = f"{volume.name}@{volume.digest}"
    await volume.warm(reference)
    seen = volume.registry.mark()

    assert [image.state for image in await volume.warm(reference)] == ["present"]
    assert volume.registry.requests(seen) == []


async def test_force_downloads_what_is_there(volume: Volume) -> None:
    await volume.warm(volume.name)
    before = (volume.layout / "index.json").stat().st_ino

    (image,) = await volume.warm(volume.name, force=True)

    assert image.state == "fetched"
    assert (volume.layout / "index.json").stat().st_ino != before


async def test_damaged_image_is_downloaded_again(volume: Volume, busybox_image: Image) -> None:
    await volume.warm(volume.name)
    layer = json.loads(busybox_image.manifest)["layers"][0]["digest"]
    blob = volume.layout / BLOBS / layer.removeprefix("sha256:")
    blob.write_bytes(b"short")

    (image,) = await volume.warm(volume.name)

    assert image.state == "fetched"
    assert blob.read_bytes() == busybox_image.blobs[layer]


async def test_old_image_is_checked_and_becomes_new(volume: Volume, busybox_image: Image) -> None:
    await volume.warm(volume.name)
    os.utime(volume.layout, (1, 1))

    assert [image.state for image in await volume.warm(volume.name)] == ["present"]
    assert volume.layout.stat().st_mtime > 1

    layer = json.loads(busybox_image.manifest)["layers"][0]["digest"]
    blob = volume.layout / BLOBS / layer.removeprefix("sha256:")
    blob.write_bytes(bytes(blob.stat().st_size))
    os.utime(volume.layout, (1, 1))

    assert [image.state for image in await volume.warm(volume.name)] == ["fetched"]
    assert blob.read_bytes() == busybox_image.blobs[layer]


async def test_warmers_on_one_volume_do_the_work_once(volume: Volume) -> None:
    results: list[WarmedImage] = []

    async def one() -> None:
        results.extend(await volume.warm(volume.name))

    async with create_task_group() as warmers:
        for _ in range(3):
            warmers.start_soon(one)

    assert sorted(image.state for image in results) == ["fetched", "present", "present"]


async def test_draft_of_a_warmer_that_was_killed_is_no_obstacle(volume: Volume) -> None:
    blobs = volume.directory / ".warming" / volume.digest / BLOBS
    blobs.mkdir(parents=True)
    (blobs / "ingest-x").write_bytes(b"half")

    (image,) = await volume.warm(volume.name)

    assert image.state == "fetched"
    assert not list((volume.layout / BLOBS).glob("ingest-*"))


async def test_one_image_that_does_not_exist_does_not_stop_the_others(volume: Volume) -> None:
    missing = f"{volume.registry.host}/nothing/here"

    first, second = await volume.warm(missing, volume.name)

    assert first.state == "failed"
    assert isinstance(first.error, NotFound)
    assert second.state == "fetched"


async def test_from_lines_of_a_dockerfile_name_images(volume: Volume, tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(
        f"ARG REGISTRY=nowhere.invalid\nFROM $REGISTRY/library/busybox AS one\nFROM one AS two\n"
        f"FROM scratch\nFROM {volume.name}\n"
    )

    images = await volume.warm(dockerfile=str(file), build_args={"REGISTRY": volume.registry.host})

    assert [(image.reference, image.state) for image in images] == [(volume.name, "fetched")]
