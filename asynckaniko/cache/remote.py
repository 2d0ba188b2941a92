"""RemoteCache: layers of earlier builds in a repository, one image per key, tagged with the key.

The shape is kaniko's: an image with the one layer. Its config holds the diffID and the time of its
making, by which it expires; nothing deletes it.
"""

import time
from datetime import datetime

from asynckaniko.cache.key import CacheKey
from asynckaniko.cache.layer_cache import CachedLayer
from asynckaniko.errors import AsynckanikoError, NotFound
from asynckaniko.events import BuildWarning, EventSink
from asynckaniko.oci import media_types
from asynckaniko.oci.config import ImageConfig, format_time
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.manifest import Manifest
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
        writes: bool,
    ) -> None:
        self._registry = registry
        self._repository = repository
        self._ttl_seconds = ttl_seconds
        self._writes = writes
        self._platform = Platform.host()

    async def get(self, key: CacheKey, *, emit: EventSink) -> CachedLayer | None:
        """Return the layer tagged `key`; what is damaged or not reachable is a miss, and said."""
        reference = Reference(self._repository, tag=key)
        try:
            found = await self._registry.resolve(reference, self._platform, emit=emit)
            config = ImageConfig.parse(found.config, where=str(reference))
        except NotFound:
            return None
        except AsynckanikoError as error:
            emit(BuildWarning(f"cache {self._repository}: {error}"))
            return None
        if len(found.manifest.layers) != 1 or len(config.diff_ids) != 1:
            emit(BuildWarning(f"cache {reference}: not an image of one layer"))
            return None
        if _age(config.created) > self._ttl_seconds:
            return None
        return CachedLayer(found.manifest.layers[0], config.diff_ids[0], self._repository)

    async def put(self, key: CacheKey, layer: CachedLayer, blob: Blob, *, emit: EventSink) -> None:
        """Push a layer under `key`. Raises RegistryError."""
        if not self._writes:
            return
        config = ImageConfig(self._platform, diff_ids=[layer.diff_id])
        config.created = format_time(time.time())
        content = config.to_bytes()
        descriptor = Descriptor(media_types.OCI_CONFIG, Digest.of(content), len(content))
        manifest = Manifest.make(
            descriptor, [layer.descriptor], media_type=media_types.OCI_MANIFEST
        )
        await self._registry.push_blob(self._repository, blob, emit=emit)
        config_blob = MemoryBlob(descriptor, content)
        await self._registry.push_blob(self._repository, config_blob, emit=emit)
        reference = Reference(self._repository, tag=key)
        await self._registry.push_manifest(
            reference, manifest.content, manifest.media_type, emit=emit
        )


def _age(created: str) -> float:
    """Seconds since an RFC 3339 time; infinite for what is none."""
    try:
        return time.time() - datetime.fromisoformat(created).timestamp()
    except ValueError:
        return float("inf")
