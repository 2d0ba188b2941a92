"""Warm: bring base images into a directory that builds share, before they ask for them."""

import fcntl
import hashlib
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Literal

from anyio import CapacityLimiter, create_task_group, sleep, to_thread

from asynckaniko.concurrency import single_error
from asynckaniko.errors import AsynckanikoError, HostError
from asynckaniko.events import (
    BaseResolved,
    BuildWarning,
    EventSink,
    LayerPulled,
    LayerPullStarted,
    ignore,
)
from asynckaniko.oci import media_types
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Reference
from asynckaniko.records import dataclass
from asynckaniko.registry.client import RegistryClient, ResolvedImage
from asynckaniko.settings import Settings
from asynckaniko.store.base_directory import BaseDirectory
from asynckaniko.store.blobs import BlobStore

_LOCK_POLL_SECONDS = 0.1
_MOST_PIECES = 512
"""For one call; the system's own limit is 1,024."""
_IMAGES = 4
"""Images at a time; their layers share the limit on downloads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmRequest:
    """Which images to bring where."""

    directory: Path
    images: tuple[str, ...] = ()
    dockerfile: str = ""
    """A path or http(s) URL: the images of its FROM lines."""
    build_args: dict[str, str] = field(default_factory=dict)
    platform: str = ""
    """`os/arch[/variant]`; empty means this machine's."""
    force: bool = False
    """Download what is there, too."""
    ttl_seconds: float = 336 * 3600.0


@dataclass(frozen=True, slots=True)
class WarmedImage:
    """What became of one image. `digest` is that of its manifest, if it is known."""

    reference: str
    state: Literal["fetched", "present", "failed"]
    digest: Digest | None = None
    error: AsynckanikoError | None = None


async def warm(
    request: WarmRequest, *, settings: Settings, on_event: EventSink = ignore
) -> list[WarmedImage]:
    """Bring all images of the request into its directory; one that fails does not stop the others.

    Raises:
        ContextError, DockerfileError: the Dockerfile cannot be read.
        HostError: the directory cannot be made.
    """
    disk = CapacityLimiter(settings.limits.disk_threads)
    try:
        request.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(f"base image directory {request.directory}: {error.strerror}") from error
    wanted = await _wanted(request, settings, disk, on_event)
    client = RegistryClient.of(settings)
    with single_error():
        async with client as registry:
            return await _Warmer(request, registry, disk, on_event).warm(wanted)


async def _wanted(
    request: WarmRequest, settings: Settings, disk: CapacityLimiter, emit: EventSink
) -> list[tuple[str, Platform]]:
    """List images with their platforms, each once, those that are named first."""
    platform = Platform.parse(request.platform) if request.platform else Platform.host()
    wanted = [(name, platform) for name in request.images]
    if request.dockerfile:
        # Dear to import, and of no use to those who name their images.
        lines = import_module("asynckaniko.build.from_lines")
        dockerfile = await lines.read(request.dockerfile, settings=settings, disk=disk, emit=emit)
        wanted += lines.base_images(dockerfile, build_args=request.build_args, platform=platform)
    return list(dict.fromkeys(wanted))


class _Warmer:
    def __init__(
        self,
        request: WarmRequest,
        registry: RegistryClient,
        disk: CapacityLimiter,
        emit: EventSink,
    ) -> None:
        self._force = request.force
        self._directory = BaseDirectory(request.directory, ttl_seconds=request.ttl_seconds)
        self._registry = registry
        self._disk = disk
        self._emit = emit
        self._at_once = CapacityLimiter(_IMAGES)
        self._written: set[Digest] = set()

    async def warm(self, wanted: Sequence[tuple[str, Platform]]) -> list[WarmedImage]:
        results: dict[int, WarmedImage] = {}

        async def one(position: int, name: str, platform: Platform) -> None:
            async with self._at_once:
                results[position] = await self._one(name, platform)

        async with create_task_group() as tasks:
            for position, (name, platform) in enumerate(wanted):
                tasks.start_soon(one, position, name, platform)
        return [results[position] for position in range(len(wanted))]

    async def _one(self, name: str, platform: Platform) -> WarmedImage:
        try:
            with single_error():
                return await self._bring(name, Reference.parse(name), platform)
        except AsynckanikoError as error:
            self._emit(BuildWarning(f"Error while trying to warm image: {name} {error}"))
            return WarmedImage(name, "failed", error=error)

    async def _bring(self, name: str, reference: Reference, platform: Platform) -> WarmedImage:
        directory = self._directory
        if reference.digest and not self._force:
            find = partial(directory.find, reference.digest, platform)
            known = await to_thread.run_sync(find, limiter=self._disk)
            if known is not None:
                return WarmedImage(name, "present", known.manifest.descriptor.digest)
        started = time.monotonic()
        image = await self._registry.resolve(reference, platform, emit=self._emit)
        digest, layers = image.descriptor.digest, image.manifest.layers
        size = sum(layer.size for layer in layers)
        seconds = time.monotonic() - started
        self._emit(BaseResolved(str(reference), digest, len(layers), size, seconds))
        async with self._locked(digest):
            if await to_thread.run_sync(self._is_present, digest, platform, limiter=self._disk):
                state: Literal["fetched", "present"] = "present"
            else:
                await self._write(image)
                state = "fetched"
            for index in image.indexes:
                await to_thread.run_sync(directory.add_index, index, limiter=self._disk)
        return WarmedImage(name, state, digest)

    def _is_present(self, digest: Digest, platform: Platform) -> bool:
        """Tell whether an image need not be downloaded; renew it if it only became old.

        The registry has just said that this is the image, so nothing but damage is a reason.
        """
        if self._force and digest not in self._written:
            return False
        found = self._directory.read(digest, platform)
        if found is None:
            return False
        if self._directory.is_expired(digest):
            for layer in found.manifest.layers:
                if media_types.is_foreign(layer.media_type):
                    continue
                with found.layout.blob_path(layer.digest).open("rb") as file:
                    actual = hashlib.file_digest(file, "sha256").hexdigest()
                if actual != layer.digest.hex:
                    return False
            self._directory.renew(digest)
        return True

    async def _write(self, image: ResolvedImage) -> None:
        digest = image.descriptor.digest
        try:
            blobs = BlobStore(
                await to_thread.run_sync(self._directory.draft, digest, limiter=self._disk),
                disk=self._disk,
            )
            async with create_task_group() as downloads:
                for layer in {layer.digest: layer for layer in image.manifest.layers}.values():
                    if not media_types.is_foreign(layer.media_type):
                        downloads.start_soon(self._download, image, layer, blobs)
            name = str(image.reference)
            add = partial(self._directory.add, image.manifest, image.config, name=name)
            await to_thread.run_sync(add, limiter=self._disk)
            self._written.add(digest)
        finally:
            self._directory.discard(digest)

    async def _download(self, image: ResolvedImage, layer: Descriptor, blobs: BlobStore) -> None:
        started = time.monotonic()
        self._emit(LayerPullStarted(layer.digest, layer.size))
        with blobs.ingest(layer.digest) as ingest:
            write = partial(_write_all, ingest.file)
            await self._registry.save_blob(image.repository, layer, write, emit=self._emit)
            ingest.commit()
        seconds = time.monotonic() - started
        self._emit(LayerPulled(layer.digest, layer.size, seconds, unpacked=False))

    @asynccontextmanager
    async def _locked(self, digest: Digest) -> AsyncIterator[None]:
        """Be the only warmer of an image, among those of all processes on the volume."""
        path = self._directory.lock_path(digest)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await sleep(_LOCK_POLL_SECONDS)
            yield
        finally:
            os.close(file)


def _write_all(file: int, pieces: Sequence[bytes]) -> None:
    """Write pieces of about a mebibyte together, with one call if the system takes them all."""
    try:
        written = os.writev(file, pieces[:_MOST_PIECES])
        if written < sum(map(len, pieces)):
            rest = memoryview(b"".join(pieces))[written:]
            while rest:
                rest = rest[os.write(file, rest) :]
    except OSError as error:
        raise HostError(f"base image directory: {error.strerror}") from error
