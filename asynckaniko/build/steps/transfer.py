"""Transfer: a COPY or ADD with its words expanded, before anything is read or written."""

import posixpath
from dataclasses import field
from typing import TYPE_CHECKING, Any

from asynckaniko.build.contexts import arrived
from asynckaniko.build.remote_files import (
    RemoteFile,
    fetch_remote,
    fetch_repository,
    is_remote,
    shown_sources,
)
from asynckaniko.build.sources import FromDirectory, FromScratch, Settled, Source
from asynckaniko.dockerfile.instructions import Add, Copy, Heredoc
from asynckaniko.errors import DockerfileError, SourceSpan
from asynckaniko.records import dataclass

if TYPE_CHECKING:
    from asynckaniko.build.state import StageState


@dataclass(slots=True)
class Transfer:
    """What is copied from where to where, and how it is changed on the way."""

    source: Settled
    sources: list[str]
    destination: str
    span: SourceSpan
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    excludes: list[str] = field(default_factory=list)
    is_add: bool = False
    unpack: bool | None = None
    heredocs: list[tuple[str, str]] = field(default_factory=list)
    remote: list[RemoteFile] = field(default_factory=list)
    history: str = ""
    """How the image's history tells of it."""

    @property
    def keeps_owners(self) -> bool:
        return not isinstance(self.source, FromDirectory)

    def absolute_destination(self, workdir: str) -> str:
        # An empty destination is the working directory, as `.` is.
        return posixpath.join(workdir, self.destination or ".")

    def job_arguments(self) -> dict[str, Any]:
        """Say what `copy_tree.produce` needs to know of it, without source and destination."""
        files: list[dict[str, Any]] = [
            {"name": name, "content": content, "mode": 0o644, "uid": 0, "gid": 0, "mtime": None}
            for name, content in self.heredocs
        ]
        files += [remote.as_file(index + 1) for index, remote in enumerate(self.remote)]
        ignore = list(self.source.ignore) if isinstance(self.source, FromDirectory) else []
        return {
            "sources": self.sources,
            "chmod": self.chmod,
            "keep_owner": self.keeps_owners,
            "ignore": ignore,
            "excludes": self.excludes,
            "parents": self.parents,
            "add": self.is_add,
            "unpack": self.unpack,
            "files": files,
        }


async def expand_transfer(state: "StageState", instruction: Copy | Add) -> Transfer:
    """Expand the instruction's words where it stands; downloads what ADD names by URL.

    Raises:
        DockerfileError: a word cannot be expanded or makes no sense.
        CopyFailed: a download failed.
    """
    scope = state.scope
    sources = [scope.expand(word) for word in instruction.sources]
    source: Source = state.run.context_source
    chmod = scope.expand(instruction.chmod)
    transfer = Transfer(
        FromScratch(),
        sources,
        scope.expand(instruction.destination),
        instruction.span,
        chown=scope.expand(instruction.chown),
        chmod=chmod,
        # As in BuildKit, whose links cannot have modes: such a COPY follows the image's links.
        link=instruction.link and not chmod,
        excludes=list(instruction.excludes),
    )
    for heredoc in instruction.heredocs:
        transfer.heredocs.append((heredoc.name, _heredoc_content(state, heredoc)))
    if isinstance(instruction, Copy):
        transfer.parents = instruction.parents
        urls = [source for source in sources if is_remote(source)]
        if urls:
            raise DockerfileError(f"COPY takes no URLs: {urls[0]}; use ADD")
        if instruction.from_:
            source = state.planned.sources[instruction.from_]
    else:
        transfer.is_add = True
        transfer.unpack = instruction.unpack
        checksum = scope.expand(instruction.checksum)
        repository = await fetch_repository(
            state.run, sources, checksum=checksum, keep_git_dir=instruction.keep_git_dir
        )
        if repository is not None:
            source, transfer.sources = repository, ["."]
        else:
            transfer.sources, transfer.remote = await _fetched(state, sources, checksum)
    transfer.source = await arrived(source, needed=bool(transfer.sources))
    transfer.history = _history_text(instruction, transfer, sources)
    return transfer


async def _fetched(
    state: "StageState", sources: list[str], checksum: str
) -> tuple[list[str], list[RemoteFile]]:
    """Download what ADD names by URL, once for cache key and copy."""
    known = state.run.fetched
    key = (*sources, checksum)
    if key not in known:
        known[key] = await fetch_remote(state.run, sources, checksum=checksum)
    return known[key]


def _heredoc_content(state: "StageState", heredoc: Heredoc) -> str:
    if not heredoc.expand:
        return heredoc.content
    return state.scope.expand_heredoc(heredoc.content)


def _history_text(instruction: Copy | Add, transfer: Transfer, sources: list[str]) -> str:
    """Tell of it as BuildKit does, which leaves the other flags out."""
    words = ["ADD" if transfer.is_add else "COPY"]
    if transfer.parents:
        words.append("--parents")
    if transfer.chown:
        words.append(f"--chown={transfer.chown}")
    if transfer.chmod:
        words.append(f"--chmod={transfer.chmod}")
    names = [f"<<{heredoc.name}" for heredoc in instruction.heredocs]
    told = [*words, *shown_sources(sources), *names, transfer.destination]
    return " ".join([*told, "# buildkit"])
