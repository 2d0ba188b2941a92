"""Where the files of root filesystems are kept and worked on: in namespaces, or without any.

The fork servers start when they are first needed: a build that only changes metadata needs none,
and is as good in a place where namespaces are refused.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from anyio import TASK_STATUS_IGNORED, CancelScope, CapacityLimiter, Event, Lock
from anyio.abc import TaskGroup, TaskStatus

from asynckaniko.errors import HostError, OutOfSpace
from asynckaniko.isolation.fork_server import ForkServer
from asynckaniko.store.layers import LayerStore


class LazyServer:
    """A fork server that starts once, for all who need it when the first one does."""

    def __init__(
        self, start: Callable[[], AbstractAsyncContextManager[ForkServer]], tasks: TaskGroup
    ) -> None:
        """The server runs in a task of `tasks`, until `stop`, even if those are cancelled."""
        self._start = start
        self._tasks = tasks
        self._starting = Lock()
        self._server: ForkServer | None = None
        self._stopping = Event()

    def stop(self) -> None:
        """Let the server end; the task group waits for it."""
        self._stopping.set()

    async def started(self) -> ForkServer:
        """Return the server. Raises what starting it raises, and tries again the next time."""
        async with self._starting:
            if self._server is None:
                self._server = await self._tasks.start(self._serve)
            return self._server

    async def call(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        fds: Sequence[int] = (),
        directory: Path | None = None,
    ) -> Any:
        """Be `ForkServer.call`."""
        server = await self.started()
        return await server.call(function, arguments, fds=fds, directory=directory)

    async def _serve(self, *, task_status: TaskStatus[ForkServer] = TASK_STATUS_IGNORED) -> None:
        async with self._start() as server:
            # Builds that are cancelled clean up by its means.
            with CancelScope(shield=True):
                task_status.started(server)
                await self._stopping.wait()


class RootfsSide(ABC):
    """One way to keep files: a directory, its layers, and who works there.

    Paths of jobs are relative to `root`.
    """

    unpack_job: str
    """Turns a blob into a directory of `layers`."""
    is_listed = False
    """Layers are lists: nothing is mounted, and a step makes a packed layer only."""

    def __init__(self, root: Path, processes: CapacityLimiter) -> None:
        self.root = root
        self.layers = LayerStore(root)
        self._processes = processes

    @abstractmethod
    async def call(
        self, function: str, arguments: Mapping[str, Any], *, fds: Sequence[int] = ()
    ) -> Any:
        """Run a job; see `ForkServer.call`."""

    async def work(
        self, function: str, arguments: Mapping[str, Any], *, fds: Sequence[int] = ()
    ) -> Any:
        """Run a job within the limit on helper processes."""
        async with self._processes:
            return await self.call(function, arguments, fds=fds)


class NamespacedSide(RootfsSide):
    """Layers are overlays' lowers, owned by the ids they name; commands run here."""

    unpack_job = "asynckaniko.rootfs.apply_layer:unpack_layer"

    def __init__(self, root: Path, processes: CapacityLimiter, server: LazyServer) -> None:
        super().__init__(root, processes)
        self._server = server
        self._refusal: HostError | None = None

    async def call(
        self, function: str, arguments: Mapping[str, Any], *, fds: Sequence[int] = ()
    ) -> Any:
        return await self._server.call(function, arguments, fds=fds)

    async def start(self) -> ForkServer:
        """Start the server now. Raises IsolationUnavailable, UnsuitableStateDir, HostError."""
        return await self._server.started()

    async def works(self) -> bool:
        """Tell whether the server runs or can be started; a refusal is remembered."""
        if self._refusal is None:
            try:
                await self.start()
            except OutOfSpace:
                raise
            except HostError as error:
                self._refusal = error
        return self._refusal is None

    @property
    def refusal(self) -> HostError | None:
        """Why `works` said no."""
        return self._refusal


class ListedSide(RootfsSide):
    """Layers are lists of entries; files belong to whoever builds, and no command can run."""

    unpack_job = "asynckaniko.rootfs.listed.jobs:unpack_layer"
    is_listed = True

    def __init__(self, root: Path, processes: CapacityLimiter, server: LazyServer) -> None:
        super().__init__(root, processes)
        self._server = server

    async def call(
        self, function: str, arguments: Mapping[str, Any], *, fds: Sequence[int] = ()
    ) -> Any:
        return await self._server.call(function, arguments, fds=fds, directory=self.root)
