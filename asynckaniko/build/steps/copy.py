"""COPY and ADD: files of the context, of another stage or of an image become a layer.

The files travel as a tar stream from the process that may read them to the one that may write
them. A step whose files nobody looks at afterwards goes straight into its layer and never touches
the disk as files.
"""

import os
import posixpath
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from anyio import create_task_group, to_thread

from asynckaniko.build.layers import StepLayer
from asynckaniko.build.remote_files import RemoteFile, fetch_remote, is_remote
from asynckaniko.build.sources import FromDirectory, FromImage, FromScratch, FromStage, Source
from asynckaniko.build.steps.blind import assumed_destination
from asynckaniko.concurrency import single_error
from asynckaniko.dockerfile.instructions import Add, Copy, Heredoc
from asynckaniko.errors import DockerfileError, SourceSpan
from asynckaniko.events import BuildWarning, Step

if TYPE_CHECKING:
    from asynckaniko.build.stage import StageRun

_PRODUCE = "asynckaniko.rootfs.copy_tree:produce"
_APPLY = "asynckaniko.rootfs.apply_layer:apply_on_top"
_RESOLVE = "asynckaniko.rootfs.destination:resolve_destination"


@dataclass(slots=True)
class Transfer:
    """A COPY or ADD with its words expanded: what `produce` is told."""

    source: Source
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

    @property
    def keeps_owners(self) -> bool:
        return not isinstance(self.source, FromDirectory)


async def copy_files(stage: "StageRun", instruction: Copy | Add, step: Step, position: int) -> str:
    """Carry out the instruction; return its history text.

    Raises:
        CopyFailed: a source is missing, or the destination is of the wrong kind.
        DockerfileError: a word cannot be expanded or makes no sense.
    """
    transfer, text = await _expand(stage, instruction)
    lowers: list[str] | None = None
    destination = None
    if not isinstance(transfer.source, FromDirectory):
        await _wait_for(stage, transfer.source)
    if stage.files.is_unseen and not stage.run.request.materialize:
        destination = await to_thread.run_sync(
            assumed_destination, transfer, _workdir(stage), limiter=stage.run.resources.disk
        )
    if destination is None:
        lowers = await stage.files.lowers()
        destination = await _resolve(stage, transfer, lowers)
    straight = not stage.files_needed_after(position) and not (
        destination["exists"] and lowers is not None
    )
    async with stage.run.steps:
        if straight:
            await _into_layer(stage, transfer, destination, step)
        else:
            await _into_directory(stage, transfer, destination, lowers or [], step)
    return text


async def copy_to_directory(stage: "StageRun", source: Source, path: str) -> str:
    """Copy `path` of a source, below its parents, into a new directory; return its name."""
    upper, work, scratch = await stage.run.workspace.directories("upper", "work", "scratch")
    await _wait_for(stage, source)
    transfer = Transfer(source, [path], "/", stage.planned.stage.base.span)
    transfer.parents = path.startswith("./")
    destination = await _resolve(stage, transfer, [])
    arguments = {"lowers": [], "upper": upper, "work": work, "scratch": scratch}
    await _apply(stage, transfer, destination, {**arguments, "conflicts": "error"})
    return upper


async def copy_whole_directory(stage: "StageRun", source: Source) -> None:
    """Begin a stage with all files of a directory (FROM a named context)."""
    if not isinstance(source, FromDirectory):
        return
    step = Step(stage.planned.stage.label, 0, 0, stage.planned.stage.base.original, 0)
    transfer = Transfer(source, ["."], "/", stage.planned.stage.base.span)
    destination = await _resolve(stage, transfer, [])
    await _into_directory(stage, transfer, destination, [], step)


def _workdir(stage: "StageRun") -> str:
    return stage.config.runtime.get("WorkingDir") or "/"


async def _expand(stage: "StageRun", instruction: Copy | Add) -> tuple[Transfer, str]:
    scope = stage.scope
    sources = [scope.expand(word) for word in instruction.sources]
    destination = scope.expand(instruction.destination)
    transfer = Transfer(
        stage.run.context_source,
        sources,
        destination,
        instruction.span,
        chown=scope.expand(instruction.chown),
        chmod=scope.expand(instruction.chmod),
        link=instruction.link,
        excludes=list(instruction.excludes),
    )
    for heredoc in instruction.heredocs:
        transfer.heredocs.append((heredoc.name, _heredoc_content(stage, heredoc)))
    if isinstance(instruction, Copy):
        transfer.parents = instruction.parents
        urls = [source for source in sources if is_remote(source)]
        if urls:
            raise DockerfileError(f"COPY takes no URLs: {urls[0]}; use ADD")
        if instruction.from_:
            transfer.source = stage.planned.sources[instruction.from_]
    else:
        transfer.is_add = True
        transfer.unpack = instruction.unpack
        checksum = scope.expand(instruction.checksum)
        transfer.sources, transfer.remote = await fetch_remote(
            stage.run, sources, checksum=checksum
        )
    text = _history_text(instruction, transfer, sources)
    return transfer, text


def _heredoc_content(stage: "StageRun", heredoc: Heredoc) -> str:
    if not heredoc.expand:
        return heredoc.content
    return stage.scope.expand_heredoc(heredoc.content)


def _history_text(instruction: Copy | Add, transfer: Transfer, sources: list[str]) -> str:
    words = ["ADD" if transfer.is_add else "COPY"]
    if transfer.parents:
        words.append("--parents")
    if transfer.chown:
        words.append(f"--chown={transfer.chown}")
    if transfer.chmod:
        words.append(f"--chmod={transfer.chmod}")
    if transfer.link:
        words.append("--link")
    words += [f"--exclude={pattern}" for pattern in transfer.excludes]
    names = [f"<<{heredoc.name}" for heredoc in instruction.heredocs]
    return " ".join([*words, *sources, *names, transfer.destination, "# buildkit"])


async def _wait_for(stage: "StageRun", source: Source) -> None:
    if isinstance(source, FromStage):
        await stage.others[source.index].done.wait()


async def _resolve(stage: "StageRun", transfer: Transfer, lowers: list[str]) -> dict[str, Any]:
    """Look the destination up in the files so far."""
    run = stage.run
    (scratch,) = await run.workspace.directories("scratch")
    # An empty destination is the working directory, as `.` is.
    path = posixpath.join(_workdir(stage), transfer.destination or ".")
    found: dict[str, Any] = await run.resources.inner.call(
        _RESOLVE,
        {
            # With --link the layer does not depend on what is below it, links included.
            "lowers": [] if transfer.link else lowers,
            "accounts": lowers,
            "scratch": scratch,
            "destination": path,
            "chown": transfer.chown,
        },
    )
    return found


async def _job(
    stage: "StageRun", transfer: Transfer, destination: dict[str, Any]
) -> dict[str, Any]:
    source: dict[str, Any]
    ignore: list[str] = []
    run = stage.run
    match transfer.source:
        case FromDirectory(directory, patterns):
            source, ignore = {"directory": os.fspath(directory)}, list(patterns)
        case FromStage(index):
            lowers = await stage.others[index].files.lowers()
            source = {"lowers": lowers}
        case FromImage(image):
            layers = await run.base_layers.stack(image.layers, keep=False, emit=run.emit)
            source = {"lowers": layers}
        case FromScratch():
            source = {"lowers": []}
    if "lowers" in source:
        (source["scratch"],) = await run.workspace.directories("scratch")
    owner = None
    if destination.get("uid") is not None:
        owner = [destination["uid"], destination["gid"]]
    files: list[dict[str, Any]] = [
        {"name": name, "content": content, "mode": 0o644, "uid": 0, "gid": 0, "mtime": None}
        for name, content in transfer.heredocs
    ]
    files += [remote.as_file(index + 1) for index, remote in enumerate(transfer.remote)]
    return {
        "source": source,
        "sources": transfer.sources,
        "destination": destination,
        "owner": owner,
        "chmod": transfer.chmod,
        "keep_owner": transfer.keeps_owners,
        "ignore": ignore,
        "excludes": transfer.excludes,
        "parents": transfer.parents,
        "add": transfer.is_add,
        "unpack": transfer.unpack,
        "clamp": run.timestamps.clamp,
        "files": files,
        **run.layer_files.job_arguments(),
    }


async def _into_layer(
    stage: "StageRun", transfer: Transfer, destination: dict[str, Any], step: Step
) -> None:
    """Write the layer and nothing else; its files appear on disk only if someone asks."""
    run = stage.run
    started = time.monotonic()
    job = await _job(stage, transfer, destination)
    ingest = run.layer_files.new()
    result = await _produce(stage, transfer, {**job, "output": "layer"}, ingest.file)
    layer = StepLayer(step)
    packed = run.layer_files.packed(ingest, result)
    layer.fill(packed)
    ingest.seal()
    stage.announce(layer, packed, seconds=time.monotonic() - started)
    stage.add_layer(layer)


async def _into_directory(
    stage: "StageRun",
    transfer: Transfer,
    destination: dict[str, Any],
    lowers: list[str],
    step: Step,
) -> None:
    """Write the files over the stage's root filesystem, into a directory of their own."""
    upper, work, scratch = await stage.run.workspace.directories("upper", "work", "scratch")
    arguments = {
        "lowers": [] if transfer.link else lowers,
        "upper": upper,
        "work": work,
        "scratch": scratch,
        "conflicts": "replace" if transfer.is_add or transfer.link else "error",
    }
    await _apply(stage, transfer, destination, arguments)
    stage.add_upper(upper, step)


async def _apply(
    stage: "StageRun",
    transfer: Transfer,
    destination: dict[str, Any],
    arguments: dict[str, Any],
) -> None:
    """Let the process that reads stream into the process that writes."""
    job = await _job(stage, transfer, destination)
    read_end, write_end = os.pipe2(os.O_CLOEXEC)

    async def apply() -> None:
        try:
            await stage.run.resources.work(_APPLY, arguments, fds=[read_end])
        finally:
            os.close(read_end)

    async def produce() -> None:
        try:
            await _produce(stage, transfer, {**job, "output": "tar"}, write_end)
        finally:
            os.close(write_end)

    with single_error():
        async with create_task_group() as both:
            both.start_soon(apply)
            both.start_soon(produce)


async def _produce(
    stage: "StageRun", transfer: Transfer, job: dict[str, Any], output: int
) -> dict[str, Any]:
    resources = stage.run.resources
    fds = [output, *(remote.file for remote in transfer.remote)]
    if "directory" in job["source"]:
        # The context belongs to the user: read it as the user, outside the namespaces.
        result: dict[str, Any] = await resources.outer.call(_PRODUCE, job, fds=fds)
    else:
        result = await resources.work(_PRODUCE, job, fds=fds)
    for warning in result["warnings"]:
        stage.run.emit(BuildWarning(warning, file=transfer.span.file, line=transfer.span.first))
    return result
