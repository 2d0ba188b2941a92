"""Make one image index of images that exist: in registries, in OCI layouts, in archives."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from anyio import CapacityLimiter, create_task_group

from asynckaniko.build.index_members import Member, Sources, choose_members, parse_source
from asynckaniko.build.push_image import PushedImage, check_destinations, push_blobs
from asynckaniko.concurrency import single_error
from asynckaniko.errors import InvalidReference, UsageError
from asynckaniko.events import EventSink, ImagePushed, ignore
from asynckaniko.oci.manifest import Index, Manifest
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Reference, Repository
from asynckaniko.registry.client import RegistryClient
from asynckaniko.settings import Settings


async def create_index(
    references: Sequence[str],
    sources: Sequence[str],
    *,
    settings: Settings,
    annotations: Mapping[str, str] | None = None,
    check_push: bool = True,
    on_event: EventSink = ignore,
) -> PushedImage:
    """Push an index of the images at `sources` (see `parse_source`) under every reference.

    An index among the sources gives all its manifests. A platform is the one of an image's config,
    or of its entry in such an index. What a destination's repository has already is left alone;
    blobs are mounted where they are in the same registry, else copied. The same sources give the
    same index in whatever order they come.

    Raises:
        UsageError: no source, or no destination.
        InvalidInput: two images for one platform, an image without one, or what `read_image` says.
        RegistryError, IntegrityError: a registry refused or broke, or an image is damaged.
    """
    targets = [_destination(text) for text in references]
    places = [parse_source(text) for text in sources]
    if not targets or not places:
        raise UsageError("an index needs a destination and at least one source")
    disk = CapacityLimiter(settings.limits.disk_threads)
    client = RegistryClient.of(settings)
    with tempfile.TemporaryDirectory(prefix="asynckaniko-") as scratch:
        async with client as registry:
            if check_push:
                await check_destinations(registry, targets, emit=on_event)
            reading = Sources(registry, settings.limits, Path(scratch), disk, on_event)
            members = choose_members(await reading.all(places))
            index = Index.make((m.descriptor for m in members), annotations=annotations)
            with single_error():
                async with create_task_group() as tasks:
                    for repository in {target.repository for target in targets}:
                        for member in members:
                            tasks.start_soon(_copy, member, repository, registry, on_event)
            await push_index(registry, index, targets, emit=on_event)
    return PushedImage(index.descriptor.digest, tuple(map(str, targets)))


async def push_index(
    registry: RegistryClient, index: Index, references: Iterable[Reference], *, emit: EventSink
) -> None:
    """Store an index, whose manifests are there, under every reference. Raises RegistryError."""
    for reference in references:
        await registry.push_manifest(reference, index.content, index.media_type, emit=emit)
        emit(ImagePushed(str(reference), index.descriptor.digest))


def index_of(manifests: Mapping[str, Manifest]) -> Index:
    """Make the index of images by the platform that each was built for."""
    return Index.make(
        replace(manifest.descriptor, platform=Platform.parse(name))
        for name, manifest in manifests.items()
    )


def _destination(text: str) -> Reference:
    reference = Reference.parse(text)
    if reference.digest:
        raise InvalidReference(f"destination {text!r} has a digest")
    return reference


async def _copy(
    member: Member, repository: Repository, registry: RegistryClient, emit: EventSink
) -> None:
    """Bring one image, without a tag, into a repository unless it is there."""
    manifest = member.manifest
    digest = manifest.descriptor.digest
    if await registry.has_manifest(repository, digest, emit=emit):
        return
    sources = (member.origin,) if member.origin else ()
    await push_blobs(
        registry, repository, manifest, member.open_blob, mount_from=sources, emit=emit
    )
    await registry.push_manifest(
        Reference(repository, "", digest), manifest.content, manifest.media_type, emit=emit
    )
