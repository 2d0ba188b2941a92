"""What the builds of one Builder share, and one build's own scratch space."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import field
from pathlib import Path

from anyio import CapacityLimiter, Lock, move_on_after

from asynckaniko.build.plain_roots import IN_PLACE_NOTICE, PlainRootOptions, PlainRoots
from asynckaniko.build.sides import LazyServer, ListedSide, NamespacedSide, RootfsSide
from asynckaniko.build.write_back import WriteBack
from asynckaniko.errors import HostError, IsolationUnavailable, SourceSpan
from asynckaniko.isolation.plain import IN_PLACE, PLAIN_MODES, check_in_place, missing_for_files
from asynckaniko.linux import syscalls
from asynckaniko.records import dataclass
from asynckaniko.registry.client import RegistryClient
from asynckaniko.settings import Settings
from asynckaniko.store.blobs import BlobStore
from asynckaniko.store.cache_mounts import CacheMounts
from asynckaniko.store.state import StateDirectory

_CLEAN_UP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Resources:
    """Everything with a lifetime that a Builder owns."""

    settings: Settings
    state: StateDirectory
    caches: CacheMounts
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
    plain: PlainRootOptions = field(default_factory=PlainRootOptions)
    roots: PlainRoots | None = None
    """Where commands run if that is a plain directory; `side` decides."""
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
                if workspace.roots is not None:
                    await workspace.roots.close()
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
        if mode == "none" or (mode in PLAIN_MODES and not self.command):
            return listed
        if mode in PLAIN_MODES:
            await self._use_plain(mode)
            return listed
        if mode == "auto" and not self.command and not await inner.works():
            return listed
        falls_back = mode == "auto" and self.resources.settings.isolation.may_be_plain
        if falls_back and not await inner.works() and await self._find_plain(inner.refusal):
            return listed
        await inner.start()
        return inner

    async def _find_plain(self, refusal: HostError | None) -> bool:
        """Use what works of the modes whose root filesystems are plain directories.

        Only if namespaces are refused: a state directory that cannot be used is the user's matter.
        """
        if not isinstance(refusal, IsolationUnavailable):
            return False
        for mode in PLAIN_MODES:
            try:
                await self._use_plain(mode)
            except IsolationUnavailable:
                continue
            if self.roots is not None:
                self.roots.notices.insert(0, f"commands do not run in namespaces: {refusal}")
            return True
        return False

    async def _use_plain(self, mode: str) -> None:
        """Run commands in plain directories. Raises IsolationUnavailable, StepFailed."""
        roots = PlainRoots(self, mode, self.plain)
        if mode == IN_PLACE:
            check_in_place()
            roots.notices.append(IN_PLACE_NOTICE)
        else:
            await roots.rehearse(self.resources.listed)
        if missing := missing_for_files():
            roots.notices.append(missing)
        # Commands share this process's user: its memory and environment are none of theirs.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        self.roots = roots

    @property
    def candidates(self) -> tuple[RootfsSide, ...]:
        """The sides that may be chosen."""
        inner, listed = self.resources.inner, self.resources.listed
        match self.resources.settings.isolation.mode:
            case "none" | "chroot" | "in-place":
                return (listed,)
            case "auto" if not self.command or self.resources.settings.isolation.may_be_plain:
                return (inner, listed)
            case _:
                return (inner,)

    @property
    def root(self) -> str:
        return f"builds/{self.identifier}"

    def host_path(self, path: str) -> Path:
        """Name a path of the side where commands run as the main process sees it."""
        inner, listed = self.resources.inner, self.resources.listed
        return (listed if self.roots else inner).root / path

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
