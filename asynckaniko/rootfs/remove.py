"""Delete trees, however deep they are and whatever their modes say."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from asynckaniko.linux.remove import remove

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def remove_trees(arguments: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Delete each of `paths`, trees or files; what is not there is deleted already. A job.

    Raises OSError.
    """
    for path in arguments["paths"]:
        parent, name = os.path.split(os.fsencode(path).rstrip(b"/"))
        try:
            directory = os.open(parent or b".", _OPEN)
        except FileNotFoundError:
            continue
        try:
            remove(name, directory)
        except FileNotFoundError:
            continue
        finally:
            os.close(directory)
