"""ADD from elsewhere: URLs are downloaded before the copy begins."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asynckaniko.context.https import download
from asynckaniko.errors import AsynckanikoError, CopyFailed, DockerfileError
from asynckaniko.store.blobs import Ingest

if TYPE_CHECKING:
    from asynckaniko.build.context import BuildRun

_GIT = re.compile(r"git://|ssh://|git@[^/:]+:|https?://[^?#]+\.git(?:[?#].*)?$")
_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")
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
    return source.startswith(("http://", "https://")) or bool(_GIT.match(source))


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


async def _fetch(run: "BuildRun", url: str, checksum: str) -> RemoteFile:
    if _GIT.match(url):
        raise CopyFailed(
            f"ADD {url}: git repositories cannot be added; clone it in a stage with RUN git clone"
        )
    ingest = run.layer_files.new()
    resources = run.resources
    try:
        found = await download(
            url,
            ingest.file,
            checksum=checksum,
            retry=resources.settings.retry,
            disk=resources.disk,
        )
    except AsynckanikoError as error:
        raise CopyFailed(f"ADD: {error}") from error
    os.lseek(ingest.file, 0, os.SEEK_SET)
    return RemoteFile(found.name or _UNNAMED, ingest, found.modified)
