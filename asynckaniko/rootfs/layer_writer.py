"""Write a layer's entries, deletions included: as an overlay's lower, or onto what they change."""

import os

from asynckaniko.linux.remove import remove
from asynckaniko.rootfs import whiteout
from asynckaniko.rootfs.paths import READ_DIRECTORY, RootFS, clean
from asynckaniko.rootfs.tar_member import Member
from asynckaniko.rootfs.tree_writer import Members, TreeWriter


class LowerWriter(TreeWriter):
    """Writes a layer into a new directory, to be one of an overlay's lowers.

    Deletions become the overlay's own marks. A deletion only concerns the layers below, so a
    directory that the layer deletes and also has is opaque, whichever entry comes first.
    """

    tree_is_new = True

    def __init__(self, tree: RootFS, reader: Members) -> None:
        super().__init__(tree, reader)
        self._implicit: set[bytes] = set()
        self._opaque: set[bytes] = set()
        self._whiteouts: list[bytes] = []

    def list_implicit(self) -> list[str]:
        """List the directories that entries are in but that have no entry, as paths."""
        return [os.fsdecode(path) for path in sorted(self._implicit) if self._is_directory(path)]

    def _divert(self, member: Member, path: bytes) -> bool:
        if whiteout.WHITEOUT_PREFIX not in path:
            return False
        parent, slash, base = path.rpartition(b"/")
        whiteout.refuse_reserved(parent)
        if base == whiteout.OPAQUE_MARKER:
            whiteout.make_opaque(self._directory(parent))
            self._opaque.add(parent)
            return True
        deleted = whiteout.deleted_name(base)
        if deleted is None:
            return False
        directory = self._directory(parent)
        try:
            whiteout.make_whiteout(deleted, directory)
            self._whiteouts.append(parent + slash + deleted)
        except FileExistsError:
            self._hide_below(parent + slash + deleted)
        return True

    def _write_directory(self, member: Member, base: bytes, directory: int) -> bool:
        deleted = whiteout.is_at(base, directory)
        is_new = super()._write_directory(member, base, directory)
        if deleted:
            self._hide_below(clean(member.name))
        if self._implicit and not is_new:
            self._implicit.discard(self._tree.resolve(clean(member.name)).path)
        return is_new

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
            above = b"/".join(names[:end])
            with self._parent_of(above) as (name, directory):
                if not whiteout.is_at(name, directory):
                    continue
                os.unlink(name, dir_fd=directory)
                os.mkdir(name, 0o755, dir_fd=directory)
            self._hide_below(above)
            self._implicit.add(self._tree.resolve(above).path)
            return True
        return False

    def _note_implicit(self, paths: list[bytes]) -> None:
        self._implicit.update(paths)

    def _finish(self) -> None:
        self._drop_needless_whiteouts()
        super()._finish()

    def _hide_below(self, path: bytes) -> None:
        """Make what is at `path` opaque, if it is a directory."""
        try:
            directory = self._tree.open(path, READ_DIRECTORY | os.O_NOFOLLOW)
        except NotADirectoryError:
            return
        try:
            whiteout.make_opaque(directory)
        finally:
            os.close(directory)
        self._opaque.add(path)

    def _drop_needless_whiteouts(self) -> None:
        """Remove whiteouts below opaque directories, where there is nothing to delete.

        The kernel only looks for them in directories that more than one layer has; in others a
        listing shows a name that cannot be opened.
        """
        if not self._whiteouts or not self._opaque:
            return
        opaque = {path for path in self._opaque if self._is_opaque(path)}
        for path in self._whiteouts:
            parts = path.split(b"/")
            if any(b"/".join(parts[:end]) in opaque for end in range(len(parts))):
                self._drop_whiteout(path)

    def _drop_whiteout(self, path: bytes) -> None:
        try:
            with self._parent_of(path) as (name, directory):
                if whiteout.is_at(name, directory):
                    os.unlink(name, dir_fd=directory)
        except (FileNotFoundError, NotADirectoryError):
            # A later entry took the place of the directory it was in.
            return

    def _is_opaque(self, path: bytes) -> bool:
        try:
            directory = self._tree.open(path, READ_DIRECTORY | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            return whiteout.is_opaque(directory)
        finally:
            os.close(directory)

    def _is_directory(self, path: bytes) -> bool:
        try:
            os.close(self._tree.open(path, READ_DIRECTORY | os.O_NOFOLLOW))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True


class OntoWriter(TreeWriter):
    """Writes a layer onto the tree that it changes: a deletion deletes what was there before."""

    def __init__(self, tree: RootFS, reader: Members) -> None:
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
            self._delete_older(parent, READ_DIRECTORY)
            return True
        deleted = whiteout.deleted_name(base)
        if deleted is None:
            return False
        self._delete(deleted, parent)
        return True

    def _delete(self, name: bytes, parent: bytes) -> None:
        path = parent + b"/" + name if parent else name
        if path in self._written:
            self._delete_older(path, READ_DIRECTORY | os.O_NOFOLLOW)
            return
        try:
            with self._parent_of(path) as (base, directory):
                self._remove(path, base, directory)
        except FileNotFoundError:
            return
        self._close_directories()

    def _remove(self, path: bytes, name: bytes, directory: int) -> None:
        """Delete what the layer deletes: an entry of an open directory, `path` from the root."""
        remove(name, directory)

    def _delete_older(self, path: bytes, flags: int) -> None:
        """Delete what is below a path, if it is a directory, except for entries of this layer."""
        pending = [(path, flags)]
        while pending:
            path, flags = pending.pop()
            try:
                directory = self._tree.open(path, flags)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                for name in map(os.fsencode, os.listdir(directory)):
                    child = path + b"/" + name if path else name
                    if child in self._written:
                        pending.append((child, READ_DIRECTORY | os.O_NOFOLLOW))
                    else:
                        self._remove(child, name, directory)
            finally:
                os.close(directory)
        self._close_directories()
