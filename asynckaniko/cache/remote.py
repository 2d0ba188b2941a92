"""RemoteCache: layers of earlier builds in a repository, one image per key, tagged with the key.

A look-up is one request, whether it hits or misses. Nothing deletes entries; they expire.
"""

from asynckaniko.cache.entry_image import Entry, make_entry
from asynckaniko.cache.key import CacheKey
from asynckaniko.cache.layer_cache import CachedLayer
from asynckaniko.errors import AsynckanikoError, IntegrityError, NotFound
from asynckaniko.events import BuildWarning, EventSink
from asynckaniko.oci.config import ImageConfig
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Reference, Repository
from asynckaniko.registry.client import RegistryClient
from asynckaniko.registry.push import Blob
from asynckaniko.store.blobs import MemoryBlob


class RemoteCache:
    """A LayerCache in a registry."""

    def __init__(
        self,
        registry: RegistryClient,
        repository: Repository,
        *,
        ttl_seconds: float,
    ) -> None:
        self._registry = registry
        self._repository = repository
        self._ttl_seconds = ttl_seconds
        self._platform = Platform.host()
        self._has_failed = False

    def __str__(self) -> str:
        return str(self._repository)

    async def get(self, key: CacheKey, *, emit: EventSink) -> CachedLayer | None:
        """Return the layer tagged `key`; what is damaged or not reachable is a miss, and said."""
        reference = Reference(self._repository, tag=key)
        try:
            entry = await self._entry(reference, emit)
        except NotFound:
            return None
        except IntegrityError as error:
            emit(BuildWarning(f"cache {reference}: {error}"))
            return None
        except AsynckanikoError as error:
            # It is the same for all keys, and they are asked for at the same time.
            if not self._has_failed:
                self._has_failed = True
                emit(BuildWarning(f"cache {self._repository}: {error}"))
            return None
        if entry.is_expired(self._ttl_seconds):
            return None
        return CachedLayer(entry.layer, entry.diff_id, self._repository)

    async def _entry(self, reference: Reference, emit: EventSink) -> Entry:
        manifest = await self._registry.manifest(reference, self._platform, emit=emit)
        entry = Entry.of_manifest(manifest)
        if entry is not None:
            return entry
        found = await self._registry.resolve(reference, self._platform, emit=emit)
        config = ImageConfig.parse(found.config, where=str(reference))
        return Entry.of_config(found.manifest, config)

    async def put(self, key: CacheKey, layer: CachedLayer, blob: Blob, *, emit: EventSink) -> None:
        """Push a layer under `key`. Raises RegistryError."""
        manifest, config = make_entry(layer, self._platform)
        await self._registry.push_blob(self._repository, blob, emit=emit)
        config_blob = MemoryBlob(manifest.config, config)
        await self._registry.push_blob(self._repository, config_blob, emit=emit)
        reference = Reference(self._repository, tag=key)
        await self._registry.push_manifest(
            reference, manifest.content, manifest.media_type, emit=emit
        )
