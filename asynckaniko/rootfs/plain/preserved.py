"""Jobs: keep what a tree held before builds took it, and put that back."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from asynckaniko.rootfs.pack_layer import Packer
from asynckaniko.rootfs.paths import RootFS
from asynckaniko.rootfs.plain.changes import compare
from asynckaniko.rootfs.plain.ignored import Ignored
from asynckaniko.rootfs.plain.listing import take_listing
from asynckaniko.rootfs.plain.snapshot import pack_entries
from asynckaniko.rootfs.plain.wipe import wipe
from asynckaniko.rootfs.plain.writer import PlainWriter
from asynckaniko.rootfs.tar_reader import TarReader
from asynckaniko.rootfs.tar_writer import TarWriter

_CHUNK_SIZE = 256 * 1024
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def preserve(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, int]:
    """Write all at `root` that is not `ignored` to the new file `archive`. Returns entries.

    Raises:
        StepFailed: a file has a name that no archive of a layer can hold, or changes.
        OSError: the tree cannot be read, or there is no room.
    """
    descriptor = os.open(arguments["archive"], _NEW, 0o600)
    with RootFS.at(arguments["root"]) as tree, os.fdopen(descriptor, "wb") as file:

        def append(piece: bytes | bytearray) -> None:
            file.write(piece)

        tar = TarWriter(append)
        everything = compare({}, take_listing(tree.root, Ignored.of(arguments["ignored"])))
        pack_entries(tree, everything, Packer(tar))
        tar.finish()
        return {"entries": tar.entries}


def restore(arguments: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Have at `root` what `preserve` wrote to `archive`, and nothing else but what is `ignored`.

    Sockets and device nodes are not put back. Raises ArchiveError, OSError.
    """
    os.umask(0)
    ignored = Ignored.of(arguments["ignored"])
    with RootFS.at(arguments["root"]) as tree, open(arguments["archive"], "rb", 0) as file:
        reader = TarReader(lambda: file.read(_CHUNK_SIZE))
        wipe(tree.root, ignored)
        with PlainWriter(tree, reader, ignored) as writer:
            writer.write()
