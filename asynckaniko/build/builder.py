"""Builder: the entry point for callers. Holds what builds share, and builds one image or many."""

import math
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import (
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

from anyio import (
    BrokenResourceError,
    CapacityLimiter,
    ClosedResourceError,
    create_memory_object_stream,
    create_task_group,
    to_thread,
)
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream

from asynckaniko.build.base_layers import BaseLayers
from asynckaniko.build.drafts import draft_tree
from asynckaniko.build.execute import carry_out, execute
from asynckaniko.build.housekeeping import Housekeeping
from asynckaniko.build.job_modules import INNER, OUTER
from asynckaniko.build.outline import outline_stages
from asynckaniko.build.plain_roots import put_back
from asynckaniko.build.request import BuildRequest, BuildResult
from asynckaniko.build.sides import LazyServer, ListedSide, NamespacedSide
from asynckaniko.build.workspace import Resources
from asynckaniko.build.write_back import WriteBack
from asynckaniko.cache.eviction import Bounds
from asynckaniko.concurrency import leaves, single_error
from asynckaniko.errors import AsynckanikoError, host_error
from asynckaniko.events import BuildWarning, Event, EventSink, ignore
from asynckaniko.isolation.fork_server import ForkServer
from asynckaniko.isolation.launch import Launch
from asynckaniko.isolation.namespaces import Confinement
from asynckaniko.registry.client import RegistryClient
from asynckaniko.settings import IsolationOptions, Settings
from asynckaniko.store.blobs import BlobStore
from asynckaniko.store.cache_mounts import CacheMounts
from asynckaniko.store.state import StateDirectory

_CHECK = "asynckaniko.isolation.probe:check_state_directory"
_REHEARSE_OWNER = "asynckaniko.isolation.rehearsal:rehearse_owner"
_MAKE_DIRECTORIES = "asynckaniko.rootfs.directories:make_directories"
_REMOVE = "asynckaniko.rootfs.remove:remove_trees"
_CLEAN_UP_SECONDS = 60.0


async def _check_state(state: StateDirectory, inner: ForkServer) -> None:
    """Raise UnsuitableStateDir before anything is downloaded into a place that cannot hold it."""
    async with draft_tree(state, state.rootfs, inner) as scratch:
        await inner.call(_MAKE_DIRECTORIES, {"paths": [scratch]})
        await inner.call(_CHECK, {"scratch": scratch})
        if inner.has_one_id:
            await inner.call(_REHEARSE_OWNER, {"scratch": scratch})


@asynccontextmanager
async def _start_inner(
    state: StateDirectory,
    caches: CacheMounts,
    isolation: IsolationOptions,
    disk: CapacityLimiter,
) -> AsyncIterator[ForkServer]:
    confinement = Confinement(
        mode=isolation.mode, cache_mounts=caches.attached, shared_pids=isolation.shared_pids
    )
    async with ForkServer.start(
        directory=state.rootfs, preload=INNER, namespaces=True, confinement=confinement
    ) as inner:
        take = partial(state.claim_rootfs, inner.root_id, has_one_id=inner.has_one_id)
        claim = await to_thread.run_sync(take, limiter=disk)
        try:
            take_caches = partial(caches.claim, inner.root_id, has_one_id=inner.has_one_id)
            await to_thread.run_sync(take_caches, limiter=disk)
            await _check_state(state, inner)
            # A builder that is not root cannot remove what is of subordinate ids from outside.
            dead = await to_thread.run_sync(state.dead_trees, limiter=disk)
            await inner.call(_REMOVE, {"paths": dead})
            yield inner
        finally:
            os.close(claim)


@asynccontextmanager
async def _start_outer(state: StateDirectory, launches: list[Launch]) -> AsyncIterator[ForkServer]:
    """Start the server, in one of the processes that were launched for it if there is one left."""
    async with ForkServer.start(
        directory=state.root,
        preload=OUTER,
        namespaces=False,
        launch=launches.pop() if launches else None,
    ) as outer:
        yield outer


@contextmanager
def _own_errors() -> Iterator[None]:
    """Turn an OSError of this process's own work on files, a full disk mostly, into a HostError."""
    try:
        yield
    except* OSError as group:
        first = next(leaves(group))
        assert isinstance(first, OSError), "what except* selects"
        raise host_error(first) from first


class RunningBuild:
    """A build in progress. `events` ends when the build ends."""

    def __init__(self, events: MemoryObjectReceiveStream[Event]) -> None:
        self.events = events
        self._result: BuildResult | None = None
        self._error: Exception | None = None

    @property
    def result(self) -> BuildResult:
        """What was built.

        Raises:
            AsynckanikoError: the build has failed; `Builder.start` raises the same error.
            RuntimeError: the build has not finished, or was cancelled: the caller's mistake.
        """
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise RuntimeError("the build has not finished")
        return self._result


class Builder:
    """Builds images; an async context manager.

    Its builds share connections, tokens, base layers and limits. Nothing outlives the block: no
    task, no process, no mount, no file but the store's.
    """

    def __init__(self, settings: Settings | None = None, *, launch: Launch | None = None) -> None:
        """`launch` is of a helper with the modules `job_modules.OUTER`, begun ahead of its use."""
        self._settings = settings or Settings()
        self._launches = [launch] if launch else []
        self._builds = CapacityLimiter(self._settings.limits.builds)
        self._exit = AsyncExitStack()
        self._resources: Resources | None = None
        self._base_layers: BaseLayers | None = None
        self._write_back: WriteBack | None = None
        self._background: TaskGroup
        self._housekeeping: Housekeeping

    async def __aenter__(self) -> Self:
        """Open the state directory; helper processes start when a build needs them.

        Raises:
            HostError: the state directory, or that of cache mounts, cannot be used.
        """
        async with AsyncExitStack() as entering:
            settings = self._settings
            limits = settings.limits
            disk = CapacityLimiter(limits.disk_threads)
            state = await to_thread.run_sync(
                partial(StateDirectory, put_back=put_back), settings.state_dir, limiter=disk
            )
            caches = await to_thread.run_sync(
                CacheMounts.open, settings.cache_mount_dir, state, limiter=disk
            )
            # First, so last to end: what is cancelled meanwhile cleans up after itself there.
            serving = await entering.enter_async_context(create_task_group())
            outer = LazyServer(partial(_start_outer, state, self._launches), serving)
            start_inner = partial(_start_inner, state, caches, settings.isolation, disk)
            namespaced = LazyServer(start_inner, serving)
            entering.callback(outer.stop)
            entering.callback(namespaced.stop)
            tasks = await entering.enter_async_context(create_task_group())
            # Left by an error or not: shared downloads end with the Builder.
            entering.callback(tasks.cancel_scope.cancel)
            processes = CapacityLimiter(limits.processes)
            inner = NamespacedSide(state.rootfs, processes, namespaced)
            registry = await entering.enter_async_context(RegistryClient.of(settings))
            blobs = BlobStore(state.blobs, disk=disk)
            # Of its own: what is still on its way is waited for, unlike downloads.
            self._background = await entering.enter_async_context(create_task_group())
            entering.callback(self._background.cancel_scope.cancel)
            self._write_back = WriteBack(state, blobs, self._background)
            self._housekeeping = Housekeeping(state, caches, inner, disk)
            self._resources = Resources(
                settings=settings,
                state=state,
                caches=caches,
                inner=inner,
                listed=ListedSide(state.listed, processes, outer),
                outer=outer,
                registry=registry,
                blobs=blobs,
                processes=processes,
                commands=CapacityLimiter(max(limits.processes, os.cpu_count() or 1)),
                disk=disk,
                write_back=self._write_back,
            )
            self._base_layers = BaseLayers(self._resources, tasks)
            self._exit = entering.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._resources = self._base_layers = None
        try:
            if self._write_back and (kind is None or issubclass(kind, AsynckanikoError)):
                # Also after a build that failed: the next one need not come that far again.
                await self._write_back.finish(seconds=self._settings.retry.total_seconds)
                await self._keep_within_bounds(ignore)
        finally:
            # The task group would wrap what the caller's block raised.
            with single_error():
                await self._exit.__aexit__(kind, error, trace)

    async def build(self, request: BuildRequest, *, on_event: EventSink = ignore) -> BuildResult:
        """Build one image and return when it is everywhere it was asked to be.

        Raises:
            AsynckanikoError: one error; several only if several things failed at the same time,
                and then as an ExceptionGroup.
        """
        if self._resources is None or self._base_layers is None:
            raise RuntimeError("a Builder is used inside `async with`")
        with single_error(), _own_errors():
            async with self._builds:
                result = await execute(
                    request,
                    resources=self._resources,
                    base_layers=self._base_layers,
                    emit=on_event,
                )
        self._background.start_soon(self._keep_within_bounds, on_event)
        return result

    async def plan(self, request: BuildRequest, *, on_event: EventSink = ignore) -> str:
        """Say what `build` would do, in lines. Nothing is run, pushed or written.

        Contexts, and manifests and configs of base images, are fetched; a cache is asked.

        Raises:
            AsynckanikoError: as `build`, for what can be known without building.
        """
        if self._resources is None or self._base_layers is None:
            raise RuntimeError("a Builder is used inside `async with`")
        with single_error(), _own_errors():
            async with self._builds:
                return await carry_out(
                    replace(request, check_push=False),
                    outline_stages,
                    resources=self._resources,
                    base_layers=self._base_layers,
                    emit=on_event,
                )

    async def call(
        self, function: str, arguments: Mapping[str, Any], *, fds: Sequence[int] = ()
    ) -> Any:
        """Run a job with the caller's rights, within the limit on helper processes.

        `function` is one of the helper that reads build contexts; see `ForkServer.call`.
        """
        if self._resources is None:
            raise RuntimeError("a Builder is used inside `async with`")
        async with self._resources.processes:
            return await self._resources.outer.call(function, arguments, fds=fds)

    async def _keep_within_bounds(self, emit: EventSink) -> None:
        """Remove from the state directory what the settings leave no room for."""
        bounds = Bounds(size=self._settings.state_size, mount_size=self._settings.mount_size)
        if bounds == Bounds():
            return
        try:
            await self._housekeeping.prune(bounds)
        except AsynckanikoError as error:
            emit(BuildWarning(f"the state directory was not pruned: {error}"))

    @asynccontextmanager
    async def start(self, request: BuildRequest) -> AsyncIterator[RunningBuild]:
        """Build in the background of an `async with` block; leaving the block early cancels it.

        Raises:
            AsynckanikoError: as `build`; the block is cancelled where it waits.
        """
        send, receive = create_memory_object_stream[Event](math.inf)
        running = RunningBuild(receive)

        def tell(event: Event) -> None:
            # What happens after the build's end, in the background, nobody listens to any more.
            with suppress(ClosedResourceError, BrokenResourceError):
                send.send_nowait(event)

        async def build() -> None:
            with send:
                try:
                    running._result = await self.build(request, on_event=tell)
                except Exception as error:
                    running._error = error
                    raise

        with single_error():
            async with receive, create_task_group() as tasks:
                tasks.start_soon(build)
                yield running
                if running._result is None:
                    tasks.cancel_scope.cancel()
