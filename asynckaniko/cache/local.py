"""LocalCache: layers of earlier builds in the state directory, by key.

An entry is a small file named by its key; the layer itself is a blob of the blob store. Several
processes may share them: both appear by rename, and a blob that is gone makes its entries misses.
"""

import hashlib
import os
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import orjson
from anyio import CapacityLimiter, to_thread

from asynckaniko.cache.key import CacheKey
from asynckaniko.cache.layer_cache import CachedLayer
from asynckaniko.errors import AsynckanikoError, HostError, OutOfSpace
from asynckaniko.events import EventSink
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import DiffID, Digest
from asynckaniko.registry.push import Blob
from asynckaniko.store.blobs import BlobFile, BlobStore
from asynckaniko.store.drafts import write_file

_OUT_OF_SPACE = frozenset({28, 122})  # ENOSPC, EDQUOT


class LocalCache:
    """A LayerCache on local disk."""

    def __init__(
        self, directory: Path, *, blobs: BlobStore, ttl_seconds: float, disk: CapacityLimiter
    ) -> None:
        self._directory = directory
        self._blobs = blobs
        self._ttl_seconds = ttl_seconds
        self._disk = disk

    async def get(self, key: CacheKey, *, emit: EventSink) -> CachedLayer | None:
        """Return the layer stored under `key`; marks it as used."""
        return await to_thread.run_sync(self._get, key, limiter=self._disk)

    def _get(self, key: CacheKey) -> CachedLayer | None:
        path = self._directory / f"{key}.json"
        try:
            entry: dict[str, Any] = orjson.loads(path.read_bytes())
            descriptor = Descriptor.from_json(entry["layer"], where=str(path))
            layer = CachedLayer(descriptor, DiffID(Digest.parse(entry["diffID"])))
            is_expired = entry["created"] + self._ttl_seconds < time.time()
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AsynckanikoError):
            # A damaged entry is a miss, and never asked again.
            with suppress(OSError):
                path.unlink()
            return None
        if is_expired or self._blobs.find(descriptor) is None:
            return None
        with suppress(OSError):
            os.utime(path)
        return layer

    async def drop(self, key: str) -> None:
        """Forget an entry that proved damaged, and its layer if that has not its digest."""
        await to_thread.run_sync(self._drop, key, limiter=self._disk)

    def _drop(self, key: str) -> None:
        path = self._directory / f"{key}.json"
        with suppress(OSError, ValueError, KeyError, TypeError, AsynckanikoError):
            document = orjson.loads(path.read_bytes())
            digest = Descriptor.from_json(document["layer"], where=str(path)).digest
            blob = self._blobs.path(digest)
            with blob.open("rb") as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
            if actual != digest.hex:
                # Or it would stand in the way of the layer that is about to be made.
                blob.unlink()
        path.unlink(missing_ok=True)

    async def put(self, key: CacheKey, layer: CachedLayer, blob: Blob, *, emit: EventSink) -> None:
        """Keep a layer whose blob is a file on this machine. Raises HostError."""
        assert isinstance(blob, BlobFile), "new layers are files of this build"
        put = partial(self._put, key, layer, blob.path)
        await to_thread.run_sync(put, limiter=self._disk)

    def _put(self, key: CacheKey, layer: CachedLayer, source: Path) -> None:
        entry = {
            "layer": layer.descriptor.to_json(),
            "diffID": layer.diff_id,
            "created": time.time(),
            "madeBy": layer.made_by,
        }
        target = self._blobs.path(layer.descriptor.digest)
        try:
            with suppress(FileExistsError):
                os.link(source, target)
            write_file(self._directory / f"{key}.json", orjson.dumps(entry))
        except OSError as error:
            kind = OutOfSpace if error.errno in _OUT_OF_SPACE else HostError
            raise kind(f"{self._directory}: {error.strerror}") from error
