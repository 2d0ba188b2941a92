"""Pull and push against docker-registry, without faults."""

import anyio
import orjson
import pytest

from asynckaniko.concurrency import single_error
from asynckaniko.errors import IntegrityError, NoMatchingPlatform, NotFound, RegistryRejected
from asynckaniko.events import BlobRoute
from asynckaniko.oci import media_types
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Reference, Repository
from asynckaniko.registry.client import RegistryClient, ResolvedImage
from asynckaniko.settings import Limits
from tests.integration.registry.clients import PLATFORM, Image, MemoryBlob, connect, noise, read
from tests.support.registry import Registry


def reference(registry: Registry, name: str) -> Reference:
    return Reference.parse(f"{registry.host}/{name}")


async def test_image_that_was_pushed_can_be_pulled(registry: Registry) -> None:
    image, tag = Image.make(3 << 20, 0, 100), reference(registry, "team/app:1")

    async with connect() as client:
        await image.push(client, tag)
        resolved = await client.resolve(tag, PLATFORM)
        layers = [await read(client, tag.repository, layer) for layer in resolved.manifest.layers]

    assert resolved.manifest == image.manifest
    assert resolved.descriptor == image.manifest.descriptor
    assert resolved.config == image.config.content
    assert resolved.repository == tag.repository
    assert layers == [blob.content for blob in image.layers]


async def test_image_is_found_by_digest(registry: Registry) -> None:
    image, tag = Image.make(10), reference(registry, "app:1")
    by_digest = tag.with_digest(image.manifest.descriptor.digest)

    async with connect() as client:
        await image.push(client, tag)
        resolved = await client.resolve(by_digest, PLATFORM)

    assert resolved.manifest == image.manifest


async def test_digest_is_pushed_without_a_tag(registry: Registry) -> None:
    image = Image.make(10)
    by_digest = reference(registry, f"app@{image.manifest.descriptor.digest}")

    async with connect() as client:
        await image.push(client, by_digest)
        resolved = await client.resolve(by_digest, PLATFORM)

    assert resolved.manifest == image.manifest
    assert not registry.has("app", "latest")


async def push_index(
    client: RegistryClient, registry: Registry, platforms: dict[str, Image]
) -> Reference:
    tag = reference(registry, "app:multi")
    entries = []
    for name, image in platforms.items():
        await image.push(client, tag.with_digest(image.manifest.descriptor.digest))
        entry = image.manifest.descriptor.to_json()
        entries.append(entry | {"platform": Platform.parse(name).to_json()})
    document = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": entries}
    await client.push_manifest(tag, orjson.dumps(document), media_types.OCI_INDEX)
    return tag


async def test_platform_is_chosen_from_an_index(registry: Registry) -> None:
    arm = Image.make(10, platform=Platform.parse("linux/arm64"), seed=1)

    async with connect() as client:
        tag = await push_index(
            client, registry, {"linux/amd64": Image.make(10), "linux/arm64": arm}
        )
        resolved = await client.resolve(tag, Platform.parse("linux/arm64"))

    assert resolved.manifest == arm.manifest
    assert resolved.config == arm.config.content


async def test_platform_that_is_not_in_the_index_is_named_with_those_that_are(
    registry: Registry,
) -> None:
    async with connect() as client:
        tag = await push_index(client, registry, {"linux/amd64": Image.make(10)})

        with pytest.raises(NoMatchingPlatform, match=r"linux/s390x; it has linux/amd64"):
            await client.resolve(tag, Platform.parse("linux/s390x"))


@pytest.mark.parametrize("name", ["missing:1", f"missing@sha256:{'0' * 64}"])
async def test_missing_image_is_not_found(registry: Registry, name: str) -> None:
    async with connect() as client:
        with pytest.raises(NotFound, match=f"{registry.host}/v2/missing/.* HTTP 404") as caught:
            await client.resolve(reference(registry, name), PLATFORM)

    assert caught.value.codes[0] in ("MANIFEST_UNKNOWN", "NAME_UNKNOWN")


async def test_missing_blob_is_not_found(registry: Registry) -> None:
    missing = Descriptor(media_types.OCI_LAYER, Digest.of(b"missing"), 7)

    async with connect() as client:
        with pytest.raises(NotFound, match="BLOB_UNKNOWN"):
            await read(client, Repository(registry.host, "app"), missing)


async def test_foreign_layer_is_not_fetched_from_elsewhere(registry: Registry) -> None:
    foreign = Descriptor(
        media_types.DOCKER_FOREIGN_LAYER,
        Digest.of(b"foreign"),
        7,
        urls=("https://elsewhere.example/layer",),
    )

    async with connect() as client:
        with pytest.raises(Exception, match="foreign layer; fetching it from the URLs"):
            await read(client, Repository(registry.host, "app"), foreign)


async def test_blob_is_uploaded_once_and_then_mounted(registry: Registry) -> None:
    blob = MemoryBlob(noise(1 << 20))
    first, second = Repository(registry.host, "first"), Repository(registry.host, "second")

    async with connect() as client:
        routes = [
            await client.push_blob(first, blob),
            await client.push_blob(first, blob),
            await client.push_blob(second, blob, mount_from=[first]),
        ]

    assert routes == [BlobRoute.UPLOADED, BlobRoute.EXISTED, BlobRoute.MOUNTED]
    assert blob.opened == [0]
    assert registry.blob("second", blob.descriptor.digest) == blob.content


async def test_blob_that_cannot_be_mounted_is_uploaded(registry: Registry) -> None:
    blob = MemoryBlob(noise(1000))
    sources = [Repository(registry.host, name) for name in ("a", "b", "app")]
    sources += [Repository("other.example", "app")]

    async with connect() as client:
        route = await client.push_blob(Repository(registry.host, "app"), blob, mount_from=sources)

    assert route == BlobRoute.UPLOADED
    assert registry.blob("app", blob.descriptor.digest) == blob.content


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3 << 20])
async def test_blob_is_sent_in_chunks_where_they_are_asked_for(
    registry: Registry, size: int
) -> None:
    blob = MemoryBlob(noise(size))

    async with connect(chunk_size=1 << 20) as client:
        await client.push_blob(Repository(registry.host, "app"), blob)

    assert registry.blob("app", blob.descriptor.digest) == blob.content
    patches = [r for r in registry.requests() if r.method == "PATCH"]
    assert len(patches) == -(-size // (1 << 20))


async def test_same_blob_pushed_at_once_is_one_upload(registry: Registry) -> None:
    blobs = [MemoryBlob(noise(1 << 20)) for _ in range(5)]
    routes: list[str] = []

    async def push(client: RegistryClient, blob: MemoryBlob) -> None:
        routes.append(await client.push_blob(Repository(registry.host, "app"), blob))

    async with connect() as client, anyio.create_task_group() as pushes:
        for blob in blobs:
            pushes.start_soon(push, client, blob)

    assert sum(len(blob.opened) for blob in blobs) == 1
    assert routes == [BlobRoute.UPLOADED] * 5


class BrokenBlob(MemoryBlob):
    async def chunks(self, offset: int):  # type: ignore[no-untyped-def]
        self.opened.append(offset)
        yield self.content[:10]
        raise IntegrityError("the source is broken")


async def test_broken_source_of_another_caller_does_not_fail_a_whole_one(
    registry: Registry,
) -> None:
    broken, whole = BrokenBlob(noise(1000)), MemoryBlob(noise(1000))
    outcomes: dict[str, object] = {}

    async def push(client: RegistryClient, name: str, blob: MemoryBlob) -> None:
        try:
            outcomes[name] = await client.push_blob(Repository(registry.host, "app"), blob)
        except IntegrityError as error:
            outcomes[name] = str(error)

    async with connect() as client, anyio.create_task_group() as pushes:
        pushes.start_soon(push, client, "broken", broken)
        pushes.start_soon(push, client, "whole", whole)

    assert outcomes == {"broken": "the source is broken", "whole": BlobRoute.UPLOADED}


class Liar(MemoryBlob):
    """Says that it is `size` bytes long, and of another digest than it is."""

    def __init__(self, content: bytes, size: int) -> None:
        super().__init__(content)
        self.size = size

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, Digest.of(b"another"), self.size)


async def test_source_that_ends_early_is_an_error_of_ours(registry: Registry) -> None:
    async with connect() as client:
        with pytest.raises(IntegrityError, match="ended after 999 of 1000 bytes"):
            await client.push_blob(Repository(registry.host, "app"), Liar(noise(999), 1000))


async def test_error_of_the_source_is_not_taken_for_one_of_the_registry(
    registry: Registry,
) -> None:
    class Gone(MemoryBlob):
        async def chunks(self, offset: int):  # type: ignore[no-untyped-def]
            self.opened.append(offset)
            yield self.content[:10]
            raise NotFound("GET", "https://source.example/v2/base/blobs/x", 404)

    gone = Gone(noise(1000))

    async with connect() as client:
        with pytest.raises(NotFound, match=r"source\.example"):
            await client.push_blob(Repository(registry.host, "app"), gone)

    assert gone.opened == [0]


async def test_source_with_another_digest_is_refused_after_a_second_try(
    registry: Registry,
) -> None:
    liar = Liar(noise(1000), 1000)

    async with connect() as client:
        with pytest.raises(RegistryRejected, match="DIGEST_INVALID"):
            await client.push_blob(Repository(registry.host, "app"), liar)

    assert liar.opened == [0, 0]


async def test_same_image_resolved_at_once_is_fetched_once(registry: Registry) -> None:
    image, tag = Image.make(10), reference(registry, "app:1")
    resolved: list[ResolvedImage] = []

    async def resolve(client: RegistryClient) -> None:
        resolved.append(await client.resolve(tag, PLATFORM))

    async with connect() as client:
        await image.push(client, tag)
        mark = registry.mark()
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(resolve, client)

    assert len(resolved) == 10
    gets = [r.path for r in registry.requests(mark) if r.method == "GET"]
    assert gets == ["/v2/app/manifests/1", f"/v2/app/blobs/{image.config.descriptor.digest}"]


async def test_downloads_are_bounded(registry: Registry) -> None:
    blob, repository = MemoryBlob(noise(1000)), Repository(registry.host, "app")
    open_now = most = 0

    async def download(client: RegistryClient) -> None:
        nonlocal open_now, most
        async with client.read_blob(repository, blob.descriptor):
            open_now += 1
            most = max(most, open_now)
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
            open_now -= 1

    async with connect(limits=Limits(downloads=2)) as client:
        await client.push_blob(repository, blob)
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(download, client)

    assert most == 2


async def test_image_is_resolved_while_all_downloads_are_busy(registry: Registry) -> None:
    image, tag = Image.make(1000), reference(registry, "app:1")

    async with connect(limits=Limits(downloads=1)) as client:
        await image.push(client, tag)
        async with client.read_blob(tag.repository, image.layers[0].descriptor):
            resolved = await client.resolve(tag, PLATFORM)

    assert resolved.config == image.config.content


async def test_manifest_over_the_limit_is_refused(registry: Registry) -> None:
    image, tag = Image.make(10), reference(registry, "app:1")

    async with connect(limits=Limits(manifest_size=100)) as client:
        await image.push(client, tag)
        with pytest.raises(IntegrityError, match="larger than 100 bytes"):
            await client.resolve(tag, PLATFORM)


async def test_config_over_the_limit_is_not_fetched(registry: Registry) -> None:
    image, tag = Image.make(10), reference(registry, "app:1")

    async with connect(limits=Limits(config_size=10)) as client:
        await image.push(client, tag)
        with pytest.raises(IntegrityError, match="the limit is 10"):
            await client.resolve(tag, PLATFORM)


async def test_image_with_too_many_layers_is_refused(registry: Registry) -> None:
    image, tag = Image.make(1, 2, 3), reference(registry, "app:1")

    async with connect(limits=Limits(layers=2)) as client:
        await image.push(client, tag)
        with pytest.raises(IntegrityError, match="3 layers, the limit is 2"):
            await client.resolve(tag, PLATFORM)


async def test_push_permission_is_checked_without_a_trace(registry: Registry) -> None:
    async with connect() as client:
        await client.check_push(Repository(registry.host, "app"))

    methods = [(r.method, r.status) for r in registry.requests() if "/uploads/" in r.path]
    assert methods == [("POST", 202), ("DELETE", 204)]


async def test_error_of_the_caller_leaves_the_client_as_it_is(registry: Registry) -> None:
    with pytest.raises(ValueError, match="mine"), single_error():
        async with connect() as client:
            await client.check_push(Repository(registry.host, "app"))
            raise ValueError("mine")
