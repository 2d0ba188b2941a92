"""Make and move directories of a build, as the owner that the namespace's root is."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from asynckaniko.linux.relocate import move

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def make_directories(arguments: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Make `paths` with their parents, mode 0755: an upper's mode is what `/` of the image has."""
    for path in arguments["paths"]:
        os.makedirs(path, 0o755, exist_ok=True)


def move_directory(arguments: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Give `directory` the missing path `to`, complete as soon as it is there. A job.

    Nobody else may do that at the same time. Raises OSError.
    """
    (old, name), (new, final) = (os.path.split(arguments[key]) for key in ("directory", "to"))
    source, target = os.open(old, _DIRECTORY), os.open(new, _DIRECTORY)
    try:
        move(name, source, final, target, part=f".{final}.part")
    finally:
        os.close(source)
        os.close(target)
