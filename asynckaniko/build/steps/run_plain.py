"""RUN where nothing can be mounted: the command changes a plain tree, and its changes are found."""

import os
import time
from typing import TYPE_CHECKING, Any

from asynckaniko.build.layers import PackedLayer
from asynckaniko.build.plain_roots import PlainRoot, refusing_to_continue
from asynckaniko.build.steps.mounts import PreparedMounts
from asynckaniko.isolation.plain import CHROOT
from asynckaniko.store.blobs import Ingest

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
    async with refusing_to_continue(root), run.steps:
        if root.listing is None:
            root.keep_listing(_new_listing())
            look = {"root": root.path, "ignored": root.unseen}
            await side.work(_RECORD, look, fds=[_listing_of(root)])
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
        ingest = run.step_files.new()
        layer = stage.add_growing(command.step, ingest, position)
        packed = await _pack(stage, root, result, ingest)
    stage.add_packed(layer, packed, position, seconds=time.monotonic() - started)
    assert root.applied is not None, "it was known before"
    root.applied.append(layer)


def _new_listing() -> int:
    return os.memfd_create("listing", os.MFD_CLOEXEC)


def _listing_of(root: PlainRoot) -> int:
    assert root.listing is not None, "taken before the command"
    return root.listing


async def _pack(
    stage: "StageRun", root: PlainRoot, result: dict[str, Any], ingest: Ingest
) -> PackedLayer:
    """Write what changed as a layer; the listing for that is the next command's, too."""
    run = stage.run
    side = await run.workspace.side()
    arguments = {
        **run.step_files.job_arguments(),
        "root": root.path,
        "ignored": root.unseen,
        "restored": result["restored"],
        "steady": result["touched"],
        "clamp": run.timestamps.clamp,
    }
    before, after = _listing_of(root), _new_listing()
    try:
        made = await side.work(_PACK, arguments, fds=[ingest.file, before, after])
    finally:
        # If it fails, the tree is made anew, and the listing with it.
        root.keep_listing(after)
    packed = run.step_files.packed(ingest, made)
    ingest.seal()
    return packed


def _files(contents: dict[str, str]) -> list[dict[str, Any]]:
    """Describe the files that the build gives, which in a Pod's own root are mounts already."""
    return [
        {"type": "file", "target": target, "content": text, "mode": 0o644}
        for target, text in contents.items()
    ]
