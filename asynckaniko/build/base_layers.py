"""Bring layers of base images onto this machine, each at most once at a time for all builds.

A layer can be needed in two forms: unpacked, under a stage that looks at files; and as the blob it
is, for an output that has to hold or send it. A layer that is needed in both is fetched once.
"""

import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from anyio import (
    CapacityLimiter,
    Event,
    create_task_group,
    to_thread,
)
from anyio.abc import TaskGroup

from asynckaniko.build.drafts import draft_tree
from asynckaniko.build.pipes import OpenDescriptor, open_pipe, write_all
from asynckaniko.build.sides import RootfsSide
from asynckaniko.build.sources import BaseLayer
from asynckaniko.build.workspace import Resources
from asynckaniko.cache.layer_cache import DamagedEntry
from asynckaniko.concurrency import SingleFlight, single_error
from asynckaniko.errors import AsynckanikoError, IntegrityError, RegistryError
from asynckaniko.events import (
    BuildWarning,
    EventSink,
    LayerPulled,
    LayerPullStarted,
    LayerReused,
)
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import DiffID, Digest
from asynckaniko.oci.reference import Repository
from asynckaniko.store.blobs import ArrivingBlob, BlobFile, Ingest
from asynckaniko.store.layers import UnpackedLayer
from asynckaniko.store.layout import LayoutReader

_SETTLE = "asynckaniko.rootfs.implicit:settle"
_MAKE = "asynckaniko.rootfs.directories:make_directories"


class BaseLayers:
    """Downloads and unpacks base layers for all builds of a Builder."""

    def __init__(self, resources: Resources, tasks: TaskGroup) -> None:
        self._resources = resources
        self._tasks = tasks
        self._unpacking: SingleFlight[tuple[Path, DiffID], UnpackedLayer] = SingleFlight(tasks)
        self._arriving: dict[Digest, ArrivingBlob] = {}
        self._kept: dict[Digest, Event] = {}
        self._mirrors_lied: set[Digest] = set()
        """Layers that a mirror sent wrong: they are not taken from mirrors again."""
        self._damaged_copies: set[Path] = set()
        self._verified_copies: set[Path] = set()
        limits = resources.settings.limits
        self._downloads = CapacityLimiter(limits.downloads)
        # Apart from `processes`: what waits for the network must not keep those that have work to
        # do from starting.
        self._unpacks = CapacityLimiter(min(limits.arriving_layers, limits.downloads))

    def are_unpacked(self, layers: Sequence[BaseLayer], side: RootfsSide) -> bool:
        """Tell whether every layer lies unpacked in the side's store."""
        return all(side.layers.find(layer.diff_id) for layer in layers)

    def reserve(self, layers: Sequence[BaseLayer], side: RootfsSide) -> None:
        """Announce that `stack(keep=True)` will store these blobs: readers wait for that."""
        for layer in layers:
            if side.layers.find(layer.diff_id) is None:
                self._kept.setdefault(layer.descriptor.digest, Event())

    async def stack(
        self,
        layers: Sequence[BaseLayer],
        side: RootfsSide,
        *,
        below: Sequence[str] = (),
        keep: bool,
        emit: EventSink,
    ) -> list[str]:
        """Return the directories of `layers`, base first, ready to be overlay lowers.

        All layers are downloaded and unpacked at once, as far as the limits allow, the largest
        first: begun last, it would keep one core busy when the others are done. `below` are the
        directories they will lie on. With `keep`, their blobs are stored as well.

        Raises:
            IntegrityError: digest, size or diffID do not match, or an archive is malformed.
            RegistryError: a layer cannot be downloaded.
        """
        unpacked: dict[int, UnpackedLayer] = {}

        async def unpack(position: int, layer: BaseLayer) -> None:
            unpacked[position] = await self._unpacked(layer, side, keep=keep, emit=emit)

        with single_error():
            async with create_task_group() as tasks:
                by_size = sorted(enumerate(layers), key=lambda item: -item[1].descriptor.size)
                for position, layer in by_size:
                    tasks.start_soon(unpack, position, layer)
        directories: list[str] = []
        for position in range(len(layers)):
            layer_on_disk = unpacked[position]
            directory = await self.settle(
                layer_on_disk.directory, layer_on_disk.implicit, [*below, *directories], side
            )
            directories.append(directory)
        return directories

    async def _unpacked(
        self, layer: BaseLayer, side: RootfsSide, *, keep: bool, emit: EventSink
    ) -> UnpackedLayer:
        try:
            known = side.layers.find(layer.diff_id)
            if known is not None:
                emit(LayerReused(layer.descriptor.digest, layer.descriptor.size))
                return known
            return await self._unpacking.do(
                (side.root, layer.diff_id),
                lambda: self._unpack(layer, side, keep=keep, emit=emit),
            )
        finally:
            stored = self._kept.pop(layer.descriptor.digest, None)
            if stored is not None:
                stored.set()

    async def _unpack(
        self, layer: BaseLayer, side: RootfsSide, *, keep: bool, emit: EventSink
    ) -> UnpackedLayer:
        descriptor = layer.descriptor
        started = time.monotonic()
        limits = self._resources.settings.limits
        stored: BlobFile | None = None
        arguments = {
            "media_type": descriptor.media_type,
            "digest": descriptor.digest,
            "size": descriptor.size,
            "diff_id": layer.diff_id,
            "limits": {"size": limits.layer_size, "entries": limits.layer_entries},
        }
        try:
            async with draft_tree(self._resources.state, side.root, side) as directory:
                arguments["directory"] = directory
                arriving = self._arriving.get(descriptor.digest)
                if arriving is not None:
                    await arriving.arrived()
                stored = self.stored(layer)
                if stored is not None:
                    with stored.path.open("rb") as file:
                        fds = [file.fileno()]
                        result = await side.work(side.unpack_job, arguments, fds=fds)
                else:
                    async with self._unpacks:
                        started = time.monotonic()
                        emit(LayerPullStarted(descriptor.digest, descriptor.size))
                        result = await self._unpack_while_downloading(
                            layer, side, arguments, keep, emit
                        )
                found = side.layers.add(
                    layer.diff_id,
                    directory,
                    implicit=result["implicit"],
                    size=result["size"],
                    of_step=bool(layer.cache_key),
                )
        except BaseException as error:
            if isinstance(error, IntegrityError) and (
                self._give_up_copy(layer, stored, error, emit)
                or self._give_up_mirrors(layer, stored, error, emit)
            ):
                return await self._unpack(layer, side, keep=keep, emit=emit)
            raise _blamed(layer, error) from error.__cause__
        if stored is None:
            seconds = time.monotonic() - started
            emit(LayerPulled(descriptor.digest, descriptor.size, seconds, unpacked=True))
        return found

    async def _unpack_while_downloading(
        self,
        layer: BaseLayer,
        side: RootfsSide,
        arguments: dict[str, Any],
        keep: bool,
        emit: EventSink,
    ) -> Any:
        """Let the bytes flow from the socket through a pipe into the process that unpacks."""
        with open_pipe() as (read_end, write_end), single_error():
            if not keep:
                async with create_task_group() as tasks:
                    tasks.start_soon(self._feed, layer, write_end, emit)
                    return await side.call(side.unpack_job, arguments, fds=[read_end])
            with self._resources.blobs.ingest(layer.descriptor.digest) as ingest:
                async with create_task_group() as tasks:
                    tasks.start_soon(self._feed, layer, write_end, emit)
                    fds = [read_end, ingest.file]
                    result = await side.call(side.unpack_job, arguments, fds=fds)
                ingest.commit()
                return result

    async def _feed(self, layer: BaseLayer, write_end: OpenDescriptor, emit: EventSink) -> None:
        assert isinstance(layer.origin, Repository)
        # The unpacking process verifies digest and size: it has the bytes at hand anyway.
        async with self._resources.registry.read_blob(
            layer.origin,
            layer.descriptor,
            verify=False,
            use_mirrors=layer.descriptor.digest not in self._mirrors_lied,
            emit=emit,
        ) as chunks:
            async for chunk in chunks:
                await write_all(write_end.number, chunk)
        write_end.close()

    async def settle(
        self, directory: str, implicit: Sequence[str], below: Sequence[str], side: RootfsSide
    ) -> str:
        """Return the layer's directory, or one corrected for what is below it.

        A layer without entries for its parent directories must leave them as they are below, and
        follow them where they are links; unpacked alone it could not know them.
        """
        if not implicit or not below:
            return directory
        async with draft_tree(self._resources.state, side.root, side) as scratch:
            await side.call(_MAKE, {"paths": [scratch]})
            arguments = {"lowers": list(below), "layer": directory, "implicit": list(implicit)}
            settled: str = await side.work(_SETTLE, {**arguments, "scratch": scratch})
        if settled != directory:
            side.layers.mark_settled(settled, of=directory)
        return settled

    def stored(self, layer: BaseLayer) -> BlobFile | None:
        """Return the layer's blob if it is on this machine."""
        if isinstance(layer.origin, LayoutReader):
            path = layer.origin.blob_path(layer.descriptor.digest)
            return self._resources.blobs.file(layer.descriptor, path)
        found = self._resources.blobs.find(layer.descriptor)
        if found is None and layer.copy is not None:
            path = layer.copy.blob_path(layer.descriptor.digest)
            if path not in self._damaged_copies and path.is_file():
                return self._resources.blobs.file(layer.descriptor, path)
        return found

    def _give_up_copy(
        self, layer: BaseLayer, stored: BlobFile | None, error: Exception, emit: EventSink
    ) -> bool:
        """Use a copy no more that proved damaged; tell whether it was one."""
        if stored is None or layer.copy is None:
            return False
        if stored.path != layer.copy.blob_path(layer.descriptor.digest):
            return False
        self._damaged_copies.add(stored.path)
        emit(BuildWarning(f"base image directory: {error}; the layer is pulled"))
        return True

    def _give_up_mirrors(
        self, layer: BaseLayer, stored: BlobFile | None, error: IntegrityError, emit: EventSink
    ) -> bool:
        """Ask the registry itself if a mirror may have sent other bytes; tell whether to."""
        digest = layer.descriptor.digest
        is_from_here = stored is not None or not isinstance(layer.origin, Repository)
        if is_from_here or digest in self._mirrors_lied:
            return False
        options = self._resources.settings.registry
        assert isinstance(layer.origin, Repository)
        if layer.origin.registry not in options.mirrors or not options.fall_back_to_origin:
            return False
        self._mirrors_lied.add(digest)
        emit(BuildWarning(f"mirror of {layer.origin.registry}: {error}; the registry is asked"))
        return True

    async def _sound_copy(self, layer: BaseLayer, emit: EventSink) -> BlobFile | None:
        """Return the stored blob; a copy that others wrote only after a look at all of it."""
        stored = self.stored(layer)
        if stored is None or layer.copy is None or stored.path in self._verified_copies:
            return stored
        if stored.path == layer.copy.blob_path(layer.descriptor.digest):
            try:
                await self.verify(stored)
            except IntegrityError as error:
                self._give_up_copy(layer, stored, error, emit)
                return None
            self._verified_copies.add(stored.path)
        return stored

    async def verify(self, blob: BlobFile) -> None:
        """Check a blob that others wrote. Raises IntegrityError."""
        disk = self._resources.disk
        actual = await to_thread.run_sync(_digest_of, blob.path, limiter=disk)
        if actual != blob.descriptor.digest:
            raise IntegrityError(f"{blob.path}: its digest is {actual}; the layout is damaged")

    async def fetch(self, layer: BaseLayer, *, emit: EventSink) -> BlobFile | ArrivingBlob:
        """Return the layer's blob, which may still be arriving; start its download if need be."""
        digest = layer.descriptor.digest
        kept = self._kept.get(digest)
        if kept is not None:
            await kept.wait()
        stored = await self._sound_copy(layer, emit)
        if stored is not None:
            return stored
        arriving = self._arriving.get(digest)
        if arriving is None:
            ingest = self._resources.blobs.new(digest)
            arriving = ArrivingBlob(layer.descriptor, ingest, disk=self._resources.disk)
            self._arriving[digest] = arriving
            self._tasks.start_soon(self._relay, layer, ingest, arriving, emit)
        return arriving

    async def _relay(
        self, layer: BaseLayer, ingest: Ingest, arriving: ArrivingBlob, emit: EventSink
    ) -> None:
        """Download a blob into the store while others already read it."""
        assert isinstance(layer.origin, Repository)
        started = time.monotonic()
        descriptor = layer.descriptor
        try:
            async with (
                self._downloads,
                self._resources.registry.read_blob(layer.origin, descriptor, emit=emit) as chunks,
            ):
                async for chunk in chunks:
                    await arriving.append(chunk)
            ingest.commit()
            arriving.finish()
            seconds = time.monotonic() - started
            emit(LayerPulled(descriptor.digest, descriptor.size, seconds, unpacked=False))
        except Exception as error:
            arriving.finish(error)
        finally:
            ingest.close()
            del self._arriving[descriptor.digest]


class LayerBlob:
    """A base layer's blob as an upload sees it: nothing is downloaded before a byte is asked for.

    A registry that has the blob already, or mounts it, never asks.
    """

    def __init__(self, layer: BaseLayer, layers: BaseLayers, emit: EventSink) -> None:
        self.layer = layer
        self._layers = layers
        self._emit = emit

    @property
    def descriptor(self) -> Descriptor:
        return self.layer.descriptor

    async def chunks(self, offset: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `offset` on, while they arrive if they have to."""
        blob = await self._layers.fetch(self.layer, emit=self._emit)
        try:
            async for chunk in blob.chunks(offset):
                yield chunk
        except AsynckanikoError as error:
            raise _blamed(self.layer, error) from error

    async def path(self) -> Path:
        """Return a file that holds the whole blob. Raises IntegrityError if it is another."""
        blob = await self._layers.fetch(self.layer, emit=self._emit)
        if isinstance(blob, ArrivingBlob):
            try:
                await blob.arrived()
            except AsynckanikoError as error:
                raise _blamed(self.layer, error) from error
            return blob.final_path
        if isinstance(self.layer.origin, LayoutReader):
            await self._layers.verify(blob)
        return blob.path


def _blamed(layer: BaseLayer, error: BaseException) -> BaseException:
    """Say of an error about a cached layer's bytes that the cache's entry is to blame."""
    if layer.cache_key and isinstance(error, IntegrityError | RegistryError):
        return DamagedEntry(layer.cache_key, error)
    return error


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
