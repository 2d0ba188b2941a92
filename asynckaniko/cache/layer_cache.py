"""LayerCache: what a build asks of a cache, wherever that keeps its layers."""

from typing import Protocol

from asynckaniko.cache.key import CacheKey
from asynckaniko.errors import AsynckanikoError
from asynckaniko.events import EventSink
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import DiffID
from asynckaniko.oci.reference import Repository
from asynckaniko.records import dataclass
from asynckaniko.registry.push import Blob
from asynckaniko.store.layout import LayoutReader


@dataclass(frozen=True, slots=True)
class CachedLayer:
    """A layer a cache has. `origin` is where to read it from; None: the blob store."""

    descriptor: Descriptor
    diff_id: DiffID
    origin: Repository | LayoutReader | None = None
    made_by: str = ""
    """The instruction, for people who look into a cache."""


class DamagedEntry(AsynckanikoError):
    """What a cache holds under `key` is not what it said; the build goes on without it."""

    def __init__(self, key: str, cause: AsynckanikoError) -> None:
        super().__init__(cause.message)
        self.key = key


class LayerCache(Protocol):
    """A place for layers by key. Never raises for what is damaged or gone: that is a miss."""

    async def get(self, key: CacheKey, *, emit: EventSink) -> CachedLayer | None:
        """Return the layer stored under `key`, if it is there, whole and not expired."""
        ...

    async def put(self, key: CacheKey, layer: CachedLayer, blob: Blob, *, emit: EventSink) -> None:
        """Store a layer. Raises AsynckanikoError; the caller warns and goes on."""
        ...
