"""Layers of the image that is being built: from its base, or from a step once that is packed."""

from contextlib import ExitStack
from dataclasses import field
from typing import Any, TypeAlias

from anyio import Event

from asynckaniko.build.sources import BaseLayer
from asynckaniko.events import Step
from asynckaniko.oci import media_types
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import DiffID, Digest
from asynckaniko.records import dataclass
from asynckaniko.store.blobs import BlobFile, BlobStore, Ingest
from asynckaniko.store.growing import GrowingBlob

_LAYER_TYPES = {
    "gzip": media_types.OCI_LAYER_GZIP,
    "zstd": media_types.OCI_LAYER_ZSTD,
    "none": media_types.OCI_LAYER,
}


@dataclass(frozen=True, slots=True)
class PackedLayer:
    """A step's changes as a blob in a file of this build."""

    descriptor: Descriptor
    diff_id: DiffID
    blob: BlobFile
    uncompressed_size: int
    entries: int


@dataclass(slots=True)
class PendingLayer:
    """The place of a layer in the image, taken while it is still being packed."""

    _packed: PackedLayer | None = field(default=None, kw_only=True)
    _ready: Event = field(default_factory=Event, kw_only=True)
    _growing: GrowingBlob | None = field(default=None, kw_only=True)
    _begun: Event = field(default_factory=Event, kw_only=True)

    def begin(self, growing: GrowingBlob) -> None:
        """Tell those who wait where the layer is being packed to."""
        self._growing = growing
        self._begun.set()

    def fill(self, packed: PackedLayer) -> None:
        self._packed = packed
        self._begun.set()
        self._ready.set()
        if self._growing is not None:
            self._growing.finish()

    async def growing(self) -> GrowingBlob | None:
        """Wait until packing begins; None if nothing was known of the layer before its end."""
        await self._begun.wait()
        return self._growing

    async def packed(self) -> PackedLayer:
        """Wait until the layer is packed."""
        await self._ready.wait()
        assert self._packed is not None, "a filled layer"
        return self._packed


@dataclass(slots=True)
class StepLayer(PendingLayer):
    """The place of a step's layer."""

    step: Step
    cache_key: str = ""
    """Of the step, if its layers are to be found again."""


ImageLayer: TypeAlias = BaseLayer | StepLayer


class LayerFiles:
    """Files that a build's new layers are packed into; removed with the build."""

    def __init__(
        self, blobs: BlobStore, build: str, *, compression: str, level: int | None
    ) -> None:
        """Make them in `blobs`, for a running build by its identifier."""
        self._blobs = blobs
        self._build = build
        self._files = ExitStack()
        self.compression = compression
        self.level = level

    def __enter__(self) -> "LayerFiles":
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def new(self) -> Ingest:
        return self._files.enter_context(self._blobs.ingest_of_build(self._build))

    def growing(self, ingest: Ingest) -> GrowingBlob:
        """Follow a file that is being packed into."""
        return self._blobs.growing(ingest)

    def packed(self, ingest: Ingest, result: dict[str, Any]) -> PackedLayer:
        """Read what a packing job says about the file it filled."""
        descriptor = Descriptor(
            _LAYER_TYPES[self.compression], Digest.parse(result["digest"]), int(result["size"])
        )
        return PackedLayer(
            descriptor,
            DiffID(Digest.parse(result["diff_id"])),
            self._blobs.file(descriptor, ingest.path),
            int(result["uncompressed_size"]),
            int(result["entries"]),
        )

    @property
    def media_type(self) -> str:
        """The type of what is packed, by OCI's name."""
        return _LAYER_TYPES[self.compression]

    def job_arguments(self) -> dict[str, Any]:
        return {"compression": self.compression, "level": self.level}
