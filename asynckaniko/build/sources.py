"""Where files and bases come from: the nouns a plan is made of."""

from pathlib import Path
from typing import TypeAlias

from asynckaniko.context.arrival import Arrival
from asynckaniko.errors import IntegrityError
from asynckaniko.oci.config import ImageConfig
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import DiffID
from asynckaniko.oci.manifest import Manifest
from asynckaniko.oci.reference import Repository
from asynckaniko.records import dataclass
from asynckaniko.store.layout import LayoutReader

Origin: TypeAlias = Repository | LayoutReader
"""Where an image's blobs can be read: a repository of a registry, or an OCI layout."""


@dataclass(frozen=True, slots=True)
class BaseLayer:
    """A layer made elsewhere or earlier, that may or may not be on this machine."""

    descriptor: Descriptor
    diff_id: DiffID
    origin: Origin | None
    """None: in the blob store, and nowhere else."""
    cache_key: str = ""
    """Of the cache's entry that says so, if it comes from a cache."""
    copy: LayoutReader | None = None
    """A layout of this machine that has the blob, too, if it is not damaged."""


@dataclass(frozen=True, slots=True)
class BaseImage:
    """A resolved image: its documents are known, its layers wait to be needed."""

    name: str
    manifest: Manifest
    config: ImageConfig
    origin: Origin
    copy: LayoutReader | None = None
    """A layout of this machine that has the layers of an image of a registry."""

    @property
    def layers(self) -> tuple[BaseLayer, ...]:
        """Pair layers with diffIDs, base first. Raises IntegrityError when they do not pair."""
        layers, diff_ids = self.manifest.layers, self.config.diff_ids
        if len(layers) != len(diff_ids):
            raise IntegrityError(
                f"{self.name}: {len(layers)} layers in the manifest,"
                f" {len(diff_ids)} diff_ids in the config"
            )
        return tuple(
            BaseLayer(layer, diff_id, self.origin, copy=self.copy)
            for layer, diff_id in zip(layers, diff_ids, strict=True)
        )


@dataclass(frozen=True, slots=True)
class FromImage:
    """A stage or source that is an image elsewhere."""

    image: BaseImage


@dataclass(frozen=True, slots=True)
class FromStage:
    """Another stage of the file, by index."""

    index: int


@dataclass(frozen=True, slots=True)
class FromScratch:
    """Nothing."""


@dataclass(frozen=True, slots=True)
class FromDirectory:
    """Files of this machine: the build context, or a named context."""

    directory: Path
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FromArrival:
    """A context that may still be on its way; `contexts.arrived` waits and makes a directory of it.

    `dockerfile` is a Dockerfile elsewhere on this machine, whose own ignore file then counts.
    """

    arrival: Arrival
    dockerfile: Path | None = None


Settled: TypeAlias = FromImage | FromStage | FromScratch | FromDirectory
Source: TypeAlias = Settled | FromArrival
