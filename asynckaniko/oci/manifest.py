"""Manifest and index: which blobs make an image (image-spec manifest.md, image-index.md)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, Self

import orjson

from asynckaniko.errors import IntegrityError, NoMatchingPlatform
from asynckaniko.oci import media_types
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.documents import read_object
from asynckaniko.oci.platform import Platform
from asynckaniko.records import dataclass

_LIMIT = 4 << 20
_MOST_ENTRIES = 4096


@dataclass(frozen=True, slots=True)
class Manifest:
    """Config and layers of one image, base layer first. `content` is exactly what was received."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    content: bytes
    annotations: Mapping[str, str] = field(default_factory=dict, compare=False)

    @classmethod
    def make(
        cls,
        config: Descriptor,
        layers: Sequence[Descriptor],
        *,
        media_type: str,
        annotations: Mapping[str, str] | None = None,
    ) -> Self:
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": config.to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
        if annotations:
            document["annotations"] = dict(annotations)
        return cls(media_type, config, tuple(layers), orjson.dumps(document), annotations or {})

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, Digest.of(self.content), len(self.content))


@dataclass(frozen=True, slots=True)
class Index:
    """Manifests for several platforms."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    content: bytes

    @classmethod
    def make(
        cls, manifests: Iterable[Descriptor], *, annotations: Mapping[str, str] | None = None
    ) -> Self:
        """Write an index of descriptors that have a platform, ordered by it.

        The same manifests and annotations give the same bytes, in whatever order they come.
        """
        ordered = tuple(sorted(manifests, key=_place))
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_INDEX,
            "manifests": [descriptor.to_json() for descriptor in ordered],
        }
        if annotations:
            document["annotations"] = dict(sorted(annotations.items()))
        return cls(media_types.OCI_INDEX, ordered, orjson.dumps(document))

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, Digest.of(self.content), len(self.content))

    def choose(self, platform: Platform, *, name: str) -> Descriptor:
        """Pick the manifest for `platform`; `name` is the image, for the error.

        Raises:
            NoMatchingPlatform: lists what there is.
        """
        for acceptable in platform.accepts():
            for descriptor in self.manifests:
                offered = descriptor.platform
                if offered is not None and _serves(offered, acceptable):
                    return descriptor
        if len(self.manifests) == 1 and self.manifests[0].platform is None:
            return self.manifests[0]
        offers = sorted({str(m.platform) for m in self.manifests if _is_runnable(m)})
        raise NoMatchingPlatform(
            f"{name} has no image for {platform}; it has {', '.join(offers) or 'none at all'}"
        )


def _serves(offered: Platform, wanted: Platform) -> bool:
    same = (offered.os, offered.architecture, offered.variant)
    return same == (wanted.os, wanted.architecture, wanted.variant)


def _is_runnable(descriptor: Descriptor) -> bool:
    return descriptor.platform is not None and not descriptor.platform.is_unknown


def _place(descriptor: Descriptor) -> tuple[bool, str, str, str]:
    """Order descriptors of an index: images by platform, then what describes them."""
    version = descriptor.platform.os_version if descriptor.platform else ""
    unknown = not _is_runnable(descriptor)
    return unknown, str(descriptor.platform), version, descriptor.digest


def parse(content: bytes, *, media_type: str, where: str) -> Manifest | Index:
    """Read a manifest or index that was announced as `media_type` (empty: not announced).

    Raises:
        IntegrityError: malformed, over the limits, or the announced type, the document's own
            type and its shape do not agree (CVE-2021-41190).
    """
    document = read_object(content, where=where, limit=_LIMIT)
    kind = _media_type(document, announced=media_type.partition(";")[0].strip(), where=where)
    if kind in media_types.INDEXES:
        entries = _list(document, "manifests", where)
        return Index(kind, tuple(Descriptor.from_json(m, where=where) for m in entries), content)
    config = Descriptor.from_json(document.get("config"), where=where)
    layers = tuple(Descriptor.from_json(x, where=where) for x in _list(document, "layers", where))
    return Manifest(kind, config, layers, content, _annotations(document))


def _annotations(document: dict[str, Any]) -> dict[str, str]:
    """Read what anyone may have written there: what is not text is left out."""
    found = document.get("annotations")
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _media_type(document: dict[str, Any], *, announced: str, where: str) -> str:
    known = media_types.MANIFESTS | media_types.INDEXES
    own = document.get("mediaType")
    has_manifests, has_layers = (
        "manifests" in document,
        "layers" in document or "config" in document,
    )
    if document.get("schemaVersion") != 2:
        raise IntegrityError(
            f"{where}: schemaVersion {document.get('schemaVersion')!r}, expected 2"
        )
    if has_manifests == has_layers:
        raise IntegrityError(f"{where}: it must be either a manifest or an index")
    if own is not None and own not in known:
        raise IntegrityError(f"{where}: unknown media type {str(own)[:100]!r}")
    if own and announced in known and own != announced:
        raise IntegrityError(f"{where}: announced as {announced}, but the document says {own}")
    kind = own or (announced if announced in known else "")
    if not kind:
        kind = media_types.OCI_INDEX if has_manifests else media_types.OCI_MANIFEST
    if (kind in media_types.INDEXES) != has_manifests:
        raise IntegrityError(f"{where}: {kind} without the fields of one")
    return str(kind)


def _list(document: dict[str, Any], key: str, where: str) -> list[Any]:
    entries = document.get(key) or []
    if not isinstance(entries, list) or len(entries) > _MOST_ENTRIES:
        raise IntegrityError(f"{where}: {key} must be a list of at most {_MOST_ENTRIES}")
    return entries
