"""Guard a directory's entries against being removed while they are looked up.

Those who look up and mark what they found as used hold the lock together; who removes holds it
alone, and looks at the marks again before it takes anything away.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def shared(directory: Path) -> Iterator[None]:
    """Look up or add for the length of the block, which must be short."""
    with _locked(directory, fcntl.LOCK_SH):
        yield


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Take away for the length of the block, which must be short."""
    with _locked(directory, fcntl.LOCK_EX):
        yield


@contextmanager
def _locked(directory: Path, kind: int) -> Iterator[None]:
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, kind)
        yield
    finally:
        os.close(file)
