"""Find images and named contexts: what a name in FROM or --from stands for outside the file."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import field
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from asynckaniko.build.contexts import BuildContexts
from asynckaniko.build.sources import BaseImage, FromImage, Source
from asynckaniko.concurrency import SingleFlight
from asynckaniko.errors import ContextError, InvalidReference
from asynckaniko.events import BaseResolved, EventSink
from asynckaniko.oci.config import ImageConfig
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Reference
from asynckaniko.records import dataclass
from asynckaniko.registry.client import RegistryClient
from asynckaniko.store.base_directory import BaseDirectory, StoredImage
from asynckaniko.store.layout import LayoutReader

_LAYOUT = "oci-layout://"
_IMAGE = "docker-image://"


@dataclass(slots=True)
class ImageFinder:
    """Resolves names for one build; each image is asked for once."""

    registry: RegistryClient
    build_contexts: Mapping[str, str]
    contexts: BuildContexts
    disk: CapacityLimiter
    emit: EventSink
    flights: SingleFlight[tuple[str, Platform], FromImage]
    bases: BaseDirectory | None = None
    _found: dict[tuple[str, Platform], FromImage] = field(default_factory=dict)

    async def context(self, name: str, platform: Platform) -> Source | None:
        """Look `name` up among the named contexts, the platform's own form first.

        Raises:
            UsageError, ContextError: the context's value is none.
        """
        for key in (f"{name}::{platform}", name, *_spellings(name)):
            value = self.build_contexts.get(key)
            if value is not None:
                return await self._context(key, value, platform)
        return None

    async def _context(self, name: str, value: str, platform: Platform) -> Source:
        if value.startswith(_IMAGE):
            return await self.image(value.removeprefix(_IMAGE), platform)
        if value.startswith(_LAYOUT):
            return await self._layout(name, value, platform)
        try:
            return await self.contexts.named(value)
        except ContextError as error:
            raise ContextError(f"--build-context {name}: {error}") from error

    async def _layout(self, name: str, value: str, platform: Platform) -> FromImage:
        text = value.removeprefix(_LAYOUT)
        head, colon, tag = text.rpartition(":")
        path, tag = (head, tag) if colon and "/" not in tag else (text, "")

        def read() -> FromImage:
            reader = LayoutReader(Path(path))
            manifest = reader.open(tag, platform)
            config = ImageConfig.parse(reader.read(manifest.config), where=value)
            return FromImage(BaseImage(name, manifest, config, reader))

        async def find() -> FromImage:
            found = await to_thread.run_sync(read, limiter=self.disk)
            self._announce(found, value)
            return found

        return await self._once((f"{name}={value}", platform), find)

    async def image(self, name: str, platform: Platform) -> FromImage:
        """Resolve an image reference against its registry, unless it is a digest that is here.

        Raises:
            InvalidReference: not a reference.
            RegistryError: no such image, no such platform, or not reachable.
        """
        return await self._once((name, platform), lambda: self._resolve(name, platform))

    async def _once(
        self, key: tuple[str, Platform], find: Callable[[], Awaitable[FromImage]]
    ) -> FromImage:
        if key not in self._found:
            self._found[key] = await self.flights.do(key, find)
        return self._found[key]

    async def _resolve(self, name: str, platform: Platform) -> FromImage:
        try:
            reference = Reference.parse(name)
        except InvalidReference as error:
            raise InvalidReference(
                f"{error}; it is also no stage defined before and no --build-context"
            ) from error
        stored = await self._stored(reference.digest, platform) if reference.digest else None
        if stored is None:
            resolved = await self.registry.resolve(reference, platform, emit=self.emit)
            manifest, content = resolved.manifest, resolved.config
            stored = await self._stored(manifest.descriptor.digest, platform)
        else:
            manifest, content = stored.manifest, stored.config
        config = ImageConfig.parse(content, where=f"config of {reference}")
        copy = stored.layout if stored else None
        found = FromImage(BaseImage(str(reference), manifest, config, reference.repository, copy))
        self._announce(found, str(reference))
        return found

    async def _stored(self, digest: Digest, platform: Platform) -> StoredImage | None:
        if self.bases is None:
            return None
        return await to_thread.run_sync(self.bases.find, digest, platform, limiter=self.disk)

    def _announce(self, found: FromImage, name: str) -> None:
        manifest = found.image.manifest
        size = sum(layer.size for layer in manifest.layers)
        digest = manifest.descriptor.digest
        self.emit(BaseResolved(name, digest, len(found.image.layers), size, 0.0))


def _spellings(name: str) -> list[str]:
    """List other names of the same image: `busybox` is also `docker.io/library/busybox:latest`."""
    try:
        reference = Reference.parse(name)
    except InvalidReference:
        return []
    repository = str(reference.repository)
    short = repository.removeprefix("docker.io/").removeprefix("library/")
    if reference.digest:
        return []
    names = [f"{repository}:{reference.tag}", f"{short}:{reference.tag}"]
    return [*names, repository, short] if reference.tag == "latest" else names
