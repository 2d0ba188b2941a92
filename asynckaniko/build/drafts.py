"""Draft trees: directories that are made for whoever comes to need them, and not for one build."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import move_on_after

from asynckaniko.context.arrival import Jobs
from asynckaniko.store.state import StateDirectory

_REMOVE = "asynckaniko.rootfs.remove:remove_trees"
_CLEAN_UP_SECONDS = 60.0


@asynccontextmanager
async def draft_tree(state: StateDirectory, root: Path, jobs: Jobs) -> AsyncIterator[str]:
    """Name a tree to make below `root`; it goes with the block unless it was moved away.

    It is not one of the asking build's: that build's end must not take it from others who wait for
    it. A lock of its own tells the next process whether its maker was killed.
    """
    with state.new_build() as identifier:
        directory = f"builds/{identifier}"
        try:
            yield directory
        finally:
            paths = [directory, f"{directory}.json"]
            if _is_any_there(root, paths):
                with move_on_after(_CLEAN_UP_SECONDS, shield=True):
                    await jobs.call(_REMOVE, {"paths": paths})


def _is_any_there(root: Path, paths: Sequence[str]) -> bool:
    return any(os.path.lexists(root / path) for path in paths)
