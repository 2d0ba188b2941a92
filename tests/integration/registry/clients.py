"""Clients that never really wait, and content for them to move."""

import random
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import orjson

from asynckaniko.events import Event, ignore
from asynckaniko.oci import media_types
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.manifest import Manifest
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Reference, Repository
from asynckaniko.registry.client import RegistryClient
from asynckaniko.registry.credentials import CredentialSource
from asynckaniko.registry.retry import Clock
from asynckaniko.settings import CredentialOptions, Limits, RegistryOptions, Retry

PLATFORM = Platform("linux", "amd64")
QUICK = Retry(connect_seconds=2.0, response_seconds=5.0, stall_seconds=5.0)
IMPATIENT = Retry(connect_seconds=1.0, response_seconds=1.0, stall_seconds=0.5, attempts=4)
"""For servers that fall silent."""


class SkippedTime:
    """A clock on which sleeping takes no time but lets it pass."""

    def __init__(self) -> None:
        self.skipped = 0.0
        self.sleeps: list[float] = []
        self.clock = Clock(
            monotonic=lambda: time.monotonic() + self.skipped,
            now=lambda: time.time() + self.skipped,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.skipped += seconds
        self.sleeps.append(seconds)
        await anyio.lowlevel.checkpoint()


def connect(
    *,
    retry: Retry = QUICK,
    limits: Limits | None = None,
    auths: Mapping[str, Any] | None = None,
    helpers: Mapping[str, str] | None = None,
    directory: Path | None = None,
    credentials: CredentialOptions | None = None,
    sources: tuple[CredentialSource, ...] = (),
    time: SkippedTime | None = None,
    **options: Any,
) -> RegistryClient:
    """Make a client; `auths` and `helpers` go into a config.json in `directory`."""
    files: tuple[Path, ...] = ()
    if auths is not None:
        assert directory
        document = {"auths": auths, "credHelpers": helpers or {}}
        (directory / "config.json").write_bytes(orjson.dumps(document))
        files = (directory / "config.json",)
    return RegistryClient(
        RegistryOptions(**options),
        retry=retry,
        limits=limits or Limits(),
        auth_files=files,
        credentials=credentials,
        sources=sources,
        clock=(time or SkippedTime()).clock,
    )


@dataclass
class MemoryBlob:
    content: bytes
    media_type: str = media_types.OCI_LAYER
    piece: int = 256 * 1024
    opened: list[int] = field(default_factory=list)
    """The offsets it was read from."""

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(self.media_type, Digest.of(self.content), len(self.content))

    async def chunks(self, offset: int) -> AsyncIterator[bytes]:
        self.opened.append(offset)
        for start in range(offset, len(self.content), self.piece):
            await anyio.lowlevel.checkpoint()
            yield self.content[start : start + self.piece]


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


@dataclass(frozen=True)
class Image:
    """An image whose layers are noise."""

    layers: tuple[MemoryBlob, ...]
    config: MemoryBlob
    manifest: Manifest

    @classmethod
    def make(cls, *sizes: int, platform: Platform = PLATFORM, seed: int = 0) -> "Image":
        layers = tuple(MemoryBlob(noise(size, seed + n)) for n, size in enumerate(sizes))
        document = platform.to_json() | {
            "rootfs": {"type": "layers", "diff_ids": [b.descriptor.digest for b in layers]}
        }
        config = MemoryBlob(orjson.dumps(document), media_types.OCI_CONFIG)
        manifest = Manifest.make(
            config.descriptor,
            [b.descriptor for b in layers],
            media_type=media_types.OCI_MANIFEST,
        )
        return cls(layers, config, manifest)

    async def push(self, client: RegistryClient, reference: Reference) -> None:
        for blob in (*self.layers, self.config):
            await client.push_blob(reference.repository, blob)
        await client.push_manifest(reference, self.manifest.content, self.manifest.media_type)


async def read(
    client: RegistryClient,
    repository: Repository,
    blob: Descriptor,
    *,
    verify: bool = True,
    use_mirrors: bool = True,
    events: list[Event] | None = None,
) -> bytes:
    emit = ignore if events is None else events.append
    async with client.read_blob(
        repository, blob, verify=verify, use_mirrors=use_mirrors, emit=emit
    ) as stream:
        return b"".join([chunk async for chunk in stream])
