"""ADD from elsewhere: URLs are downloaded and repositories fetched before the copy begins."""

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from asynckaniko.build.sources import FromDirectory
from asynckaniko.context.git_url import is_git_url, parse_git_url
from asynckaniko.context.https import download
from asynckaniko.context.location import shown
from asynckaniko.errors import AsynckanikoError, ContextError, CopyFailed, DockerfileError
from asynckaniko.records import dataclass
from asynckaniko.store.blobs import Ingest

if TYPE_CHECKING:
    from asynckaniko.build.context import BuildRun

_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_UNNAMED = "__unnamed__"
_MODE = 0o600


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A downloaded file."""

    name: str
    ingest: Ingest
    mtime: int | None

    @property
    def file(self) -> int:
        return self.ingest.file

    def as_file(self, fd_index: int) -> dict[str, Any]:
        """Describe it for the job that copies: descriptor `fd_index` holds the content."""
        description = {"name": self.name, "fd_index": fd_index, "mtime": self.mtime or 0}
        return {**description, "mode": _MODE, "uid": 0, "gid": 0, "remote": True}


def is_remote(source: str) -> bool:
    """Tell whether a COPY or ADD source is a URL or a git repository."""
    return source.startswith(("http://", "https://")) or is_git_url(source)


async def fetch_remote(
    run: "BuildRun", sources: Sequence[str], *, checksum: str
) -> tuple[list[str], list[RemoteFile]]:
    """Split sources into local ones and downloaded ones.

    Raises:
        DockerfileError: a checksum without exactly one remote source, or of another form.
        CopyFailed: a download failed.
    """
    remote = [source for source in sources if is_remote(source)]
    if checksum and (len(sources) != 1 or not remote):
        raise DockerfileError("--checksum needs exactly one source, and that a remote one")
    if checksum and not _CHECKSUM.fullmatch(checksum):
        raise DockerfileError(f"--checksum={checksum} is not of the form sha256:<64 hex digits>")
    files = [await _fetch(run, source, checksum) for source in remote]
    return [source for source in sources if not is_remote(source)], files


async def fetch_repository(
    run: "BuildRun", sources: Sequence[str], *, checksum: str, keep_git_dir: bool | None
) -> FromDirectory | None:
    """Fetch the git repository that is the source of an ADD; None if there is none among them.

    Raises:
        DockerfileError: there are other sources too, or the checksum is no commit.
        CopyFailed: it cannot be fetched, or is at another commit.
    """
    if not any(is_git_url(source) for source in sources):
        return None
    if len(sources) != 1:
        raise DockerfileError(
            "ADD takes a git repository or other sources, not both; use one ADD for each"
        )
    if checksum and not _COMMIT.fullmatch(checksum):
        raise DockerfileError(f"--checksum={checksum} is no commit: 7 to 64 hex digits")
    try:
        repository = parse_git_url(sources[0])
    except ContextError as error:
        raise DockerfileError(f"ADD: {error}") from error
    try:
        return await run.contexts.repository(
            repository, checksum=checksum, keep_git_dir=keep_git_dir
        )
    except AsynckanikoError as error:
        raise CopyFailed(f"ADD: {error}") from error


async def _fetch(run: "BuildRun", url: str, checksum: str) -> RemoteFile:
    _check_url(url)
    ingest = run.layer_files.new()
    try:
        found = await download(
            url,
            ingest.file,
            checksum=checksum,
            options=run.contexts.reach.web,
            disk=run.resources.disk,
            emit=run.emit,
        )
    except AsynckanikoError as error:
        raise CopyFailed(f"ADD: {error}") from error
    os.lseek(ingest.file, 0, os.SEEK_SET)
    return RemoteFile(found.name or _UNNAMED, ingest, found.modified)


def _check_url(url: str) -> None:
    """Raise DockerfileError for what has the form of no URL."""
    try:
        _ = urlsplit(url).port
    except ValueError as error:
        raise DockerfileError(f"ADD: {url[:200]!r} is no URL: {error}") from None


def shown_sources(sources: Sequence[str]) -> list[str]:
    """Return the sources as history may tell of them: without passwords and signatures."""
    return [shown(source) if is_remote(source) else source for source in sources]
