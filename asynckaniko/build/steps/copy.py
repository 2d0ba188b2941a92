"""COPY and ADD: files of the context, of another stage or of an image become a layer.

The files travel as a tar stream from the process that may read them to the one that may write
them. A step whose files nobody looks at afterwards goes straight into its layer and never touches
the disk as files.
"""

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anyio import create_task_group, to_thread

from asynckaniko.build.contexts import arrived
from asynckaniko.build.sources import (
    FromDirectory,
    FromImage,
    FromScratch,
    FromStage,
    Settled,
    Source,
)
from asynckaniko.build.steps.blind import assumed_destination
from asynckaniko.build.steps.transfer import Transfer
from asynckaniko.concurrency import single_error
from asynckaniko.context.arrival import Jobs
from asynckaniko.events import BuildWarning, Step

if TYPE_CHECKING:
    from asynckaniko.build.stage import StageRun

_PRODUCE = "asynckaniko.rootfs.copy_tree:produce"
_APPLY_TO_LIST = "asynckaniko.rootfs.listed.jobs:apply_on_top"
_APPLY = "asynckaniko.rootfs.apply_layer:apply_on_top"
_RESOLVE = "asynckaniko.rootfs.destination:resolve_destination"


async def copy_files(stage: "StageRun", transfer: Transfer, step: Step, position: int) -> None:
    """Carry out a COPY or ADD.

    Raises:
        CopyFailed: a source is missing, or the destination is of the wrong kind.
    """
    lowers: list[str] | None = None
    destination = None
    if not isinstance(transfer.source, FromDirectory):
        await _wait_for(stage, transfer.source)
    needed = stage.files_needed_after(position)
    if stage.files.is_unseen and not needed and not stage.run.request.materialize:
        destination = await to_thread.run_sync(
            assumed_destination, transfer, stage.state.workdir, limiter=stage.run.resources.disk
        )
    if destination is None:
        lowers = await stage.files.lowers()
        destination = await _resolve(stage, transfer, lowers)
    is_new = lowers is None or not destination["exists"]
    async with stage.run.steps:
        # What somebody looks at is sorted, as a walk over files on disk would find it: the layer is
        # then the same in every mode.
        if is_new and not needed:
            await _into_layer(stage, transfer, destination, step, position)
        else:
            await _onto_files(stage, transfer, destination, lowers or [], step, position)


async def copy_to_directory(stage: "StageRun", source: Source, path: str) -> str:
    """Copy `path` of a source, below its parents, into a new directory; return its name."""
    upper, work, scratch = await stage.run.workspace.directories("upper", "work", "scratch")
    settled = await arrived(source)
    await _wait_for(stage, settled)
    transfer = Transfer(settled, [path], "/", stage.planned.stage.base.span)
    transfer.parents = path.startswith("./")
    destination = await _resolve(stage, transfer, [])
    arguments: dict[str, Any] = {"lowers": [], "upper": upper, "work": work, "scratch": scratch}
    arguments = {**arguments, "conflicts": "error"}
    await _apply(stage, transfer, destination, _APPLY, arguments)
    return upper


async def copy_whole_directory(stage: "StageRun", source: Source) -> None:
    """Begin a stage with all files of a directory (FROM a named context)."""
    settled = await arrived(source)
    if not isinstance(settled, FromDirectory):
        return
    transfer = Transfer(settled, ["."], "/", stage.planned.stage.base.span)
    destination = await _resolve(stage, transfer, [])
    step = Step(stage.planned.stage.label, 0, 0, stage.planned.stage.base.original, 0)
    await _onto_files(stage, transfer, destination, [], step, -1)
    stage.remember_base_directory()


async def _wait_for(stage: "StageRun", source: Settled) -> None:
    if isinstance(source, FromStage):
        await stage.others[source.index].done.wait()


async def _resolve(stage: "StageRun", transfer: Transfer, lowers: list[str]) -> dict[str, Any]:
    """Look the destination up in the files so far."""
    run = stage.run
    side = await run.workspace.side()
    place = {}
    if not side.is_listed:
        (place["scratch"],) = await run.workspace.directories("scratch")
    found: dict[str, Any] = await side.call(
        _RESOLVE,
        {
            **place,
            # With --link the layer does not depend on what is below it, links included.
            "lowers": [] if transfer.link else lowers,
            "accounts": lowers,
            "destination": transfer.absolute_destination(stage.state.workdir),
            "chown": transfer.chown,
        },
    )
    return found


async def _job(
    stage: "StageRun", transfer: Transfer, destination: dict[str, Any]
) -> dict[str, Any]:
    owner = None
    if destination.get("uid") is not None:
        owner = [destination["uid"], destination["gid"]]
    return {
        **transfer.job_arguments(),
        **stage.run.step_files.job_arguments(),
        "source": await _source_tree(stage, transfer.source),
        "destination": destination,
        "owner": owner,
        "clamp": stage.run.timestamps.clamp,
    }


async def _source_tree(stage: "StageRun", source: Settled) -> dict[str, Any]:
    run = stage.run
    match source:
        case FromDirectory(directory):
            return {"directory": os.fspath(directory)}
        case FromStage(index):
            lowers = await stage.others[index].files.lowers()
        case FromImage(image):
            side = await run.workspace.side()
            lowers = await run.base_layers.stack(image.layers, side, keep=False, emit=run.emit)
        case FromScratch():
            return {"lowers": []}
    if (await run.workspace.side()).is_listed:
        return {"lowers": lowers}
    (scratch,) = await run.workspace.directories("scratch")
    return {"lowers": lowers, "scratch": scratch}


async def _into_layer(
    stage: "StageRun",
    transfer: Transfer,
    destination: dict[str, Any],
    step: Step,
    position: int,
) -> None:
    """Write the layer and nothing else; its files appear on disk only if someone asks."""
    run = stage.run
    started = time.monotonic()
    job = await _job(stage, transfer, destination)
    ingest = run.step_files.new()
    layer = stage.add_growing(step, ingest, position)
    async with run.resources.processes:
        result = await _produce(stage, transfer, {**job, "output": "layer"}, ingest.file)
    packed = run.step_files.packed(ingest, result)
    ingest.seal()
    stage.add_packed(layer, packed, position, seconds=time.monotonic() - started)


async def _onto_files(
    stage: "StageRun",
    transfer: Transfer,
    destination: dict[str, Any],
    lowers: list[str],
    step: Step,
    position: int,
) -> None:
    """Write over what the stage has, and add what changed to it."""
    if not (await stage.run.workspace.side()).is_listed:
        upper = await _into_directory(stage, transfer, destination, lowers)
        stage.add_upper(upper, step, position)
        return
    await _onto_list(stage, transfer, destination, lowers, step, position)


async def _onto_list(
    stage: "StageRun",
    transfer: Transfer,
    destination: dict[str, Any],
    lowers: list[str],
    step: Step,
    position: int,
) -> None:
    run = stage.run
    started = time.monotonic()
    (scratch,) = await run.workspace.directories("scratch")
    ingest = run.step_files.new()
    layer = stage.add_growing(step, ingest, position)
    arguments = {
        **run.step_files.job_arguments(),
        "lowers": [] if transfer.link else lowers,
        "scratch": scratch,
        "conflicts": _conflicts(transfer),
        "clamp": run.timestamps.clamp,
    }
    result = await _apply(
        stage, transfer, destination, _APPLY_TO_LIST, arguments, outputs=[ingest.file]
    )
    packed = run.step_files.packed(ingest, result)
    ingest.seal()
    stage.add_packed(layer, packed, position, seconds=time.monotonic() - started)


def _conflicts(transfer: Transfer) -> str:
    return "replace" if transfer.is_add or transfer.link else "error"


async def _into_directory(
    stage: "StageRun",
    transfer: Transfer,
    destination: dict[str, Any],
    lowers: list[str],
) -> str:
    """Write the files over the stage's root filesystem, into a directory of their own."""
    upper, work, scratch = await stage.run.workspace.directories("upper", "work", "scratch")
    arguments = {
        "lowers": [] if transfer.link else lowers,
        "upper": upper,
        "work": work,
        "scratch": scratch,
        "conflicts": _conflicts(transfer),
    }
    await _apply(stage, transfer, destination, _APPLY, arguments)
    return upper


async def _apply(
    stage: "StageRun",
    transfer: Transfer,
    destination: dict[str, Any],
    function: str,
    arguments: dict[str, Any],
    *,
    outputs: Sequence[int] = (),
) -> dict[str, Any]:
    """Let the process that reads stream into the process that writes; return the writer's word."""
    resources = stage.run.resources
    side = await stage.run.workspace.side()
    job = await _job(stage, transfer, destination)
    result: dict[str, Any] = {}
    read_end, write_end = os.pipe2(os.O_CLOEXEC)

    async def apply() -> None:
        try:
            result.update(await side.call(function, arguments, fds=[read_end, *outputs]))
        finally:
            os.close(read_end)

    async def produce() -> None:
        try:
            await _produce(stage, transfer, {**job, "output": "tar"}, write_end)
        finally:
            os.close(write_end)

    # One place for both: two pairs that each got half of their places would wait for ever.
    with single_error():
        async with resources.processes, create_task_group() as both:
            both.start_soon(apply)
            both.start_soon(produce)
    return result


async def _produce(
    stage: "StageRun", transfer: Transfer, job: dict[str, Any], output: int
) -> dict[str, Any]:
    resources = stage.run.resources
    fds = [output, *(remote.file for remote in transfer.remote)]
    reader: Jobs = resources.listed
    if "directory" in job["source"]:
        # The context belongs to the user: it is read as the user, outside the namespaces.
        reader = resources.outer
    elif "scratch" in job["source"]:
        reader = resources.inner
    result: dict[str, Any] = await reader.call(_PRODUCE, job, fds=fds)
    for warning in result["warnings"]:
        stage.run.emit(BuildWarning(warning, file=transfer.span.file, line=transfer.span.first))
    return result
