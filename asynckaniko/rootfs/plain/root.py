"""Jobs: make a plain tree, bring it up to date with a stack of listed layers, and empty it."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from asynckaniko.rootfs.paths import RootFS
from asynckaniko.rootfs.plain.ignored import Ignored
from asynckaniko.rootfs.plain.layer_reader import ListedReader
from asynckaniko.rootfs.plain.wipe import wipe
from asynckaniko.rootfs.plain.writer import PlainWriter


def write_layers(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Write `layers`, directories of listed ones, over the tree at `root`, the first one first.

    `ignored` (see `Ignored.of`) is left alone. With `fresh`, the tree is made, or emptied first.
    Returns left_out: links and files whose place is taken by a directory that has to stay; and
    without_capabilities: files that should have some, where CAP_SETFCAP is missing.

    Raises:
        ArchiveError: an entry that cannot be.
        OSError: what else the kernel refuses.
    """
    os.umask(0)
    ignored = Ignored.of(arguments["ignored"])
    left_out: list[str] = []
    without_capabilities: list[str] = []
    if arguments["fresh"]:
        os.makedirs(arguments["root"], 0o755, exist_ok=True)
    with RootFS.at(arguments["root"]) as tree:
        if arguments["fresh"]:
            wipe(tree.root, ignored)
        for layer in arguments["layers"]:
            with (
                ListedReader.open(layer) as members,
                PlainWriter(tree, members, ignored) as writer,
            ):
                writer.write()
                left_out += writer.left_out
                without_capabilities += writer.without_capabilities
    return {
        "left_out": sorted(set(left_out)),
        "without_capabilities": sorted(set(without_capabilities)),
    }


def empty(arguments: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Empty the tree at `root`, but for what is `ignored`. Raises OSError."""
    with RootFS.at(arguments["root"]) as tree:
        wipe(tree.root, Ignored.of(arguments["ignored"]))
