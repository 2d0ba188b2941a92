"""Push an image that exists already: an OCI layout directory, or an archive of an image."""

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from anyio import CapacityLimiter, create_task_group, from_thread, to_thread

from asynckaniko.build.image_archive import ArchivedImage, unpack
from asynckaniko.concurrency import Checkpoint, single_error
from asynckaniko.errors import InvalidInput, host_error
from asynckaniko.events import BlobPushed, EventSink, ImagePushed, ignore
from asynckaniko.oci import media_types
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Reference, Repository
from asynckaniko.registry.client import RegistryClient
from asynckaniko.settings import Settings
from asynckaniko.store.blobs import BlobFile
from asynckaniko.store.layout import LayoutReader


@dataclass(frozen=True, slots=True)
class PushedImage:
    """What was pushed, and as what."""

    digest: Digest
    references: tuple[str, ...]


async def push_image(
    source: Path,
    references: Sequence[Reference],
    *,
    settings: Settings,
    check_push: bool = True,
    on_event: EventSink = ignore,
) -> PushedImage:
    """Push the one image at `source` to every reference.

    `check_push` asks every registry whether it will take the image before any byte is sent.

    Raises:
        InvalidInput: there is nothing, or nothing of a known form, or more than one image.
        IntegrityError: the image is damaged.
        RegistryError: a registry refused or broke.
    """
    disk = CapacityLimiter(settings.limits.disk_threads)
    with tempfile.TemporaryDirectory(prefix="asynckaniko-") as scratch:
        read = partial(_read, source, Path(scratch), from_thread.check_cancelled)
        image = await to_thread.run_sync(read, limiter=disk)
        client = RegistryClient(
            settings.registry,
            retry=settings.retry,
            limits=settings.limits,
            auth_files=settings.auth_files,
            credentials=settings.credentials,
        )
        async with client as registry:
            push = _Push(image, registry, disk, on_event)
            if check_push:
                await push.check(references)
            await push.run(references)
    digest = image.manifest.descriptor.digest
    return PushedImage(digest, tuple(str(reference) for reference in references))


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

    async def check(self, references: Sequence[Reference]) -> None:
        with single_error():
            async with create_task_group() as tasks:
                for repository in {reference.repository for reference in references}:
                    check = partial(self._registry.check_push, repository, emit=self._emit)
                    tasks.start_soon(check)

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
        blobs = {
            descriptor.digest: BlobFile(
                descriptor, self._image.files[descriptor.digest], disk=self._disk
            )
            for descriptor in (manifest.config, *manifest.layers)
            if not media_types.is_foreign(descriptor.media_type)
        }
        async with create_task_group() as tasks:
            for blob in blobs.values():
                tasks.start_soon(self._push_blob, repository, blob)
        for reference in references:
            await self._registry.push_manifest(
                reference, manifest.content, manifest.media_type, emit=self._emit
            )
            self._emit(ImagePushed(str(reference), manifest.descriptor.digest))

    async def _push_blob(self, repository: Repository, blob: BlobFile) -> None:
        started = time.monotonic()
        route = await self._registry.push_blob(repository, blob, emit=self._emit)
        target, seconds = blob.descriptor, time.monotonic() - started
        self._emit(BlobPushed(str(repository), target.digest, target.size, route, seconds))


def _read(source: Path, scratch: Path, checkpoint: Checkpoint) -> ArchivedImage:
    with _host_errors():
        if source.is_dir():
            return _from_layout(source)
        if not source.is_file():
            raise InvalidInput(f"there is nothing to push at {source}")
        members = unpack(source, scratch, checkpoint=checkpoint)
        image = members.docker_image(checkpoint=checkpoint)
        if image is None:
            layout = members.layout()
            if layout is None:
                raise InvalidInput(
                    f"{source} is no archive of an image: it has neither manifest.json "
                    "(docker save) nor index.json (OCI layout)"
                )
            image = _from_layout(layout)
        return image


def _from_layout(directory: Path) -> ArchivedImage:
    reader = LayoutReader(directory)
    manifest = reader.open("", Platform.host())
    files = {
        descriptor.digest: reader.blob_path(descriptor.digest)
        for descriptor in (manifest.config, *manifest.layers)
    }
    missing = [
        layer.digest
        for layer in (manifest.config, *manifest.layers)
        if not files[layer.digest].is_file() and not media_types.is_foreign(layer.media_type)
    ]
    if missing:
        raise InvalidInput(f"OCI layout {directory}: blob {missing[0]} is missing")
    return ArchivedImage(manifest, files)


@contextmanager
def _host_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise host_error(error) from error
