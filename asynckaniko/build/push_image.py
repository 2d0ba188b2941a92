"""Push an image that exists already: an OCI layout directory, or an archive of an image."""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from anyio import CapacityLimiter, create_task_group, from_thread, to_thread

from asynckaniko.build.image_archive import ArchivedImage
from asynckaniko.build.stored_image import read_image
from asynckaniko.concurrency import single_error
from asynckaniko.events import BlobPushed, EventSink, ImagePushed, ignore
from asynckaniko.oci import media_types
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.manifest import Manifest
from asynckaniko.oci.reference import Reference, Repository
from asynckaniko.records import dataclass
from asynckaniko.registry.client import Blob, RegistryClient
from asynckaniko.settings import Settings
from asynckaniko.store.blobs import BlobFile


@dataclass(frozen=True, slots=True)
class PushedImage:
    """What was pushed, and as what."""

    digest: Digest
    references: tuple[str, ...]


async def push_image(
    source: Path,
    references: Sequence[str],
    *,
    settings: Settings,
    check_push: bool = True,
    on_event: EventSink = ignore,
) -> PushedImage:
    """Push the one image at `source` to every reference.

    `check_push` asks every registry whether it will take the image before any byte is sent.

    Raises:
        InvalidReference: a destination is none.
        InvalidInput: there is nothing, or nothing of a known form, or more than one image.
        IntegrityError: the image is damaged.
        RegistryError: a registry refused or broke.
    """
    targets = [Reference.parse(text) for text in references]
    disk = CapacityLimiter(settings.limits.disk_threads)
    with tempfile.TemporaryDirectory(prefix="asynckaniko-") as scratch:
        checkpoint = from_thread.check_cancelled
        read = partial(read_image, source, Path(scratch), checkpoint=checkpoint)
        image = await to_thread.run_sync(read, limiter=disk)
        async with RegistryClient.of(settings) as registry:
            if check_push:
                await check_destinations(registry, targets, emit=on_event)
            await _Push(image, registry, disk, on_event).run(targets)
    digest = image.manifest.descriptor.digest
    return PushedImage(digest, tuple(map(str, targets)))


class _Push:
    def __init__(
        self,
        image: ArchivedImage,
        registry: RegistryClient,
        disk: CapacityLimiter,
        emit: EventSink,
    ) -> None:
        self._image = image
        self._registry = registry
        self._disk = disk
        self._emit = emit

    async def run(self, references: Sequence[Reference]) -> None:
        repositories: dict[Repository, list[Reference]] = defaultdict(list)
        for reference in references:
            repositories[reference.repository].append(reference)
        with single_error():
            async with create_task_group() as tasks:
                for repository, tags in repositories.items():
                    tasks.start_soon(self._push, repository, tags)

    async def _push(self, repository: Repository, references: Sequence[Reference]) -> None:
        manifest = self._image.manifest
        await push_blobs(self._registry, repository, manifest, self._blob, emit=self._emit)
        for reference in references:
            await self._registry.push_manifest(
                reference, manifest.content, manifest.media_type, emit=self._emit
            )
            self._emit(ImagePushed(str(reference), manifest.descriptor.digest))

    def _blob(self, descriptor: Descriptor) -> Blob:
        return BlobFile(descriptor, self._image.files[descriptor.digest], disk=self._disk)


async def check_destinations(
    registry: RegistryClient, references: Sequence[Reference], *, emit: EventSink
) -> None:
    """Find out whether every repository may be pushed to. Raises RegistryError."""
    with single_error():
        async with create_task_group() as tasks:
            for repository in {reference.repository for reference in references}:
                tasks.start_soon(partial(registry.check_push, repository, emit=emit))


async def push_blobs(
    registry: RegistryClient,
    repository: Repository,
    manifest: Manifest,
    open_blob: Callable[[Descriptor], Blob],
    *,
    mount_from: Sequence[Repository] = (),
    emit: EventSink,
) -> None:
    """Bring config and layers of an image into a repository, all at once.

    Raises:
        RegistryError, IntegrityError: what pushing or the source of a blob meets.
    """

    async def push(blob: Blob) -> None:
        started = time.monotonic()
        route = await registry.push_blob(repository, blob, mount_from=mount_from, emit=emit)
        target, seconds = blob.descriptor, time.monotonic() - started
        emit(BlobPushed(str(repository), target.digest, target.size, route, seconds))

    blobs = {
        descriptor.digest: descriptor
        for descriptor in (manifest.config, *manifest.layers)
        if not media_types.is_foreign(descriptor.media_type)
    }
    with single_error():
        async with create_task_group() as tasks:
            for descriptor in blobs.values():
                tasks.start_soon(push, open_blob(descriptor))
