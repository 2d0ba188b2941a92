"""Write a layer's entries, deletions included: as an overlay's lower, or onto what they change."""

import os
from stat import S_ISDIR

from asynckaniko.rootfs import whiteout
from asynckaniko.rootfs.paths import READ_DIRECTORY, RootFS, clean
from asynckaniko.rootfs.remove import remove
from asynckaniko.rootfs.tar_member import Member
from asynckaniko.rootfs.tar_reader import TarReader
from asynckaniko.rootfs.tree_writer import TreeWriter

_LOOK = os.O_PATH | os.O_NOFOLLOW


class LowerWriter(TreeWriter):
    """Writes a layer into a new directory, to be one of an overlay's lowers.

    Deletions become the overlay's own marks. A deletion only concerns the layers below, so a
    directory that the layer deletes and also has is opaque, whichever entry comes first.
    """

    tree_is_new = True

    def __init__(self, tree: RootFS, reader: TarReader) -> None:
        super().__init__(tree, reader)
        self._implicit: set[bytes] = set()

    def list_implicit(self) -> list[str]:
        """List the directories that entries are in but that have no entry, as paths."""
        return [os.fsdecode(path) for path in sorted(self._implicit) if self._is_directory(path)]

    def _divert(self, member: Member, path: bytes) -> bool:
        if whiteout.WHITEOUT_PREFIX not in path:
            return False
        parent, _, base = path.rpartition(b"/")
        whiteout.refuse_reserved(parent)
        if base == whiteout.OPAQUE_MARKER:
            whiteout.make_opaque(self._directory(parent))
            return True
        deleted = whiteout.deleted_name(base)
        if deleted is None:
            return False
        directory = self._directory(parent)
        try:
            whiteout.make_whiteout(deleted, directory)
        except FileExistsError:
            self._make_opaque_if_directory(deleted, directory)
        return True

    def _write_directory(self, member: Member, base: bytes, directory: int) -> bool:
        deleted = self._is_whiteout(base, directory)
        is_new = super()._write_directory(member, base, directory)
        if deleted:
            self._make_opaque_if_directory(base, directory)
        if self._implicit and not is_new:
            self._implicit.discard(self._tree.resolve(clean(member.name)).path)
        return is_new

    def _hold_place(self, base: bytes, directory: int) -> None:
        # What the layers below have here is hidden, as the device would hide it.
        whiteout.make_whiteout(base, directory)

    def _open_directory(self, path: bytes) -> int:
        try:
            return super()._open_directory(path)
        except NotADirectoryError:
            # The layer deletes a directory and then has entries in it.
            if not self._replace_whiteout(path):
                raise
        return super()._open_directory(path)

    def _replace_whiteout(self, path: bytes) -> bool:
        names = path.split(b"/")
        for end in range(1, len(names) + 1):
            with self._parent_of(b"/".join(names[:end])) as (name, directory):
                if self._is_whiteout(name, directory):
                    os.unlink(name, dir_fd=directory)
                    os.mkdir(name, 0o755, dir_fd=directory)
                    self._make_opaque_if_directory(name, directory)
                    self._implicit.add(self._tree.resolve(b"/".join(names[:end])).path)
                    return True
        return False

    def _note_implicit(self, paths: list[bytes]) -> None:
        self._implicit.update(paths)

    def _is_directory(self, path: bytes) -> bool:
        try:
            descriptor = self._tree.open(path, _LOOK)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            return S_ISDIR(os.fstat(descriptor).st_mode)
        finally:
            os.close(descriptor)

    @staticmethod
    def _is_whiteout(name: bytes, directory: int) -> bool:
        try:
            return whiteout.is_whiteout(os.stat(name, dir_fd=directory, follow_symlinks=False))
        except FileNotFoundError:
            return False

    @staticmethod
    def _make_opaque_if_directory(name: bytes, directory: int) -> None:
        try:
            descriptor = os.open(name, READ_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
        except NotADirectoryError:
            return
        try:
            whiteout.make_opaque(descriptor)
        finally:
            os.close(descriptor)


class OntoWriter(TreeWriter):
    """Writes a layer onto the tree that it changes: a deletion deletes what was there before."""

    def __init__(self, tree: RootFS, reader: TarReader) -> None:
        super().__init__(tree, reader)
        self._written: set[bytes] = set()
        """Paths of the layer's entries, and of all directories that these are in."""

    def _write_member(self, member: Member) -> None:
        super()._write_member(member)
        path = clean(member.name)
        while path and path not in self._written:
            self._written.add(path)
            path = path.rpartition(b"/")[0]

    def _divert(self, member: Member, path: bytes) -> bool:
        if whiteout.WHITEOUT_PREFIX not in path:
            return False
        parent, _, base = path.rpartition(b"/")
        whiteout.refuse_reserved(parent)
        if base == whiteout.OPAQUE_MARKER:
            self._delete_older(parent)
            return True
        deleted = whiteout.deleted_name(base)
        if deleted is None:
            return False
        self._delete(deleted, parent)
        return True

    def _delete(self, name: bytes, parent: bytes) -> None:
        path = parent + b"/" + name if parent else name
        if path in self._written:
            self._delete_older(path)
            return
        try:
            with self._parent_of(path) as (base, directory):
                remove(base, directory)
        except FileNotFoundError:
            return
        self._close_directories()

    def _delete_older(self, path: bytes) -> None:
        """Delete what is below a path, if it is a directory, except for entries of this layer."""
        pending = [path]
        while pending:
            path = pending.pop()
            try:
                directory = self._tree.open(path, READ_DIRECTORY | os.O_NOFOLLOW)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                for name in map(os.fsencode, os.listdir(directory)):
                    child = path + b"/" + name if path else name
                    if child in self._written:
                        pending.append(child)
                    else:
                        remove(name, directory)
            finally:
                os.close(directory)
        self._close_directories()
