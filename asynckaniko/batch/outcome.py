"""What became of each image of a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Any

from asynckaniko.concurrency import leaves
from asynckaniko.errors import RegistryRejected, RegistryUnavailable
from asynckaniko.records import dataclass


class Status(StrEnum):
    """How an image ended."""

    BUILT = "built"
    KEPT = "kept"
    """It exists already, made of the same input."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """An image it needs failed."""
    CANCELLED = "cancelled"
    """Others failed under --fail-fast, or the batch was interrupted."""


GOOD = frozenset({Status.BUILT, Status.KEPT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """An image that exists."""

    digest: str
    references: tuple[str, ...] = ()
    media_type: str = ""
    size: int = 0
    config_digest: str = ""
    """Empty for an index."""
    platforms: Mapping[str, str] = field(default_factory=dict)
    """Platform to manifest digest, for an index."""
    layouts: tuple[str, ...] = ()
    """OCI layouts that hold the image and stay."""
    input_digest: str = ""
    is_new: bool = True
    """False: nothing was built, since it existed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of one image."""

    name: str
    status: Status
    built: Built | None = None
    error: Exception | None = None
    reason: str = ""
    started_seconds: float = 0.0
    """Since the batch began; of the first attempt."""
    seconds: float = 0.0
    attempts: int = 0

    @property
    def is_good(self) -> bool:
        return self.status in GOOD


def is_transient(error: BaseException) -> bool:
    """Tell whether trying again makes sense: a registry was not there, nothing else went wrong."""
    return all(
        isinstance(leaf, RegistryUnavailable)
        or (isinstance(leaf, RegistryRejected) and (leaf.status >= 500 or leaf.status == 429))
        for leaf in leaves(error)
    )


def metadata(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Describe the images that exist, by name, under the keys of docker buildx bake."""
    found: dict[str, Any] = {}
    for outcome in outcomes:
        built = outcome.built
        if built is None:
            continue
        fields: dict[str, Any] = {
            "containerimage.digest": built.digest,
            "containerimage.descriptor": {
                "mediaType": built.media_type,
                "digest": built.digest,
                "size": built.size,
            },
        }
        if built.config_digest:
            fields["containerimage.config.digest"] = built.config_digest
        if built.references:
            fields["image.name"] = ",".join(built.references)
        found[outcome.name] = fields
    return found
