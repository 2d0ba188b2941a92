"""Export: the image goes to its outputs, layer by layer while later steps still run."""

import time
from collections import defaultdict
from functools import partial
from pathlib import Path

from anyio import Event, create_task_group, to_thread

from asynckaniko.build.base_layers import LayerBlob
from asynckaniko.build.context import BuildRun
from asynckaniko.build.layers import ImageLayer, PendingLayer
from asynckaniko.build.recompression import RecompressedLayer, Recompression
from asynckaniko.build.request import (
    BuildResult,
    DigestFile,
    DockerArchive,
    NamesFile,
    OciLayout,
    Push,
)
from asynckaniko.build.result_files import write_result
from asynckaniko.build.sources import BaseLayer
from asynckaniko.concurrency import single_error
from asynckaniko.errors import InvalidReference
from asynckaniko.events import BlobPushed, ImagePushed, OutputWritten
from asynckaniko.oci import media_types
from asynckaniko.oci.config import ImageConfig
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import DiffID, Digest
from asynckaniko.oci.manifest import Manifest
from asynckaniko.oci.reference import Reference, Repository
from asynckaniko.registry.early_upload import EarlyUpload
from asynckaniko.registry.push import Blob
from asynckaniko.store.archive import write_archive
from asynckaniko.store.blobs import MemoryBlob
from asynckaniko.store.layout import LayoutWriter


def push_references(outputs: tuple[object, ...]) -> dict[Repository, list[Reference]]:
    """Group what is to be pushed by repository.

    Raises:
        InvalidReference: malformed, or with a digest, which only the build can know.
    """
    found: dict[Repository, list[Reference]] = defaultdict(list)
    for output in outputs:
        if isinstance(output, Push):
            reference = Reference.parse(output.reference)
            if reference.digest:
                raise InvalidReference(f"destination {output.reference!r} has a digest")
            found[reference.repository].append(reference)
    return dict(found)


class Exporter:
    """Sends and writes one image. Layers are added as they come, base first."""

    def __init__(self, run: BuildRun) -> None:
        self._run = run
        self._repositories = push_references(run.request.outputs)
        self._writes_locally = needs_local_blobs(run.request.outputs)
        self._transfers: list[Event] = []
        self._recompression = Recompression(run)

    def add(self, layer: ImageLayer) -> None:
        """Begin to send a layer of the image; it may still be in the making."""
        exported = self._recompression.of(layer)
        for repository in self._repositories:
            done = Event()
            self._transfers.append(done)
            self._run.tasks.start_soon(self._push_layer, repository, exported, done)
        if self._writes_locally and isinstance(exported, BaseLayer):
            done = Event()
            self._transfers.append(done)
            self._run.tasks.start_soon(self._fetch, exported, done)

    async def _fetch(self, layer: BaseLayer, done: Event) -> None:
        await LayerBlob(layer, self._run.base_layers, self._run.emit).path()
        done.set()

    async def _push_layer(
        self, repository: Repository, layer: ImageLayer | RecompressedLayer, done: Event
    ) -> None:
        mount_from: tuple[Repository, ...] = ()
        if isinstance(layer, BaseLayer):
            blob = LayerBlob(layer, self._run.base_layers, self._run.emit)
            origin = layer.origin
            if isinstance(origin, Repository) and origin.registry == repository.registry:
                mount_from = (origin,)
            if media_types.is_foreign(layer.descriptor.media_type):
                done.set()
                return
            await self._push_blob(repository, blob, mount_from)
        else:
            await self._push_pending(repository, layer)
        done.set()

    async def _push_pending(self, repository: Repository, layer: PendingLayer) -> None:
        """Push a layer of this build; a large one begins to travel while it is being packed."""

        async def complete() -> Descriptor:
            return (await layer.packed()).descriptor

        registry, emit = self._run.resources.registry, self._run.emit
        growing = await layer.growing()
        async with registry.upload_early(repository, emit=emit) as early:
            if growing is not None:
                await early.follow(growing, complete)
            blob = (await layer.packed()).blob
            await self._push_blob(repository, blob, early=early)

    async def _push_blob(
        self,
        repository: Repository,
        blob: Blob,
        mount_from: tuple[Repository, ...] = (),
        *,
        early: EarlyUpload | None = None,
    ) -> None:
        started = (early and early.began) or time.monotonic()
        emit = self._run.emit
        route = await self._run.resources.registry.push_blob(
            repository, blob, mount_from=mount_from, early=early, emit=emit
        )
        target = blob.descriptor
        seconds = time.monotonic() - started
        emit(BlobPushed(str(repository), target.digest, target.size, route, seconds))

    async def finish(self, config: ImageConfig, layers: list[ImageLayer]) -> BuildResult:
        """Make config and manifest, wait for the layers, then write what names the image.

        Result files come last, so that one that exists tells of an image that exists.
        """
        descriptors, paths = await self._finished_layers(config, layers)
        content = config.to_bytes()
        oci = self._run.request.image_format != "docker"
        config_type = media_types.OCI_CONFIG if oci else media_types.DOCKER_CONFIG
        config_descriptor = Descriptor(config_type, Digest.of(content), len(content))
        manifest = Manifest.make(
            config_descriptor,
            descriptors,
            media_type=media_types.OCI_MANIFEST if oci else media_types.DOCKER_MANIFEST,
            annotations=dict(sorted(self._run.request.annotations.items())),
        )
        for transfer in self._transfers:
            await transfer.wait()
        with single_error():
            async with create_task_group() as outputs:
                for repository, references in self._repositories.items():
                    config_blob = MemoryBlob(config_descriptor, content)
                    outputs.start_soon(self._push, repository, references, config_blob, manifest)
                for output in self._run.request.outputs:
                    if isinstance(output, OciLayout):
                        outputs.start_soon(self._write_layout, output, manifest, content, paths)
                    if isinstance(output, DockerArchive):
                        outputs.start_soon(self._write_archive, output, manifest, content, paths)
        await self._write_result_files(manifest)
        return BuildResult(
            digest=manifest.descriptor.digest,
            manifest=manifest,
            config=config,
            references=tuple(str(reference) for reference in self._references()),
        )

    def _references(self) -> list[Reference]:
        return [reference for group in self._repositories.values() for reference in group]

    async def _finished_layers(
        self, config: ImageConfig, layers: list[ImageLayer]
    ) -> tuple[list[Descriptor], list[Path]]:
        translate = (
            media_types.to_docker
            if self._run.request.image_format == "docker"
            else media_types.to_oci
        )
        descriptors: list[Descriptor] = []
        paths: list[Path] = []
        diff_ids: list[DiffID] = []
        for layer in map(self._recompression.of, layers):
            if isinstance(layer, BaseLayer):
                descriptor, diff_id = layer.descriptor, layer.diff_id
                if self._writes_locally:
                    blob = LayerBlob(layer, self._run.base_layers, self._run.emit)
                    paths.append(await blob.path())
            else:
                packed = await layer.packed()
                descriptor, diff_id = packed.descriptor, packed.diff_id
                paths.append(packed.blob.path)
            descriptors.append(descriptor.as_type(translate(descriptor.media_type)))
            diff_ids.append(diff_id)
        config.diff_ids = diff_ids
        return descriptors, paths

    async def _push(
        self,
        repository: Repository,
        references: list[Reference],
        config: MemoryBlob,
        manifest: Manifest,
    ) -> None:
        registry, emit = self._run.resources.registry, self._run.emit
        await self._push_blob(repository, config)
        for reference in references:
            await registry.push_manifest(
                reference, manifest.content, manifest.media_type, emit=emit
            )
            emit(ImagePushed(str(reference), manifest.descriptor.digest))

    async def _write_layout(
        self, output: OciLayout, manifest: Manifest, config: bytes, paths: list[Path]
    ) -> None:
        def write() -> None:
            writer = LayoutWriter(output.path)
            try:
                for layer, path in zip(manifest.layers, paths, strict=True):
                    writer.add_file(layer.digest, path)
                writer.add(manifest.config.digest, config)
                writer.add(manifest.descriptor.digest, manifest.content)
                writer.finish(manifest.descriptor, output.tags)
            finally:
                writer.discard()

        await to_thread.run_sync(write, limiter=self._run.resources.disk)
        digest = manifest.descriptor.digest
        self._run.emit(OutputWritten("OciLayout", str(output.path), digest))

    async def _write_archive(
        self, output: DockerArchive, manifest: Manifest, config: bytes, paths: list[Path]
    ) -> None:
        write = partial(
            write_archive,
            output.path,
            config=config,
            config_digest_hex=manifest.config.digest.hex,
            layers=list(zip(manifest.layers, paths, strict=True)),
            references=output.references,
        )
        await to_thread.run_sync(write, limiter=self._run.resources.disk)
        digest = manifest.descriptor.digest
        self._run.emit(OutputWritten("DockerArchive", str(output.path), digest))

    async def _write_result_files(self, manifest: Manifest) -> None:
        digest = manifest.descriptor.digest
        for output in self._run.request.outputs:
            match output:
                case DigestFile(path=path):
                    text = str(digest)
                case NamesFile(path=path, with_tag=with_tag):
                    lines = [
                        f"{r.repository}{f':{r.tag}' if with_tag else ''}@{digest}\n"
                        for r in self._references()
                    ]
                    text = "".join(lines)
                case _:
                    continue
            write = partial(write_result, path, text)
            await to_thread.run_sync(write, limiter=self._run.resources.disk)
            self._run.emit(OutputWritten(type(output).__name__, str(path), digest))


def needs_local_blobs(outputs: tuple[object, ...]) -> bool:
    """Tell whether an output holds the layers itself."""
    return any(isinstance(output, OciLayout | DockerArchive) for output in outputs)
