"""The contexts of one build: where its files and its Dockerfile come from.

A directory is used in place. Everything else is fetched into a directory that goes with the build,
in the background: base images are resolved and pulled meanwhile, and whoever copies waits.
"""

import itertools
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import Lock, create_task_group, move_on_after, to_thread
from anyio.abc import TaskGroup

from asynckaniko.build.sources import FromArrival, FromDirectory, Settled, Source
from asynckaniko.concurrency import single_error
from asynckaniko.context.arrival import Arrival, Reach, fetch_repository, find_inside
from asynckaniko.context.git_url import GitRepository
from asynckaniko.context.https import WebOptions, read_url
from asynckaniko.context.location import Directory, StandardInput, shown
from asynckaniko.context.source import (
    DEFAULT_DOCKERFILE,
    DockerfileSource,
    open_context,
    read_dockerfile,
    spellings,
)
from asynckaniko.errors import ContextError, UsageError
from asynckaniko.events import EventSink

if TYPE_CHECKING:
    from asynckaniko.build.request import BuildRequest
    from asynckaniko.build.workspace import Resources

_REMOVE = "asynckaniko.rootfs.remove:remove_trees"
_CLEAN_UP_SECONDS = 60.0


class BuildContexts:
    """Opens each context of a build once."""

    def __init__(
        self,
        request: "BuildRequest",
        resources: "Resources",
        emit: EventSink,
        *,
        scratch: Path,
        tasks: TaskGroup,
    ) -> None:
        self._request = request
        self._resources = resources
        self._scratch = scratch
        self._tasks = tasks
        self._numbers = itertools.count()
        self._arrivals: dict[tuple[str, str], Arrival] = {}
        self._repositories: dict[tuple[GitRepository, str, bool], FromDirectory] = {}
        self._repository_lock = Lock()
        self.reach = Reach(
            jobs=resources.outer,
            options=request.context_options,
            settings=resources.settings,
            disk=resources.disk,
            emit=emit,
            google_token=resources.registry.google_token,
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls, request: "BuildRequest", resources: "Resources", emit: EventSink
    ) -> AsyncIterator["BuildContexts"]:
        """Prepare for the length of the block; what has been fetched is gone afterwards."""
        with resources.state.new_scratch() as scratch:
            try:
                with single_error():
                    async with create_task_group() as tasks:
                        yield cls(request, resources, emit, scratch=scratch, tasks=tasks)
                        tasks.cancel_scope.cancel()
            finally:
                if not _remove_empty(scratch):
                    # Also after cancellation; bounded: a stuck disk must not hold the process.
                    with move_on_after(_CLEAN_UP_SECONDS, shield=True):
                        await resources.outer.call(_REMOVE, {"paths": [str(scratch)]})

    def new_directory(self) -> Path:
        """Name a directory of this build that does not exist yet."""
        return self._scratch / str(next(self._numbers))

    async def read_dockerfile(self) -> tuple[DockerfileSource, FromDirectory | FromArrival]:
        """Start to fetch the context, and read the Dockerfile wherever it is.

        Raises:
            ContextError: there is no Dockerfile or no context, or one cannot be read.
        """
        request = self._request
        location = self.reach.parse(request.context)
        if isinstance(location, Directory):
            sub_path = request.context_options.sub_path
            # A join with nothing would end in a slash, in messages as well.
            directory = os.path.join(location.path, sub_path) if sub_path else location.path
            return await self._of_directory(directory)
        elsewhere = await self._dockerfile_elsewhere()
        names = [] if elsewhere else spellings(request.dockerfile)
        sub_path = request.context_options.sub_path
        arrival = self._start(request.context, sub_path=sub_path, announce=names, chooses=True)
        if elsewhere:
            path = elsewhere.path if elsewhere.is_local else None
            return elsewhere, FromArrival(arrival, path)
        return await self._of_arrival(arrival, names), FromArrival(arrival)

    async def named(self, value: str) -> FromDirectory | FromArrival:
        """Open a named context that is no image. Raises ContextError."""
        location = self.reach.parse(value)
        if isinstance(location, Directory):
            opened = await to_thread.run_sync(
                open_context, location.path, limiter=self._resources.disk
            )
            return FromDirectory(opened.directory, tuple(opened.ignore))
        return FromArrival(self._start(value))

    async def repository(
        self, repository: GitRepository, *, checksum: str, keep_git_dir: bool | None
    ) -> FromDirectory:
        """Fetch a repository that ADD names, once for each form in which it is asked for.

        The credentials of the build context go to its own host only; other hosts get those of the
        secret `GIT_AUTH_TOKEN.<host>`, if there is one. Raises what `GitFetcher.fetch` does.
        """
        keep = bool(repository.keep_git_dir if keep_git_dir is None else keep_git_dir)
        key = (repository, checksum, keep)
        async with self._repository_lock:
            if key not in self._repositories:
                self._repositories[key] = await self._fetch_repository(repository, checksum, keep)
            return self._repositories[key]

    async def _fetch_repository(
        self, repository: GitRepository, checksum: str, keep_git_dir: bool
    ) -> FromDirectory:
        root = self.new_directory()
        options = replace(
            self.reach.options.git,
            branch="",
            depth=1,
            recurse_submodules=repository.submodules is not False,
        )
        location = self.reach.parse(self._request.context)
        if not isinstance(location, GitRepository) or location.origin != repository.origin:
            token = await self._token(repository)
            options = replace(
                options, token="", username="x-access-token" if token else "", password=token
            )
        await fetch_repository(
            repository,
            root,
            self.reach,
            options=options,
            keep_git_dir=keep_git_dir,
            checksum=checksum,
        )
        path = repository.subdirectory.strip("/")
        if path:
            name = f"git repository {repository.shown}"
            root /= await find_inside(self.reach.jobs, root, path, name=name)
        return FromDirectory(root)

    async def _token(self, repository: GitRepository) -> str:
        secret = self._request.secrets.get(f"GIT_AUTH_TOKEN.{repository.host}")
        if secret is None:
            return ""
        if secret.value is not None:
            return secret.value.decode().strip()
        path = secret.path
        assert path is not None, "a secret has a value or a path"
        text = await to_thread.run_sync(path.read_text, limiter=self._resources.disk)
        return text.strip()

    async def settle(self) -> None:
        """Wait for all contexts: a broken one is an error even if nothing was copied from it."""
        for arrival in self._arrivals.values():
            await arrival.wait()

    async def _of_directory(self, path: str) -> tuple[DockerfileSource, FromDirectory]:
        request = self._request
        limit = self._resources.settings.limits.dockerfile_size
        remote = await self._remote_dockerfile()

        def read() -> tuple[DockerfileSource, FromDirectory]:
            found = remote or read_dockerfile(request.dockerfile, context=path, limit=limit)
            beside = found.path if found.is_local else None
            opened = open_context(path, dockerfile=beside)
            return found, FromDirectory(opened.directory, tuple(opened.ignore))

        return await to_thread.run_sync(read, limiter=self._resources.disk)

    async def _dockerfile_elsewhere(self) -> DockerfileSource | None:
        """Read a Dockerfile that is not in the context, if it is none of the context's."""
        name = self._request.dockerfile
        remote = await self._remote_dockerfile()
        if remote or name == DEFAULT_DOCKERFILE:
            return remote
        return await self._local_dockerfile()

    async def _local_dockerfile(self) -> DockerfileSource | None:
        name, limit = self._request.dockerfile, self._resources.settings.limits.dockerfile_size
        if not await to_thread.run_sync(
            lambda: any(Path(spelling).exists() for spelling in spellings(name)),
            limiter=self._resources.disk,
        ):
            return None
        return await to_thread.run_sync(
            lambda: read_dockerfile(name, context=None, limit=limit), limiter=self._resources.disk
        )

    async def _remote_dockerfile(self) -> DockerfileSource | None:
        name = self._request.dockerfile
        if not name.startswith(("https://", "http://")):
            return None
        web = self.reach.web
        limit = self._resources.settings.limits.dockerfile_size
        options = WebOptions(retry=web.retry, limit=limit, ca_files=web.ca_files)
        content = await read_url(name, options=options, emit=self.reach.emit)
        return DockerfileSource(Path("Dockerfile"), content, shown(name), is_local=False)

    async def _of_arrival(self, arrival: Arrival, names: list[str]) -> DockerfileSource:
        limit = self._resources.settings.limits.dockerfile_size
        content = await arrival.dockerfile(names, limit=limit)
        if content is not None:
            self._tasks.start_soon(self._confirm, arrival, names, content)
            return DockerfileSource(
                Path(names[0]), content, self._request.dockerfile, is_local=False
            )
        found = await self._local_dockerfile()
        if found is None:
            raise ContextError(
                f"there is no Dockerfile: {arrival.name} has no {self._request.dockerfile};"
                " name it with --dockerfile"
            )
        return found

    async def _confirm(self, arrival: Arrival, names: list[str], content: bytes) -> None:
        limit = self._resources.settings.limits.dockerfile_size
        await arrival.confirm(names, content, limit=limit)

    def _start(
        self,
        source: str,
        *,
        sub_path: str = "",
        announce: Sequence[str] = (),
        chooses: bool = False,
    ) -> Arrival:
        key = (source, sub_path)
        if key not in self._arrivals:
            arrival = Arrival(
                self.reach,
                source,
                self.new_directory(),
                sub_path=sub_path,
                announce=announce,
                chooses=chooses,
            )
            if isinstance(arrival.location, StandardInput) and any(
                isinstance(other.location, StandardInput) for other in self._arrivals.values()
            ):
                raise UsageError("tar://stdin can be read once: two contexts name it")
            self._arrivals[key] = arrival
            self._tasks.start_soon(arrival.fetch)
        return self._arrivals[key]


def _remove_empty(directory: Path) -> bool:
    try:
        directory.rmdir()
    except OSError:
        # Something was fetched into it.
        return False
    return True


async def arrived(source: Source, *, needed: bool = True) -> Settled:
    """Wait for a context that is still on its way, if `needed`; return anything else as it is."""
    if isinstance(source, FromArrival):
        if not needed:
            return FromDirectory(source.arrival.root)
        opened = await source.arrival.opened(dockerfile=source.dockerfile)
        return FromDirectory(opened.directory, tuple(opened.ignore))
    return source
