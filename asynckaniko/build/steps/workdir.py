"""WORKDIR: the directory exists from here on, owned by the stage's user."""

import time
from typing import TYPE_CHECKING, Any

from asynckaniko.build.sides import RootfsSide
from asynckaniko.events import Step

if TYPE_CHECKING:
    from asynckaniko.build.stage import StageRun

_MAKE_IN_LIST = "asynckaniko.rootfs.listed.jobs:make_directory"
_MAKE = "asynckaniko.rootfs.workdir:make_directory"


async def make_workdir(stage: "StageRun", path: str, step: Step, position: int) -> None:
    """Make `path` and its parents where they are missing; always leaves a layer.

    Raises:
        CopyFailed: something that is no directory is in the way.
    """
    run = stage.run
    side = await run.workspace.side()
    lowers = await stage.files.lowers()
    if side.is_listed:
        await _into_layer(stage, side, {"lowers": lowers, "path": path}, step, position)
        return
    upper, work, scratch = await run.workspace.directories("upper", "work", "scratch")
    async with run.steps:
        await side.work(
            _MAKE,
            {
                "lowers": lowers,
                "upper": upper,
                "work": work,
                "scratch": scratch,
                "path": path,
                "user": stage.state.user,
                "time": run.timestamps.epoch,
            },
        )
    stage.add_upper(upper, step, position)


async def _into_layer(
    stage: "StageRun", side: RootfsSide, where: dict[str, Any], step: Step, position: int
) -> None:
    run = stage.run
    started = time.monotonic()
    ingest = run.step_files.new()
    layer = stage.add_growing(step, ingest, position)
    job = {
        **where,
        **run.step_files.job_arguments(),
        "user": stage.state.user,
        "clamp": run.timestamps.clamp,
        "time": run.timestamps.epoch,
    }
    async with run.steps:
        result = await side.work(_MAKE_IN_LIST, job, fds=[ingest.file])
    packed = run.step_files.packed(ingest, result)
    ingest.seal()
    stage.add_packed(layer, packed, position, seconds=time.monotonic() - started)
