"""WORKDIR: the directory exists from here on, owned by the stage's user."""

from typing import TYPE_CHECKING

from asynckaniko.events import Step

if TYPE_CHECKING:
    from asynckaniko.build.stage import StageRun

_MAKE = "asynckaniko.rootfs.workdir:make_directory"


async def make_workdir(stage: "StageRun", path: str, step: Step, position: int) -> None:
    """Make `path` and its parents where they are missing; always leaves a layer.

    Raises:
        CopyFailed: something that is no directory is in the way.
    """
    run = stage.run
    side = await run.workspace.side()
    lowers = await stage.files.lowers()
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
                "clamp": run.timestamps.clamp,
            },
        )
    stage.add_upper(upper, step, position)
