"""What an image index is made of: images in registries, in OCI layouts, in archives."""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from anyio import CapacityLimiter, create_task_group, from_thread, to_thread

from asynckaniko.build.image_archive import ArchivedImage
from asynckaniko.build.stored_image import read_images
from asynckaniko.concurrency import single_error
from asynckaniko.errors import IntegrityError, InvalidInput
from asynckaniko.events import EventSink
from asynckaniko.oci import media_types
from asynckaniko.oci.config import ImageConfig
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.manifest import Index, Manifest
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Reference, Repository
from asynckaniko.records import dataclass
from asynckaniko.registry.client import Blob, RegistryClient
from asynckaniko.settings import Limits
from asynckaniko.store.blobs import BlobFile

_LAYOUT = "oci-layout://"
_PATHS = ("/", "./", "../")
_DEEPEST_INDEX = 3
_QUESTIONS = 8
"""Manifests that are fetched at a time."""


@dataclass(frozen=True, slots=True)
class ImagesOnDisk:
    """A source of images: a layout directory or an archive. `tag` chooses in a layout."""

    path: Path
    tag: str = ""


def parse_source(text: str) -> Reference | ImagesOnDisk:
    """Read where images are: a path beginning with `/`, `./` or `../`, `oci-layout://PATH[:TAG]`,
    or a reference.

    Raises:
        InvalidReference: none of them.
    """
    if text.startswith(_LAYOUT):
        rest = text.removeprefix(_LAYOUT)
        head, colon, tag = rest.rpartition(":")
        return (
            ImagesOnDisk(Path(head), tag) if colon and "/" not in tag else ImagesOnDisk(Path(rest))
        )
    if text.startswith(_PATHS) or text in {".", ".."}:
        return ImagesOnDisk(Path(text))
    return Reference.parse(text)


@dataclass(frozen=True, slots=True)
class Member:
    """One image of an index, and where its blobs are."""

    name: str
    """The source, for errors."""
    descriptor: Descriptor
    """As it stands in the index, with the platform."""
    manifest: Manifest
    open_blob: Callable[[Descriptor], Blob]
    origin: Repository | None = None


def choose_members(found: Iterable[Member]) -> list[Member]:
    """Take each image once.

    Raises:
        InvalidInput: two different images are for one platform, and a reader could get either.
    """
    members: dict[Digest, Member] = {}
    by_platform: dict[Platform, Member] = {}
    for member in found:
        digest, platform = member.descriptor.digest, member.descriptor.platform
        if digest in members:
            continue
        if platform is not None and not platform.is_unknown:
            other = by_platform.setdefault(platform, member)
            if other is not member:
                raise InvalidInput(
                    f"two images are for {platform}: {_shown(other)} and {_shown(member)}; "
                    "an index has one for each platform: leave one of them out"
                )
        members[digest] = member
    return list(members.values())


def _shown(member: Member) -> str:
    digest = member.descriptor.digest
    return member.name if digest in member.name else f"{member.name} ({digest})"


class Sources:
    """Finds the images at the sources of one index."""

    def __init__(
        self,
        registry: RegistryClient,
        limits: Limits,
        scratch: Path,
        disk: CapacityLimiter,
        emit: EventSink,
    ) -> None:
        self._registry = registry
        self._limits = limits
        self._scratch = scratch
        self._disk = disk
        self._emit = emit
        self._questions = CapacityLimiter(_QUESTIONS)

    async def all(self, places: Sequence[Reference | ImagesOnDisk]) -> list[Member]:
        found: dict[int, list[Member]] = {}

        async def read(position: int, place: Reference | ImagesOnDisk) -> None:
            if isinstance(place, Reference):
                found[position] = await self._pulled(place)
            else:
                found[position] = await self._on_disk(place, self._scratch / f"{position}")

        with single_error():
            async with create_task_group() as tasks:
                for position, place in enumerate(places):
                    tasks.start_soon(read, position, place)
        return [member for position in range(len(places)) for member in found[position]]

    async def _on_disk(self, place: ImagesOnDisk, scratch: Path) -> list[Member]:
        checkpoint = from_thread.check_cancelled

        def read() -> list[tuple[Descriptor, ArchivedImage, bytes]]:
            scratch.mkdir()
            images = read_images(place.path, place.tag, scratch, checkpoint=checkpoint)
            return [(entry, image, self._config(entry, image)) for entry, image in images]

        found = await to_thread.run_sync(read, limiter=self._disk)
        return [
            self._member(str(place.path), entry, image.manifest, config, partial(self._file, image))
            for entry, image, config in found
        ]

    def _config(self, entry: Descriptor, image: ArchivedImage) -> bytes:
        if entry.platform is not None:
            return b""
        expected = image.manifest.config
        path = image.files[expected.digest]
        with path.open("rb") as file:
            content = file.read(self._limits.config_size + 1)
        if Digest.of(content) != expected.digest:
            raise IntegrityError(f"{path}: this config is not {expected.digest}, or too large")
        return content

    def _file(self, image: ArchivedImage, descriptor: Descriptor) -> Blob:
        return BlobFile(descriptor, image.files[descriptor.digest], disk=self._disk)

    async def _pulled(self, reference: Reference) -> list[Member]:
        """Read what a reference names: one image, or all those of an index."""
        first = await self._registry.document(reference, emit=self._emit)
        return await self._expanded(reference, first.descriptor, first, seen=set())

    async def _expanded(
        self,
        reference: Reference,
        entry: Descriptor,
        document: Manifest | Index,
        *,
        seen: set[Digest],
        depth: int = 0,
    ) -> list[Member]:
        """Follow indexes down, to each document once, however often they name it."""
        if isinstance(document, Manifest):
            return [await self._pulled_one(reference, entry, document)]
        if depth == _DEEPEST_INDEX:
            raise IntegrityError(f"{reference}: indexes nested deeper than {_DEEPEST_INDEX}")
        children = [child for child in document.manifests if child.digest not in seen]
        seen |= {child.digest for child in children}
        found: dict[Digest, list[Member]] = {}

        async def follow(child: Descriptor) -> None:
            name = Reference(reference.repository, "", child.digest)
            async with self._questions:
                below = await self._registry.document(name, expected=child, emit=self._emit)
            found[child.digest] = await self._expanded(
                reference, child, below, seen=seen, depth=depth + 1
            )

        with single_error():
            async with create_task_group() as tasks:
                for child in {child.digest: child for child in children}.values():
                    tasks.start_soon(follow, child)
        return [member for child in dict.fromkeys(children) for member in found[child.digest]]

    async def _pulled_one(
        self, reference: Reference, entry: Descriptor, manifest: Manifest
    ) -> Member:
        repository = reference.repository
        config = b""
        if entry.platform is None:
            limit = self._limits.config_size
            if manifest.config.size > limit:
                raise IntegrityError(
                    f"{reference}: config of {manifest.config.size} bytes, the limit is {limit}"
                )
            blob = _BlobElsewhere(self._registry, repository, manifest.config, self._emit)
            config = b"".join([chunk async for chunk in blob.chunks(0)])
        return self._member(
            str(reference),
            entry,
            manifest,
            config,
            partial(self._elsewhere, repository),
            repository,
        )

    def _elsewhere(self, repository: Repository, descriptor: Descriptor) -> Blob:
        return _BlobElsewhere(self._registry, repository, descriptor, self._emit)

    def _member(
        self,
        name: str,
        entry: Descriptor,
        manifest: Manifest,
        config: bytes,
        open_blob: Callable[[Descriptor], Blob],
        origin: Repository | None = None,
    ) -> Member:
        """Put a member together; `config` is read where its entry names no platform."""
        platform = entry.platform
        if platform is None:
            limit = self._limits.config_size
            where = f"config of {name}"
            if manifest.config.media_type in media_types.CONFIGS:
                platform = ImageConfig.parse(config, where=where, limit=limit).platform
            if platform is None or not platform.os or not platform.architecture:
                raise InvalidInput(f"{name} is for no platform: its config does not name one")
        # What named it elsewhere (a tag in a layout) is nothing to the index.
        annotations = {
            key: value
            for key, value in entry.annotations.items()
            if key.startswith("vnd.docker.reference.")
        }
        descriptor = replace(manifest.descriptor, platform=platform, annotations=annotations)
        return Member(name, descriptor, manifest, open_blob, origin)


class _BlobElsewhere:
    """A blob in a registry, from where it is sent on as it is read."""

    def __init__(
        self,
        registry: RegistryClient,
        repository: Repository,
        descriptor: Descriptor,
        emit: EventSink,
    ) -> None:
        self.descriptor = descriptor
        self._registry = registry
        self._repository = repository
        self._emit = emit

    async def chunks(self, offset: int) -> AsyncGenerator[bytes, None]:
        """Give the bytes from `offset` on; the whole is verified, a rest by whoever gets it."""
        async with self._registry.read_blob(
            self._repository, self.descriptor, start=offset, emit=self._emit
        ) as stream:
            async for chunk in stream:
                yield chunk
