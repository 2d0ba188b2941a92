"""Descriptor: how one piece of content refers to another (image-spec descriptor.md)."""

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any, Self

from asynckaniko.errors import IntegrityError, InvalidReference
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.platform import Platform
from asynckaniko.records import dataclass


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Type, address and size in bytes of a blob."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict, compare=False)
    platform: Platform | None = field(default=None, compare=False)
    urls: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def from_json(cls, document: Any, *, where: str) -> Self:
        """Check and read one descriptor; `where` names the document for the error.

        Raises:
            IntegrityError: a field is missing, of the wrong type or out of range.
        """
        try:
            media_type, size = document["mediaType"], document["size"]
            digest = Digest.parse(document["digest"])
            annotations = document.get("annotations") or {}
            platform = document.get("platform")
            urls = tuple(document.get("urls") or ())
        except InvalidReference as error:
            raise IntegrityError(f"{where}: {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(f"{where}: not a descriptor: {str(document)[:200]}") from error
        is_sized = type(size) is int and 0 <= size < 1 << 62
        if not is_sized or not isinstance(media_type, str) or not _is_texts(annotations):
            raise IntegrityError(f"{where}: not a descriptor: {str(document)[:200]}")
        return cls(
            media_type,
            digest,
            size,
            annotations,
            Platform.from_json(platform) if isinstance(platform, dict) else None,
            urls,
        )

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
        }
        if self.urls:
            document["urls"] = list(self.urls)
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        if self.platform:
            document["platform"] = self.platform.to_json()
        return document

    def as_type(self, media_type: str) -> Self:
        return replace(self, media_type=media_type)


def _is_texts(annotations: Any) -> bool:
    """Tell whether it is what annotations.md allows: texts by their name."""
    return isinstance(annotations, dict) and all(
        isinstance(value, str) for value in annotations.values()
    )
