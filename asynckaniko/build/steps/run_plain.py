"""RUN where nothing can be mounted: the command changes a plain tree, and its changes are found."""

import os
import time
from typing import TYPE_CHECKING, Any

from asynckaniko.build.layers import PackedLayer
from asynckaniko.build.plain_roots import PlainRoot, refusing_to_continue
from asynckaniko.build.steps.mounts import PreparedMounts
from asynckaniko.isolation.plain import CHROOT

if TYPE_CHECKING:
    from asynckaniko.build.stage import StageRun
    from asynckaniko.build.steps.run import CommandRun

_RUN = "asynckaniko.isolation.plain_step:run"
_RECORD = "asynckaniko.rootfs.plain.snapshot:record"
_PACK = "asynckaniko.rootfs.plain.snapshot:pack_changes"


async def run_in_plain_root(
    stage: "StageRun",
    command: "CommandRun",
    mounts: PreparedMounts,
    job: dict[str, Any],
    position: int,
) -> None:
    """Run a command and put its layer on the stage. Raises CommandFailed, StepFailed."""
    run = stage.run
    side, roots = await run.workspace.side(), run.workspace.roots
    assert roots is not None, "a side with lists that runs commands has them"
    root = await roots.root_for(stage)
    listing = os.memfd_create("listing", os.MFD_CLOEXEC)
    try:
        async with refusing_to_continue(root), run.steps:
            look = {"root": root.path, "ignored": root.unseen}
            await side.work(_RECORD, look, fds=[listing])
            shown = _files(run.network_files) if roots.mode == CHROOT else []
            plain_job = {
                **job,
                "root": root.path,
                "drawer": root.drawer,
                "executor": os.getpid(),
                "mounts": [*mounts.mounts, *shown],
            }
            try:
                result = await command.call(side, _RUN, plain_job, mounts.fds)
            finally:
                await roots.recover(root)
            command.check(result)
            started = time.monotonic()
            packed = await _pack(stage, root, result, listing)
        stage.add_packed(command.step, packed, position, seconds=time.monotonic() - started)
        assert root.applied is not None, "it was known before"
        root.applied.append(stage.layers[-1])
    finally:
        os.close(listing)


async def _pack(
    stage: "StageRun", root: PlainRoot, result: dict[str, Any], listing: int
) -> PackedLayer:
    run = stage.run
    side = await run.workspace.side()
    ingest = run.layer_files.new()
    whole = [*root.unseen.get("whole", ()), *result["restored"]]
    arguments = {
        **run.layer_files.job_arguments(),
        "root": root.path,
        "ignored": {**root.unseen, "whole": whole},
        "steady": result["touched"],
        "clamp": run.timestamps.clamp,
    }
    made = await side.work(_PACK, arguments, fds=[ingest.file, listing])
    packed = run.layer_files.packed(ingest, made)
    ingest.seal()
    return packed


def _files(contents: dict[str, str]) -> list[dict[str, Any]]:
    """Describe the files that the build gives, which in a Pod's own root are mounts already."""
    return [
        {"type": "file", "target": target, "content": text, "mode": 0o644}
        for target, text in contents.items()
    ]
