"""LayoutCache: layers of earlier builds in OCI layouts, one beside the other, named `PATH:KEY`.

This is what kaniko makes of `--cache-repo=oci:PATH`: a cache on a volume, without a registry.
"""

from functools import partial
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from asynckaniko.cache.entry_image import Entry, make_entry
from asynckaniko.cache.key import CacheKey
from asynckaniko.cache.layer_cache import CachedLayer
from asynckaniko.errors import AsynckanikoError, HostError, IntegrityError
from asynckaniko.events import BuildWarning, EventSink
from asynckaniko.oci.config import ImageConfig
from asynckaniko.oci.platform import Platform
from asynckaniko.registry.push import Blob
from asynckaniko.store.blobs import BlobFile
from asynckaniko.store.layout import LayoutReader, LayoutWriter


class LayoutCache:
    """A LayerCache in a directory that need not be this machine's own."""

    def __init__(self, path: Path, *, ttl_seconds: float, disk: CapacityLimiter) -> None:
        self._path = path
        self._ttl_seconds = ttl_seconds
        self._disk = disk
        self._platform = Platform.host()

    def __str__(self) -> str:
        return f"oci:{self._path}"

    def _layout(self, key: CacheKey) -> Path:
        return self._path.with_name(f"{self._path.name}:{key}")

    async def get(self, key: CacheKey, *, emit: EventSink) -> CachedLayer | None:
        """Return the layer of the layout for `key`; what is damaged is a miss, and said."""
        path = self._layout(key)
        try:
            return await to_thread.run_sync(self._get, path, limiter=self._disk)
        except AsynckanikoError as error:
            emit(BuildWarning(f"cache {path}: {error}"))
            return None

    def _get(self, path: Path) -> CachedLayer | None:
        if not path.is_dir():
            return None
        reader = LayoutReader(path)
        manifest = reader.open("", self._platform)
        entry = Entry.of_manifest(manifest)
        if entry is None:
            config = ImageConfig.parse(reader.read(manifest.config), where=str(path))
            entry = Entry.of_config(manifest, config)
        if entry.is_expired(self._ttl_seconds):
            return None
        blob = reader.blob_path(entry.layer.digest)
        try:
            size = blob.stat().st_size
        except OSError as error:
            raise IntegrityError(f"{blob}: {error.strerror}") from error
        if size != entry.layer.size:
            raise IntegrityError(f"{blob}: {size} bytes instead of {entry.layer.size}")
        return CachedLayer(entry.layer, entry.diff_id, reader)

    async def put(self, key: CacheKey, layer: CachedLayer, blob: Blob, *, emit: EventSink) -> None:
        """Write the layout of a layer whose blob is a file here. Raises HostError, InvalidInput."""
        assert isinstance(blob, BlobFile), "new layers are files of this build"
        put = partial(self._put, self._layout(key), layer, blob.path)
        await to_thread.run_sync(put, limiter=self._disk)

    def _put(self, path: Path, layer: CachedLayer, source: Path) -> None:
        manifest, config = make_entry(layer, self._platform)
        writer = LayoutWriter(path)
        try:
            writer.add_file(layer.descriptor.digest, source)
            writer.add(manifest.config.digest, config)
            writer.add(manifest.descriptor.digest, manifest.content)
            writer.finish(manifest.descriptor, [])
        except OSError as error:
            # Another executor that puts the same layer there at the same time.
            raise HostError(f"{path}: {error.strerror}") from error
        finally:
            writer.discard()
