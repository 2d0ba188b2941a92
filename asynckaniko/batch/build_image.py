"""Build one image of a batch with the Builder that all of them share."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from anyio import create_task_group

from asynckaniko.batch.inputs import InputDigests, Jobs
from asynckaniko.batch.outcome import Built
from asynckaniko.batch.plan import PlannedImage
from asynckaniko.batch.requests import (
    INPUT_LABEL,
    Requests,
    platforms_of,
    tags_of,
    uses_input_digest,
)
from asynckaniko.build.image_index import index_of, push_index
from asynckaniko.build.push_image import PushedImage, check_destinations, push_image
from asynckaniko.build.request import BuildRequest, BuildResult
from asynckaniko.concurrency import single_error
from asynckaniko.errors import NoMatchingPlatform, NotFound
from asynckaniko.events import Event, EventSink, OutputWritten
from asynckaniko.oci.config import ImageConfig
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.manifest import Manifest
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Reference
from asynckaniko.records import dataclass
from asynckaniko.registry.client import RegistryClient, ResolvedImage
from asynckaniko.settings import Settings

BatchSink = Callable[[str, Event], None]
"""Takes the events of an image, by its name."""


class Builds(Jobs, Protocol):
    """The part of build.builder.Builder that is used here."""

    async def build(self, request: BuildRequest, *, on_event: EventSink) -> BuildResult: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """What the builds of a batch share."""

    builder: Builds
    settings: Settings
    registry: RegistryClient
    inputs: InputDigests
    scratch: Path
    """Holds what goes with this run: images that others read."""


class LocalBuilds:
    """Builds images so that others find them on this disk."""

    def __init__(
        self,
        requests: Requests,
        workshop: Workshop,
        *,
        done: Mapping[str, Built],
        skip_existing: bool,
        emit: BatchSink,
    ) -> None:
        """`done` are images of an earlier run."""
        self._requests = requests
        self._builder = workshop.builder
        self._settings = workshop.settings
        self._registry = workshop.registry
        self._inputs = workshop.inputs
        self._scratch = workshop.scratch
        self._done = done
        self._skip_existing = skip_existing
        self._emit = emit
        self._needed = {need for image in requests.batch.images for need in image.needs}
        self._sources: dict[tuple[str, str], str] = {}
        """Where an image is, by name and platform, as a value of a build context."""

    async def build(
        self, image: PlannedImage, *, attempt: int, exists: Callable[[], None]
    ) -> Built:
        """Build an image for all its platforms, or find that it exists already."""
        input_digest = await self._inputs.of(image)
        kept = await self._kept(image, input_digest)
        if kept is not None:
            return kept
        platforms = platforms_of(image)
        push = self._requests.around.push
        tags = tags_of(image, input_digest) if push else ()
        layouts = self._layouts(image, platforms, attempt)
        pending = set(layouts.values())
        results: dict[str, BuildResult] = {}

        def watch(event: Event) -> None:
            self._emit(image.name, event)
            if isinstance(event, OutputWritten) and Path(event.path) in pending:
                pending.discard(Path(event.path))
                if not pending:
                    self._publish(image, layouts)
                    exists()

        async def build(platform: str) -> None:
            request = self._request(image, platform, tags, layouts.get(platform), input_digest)
            results[platform] = await self._builder.build(request, on_event=watch)

        with single_error():
            async with create_task_group() as tasks:
                if len(platforms) > 1 and self._requests.around.check_push:
                    # Their builds push nothing themselves, so they do not ask.
                    destinations = [Reference.parse(tag) for tag in tags]
                    tasks.start_soon(self._check, image.name, destinations)
                for platform in platforms:
                    tasks.start_soon(build, platform)
        if len(platforms) == 1:
            return self._built(image, results[platforms[0]], input_digest)
        return await self._index(image, results, layouts, tags, input_digest)

    def _layouts(
        self, image: PlannedImage, platforms: Iterable[str], attempt: int
    ) -> dict[str, Path]:
        """Choose where others read the image; each attempt writes places of its own."""
        is_read = image.name in self._needed
        if not is_read and len(tuple(platforms)) == 1:
            return {}
        root = self._scratch / image.name / f"{attempt}"
        return {platform: root / platform.replace("/", "-") for platform in platforms}

    def _request(
        self,
        image: PlannedImage,
        platform: str,
        tags: tuple[str, ...],
        layout: Path | None,
        input_digest: str,
    ) -> BuildRequest:
        if layout is not None:
            layout.parent.mkdir(parents=True, exist_ok=True)
        is_single = len(platforms_of(image)) == 1
        marks = self._skip_existing or uses_input_digest(image)
        return self._requests.make(
            image,
            platform,
            sources={need: self._sources[need, platform] for need in image.needs},
            tags=tags if is_single else (),
            layout=layout,
            labels={INPUT_LABEL: input_digest} if marks else {},
        )

    def _publish(self, image: PlannedImage, layouts: Mapping[str, Path]) -> None:
        for platform, path in layouts.items():
            self._sources[image.name, platform] = f"oci-layout://{path}"

    def _built(self, image: PlannedImage, result: BuildResult, input_digest: str) -> Built:
        descriptor = result.manifest.descriptor
        return Built(
            digest=result.digest,
            references=result.references,
            media_type=descriptor.media_type,
            size=descriptor.size,
            config_digest=result.manifest.config.digest,
            layouts=self._stored_layouts(image),
            input_digest=input_digest,
        )

    def _stored_layouts(self, image: PlannedImage) -> tuple[str, ...]:
        """List the layouts that the manifest asks for: they stay when the batch has ended."""
        directory = self._requests.batch.directory
        paths = [o.path for o in image.outputs if o.type == "oci-layout"]
        return tuple(str(directory / path) for path in paths)

    async def _index(
        self,
        image: PlannedImage,
        results: Mapping[str, BuildResult],
        layouts: Mapping[str, Path],
        tags: tuple[str, ...],
        input_digest: str,
    ) -> Built:
        """Push the platforms' images by digest, then an index of them under every tag."""
        manifests = {name: result.manifest for name, result in results.items()}
        references = [Reference.parse(tag) for tag in tags]
        repositories = list(dict.fromkeys(r.repository for r in references))
        with single_error():
            async with create_task_group() as tasks:
                for platform, path in layouts.items() if repositories else ():
                    found = results[platform].digest
                    targets = [Reference(r, "", Digest.parse(found)) for r in repositories]
                    tasks.start_soon(self._push, image.name, path, targets)
        await push_index(
            self._registry,
            index_of(manifests),
            references,
            emit=lambda event: self._emit(image.name, event),
        )
        return indexed(manifests, tags, input_digest)

    async def _check(self, name: str, destinations: list[Reference]) -> None:
        await check_destinations(
            self._registry, destinations, emit=lambda event: self._emit(name, event)
        )

    async def _push(self, name: str, layout: Path, targets: list[Reference]) -> PushedImage:
        return await push_image(
            layout,
            [str(target) for target in targets],
            settings=self._settings,
            check_push=False,
            on_event=lambda event: self._emit(name, event),
        )

    async def _kept(self, image: PlannedImage, input_digest: str) -> Built | None:
        """Find the image as an earlier run left it, where whoever needs it can read it."""
        done = self._done.get(image.name)
        if done is not None and self._is_still_there(image, done, input_digest):
            if self._announce(image, done):
                return replace(done, is_new=False)
        elif self._skip_existing and image.tags and self._requests.around.push:
            found = await self._existing(image, input_digest)
            if found is not None and self._announce(image, found):
                return found
        return None

    def _is_still_there(self, image: PlannedImage, done: Built, input_digest: str) -> bool:
        directory = self._requests.batch.directory
        tags = tags_of(image, input_digest) if self._requests.around.push else ()
        return (
            done.input_digest == input_digest
            and set(tags) <= set(done.references)
            and all((directory / output.path).exists() for output in image.outputs)
        )

    def _announce(self, image: PlannedImage, built: Built) -> bool:
        """Tell where a kept image is; False if nobody could read it there."""
        if image.name not in self._needed:
            return True
        layouts = [path for path in built.layouts if Path(path).is_dir()]
        if not layouts and not built.references:
            return False
        for platform in platforms_of(image):
            if layouts:
                source = f"oci-layout://{layouts[0]}"
            else:
                repository = Reference.parse(built.references[0]).repository
                source = (
                    f"docker-image://{repository}@{built.platforms.get(platform, built.digest)}"
                )
            self._sources[image.name, platform] = source
        return True

    async def _existing(self, image: PlannedImage, input_digest: str) -> Built | None:
        """Ask the registry whether every tag is an image of this input, on every platform."""
        tags = tags_of(image, input_digest)
        found: dict[str, ResolvedImage] = {}
        for tag in tags:
            for platform in platforms_of(image):
                try:
                    resolved = await self._registry.resolve(
                        Reference.parse(tag), Platform.parse(platform)
                    )
                except (NotFound, NoMatchingPlatform):
                    return None
                config = ImageConfig.parse(resolved.config, where=tag)
                if (config.runtime.get("Labels") or {}).get(INPUT_LABEL) != input_digest:
                    return None
                found[platform] = resolved
        manifests = {name: resolved.manifest for name, resolved in found.items()}
        if len(manifests) > 1:
            return indexed(manifests, tags, input_digest, is_new=False)
        manifest = next(iter(manifests.values()))
        return Built(
            digest=manifest.descriptor.digest,
            references=tags,
            media_type=manifest.media_type,
            size=manifest.descriptor.size,
            config_digest=manifest.config.digest,
            input_digest=input_digest,
            is_new=False,
        )


def indexed(
    manifests: Mapping[str, Manifest],
    tags: tuple[str, ...],
    input_digest: str,
    *,
    is_new: bool = True,
) -> Built:
    """Describe an image for several platforms."""
    descriptor = index_of(manifests).descriptor
    return Built(
        digest=descriptor.digest,
        references=tags,
        media_type=descriptor.media_type,
        size=descriptor.size,
        platforms={name: manifest.descriptor.digest for name, manifest in manifests.items()},
        input_digest=input_digest,
        is_new=is_new,
    )
