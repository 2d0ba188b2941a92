"""Merging: the layers of a stage's steps become one (--single-snapshot)."""

import time
from collections.abc import Sequence
from typing import Any

from asynckaniko.build.base_layers import LayerBlob
from asynckaniko.build.context import BuildRun
from asynckaniko.build.layers import ImageLayer, PackedLayer, StepLayer
from asynckaniko.build.sources import BaseLayer

_JOB = "asynckaniko.rootfs.merge_layers:merge_layers"


async def merge(
    run: BuildRun, layers: Sequence[ImageLayer], merged: StepLayer, *, is_on_others: bool
) -> tuple[PackedLayer, float]:
    """Make one layer of `layers`, the lowest first, and tell how many seconds it took.

    Whoever waits for `merged` is told when it begins to grow; the caller fills it.

    `is_on_others`: the image has layers below, in which deletions may mean something.

    Raises:
        DamagedEntry: a cache gave other bytes than it had promised.
        IntegrityError, ArchiveError, HostError: see the job.
    """
    found = [await _describe(run, layer) for layer in layers]
    started = time.monotonic()
    limits = run.resources.settings.limits
    ingest, contents = run.layer_files.new(), run.layer_files.new()
    merged.begin(run.layer_files.growing(ingest))
    arguments = {
        "layers": found,
        "is_on_others": is_on_others,
        "limits": {"size": limits.layer_size, "entries": limits.layer_entries},
        **run.layer_files.job_arguments(),
    }
    fds = [ingest.file, contents.file]
    async with run.resources.processes:
        result = await run.resources.outer.call(_JOB, arguments, fds=fds)
    packed = run.layer_files.packed(ingest, result)
    ingest.seal()
    contents.close()
    return packed, time.monotonic() - started


async def _describe(run: BuildRun, layer: ImageLayer) -> dict[str, Any]:
    if isinstance(layer, BaseLayer):
        path = await LayerBlob(layer, run.base_layers, run.emit).path()
        descriptor, diff_id = layer.descriptor, layer.diff_id
    else:
        packed = await layer.packed()
        path, descriptor, diff_id = packed.blob.path, packed.descriptor, packed.diff_id
    return {
        "path": str(path),
        "digest": descriptor.digest,
        "size": descriptor.size,
        "diff_id": diff_id,
    }
