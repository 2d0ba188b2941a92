"""Make the working directories of a build, as the owner that the namespace's root is."""

import os
from collections.abc import Mapping, Sequence
from typing import Any


def make_directories(arguments: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Make `paths` with their parents, mode 0755: an upper's mode is what `/` of the image has."""
    for path in arguments["paths"]:
        os.makedirs(path, 0o755, exist_ok=True)
