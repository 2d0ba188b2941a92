"""WriteBack: layers go to shared caches in the background, and no build waits for it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from anyio import CapacityLimiter, Event, move_on_after
from anyio.abc import TaskGroup

from asynckaniko.cache.key import CacheKey
from asynckaniko.cache.layer_cache import CachedLayer, LayerCache
from asynckaniko.concurrency import single_error
from asynckaniko.errors import AsynckanikoError
from asynckaniko.events import BuildWarning, EventSink
from asynckaniko.records import dataclass
from asynckaniko.store.blobs import BlobFile, BlobStore
from asynckaniko.store.state import StateDirectory

_AT_ONCE = 4
"""Layers that are put at a time; more would only take the network from the images."""


@dataclass(frozen=True, slots=True)
class NewLayer:
    """A layer to be put into a cache under a key."""

    key: CacheKey
    layer: CachedLayer
    blob: BlobFile


class WriteBack:
    """Puts layers for all builds of a Builder. Files are held until then, builds are not."""

    def __init__(self, state: StateDirectory, blobs: BlobStore, tasks: TaskGroup) -> None:
        self._state = state
        self._blobs = blobs
        self._tasks = tasks
        self._at_once = CapacityLimiter(_AT_ONCE)
        self._waiting: dict[object, EventSink] = {}
        self._idle = Event()

    def submit(
        self, cache: LayerCache, new: NewLayer, *, failed: set[LayerCache], emit: EventSink
    ) -> None:
        """Have a layer put into a cache, unless that is among those that `failed`.

        The first failure is a warning; a cache that failed is not tried again.
        """
        ticket = object()
        held = ExitStack()
        try:
            path = held.enter_context(self._hold(new.blob.path))
        except OSError as error:
            emit(BuildWarning(f"layer was not cached: {error.strerror}"))
            return
        self._waiting[ticket] = emit
        blob = self._blobs.file(new.blob.descriptor, path)

        async def put() -> None:
            try:
                with held:
                    async with self._at_once:
                        if cache not in failed:
                            with single_error():
                                await cache.put(new.key, new.layer, blob, emit=emit)
            except AsynckanikoError as error:
                if cache not in failed:
                    failed.add(cache)
                    emit(BuildWarning(f"new layers are not put into the cache {cache}: {error}"))
            finally:
                del self._waiting[ticket]
                if not self._waiting:
                    self._idle.set()
                    self._idle = Event()

        self._tasks.start_soon(put)

    @contextmanager
    def _hold(self, blob: Path) -> Iterator[Path]:
        """Keep a file of a build for longer than the build, under another name."""
        with self._state.new_scratch() as directory:
            try:
                held = directory / "layer"
                os.link(blob, held)
                yield held
            finally:
                shutil.rmtree(directory, ignore_errors=True)

    async def finish(self, *, seconds: float) -> None:
        """Wait until all layers are put, but not longer than `seconds`; that is a warning, too."""
        with move_on_after(seconds):
            while self._waiting:
                await self._idle.wait()
        if self._waiting:
            emit = next(iter(self._waiting.values()))
            what = f"{len(self._waiting)} new layers are"
            emit(BuildWarning(f"{what} not put into a cache: it takes longer than {seconds:.0f} s"))
