"""StepCache: what one build takes from caches, and what it gives to them."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from anyio import CapacityLimiter, create_task_group, to_thread

from asynckaniko.build.context import BuildRun
from asynckaniko.build.keys import KeyMaker, StepKey
from asynckaniko.build.layers import ImageLayer, PackedLayer
from asynckaniko.build.plan import PlannedStage
from asynckaniko.build.sources import BaseLayer
from asynckaniko.build.write_back import NewLayer
from asynckaniko.cache.inline import InlineCache
from asynckaniko.cache.last_build import LastBuild, explain
from asynckaniko.cache.layer_cache import CachedLayer, LayerCache
from asynckaniko.cache.layouts import LayoutCache
from asynckaniko.cache.local import LocalCache
from asynckaniko.cache.remote import RemoteCache
from asynckaniko.concurrency import single_error
from asynckaniko.errors import AsynckanikoError
from asynckaniko.events import BuildWarning, CacheMissed
from asynckaniko.oci import media_types
from asynckaniko.oci.digest import DiffID
from asynckaniko.oci.reference import Reference

_LOOK_UPS = 32
"""Keys asked for at a time."""
_LONGEST_TEXT = 500


class StepCache:
    """Looks all keys up before the first step; offers new layers while later steps run."""

    def __init__(self, run: BuildRun, damaged: set[str]) -> None:
        """`damaged` are keys whose entries proved unusable in this build."""
        self._run = run
        self._damaged = damaged
        self._kept: list[tuple[DiffID, str, int]] = []
        self._options = run.request.cache
        self._keys: dict[tuple[int, int], StepKey] = {}
        self._local: LocalCache | None = None
        self._shared: list[LayerCache] = []
        """Caches that new layers go to in the background."""
        self._failed: set[LayerCache] = set()
        self._caches = self._open()

    def _open(self) -> list[LayerCache]:
        """List the caches in the order in which they are asked."""
        options, resources = self._options, self._run.resources
        if options is None:
            return []
        ttl, disk = options.ttl_seconds, resources.disk
        caches: list[LayerCache] = []
        if options.local:
            self._local = LocalCache(
                resources.state.cache, blobs=resources.blobs, ttl_seconds=ttl, disk=disk
            )
            caches.append(self._local)
        if options.repository:
            shared: LayerCache
            if options.repository.startswith("oci:"):
                path = Path(options.repository.removeprefix("oci:"))
                shared = LayoutCache(path, ttl_seconds=ttl, disk=disk)
            else:
                repository = Reference.parse(options.repository).repository
                shared = RemoteCache(resources.registry, repository, ttl_seconds=ttl)
            caches.append(shared)
            if options.write:
                self._shared.append(shared)
        platform = self._run.plan.stages[self._run.plan.target].platform
        for text in options.sources:
            reference = Reference.parse(text)
            caches.append(InlineCache(resources.registry, reference, platform=platform))
        return caches

    async def look_up(self, *, is_trial: bool = False) -> None:
        """Compute the keys and fill in `hits` of the planned stages.

        With `is_trial` nothing will be built: a later build is not compared with this one.
        """
        if self._options is None or not (self._caches or self._options.inline):
            return
        if self._local is not None:
            for key in self._damaged:
                await self._local.drop(key)
        maker = KeyMaker(self._run)
        with single_error():
            await maker.make()
        self._keys = maker.keys
        found: dict[tuple[int, int], BaseLayer] = {}
        at_once = CapacityLimiter(_LOOK_UPS)

        async def ask(place: tuple[int, int], step: StepKey) -> None:
            async with at_once:
                layer = await self._ask(step)
            if layer is not None:
                found[place] = layer

        with single_error():
            async with create_task_group() as asking:
                for place, step in self._keys.items():
                    if self._is_cacheable(step) and step.key not in self._damaged:
                        asking.start_soon(ask, place, step)
        for planned in self._run.plan.in_order():
            self._take(planned, found)
        await self._explain_misses(is_trial=is_trial)

    async def _explain_misses(self, *, is_trial: bool) -> None:
        """Say of each stage's first miss which ingredients are others than in the last build."""
        request, plan = self._run.request, self._run.plan
        record = LastBuild(
            self._run.resources.state.cache, request.context, request.dockerfile, request.target
        )
        disk = self._run.resources.disk
        before = await to_thread.run_sync(record.read, limiter=disk)
        for planned in plan.in_order():
            missed = self._first_miss(planned)
            if missed is None:
                continue
            place = f"{planned.index}.{missed}"
            now = self._keys[planned.index, missed].ingredients
            instruction = planned.instructions[missed]
            changed = explain(before.get(place), now.fingerprints())
            text = " ".join(instruction.original.split())
            line = instruction.span.first
            self._run.emit(CacheMissed(planned.stage.label, text, line, tuple(changed)))
        if is_trial:
            return
        after = {
            f"{stage}.{position}": step.ingredients.fingerprints()
            for (stage, position), step in self._keys.items()
        }
        await to_thread.run_sync(record.write, after, limiter=disk)

    def _first_miss(self, planned: PlannedStage) -> int | None:
        for position, _ in enumerate(planned.instructions):
            step = self._keys.get((planned.index, position))
            if step and self._is_cacheable(step) and position not in planned.hits:
                return position
        return None

    def _is_cacheable(self, step: StepKey) -> bool:
        assert self._options is not None
        return self._options.copy_layers if step.is_copy else self._options.run_layers

    async def _ask(self, step: StepKey) -> BaseLayer | None:
        for cache in self._caches:
            layer = await cache.get(step.key, emit=self._run.emit)
            if layer is not None and self._fits(layer):
                return BaseLayer(layer.descriptor, layer.diff_id, layer.origin, step.key)
        return None

    def _fits(self, layer: CachedLayer) -> bool:
        """Tell whether the image's format has a type for the layer: Docker's has none for zstd."""
        compression = media_types.to_oci(layer.descriptor.media_type)
        is_docker = self._run.request.image_format == "docker"
        return not (is_docker and compression == media_types.OCI_LAYER_ZSTD)

    def _take(self, planned: PlannedStage, found: dict[tuple[int, int], BaseLayer]) -> None:
        """Use the hits of a stage up to its first miss.

        A layer after a miss was made on another run's result of the step that missed, which a
        command need not make again to the byte. A step that is not to be cached is no miss.
        """
        planned.hits.clear()
        for position, _ in enumerate(planned.instructions):
            place = (planned.index, position)
            step = self._keys.get(place)
            if step is None or not self._is_cacheable(step):
                continue
            if place not in found:
                return
            planned.hits[position] = found[place]

    def wants(self, planned: PlannedStage, position: int) -> bool:
        """Tell whether a step's layer will be offered, so that it has to be packed."""
        step = self._keys.get((planned.index, position))
        stores = self._local is not None or bool(self._shared)
        return step is not None and stores and self._is_cacheable(step)

    def key(self, planned: PlannedStage, position: int) -> str:
        """Return the key of a step whose layer can be found again; empty for others."""
        step = self._keys.get((planned.index, position))
        return step.key if step is not None and self._is_cacheable(step) else ""

    def inline_keys(self, layers: Sequence[ImageLayer]) -> list[str]:
        """List what the image's config is to say of its layers; nothing unless it is asked for."""
        if self._options is None or not self._options.inline:
            return []
        return [layer.cache_key for layer in layers]

    def offer(
        self, planned: PlannedStage, position: int, packed: PackedLayer, upper: str = ""
    ) -> None:
        """Store a new layer in the background; `upper` is the directory it was made of."""
        if self.wants(planned, position):
            if upper:
                self._kept.append((packed.diff_id, upper, packed.uncompressed_size))
            key = self._keys[planned.index, position].key
            made_by = " ".join(planned.instructions[position].original.split())[:_LONGEST_TEXT]
            layer = CachedLayer(packed.descriptor, packed.diff_id, made_by=made_by)
            new = NewLayer(key, layer, packed.blob)
            run = self._run
            for cache in self._shared:
                run.resources.write_back.submit(cache, new, failed=self._failed, emit=run.emit)
            if self._local is not None:
                run.tasks.start_soon(self._keep, self._local, new)

    async def _keep(self, cache: LocalCache, new: NewLayer) -> None:
        try:
            await cache.put(new.key, new.layer, new.blob, emit=self._run.emit)
        except AsynckanikoError as error:
            self._run.emit(BuildWarning(f"layer was not cached: {error}"))

    async def keep_directories(self) -> None:
        """Leave the directories of cached steps to later builds, which need not unpack them.

        To be called when nothing of this build looks at them any more.
        """
        if self._options is None or not self._options.local:
            return
        layers = self._run.resources.inner.layers
        for diff_id, upper, size in self._kept:
            if layers.find(diff_id) is None:
                keep = partial(layers.add, diff_id, upper, implicit=[], size=size, of_step=True)
                await to_thread.run_sync(keep, limiter=self._run.resources.disk)
