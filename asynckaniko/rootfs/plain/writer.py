"""Write a layer over a plain tree, around what in it belongs to someone else."""

import os
from dataclasses import replace

from asynckaniko.errors import ArchiveError
from asynckaniko.linux.capabilities import Capability, effective
from asynckaniko.rootfs.layer_writer import OntoWriter
from asynckaniko.rootfs.paths import OpenInRoot, RootFS, best_opener, clean
from asynckaniko.rootfs.plain.ignored import Ignored
from asynckaniko.rootfs.plain.wipe import wipe_entry
from asynckaniko.rootfs.tar_header import show
from asynckaniko.rootfs.tar_member import Kind, Member
from asynckaniko.rootfs.tree_writer import Members
from asynckaniko.rootfs.xattrs import CAPABILITY


class PlainWriter(OntoWriter):
    """Leaves out entries that are ignored; directories that hold such stay where they are.

    So a link that should have the place of such a directory is left out as well: /var/run, where
    a Pod has its service account. Raises ArchiveError where a link leads to what is ignored.
    """

    def __init__(self, tree: RootFS, members: Members, ignored: Ignored) -> None:
        guarded = RootFS(tree.root, open_in_root=_guarded(tree.root, ignored))
        super().__init__(guarded, members)
        self._ignored = ignored
        self._needed = ignored.parents()
        self._covered: dict[str, bool] = {}
        """Of parents: whether what is in them is ignored."""
        self.left_out: list[str] = []
        """Links and files whose place is taken by a directory that has to stay."""
        self._may_set_capabilities = Capability.SETFCAP in effective()
        self.without_capabilities: list[str] = []
        """Files that should have some, which this process may not give them."""

    def _write_member(self, member: Member) -> None:
        path = os.fsdecode(clean(member.name))
        parent, slash, name = path.rpartition("/")
        is_deletion = name.startswith(".wh.")
        if is_deletion and name != ".wh..wh..opq":
            path = f"{parent}{slash}{name.removeprefix('.wh.')}"
        covered = self._covered.get(parent)
        if covered is None:
            covered = self._covered[parent] = self._ignored.covers(f"{parent}/.")
        if covered or self._ignored.skips(path):
            return
        if path in self._needed and not is_deletion and member.kind is not Kind.DIRECTORY:
            self.left_out.append(path)
            return
        if member.xattrs and CAPABILITY in member.xattrs and not self._may_set_capabilities:
            others = {name: value for name, value in member.xattrs.items() if name != CAPABILITY}
            member = replace(member, xattrs=others)
            self.without_capabilities.append(path)
        super()._write_member(member)

    def _make_hard_link(self, member: Member, base: bytes, directory: int) -> None:
        if self._ignored.covers(os.fsdecode(clean(member.link))):
            raise ArchiveError(
                f"{show(member.name)} is a hard link to {show(member.link)}, which does not belong"
                " to the image here"
            )
        super()._make_hard_link(member, base, directory)

    def _remove(self, path: bytes, name: bytes, directory: int) -> None:
        if not self._ignored.whole and not self._ignored.patterns:
            super()._remove(path, name, directory)
            return
        place = _real_path(directory, self._tree.root)
        text = os.fsdecode(name)
        wipe_entry(text, directory, self._ignored, path=f"{place}/{text}".lstrip("/"))


def _real_path(descriptor: int, root: int) -> str:
    """Say where something open is, from the open directory `root`."""
    top = os.readlink(f"/proc/self/fd/{root}").rstrip("/")
    return os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(top).lstrip("/")


def _guarded(root: int, ignored: Ignored) -> OpenInRoot:
    """Return an opener that refuses what links lead to, if it is ignored with all below."""
    opener = best_opener(root)
    if not ignored.whole and not ignored.patterns:
        return opener

    def open_in_root(root: int, path: bytes, flags: int) -> int:
        descriptor = opener(root, path, flags)
        real = _real_path(descriptor, root)
        if real and ignored.covers(real):
            os.close(descriptor)
            raise ArchiveError(f"{show(path)} leads to /{real}, which is not the image's here")
        return descriptor

    return open_in_root
