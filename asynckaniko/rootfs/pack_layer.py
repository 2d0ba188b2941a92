"""Read an overlay's upper directory as a layer (image-spec layer.md; kernel overlayfs.rst).

The upper holds exactly what one step wrote: nothing below it is scanned or compared. Runs inside
the user namespace that wrote it, so that owners and file capabilities come out right.
"""

import os
from collections.abc import Mapping, Sequence
from stat import S_ISBLK, S_ISCHR, S_ISFIFO
from typing import Any

from asynckaniko.errors import HostError, StepFailed
from asynckaniko.linux import owners
from asynckaniko.linux.overlay import OPAQUE, XATTR_PREFIX
from asynckaniko.linux.owners import Links
from asynckaniko.rootfs.layer_sink import LayerSink
from asynckaniko.rootfs.tar_writer import BLOCK, CHARACTER, Attributes, SizeChanged, TarWriter
from asynckaniko.rootfs.walk import read_attributes, walk
from asynckaniko.rootfs.whiteout import OPAQUE_MARKER, WHITEOUT_PREFIX, is_whiteout
from asynckaniko.rootfs.xattrs import list_xattrs, read_xattrs

_WHITEOUT = Attributes(0, 0, 0, 0)
_OPAQUE_XATTRS = frozenset({OPAQUE, "trusted.overlay.opaque"})
_WHITEOUT_XATTRS = frozenset({XATTR_PREFIX + "whiteout", "trusted.overlay.whiteout"})
_NOT_HERE_XATTRS = frozenset(
    space + what
    for space in ("user.overlay.", "trusted.overlay.")
    for what in ("redirect", "metacopy")
)


def pack_upper(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Write the layer of `upper` to the file fds[0]; the contract of the job is in the package.

    Raises:
        StepFailed: the step left what no layer can hold.
        OSError: the upper cannot be read.
    """
    upper = os.open(arguments["upper"], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with LayerSink(
            fds[0], compression=arguments["compression"], level=arguments.get("level")
        ) as sink:
            tar = TarWriter(sink.write, clamp=arguments.get("clamp"))
            links = owners.read_links([upper])
            walk(upper, Packer(tar, skip=arguments.get("skip") or (), links=links))
            tar.finish()
            return sink.finish() | {"entries": tar.entries}
    finally:
        os.close(upper)


class Packer:
    """Visits an upper directory and writes what it finds in the terms of a layer."""

    def __init__(
        self, tar: TarWriter, *, skip: Sequence[str] = (), links: Links | None = None
    ) -> None:
        self._tar = tar
        self._owners = links or {}
        self._skip = frozenset(os.fsencode(path) for path in skip)
        self._links: dict[tuple[int, int], bytes] = {}

    def skips(self, path: bytes, is_directory: bool) -> bool:
        if path.rpartition(b"/")[2].startswith(WHITEOUT_PREFIX):
            raise StepFailed(
                f"/{os.fsdecode(path)}: names that begin with .wh. mean deletions in an image"
                " layer and cannot be stored; rename or remove it in the step that makes it"
            )
        return path in self._skip

    def directory(self, path: bytes, descriptor: int) -> None:
        xattrs: dict[str, bytes] | None = None
        opaque = False
        names = list_xattrs(descriptor)
        if names:
            _refuse_indirection(path, names)
            opaque = any(os.getxattr(descriptor, n) == b"y" for n in names if n in _OPAQUE_XATTRS)
            xattrs = read_xattrs(descriptor, names)
        status = owners.seen(os.fstat(descriptor), descriptor, self._owners)
        self._tar.directory(path, read_attributes(status), xattrs)
        if opaque:
            self.opaque(path)

    def file(self, path: bytes, descriptor: int) -> None:
        status = os.fstat(descriptor)
        xattrs: dict[str, bytes] | None = None
        names = list_xattrs(descriptor)
        if names:
            _refuse_indirection(path, names)
            if not status.st_size and not _WHITEOUT_XATTRS.isdisjoint(names):
                self.whiteout(path)
                return
            xattrs = read_xattrs(descriptor, names)
        attributes = read_attributes(owners.seen(status, descriptor, self._owners))
        if status.st_nlink > 1:
            first = self._links.setdefault((status.st_dev, status.st_ino), path)
            if first is not path:
                self._tar.hard_link(path, attributes, first)
                return
        self._tar.file(path, attributes, status.st_size, xattrs)
        try:
            self._tar.content(descriptor, status.st_size)
        except SizeChanged as error:
            raise StepFailed(
                f"/{os.fsdecode(path)} changed while it was being read: {error}"
            ) from error

    def symlink(self, path: bytes, target: bytes, status: os.stat_result) -> None:
        self._tar.symlink(path, read_attributes(owners.seen_link(status, self._owners)), target)

    def special(self, path: bytes, status: os.stat_result) -> None:
        mode, number = status.st_mode, status.st_rdev
        if owners.is_mark(path, status):
            return
        status = owners.seen_link(status, self._owners)
        if is_whiteout(status):
            self.whiteout(path)
        elif S_ISFIFO(mode):
            self._tar.fifo(path, read_attributes(status))
        elif S_ISCHR(mode) or S_ISBLK(mode):
            kind = CHARACTER if S_ISCHR(mode) else BLOCK
            self._tar.device(kind, path, read_attributes(status), number)
        # What is left are sockets: they mean nothing without their process, and tar has no word
        # for them.

    def whiteout(self, path: bytes) -> None:
        """Write that what the layers below have at `path` is gone."""
        parent, slash, name = path.rpartition(b"/")
        self._mark(parent + slash + WHITEOUT_PREFIX + name)

    def opaque(self, path: bytes) -> None:
        """Write that all that the layers below have in a directory is gone."""
        self._mark(path + b"/" + OPAQUE_MARKER)

    def _mark(self, path: bytes) -> None:
        self._tar.file(path, _WHITEOUT, 0)


def _refuse_indirection(path: bytes, names: list[str]) -> None:
    found = _NOT_HERE_XATTRS.intersection(names)
    if found:
        raise HostError(
            f"/{os.fsdecode(path)} has {min(found)}: the overlay was mounted with redirect_dir or"
            " metacopy, and its upper directory alone does not hold what changed"
        )
