"""Open a stack of layers as one tree."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from asynckaniko.linux import owners
from asynckaniko.linux.overlay import mount_overlay
from asynckaniko.rootfs.listed.stack import open_listed
from asynckaniko.rootfs.listed.tree import ListedTree
from asynckaniko.rootfs.paths import RootFS

Tree: TypeAlias = RootFS | ListedTree
"""A root filesystem to look at, whether the kernel has it or only this program."""


@contextmanager
def view_tree(lowers: Sequence[str], *, scratch: str | None) -> Iterator[Tree]:
    """Open `lowers` to read: mounted with the help of `scratch`, else as listed layers."""
    if scratch is None:
        with open_listed(lowers) as listed:
            yield listed
        return
    with open_tree(lowers, scratch=scratch) as tree:
        yield tree


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
    with RootFS.at(directory, links=owners.read_links(lowers)) as tree:
        yield tree
