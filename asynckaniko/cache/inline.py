"""InlineCache: the layers of an image that was built with the keys of its steps in its config.

The image is its own cache: whoever can pull it can build on its layers, and nothing else has to be
stored anywhere.
"""

from collections.abc import Sequence
from typing import Any

from anyio import Lock

from asynckaniko.cache.key import CacheKey
from asynckaniko.cache.layer_cache import CachedLayer
from asynckaniko.errors import AsynckanikoError, IntegrityError, NotFound
from asynckaniko.events import BuildWarning, EventSink
from asynckaniko.oci.config import ImageConfig
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Reference
from asynckaniko.registry.client import RegistryClient, ResolvedImage
from asynckaniko.registry.push import Blob

FIELD = "asynckaniko.cache.v0"
"""Of the config: a list with the key of each layer; empty for one that no step of ours made."""


def write_keys(config: ImageConfig, keys: Sequence[str]) -> None:
    """Say in an image's config which step made each of its layers; no keys: that of a base goes."""
    config.other.pop(FIELD, None)
    if any(keys):
        config.other[FIELD] = list(keys)


class InlineCache:
    """A LayerCache over one image. Its time does not count: whoever names the image means it."""

    def __init__(
        self, registry: RegistryClient, reference: Reference, *, platform: Platform
    ) -> None:
        self._registry = registry
        self._reference = reference
        self._platform = platform
        self._layers: dict[str, CachedLayer] | None = None
        self._reading = Lock()

    def __str__(self) -> str:
        return str(self._reference)

    async def get(self, key: CacheKey, *, emit: EventSink) -> CachedLayer | None:
        """Return the layer of the image that the step of this key made."""
        async with self._reading:
            if self._layers is None:
                self._layers = await self._read(emit)
        return self._layers.get(key)

    async def _read(self, emit: EventSink) -> dict[str, CachedLayer]:
        reference = self._reference
        try:
            image = await self._registry.resolve(reference, self._platform, emit=emit)
            return _layers(image)
        except NotFound:
            # The first build of all.
            return {}
        except AsynckanikoError as error:
            emit(BuildWarning(f"cache {reference}: {error}"))
            return {}

    async def put(self, key: CacheKey, layer: CachedLayer, blob: Blob, *, emit: EventSink) -> None:
        """Do nothing: the layer gets there with the image."""


def _layers(image: ResolvedImage) -> dict[str, CachedLayer]:
    config = ImageConfig.parse(image.config, where=str(image.reference))
    keys: Any = config.other.get(FIELD, [])
    if not keys:
        return {}
    layers = image.manifest.layers
    if not isinstance(keys, list) or not len(keys) == len(layers) == len(config.diff_ids):
        raise IntegrityError(f"{FIELD} does not name the {len(layers)} layers")
    return {
        key: CachedLayer(layer, diff_id, image.repository)
        for key, layer, diff_id in zip(keys, layers, config.diff_ids, strict=True)
        if isinstance(key, str) and key
    }
