"""Contexts on their way here: fetched, unpacked while they arrive, and waited for by whoever reads.

An archive goes from its source through a pipe into a helper process that unpacks it: it is never
whole in memory. Helpers are called by `module:function`, as the fork server does it: this package
knows their names and nothing else of them.
"""

import os
import posixpath
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from stat import S_ISCHR, S_ISREG
from typing import Any, Protocol

from anyio import (
    CapacityLimiter,
    Event,
    create_task_group,
    fail_after,
    to_thread,
    wait_readable,
)

from asynckaniko.concurrency import single_error
from asynckaniko.context.directory import (
    IGNORE_FILE,
    IGNORE_SIZE,
    LocalContext,
    parse_ignored,
    read_small_file,
    reason,
)
from asynckaniko.context.git_url import Checkout, GitRepository
from asynckaniko.context.https import WebOptions, open_url
from asynckaniko.context.location import (
    ArchiveFile,
    Directory,
    Location,
    StandardInput,
    StoredObject,
    WebArchive,
    parse_location,
    shown,
)
from asynckaniko.context.needed_paths import Choice, NeededPaths, message_of
from asynckaniko.context.options import AskGoogle, ContextOptions, GitOptions
from asynckaniko.context.pipe import PipeWriter
from asynckaniko.errors import ArchiveError, ContextError, UsageError
from asynckaniko.events import BuildWarning, EventSink
from asynckaniko.records import dataclass
from asynckaniko.settings import Settings

_UNPACK = "asynckaniko.rootfs.unpack_context:unpack_context"
_FIND_DIRECTORY = "asynckaniko.rootfs.context_files:find_directory"
_READ_FILE = "asynckaniko.rootfs.context_files:read_file"
_SETTLE = "asynckaniko.rootfs.context_files:settle_checkout"


class Jobs(Protocol):
    """The part of a fork server that is used here: a process with the rights of this one."""

    async def call(
        self, function: str, arguments: Mapping[str, Any], *, fds: Sequence[int] = ()
    ) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What it takes to fetch contexts for one build."""

    jobs: Jobs
    options: ContextOptions
    settings: Settings
    disk: CapacityLimiter
    emit: EventSink
    google_token: AskGoogle

    @property
    def web(self) -> WebOptions:
        settings = self.settings
        return WebOptions(
            retry=settings.retry,
            limit=settings.limits.download_size,
            ca_files=settings.registry.ca_files,
        )

    def parse(self, source: str) -> Location:
        return parse_location(source, pull_scheme=self.options.git.pull_scheme)


class Arrival:
    """A context on its way into `root`. `fetch` brings it, once; readers wait for it.

    `announce` are paths in it whose appearance sets `announced`, before everything is here; it is
    set at the end in any case. With `chooses`, somebody calls `choose`: then entries of an archive
    that are not needed may be left out.
    """

    def __init__(
        self,
        reach: Reach,
        source: str,
        root: Path,
        *,
        sub_path: str = "",
        announce: Sequence[str] = (),
        chooses: bool = False,
    ) -> None:
        self._reach = reach
        self.location = reach.parse(source)
        self._root = root
        self._sub_path = sub_path.strip("/")
        self._announce = [self._in_context(path) for path in announce]
        # A part of the archive as context is found by links that may lead anywhere in it.
        self._chooses = chooses and not self._sub_path
        self._needed: bytes | None = None
        self._choice: Choice | None = None
        self._arrived = Event()
        self._directory = root
        self._dockerfile = ""
        self.announced = Event()
        self.name = f"build context {shown(source)}"

    @property
    def root(self) -> Path:
        """Where it arrives: to be read for itself by nobody who has not waited."""
        return self._root

    async def fetch(self) -> None:
        """Fetch, check and unpack.

        Raises:
            ContextError: not to be had, or what is asked for is not in it.
            IntegrityError, ArchiveError: not all of it arrived, or it is malformed or hostile.
            UsageError: what is needed to reach it is not installed or not given.
        """
        seconds = self._reach.settings.limits.context_seconds
        try:
            with fail_after(seconds):
                await self._fetch()
        except TimeoutError as error:
            raise ContextError(f"{self.name}: not here after {seconds:.0f} s") from error
        self._arrived.set()
        self.announced.set()

    def choose(self, needed: NeededPaths | None) -> None:
        """Say, once, what will be read beside the Dockerfile and ignore files; None: anything."""
        names = self._announce
        ignored = [IGNORE_FILE, *(name + IGNORE_FILE for name in names)]
        self._needed = message_of(needed, optional=[*names, *ignored])
        if self._choice is not None:
            self._choice.tell(self._needed)

    async def wait(self) -> None:
        """Wait until everything is here."""
        await self._arrived.wait()

    async def opened(self, *, dockerfile: Path | None = None) -> LocalContext:
        """Wait until everything is here, and read what it ignores.

        `dockerfile` is a Dockerfile elsewhere on this machine, beside which there may be an ignore
        file of its own. Raises ContextError: the ignore file cannot be used.
        """
        await self.wait()
        if dockerfile is not None:
            beside = dockerfile.with_name(dockerfile.name + IGNORE_FILE)
            content = await to_thread.run_sync(
                lambda: read_small_file(beside, limit=IGNORE_SIZE), limiter=self._reach.disk
            )
            if content is not None:
                return LocalContext(self._directory, parse_ignored(content, str(beside)))
        names = [f"{self._dockerfile}{IGNORE_FILE}"] if self._dockerfile else []
        found = await self._read([*names, self._in_context(IGNORE_FILE)], limit=IGNORE_SIZE)
        if found is None:
            return LocalContext(self._directory)
        return LocalContext(self._directory, parse_ignored(found[1], f"{self.name}: {found[0]}"))

    async def dockerfile(self, names: Sequence[str], *, limit: int) -> bytes | None:
        """Return the first of these files of the context, as soon as it is here; None without one.

        What is read before the rest is read again at the end: the archive may hold it twice.
        """
        paths = [self._in_context(name) for name in names]
        await self.announced.wait()
        found = await self._read(paths, limit=limit)
        if found is None:
            await self.wait()
            found = await self._read(paths, limit=limit)
        if found is None:
            return None
        self._dockerfile, content = found
        return content

    async def confirm(self, names: Sequence[str], content: bytes, *, limit: int) -> None:
        """Wait for the end; raise ContextError if `dockerfile` would return something else now."""
        await self.wait()
        found = await self._read([self._in_context(name) for name in names], limit=limit)
        if found != (self._dockerfile, content):
            raise ContextError(f"{self.name}: it holds {self._dockerfile} twice, and they differ")

    async def _fetch(self) -> None:
        match self.location:
            case ArchiveFile(path):
                disk = self._reach.disk
                descriptor = await to_thread.run_sync(_open_archive, path, limiter=disk)
                try:
                    await self._unpack(descriptor)
                finally:
                    os.close(descriptor)
            case StandardInput():
                descriptor = self._reach.options.stdin
                check_stdin(descriptor)
                await self._unpack(descriptor)
            case WebArchive(url):
                web = self._reach.web
                async with open_url(url, options=web, emit=self._reach.emit) as incoming:
                    await self._unpack_stream(incoming.chunks())
            case StoredObject() as stored:
                # Imported when needed: most builds have no object store.
                from asynckaniko.context.objects import open_object

                stores, web = self._reach.options.object_store, self._reach.web
                async with open_object(
                    stored,
                    options=stores,
                    web=web,
                    disk=self._reach.disk,
                    google_token=self._reach.google_token,
                ) as chunks:
                    await self._unpack_stream(chunks)
            case GitRepository() as repository:
                fetched = await fetch_repository(
                    repository,
                    self._root,
                    self._reach,
                    options=self._reach.options.git,
                    keep_git_dir=repository.keep_git_dir is not False,
                )
                self._directory = fetched.directory
            case Directory(path):
                raise AssertionError(f"{path} is a directory: it need not arrive")
        await self._find_sub_path()

    async def _find_sub_path(self) -> None:
        subdirectory = ""
        if isinstance(self.location, GitRepository):
            subdirectory = self.location.subdirectory
        path = "/".join(part for part in (subdirectory, self._sub_path) if part)
        if path:
            found = await find_inside(self._reach.jobs, self._root, path, name=self.name)
            self._directory = self._root / found

    def _in_context(self, path: str) -> str:
        """Name a path of the context as one of the archive."""
        parts = [self._sub_path, path.lstrip("/")]
        if isinstance(self.location, GitRepository):
            parts.insert(0, self.location.subdirectory.strip("/"))
        return posixpath.normpath("/".join(part for part in parts if part))

    async def _unpack_stream(self, chunks: AsyncIterator[bytes]) -> None:
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        pipe = PipeWriter(write_end)
        try:
            with single_error():
                async with create_task_group() as tasks:
                    tasks.start_soon(pipe.feed, chunks)
                    await self._unpack(read_end)
        finally:
            # Not before the reader is gone: to it, a closed pipe is the archive's end.
            pipe.close()
            os.close(read_end)

    async def _unpack(self, source: int) -> None:
        await to_thread.run_sync(self._root.mkdir, limiter=self._reach.disk)
        limits = self._reach.settings.limits
        read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        arguments = {
            "directory": str(self._root),
            "announce": self._announce,
            "limits": {
                "size": limits.context_size,
                "entries": limits.context_entries,
                "ratio": limits.archive_ratio,
            },
        }
        fds = [source, write_end]
        try:
            with Choice(self._needed) if self._chooses else nullcontext() as self._choice:
                if self._choice is not None:
                    fds.append(self._choice.reader)
                async with create_task_group() as tasks:
                    tasks.start_soon(self._listen, read_end)
                    result = await self._job(_UNPACK, arguments, fds=fds)
                    tasks.cancel_scope.cancel()
        finally:
            self._choice = None
            os.close(read_end)
            os.close(write_end)
        if result["devices"]:
            self._reach.emit(
                BuildWarning(f"{self.name}: {result['devices']} device nodes were left out")
            )

    async def _listen(self, announcements: int) -> None:
        await wait_readable(announcements)
        self.announced.set()

    async def _read(self, paths: Sequence[str], *, limit: int) -> tuple[str, bytes] | None:
        content = os.memfd_create("context-file", os.MFD_CLOEXEC)
        try:
            arguments = {"directory": str(self._root), "paths": list(paths), "limit": limit}
            found = await self._job(_READ_FILE, arguments, fds=[content])
            if found is None:
                return None
            return found, os.pread(content, os.fstat(content).st_size, 0)
        finally:
            os.close(content)

    async def _job(
        self, function: str, arguments: Mapping[str, Any], *, fds: Sequence[int] = ()
    ) -> Any:
        try:
            return await self._reach.jobs.call(function, arguments, fds=fds)
        except (ArchiveError, ContextError) as error:
            raise type(error)(f"{self.name}: {error}") from error


async def fetch_repository(
    repository: GitRepository,
    root: Path,
    reach: Reach,
    *,
    options: GitOptions,
    keep_git_dir: bool,
    checksum: str = "",
) -> Checkout:
    """Fetch a repository into the new directory `root`; its files have the commit's time.

    Raises what `GitFetcher.fetch` does.
    """
    from asynckaniko.context.git import GitFetcher

    fetcher = GitFetcher(
        repository,
        root,
        options=options,
        ca_files=reach.settings.registry.ca_files,
        retry=reach.settings.retry,
        disk=reach.disk,
        emit=reach.emit,
    )
    fetched = await fetcher.fetch(keep_git_dir=keep_git_dir, checksum=checksum)
    await reach.jobs.call(_SETTLE, {"directory": str(root), "seconds": fetched.time})
    return fetched


async def find_inside(jobs: Jobs, root: Path, path: str, *, name: str) -> str:
    """Follow `path` from `root` without leaving it. Raises ContextError: it is no directory."""
    if ".." in path.split("/"):
        raise ContextError(f"{name}: {path} leads out of it")
    try:
        found: str = await jobs.call(_FIND_DIRECTORY, {"directory": str(root), "path": path})
    except ContextError as error:
        raise ContextError(f"{name}: {error}") from error
    return found


def check_stdin(descriptor: int) -> None:
    """Raise UsageError unless something is piped in."""
    try:
        status = os.fstat(descriptor)
    except OSError as error:
        raise UsageError("build context tar://stdin: standard input is closed") from error
    if S_ISCHR(status.st_mode) and os.isatty(descriptor):
        raise UsageError(
            "build context tar://stdin: standard input is a terminal; pipe an archive in:"
            " tar czf - . | asynckaniko build --context tar://stdin ..."
        )


def _open_archive(path: str) -> int:
    name = f"build context tar://{path}"
    try:
        # O_NONBLOCK: a FIFO in the place of the file must not stop the build.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise ContextError(f"{name}: {reason(error)}") from error
    if not S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ContextError(f"{name}: not a regular file; a pipe can be read as tar://stdin")
    return descriptor
