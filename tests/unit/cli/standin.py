"""A builder that plays a script, for all that the command does around a build."""

from collections.abc import Iterable
from typing import Self

import anyio
import anyio.lowlevel

from asynckaniko.build.request import BuildRequest, BuildResult
from asynckaniko.events import Event, EventSink
from asynckaniko.oci import media_types
from asynckaniko.oci.config import ImageConfig
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.manifest import Manifest
from asynckaniko.oci.platform import Platform
from asynckaniko.settings import Settings

CONFIG = ImageConfig(Platform("linux", "amd64"))


def finished(*references: str) -> BuildResult:
    """Return the result of a build of an image without layers."""
    content = CONFIG.to_bytes()
    config = Descriptor(media_types.OCI_CONFIG, Digest.of(content), len(content))
    manifest = Manifest.make(config, [], media_type=media_types.OCI_MANIFEST)
    return BuildResult(
        digest=manifest.descriptor.digest,
        manifest=manifest,
        config=CONFIG,
        references=references,
    )


class ScriptedBuilder:
    """Emits `events`, then returns or raises `outcome`."""

    def __init__(
        self, events: Iterable[Event] = (), outcome: BuildResult | BaseException | None = None
    ) -> None:
        self._events = list(events)
        self._outcome = finished() if outcome is None else outcome
        self.settings: Settings | None = None
        self.request: BuildRequest | None = None

    def __call__(self, settings: Settings) -> Self:
        self.settings = settings
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def plan(self, request: BuildRequest, *, on_event: EventSink) -> str:
        self.request = request
        return "FROM scratch\nPUSH [there]"

    async def build(self, request: BuildRequest, *, on_event: EventSink) -> BuildResult:
        self.request = request
        for event in self._events:
            on_event(event)
            await anyio.lowlevel.checkpoint()
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome
