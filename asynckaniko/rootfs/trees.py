"""Open a stack of layers as one tree."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from asynckaniko.linux.overlay import mount_overlay
from asynckaniko.rootfs.paths import RootFS


@contextmanager
def open_tree(
    lowers: Sequence[str], *, scratch: str, upper: str | None = None, work: str | None = None
) -> Iterator[RootFS]:
    """Mount `lowers`, base first, with `upper` above them, in a new directory below `scratch`.

    Without lowers, the tree is `upper` as it is, or empty. A single lower is mounted too: it may
    hold marks of deletions, which only the overlay understands. The mount vanishes with the mount
    namespace of the process. Raises OSError.
    """
    directory = tempfile.mkdtemp(prefix="t", dir=scratch)
    if lowers:
        mount_overlay(lowers, directory, upper=upper, work=work, scratch=scratch)
    elif upper is not None:
        directory = upper
    with RootFS.at(directory) as tree:
        yield tree
