"""What the builds of one Builder share, and one build's own scratch space."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from anyio import CapacityLimiter, Lock, move_on_after

from asynckaniko.build.sides import LazyServer, ListedSide, NamespacedSide, RootfsSide
from asynckaniko.build.write_back import WriteBack
from asynckaniko.errors import HostError, SourceSpan
from asynckaniko.registry.client import RegistryClient
from asynckaniko.settings import Settings
from asynckaniko.store.blobs import BlobStore
from asynckaniko.store.state import StateDirectory

_CLEAN_UP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Resources:
    """Everything with a lifetime that a Builder owns."""

    settings: Settings
    state: StateDirectory
    inner: NamespacedSide
    listed: ListedSide
    outer: LazyServer
    registry: RegistryClient
    blobs: BlobStore
    processes: CapacityLimiter
    """Helper processes that unpack, copy or pack."""
    commands: CapacityLimiter
    """RUN commands."""
    disk: CapacityLimiter
    write_back: WriteBack


@dataclass(slots=True)
class Workspace:
    """Directories of one build below `builds/<id>` of its side; removed when the build ends."""

    resources: Resources
    identifier: str
    command: tuple[SourceSpan, str] | None = None
    """The first RUN that will be run, and the Dockerfile: it is to blame if none can be."""
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _choosing: Lock = field(default_factory=Lock)
    _side: RootfsSide | None = None
    _refusal: HostError | None = None
    _is_used: bool = False

    @classmethod
    @asynccontextmanager
    async def open(cls, resources: Resources) -> AsyncIterator["Workspace"]:
        """Name a build, whose directories go with the block."""
        with resources.state.new_build() as identifier:
            workspace = cls(resources, identifier)
            try:
                yield workspace
            finally:
                await workspace._remove()

    async def side(self) -> RootfsSide:
        """Return where this build's files are; the first call decides it.

        Raises IsolationUnavailable, UnsuitableStateDir, HostError: always the same object.
        """
        async with self._choosing:
            if self._refusal is not None:
                raise self._refusal
            if self._side is None:
                try:
                    self._side = await self._choose()
                except HostError as error:
                    self._refusal = error.at(*self.command) if self.command else error
                    raise
            return self._side

    async def _choose(self) -> RootfsSide:
        inner, listed = self.resources.inner, self.resources.listed
        mode = self.resources.settings.isolation.mode
        if mode == "none" or (mode == "auto" and not self.command and not await inner.works()):
            return listed
        await inner.start()
        return inner

    @property
    def candidates(self) -> tuple[RootfsSide, ...]:
        """The sides that may be chosen."""
        inner, listed = self.resources.inner, self.resources.listed
        match self.resources.settings.isolation.mode:
            case "none":
                return (listed,)
            case "auto" if not self.command:
                return (inner, listed)
            case _:
                return (inner,)

    @property
    def root(self) -> str:
        return f"builds/{self.identifier}"

    def host_path(self, path: str) -> Path:
        """Name a path of the namespaced side as the main process sees it."""
        return self.resources.inner.root / path

    async def directories(self, *names: str) -> list[str]:
        """Make a fresh group of directories, such as `upper`, `work` and `scratch`."""
        side = await self.side()
        group = f"{self.root}/{next(self._numbers)}"
        paths = [f"{group}/{name}" for name in names]
        # Before: a call that is cancelled may have done its work.
        self._is_used = True
        await side.call("asynckaniko.rootfs.directories:make_directories", {"paths": paths})
        return paths

    async def _remove(self) -> None:
        if self._side is None or not self._is_used:
            return
        # Also after cancellation; bounded, since a stuck disk must not hold the process.
        with move_on_after(_CLEAN_UP_SECONDS, shield=True):
            await self._side.call("asynckaniko.rootfs.remove:remove_trees", {"paths": [self.root]})
