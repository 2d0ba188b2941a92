"""The image that holds one cached layer, as it is kept in registries and layouts: kaniko's shape.

Manifest annotations repeat what a look-up needs, so that it need not fetch the config. Entries of
kaniko, which have none, are read by their config.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Self

from asynckaniko.cache.layer_cache import CachedLayer
from asynckaniko.errors import IntegrityError, InvalidReference
from asynckaniko.oci import media_types
from asynckaniko.oci.config import History, ImageConfig, format_time
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import DiffID, Digest
from asynckaniko.oci.manifest import Manifest
from asynckaniko.oci.platform import Platform
from asynckaniko.records import dataclass

DIFF_ID = "asynckaniko.cache.diff-id"
CREATED = "org.opencontainers.image.created"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a look-up wants to know: the layer, and since when it is there."""

    layer: Descriptor
    diff_id: DiffID
    created: str
    """RFC 3339."""

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> Self | None:
        """Read the annotations; None if the config has to be asked.

        Raises:
            IntegrityError: it is no image of one layer, or the annotations are none of ours.
        """
        layer = _only_layer(manifest)
        named = _annotations(manifest.annotations)
        if named is None:
            return None
        diff_id, created = named
        try:
            return cls(layer, DiffID(Digest.parse(diff_id)), created)
        except InvalidReference as error:
            raise IntegrityError(f"annotation {DIFF_ID}: {error}") from error

    @classmethod
    def of_config(cls, manifest: Manifest, config: ImageConfig) -> Self:
        """Read an entry that has no annotations. Raises IntegrityError: not an image of one layer.

        kaniko writes one entry in Docker's format; its layers are the same bytes.
        """
        layer = _only_layer(manifest)
        if len(config.diff_ids) != 1:
            raise IntegrityError(f"not an image of one layer: {len(config.diff_ids)} diff_ids")
        return cls(layer, config.diff_ids[0], config.created)

    def is_expired(self, ttl_seconds: float) -> bool:
        """Tell whether it is too old; what has no time is."""
        try:
            age = time.time() - datetime.fromisoformat(self.created).timestamp()
        except ValueError:
            return True
        return age > ttl_seconds


def make_entry(layer: CachedLayer, platform: Platform) -> tuple[Manifest, bytes]:
    """Make manifest and config of a new entry."""
    created = format_time(time.time())
    config = ImageConfig(platform, created=created)
    config.add_layer(layer.diff_id, History(layer.made_by, created=created))
    content = config.to_bytes()
    descriptor = Descriptor(media_types.OCI_CONFIG, Digest.of(content), len(content))
    manifest = Manifest.make(
        descriptor,
        [layer.descriptor],
        media_type=media_types.OCI_MANIFEST,
        annotations={CREATED: created, DIFF_ID: layer.diff_id},
    )
    return manifest, content


def _only_layer(manifest: Manifest) -> Descriptor:
    if len(manifest.layers) != 1:
        raise IntegrityError(f"not an image of one layer but of {len(manifest.layers)}")
    # Others' annotations have no business in the images that the layer becomes part of.
    return replace(manifest.layers[0], annotations={})


def _annotations(annotations: Mapping[str, str]) -> tuple[str, str] | None:
    diff_id, created = annotations.get(DIFF_ID), annotations.get(CREATED)
    return (diff_id, created) if diff_id and created else None
