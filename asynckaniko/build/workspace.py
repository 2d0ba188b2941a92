"""What the builds of one Builder share, and one build's own scratch space."""

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter, move_on_after

from asynckaniko.build.write_back import WriteBack
from asynckaniko.isolation.fork_server import ForkServer
from asynckaniko.registry.client import RegistryClient
from asynckaniko.settings import Settings
from asynckaniko.store.blobs import BlobStore
from asynckaniko.store.layers import LayerStore
from asynckaniko.store.state import StateDirectory

_CLEAN_UP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Resources:
    """Everything with a lifetime that a Builder owns."""

    settings: Settings
    state: StateDirectory
    inner: ForkServer
    outer: ForkServer
    registry: RegistryClient
    blobs: BlobStore
    layers: LayerStore
    processes: CapacityLimiter
    """Helper processes that unpack, copy or pack."""
    commands: CapacityLimiter
    """RUN commands."""
    disk: CapacityLimiter
    write_back: WriteBack

    async def work(
        self, function: str, arguments: Mapping[str, Any], *, fds: Sequence[int] = ()
    ) -> Any:
        """Run a rootfs job inside the namespaces, within the limit on helper processes."""
        async with self.processes:
            return await self.inner.call(function, arguments, fds=fds)


@dataclass(slots=True)
class Workspace:
    """Directories of one build below `rootfs/builds/<id>`; removed when the build ends."""

    resources: Resources
    identifier: str
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @classmethod
    @asynccontextmanager
    async def open(cls, resources: Resources) -> AsyncIterator["Workspace"]:
        """Make a build's directory for the length of the block."""
        with resources.state.new_build() as identifier:
            workspace = cls(resources, identifier)
            try:
                # Inside: a call that is cancelled may have done its work.
                await resources.inner.call(
                    "asynckaniko.rootfs.directories:make_directories", {"paths": [workspace.root]}
                )
                yield workspace
            finally:
                # Also after cancellation; bounded, since a stuck disk must not hold the process.
                with move_on_after(_CLEAN_UP_SECONDS, shield=True):
                    await resources.inner.call(
                        "asynckaniko.rootfs.remove:remove_trees", {"paths": [workspace.root]}
                    )

    @property
    def root(self) -> str:
        return f"builds/{self.identifier}"

    def host_path(self, path: str) -> Path:
        """Name a path of the rootfs side as the main process sees it."""
        return self.resources.state.rootfs / path

    async def directories(self, *names: str) -> list[str]:
        """Make a fresh group of directories, such as `upper`, `work` and `scratch`."""
        group = f"{self.root}/{next(self._numbers)}"
        paths = [f"{group}/{name}" for name in names]
        await self.resources.inner.call(
            "asynckaniko.rootfs.directories:make_directories", {"paths": paths}
        )
        return paths
