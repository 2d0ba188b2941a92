"""Measure trees: how much disk they take."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

_BLOCK = 512


def measure_trees(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, int]:
    """Return the bytes on disk of each of `paths`, a file with several names once. A job.

    What goes away meanwhile, or is not there, counts nothing.
    """
    return {path: measure_tree(path) for path in arguments["paths"]}


def measure_tree(path: str) -> int:
    """Return the bytes on disk of a tree, as `measure_trees` does. Raises OSError."""
    seen: set[tuple[int, int]] = set()
    total = 0
    waiting = [os.fsencode(path)]
    while waiting:
        directory = waiting.pop()
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if status.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                        identity = (status.st_dev, status.st_ino)
                        if identity in seen:
                            continue
                        seen.add(identity)
                    total += status.st_blocks * _BLOCK
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except FileNotFoundError:
            continue
    return total
