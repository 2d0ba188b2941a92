"""Jobs: remember what a plain tree looks like, and later write what changed as a layer."""

import marshal
import os
from collections.abc import Mapping, Sequence
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Any

from asynckaniko.rootfs.layer_sink import LayerSink
from asynckaniko.rootfs.pack_layer import Packer
from asynckaniko.rootfs.paths import READ_DIRECTORY, RootFS
from asynckaniko.rootfs.plain.changes import Change, Changes, compare
from asynckaniko.rootfs.plain.ignored import Ignored
from asynckaniko.rootfs.plain.listing import Listing, outlive, take_listing, with_change_time_of
from asynckaniko.rootfs.tar_writer import TarWriter

_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_OPEN_DIRECTORY = READ_DIRECTORY | os.O_NOFOLLOW


def record(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, int]:
    """List the tree at `root` and write the listing to the file fds[0], which is in memory.

    `ignored` is as `Ignored.of` takes it. Returns entries. Raises OSError.
    """
    with RootFS.at(arguments["root"]) as tree:
        listing = take_listing(tree.root, Ignored.of(arguments["ignored"]))
    _write(listing, fds[0])
    return {"entries": len(listing)}


def _write(listing: Listing, descriptor: int) -> None:
    """Write a listing; when this returns, what changes will be seen to differ from it."""
    with os.fdopen(os.dup(descriptor), "wb") as file:
        marshal.dump(listing, file)
    outlive(listing)


def pack_changes(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Write what changed at `root` since the listing fds[1] was made as a layer to fds[0].

    What is `ignored` is neither changed nor gone, nor are `restored` paths with all below, which
    this program has had elsewhere meanwhile. Of `steady` directories, a change time alone is none:
    only this program has changed them. The listing that was compared goes to the file fds[2], as
    `record` would write it: the next command begins with this tree. The rest and the result are
    as for `pack_layer.pack_upper`.

    Raises:
        StepFailed: the step left what no layer can hold.
        OSError: the tree cannot be read.
    """
    with os.fdopen(os.dup(fds[1]), "rb") as file:
        file.seek(0)
        before: Listing = marshal.load(file)  # noqa: S302  `record` wrote it, into memory
    with (
        RootFS.at(arguments["root"]) as tree,
        LayerSink(
            fds[0], compression=arguments["compression"], level=arguments.get("level")
        ) as sink,
    ):
        ignored = Ignored.of(arguments["ignored"])
        after = take_listing(tree.root, ignored)
        _write(after, fds[2])
        for path in [path for path in before.keys() - after.keys() if ignored.covers(path)]:
            del before[path]
        restored = Ignored.of({"whole": arguments.get("restored", ())})
        if restored.whole:
            for listing in (before, after):
                for path in [path for path in listing if restored.covers(path)]:
                    del listing[path]
        for path in arguments.get("steady", ()):
            if path in before and path in after:
                before[path] = with_change_time_of(after[path], before[path])
        tar = TarWriter(sink.write, clamp=arguments.get("clamp"))
        pack_entries(tree, compare(before, after), Packer(tar))
        tar.finish()
        return sink.finish() | {"entries": tar.entries}


def pack_entries(tree: RootFS, changes: Changes, packer: Packer) -> None:
    """Write what is at the changed paths. Raises StepFailed, OSError."""
    parent, directory = b"", os.dup(tree.root)
    try:
        for text, change in changes:
            path = os.fsencode(text)
            above, _, name = path.rpartition(b"/")
            if above != parent:
                os.close(directory)
                directory = -1
                parent, directory = above, tree.open_directory(above)
            packer.skips(path, is_directory=False)
            if change is Change.GONE:
                packer.whiteout(path)
            else:
                _pack_entry(packer, path, name, directory)
                if change is Change.REPLACED:
                    packer.opaque(path)
    finally:
        if directory >= 0:
            os.close(directory)


def _pack_entry(packer: Packer, path: bytes, name: bytes, directory: int) -> None:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if S_ISLNK(status.st_mode):
        packer.symlink(path, os.readlink(name, dir_fd=directory), status)
    elif S_ISDIR(status.st_mode) or S_ISREG(status.st_mode):
        is_directory = S_ISDIR(status.st_mode)
        flags = _OPEN_DIRECTORY if is_directory else _OPEN_FILE
        descriptor = os.open(name, flags, dir_fd=directory)
        try:
            (packer.directory if is_directory else packer.file)(path, descriptor)
        finally:
            os.close(descriptor)
    else:
        packer.special(path, status)
