"""Layers that leave out their parent directories, corrected for what is below them.

Applied on top of its base, such a layer leaves the owner and mode of an existing parent alone, and
goes through it where it is a link. Unpacked by itself it got a made-up directory, which would hide
the real one's metadata, or the link, once the layers are stacked (image-spec layer.md says of
parents only that an implementation may create them).
"""

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any

from asynckaniko.linux import owners
from asynckaniko.records import dataclass
from asynckaniko.rootfs.paths import RootFS
from asynckaniko.rootfs.trees import open_tree


def settle(arguments: Mapping[str, Any], fds: Sequence[int]) -> str:
    """Return `layer` if its `implicit` directories agree with `lowers`, else a corrected copy.

    The copy hard-links the files. It lies beside the layers under a name made of what it was made
    from, so it is made once. `scratch` is an empty directory on the same file system.
    """
    lowers, layer = arguments["lowers"], arguments["layer"]
    implicit = sorted(arguments["implicit"])
    name = hashlib.sha256("\0".join([*lowers, layer]).encode(errors="surrogateescape")).hexdigest()
    settled = f"layers/{name}.settled"
    if os.path.isdir(settled):
        return settled
    scratch = arguments["scratch"]
    with open_tree(lowers, scratch=scratch) as below:
        found = {path: _look(below, path) for path in implicit}
        if all(_agrees(path, found[path]) for path in implicit):
            return str(layer)
        draft = f"{scratch}/tree"
        os.mkdir(draft, 0o755)
        _copy_directory(layer, draft, "", found)
        _restore_directories(draft, below, found)
    if not os.path.isdir(settled):
        os.rename(draft, settled)
    return settled


@dataclass(frozen=True, slots=True)
class _Below:
    """Where a path leads in the tree below, and what is there."""

    path: str
    status: os.stat_result | None


def _look(below: RootFS, path: str) -> _Below:
    encoded = os.fsencode(path)
    try:
        place = below.resolve(encoded)
    except NotADirectoryError:
        # A file below is replaced by this layer's directory.
        return _Below(path, None)
    return _Below(os.fsdecode(place.path), below.lookup(encoded))


def _agrees(path: str, found: _Below) -> bool:
    """Tell whether the made-up directory hides nothing: root's, 0755, or nothing is there."""
    if found.path != path:
        return False
    status = found.status
    return (
        status is None
        or not stat.S_ISDIR(status.st_mode)
        or (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o755, 0, 0)
    )


def _copy_directory(source: str, root: str, path: str, found: Mapping[str, _Below]) -> None:
    """Link what is in `source` to where `path` leads in the tree below."""
    target_path = found[path].path if path in found else path
    target = f"{root}/{target_path}" if target_path else root
    os.makedirs(target, 0o755, exist_ok=True)
    _copy_xattrs(source, target)
    with os.scandir(source) as entries:
        for entry in entries:
            child = f"{path}/{entry.name}" if path else entry.name
            if not entry.is_dir(follow_symlinks=False):
                os.link(entry.path, f"{target}/{entry.name}", follow_symlinks=False)
            elif child in found:
                _copy_directory(entry.path, root, child, found)
            else:
                _copy_subtree(entry.path, f"{target}/{entry.name}")


def _copy_subtree(source: str, target: str) -> None:
    """Copy a directory the layer has an entry for, with everything in it, as it is."""
    os.makedirs(target, exist_ok=True)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _copy_subtree(entry.path, f"{target}/{entry.name}")
            else:
                os.link(entry.path, f"{target}/{entry.name}", follow_symlinks=False)
    _copy_metadata(os.stat(source), target)
    # After it: where owners are recorded, they are among these.
    _copy_xattrs(source, target)


def _restore_directories(root: str, below: RootFS, found: Mapping[str, _Below]) -> None:
    """Give made-up directories the metadata of the real ones, innermost first for their times."""
    paths: set[str] = set()
    for one in found.values():
        names = one.path.split("/")
        paths |= {"/".join(names[:depth]) for depth in range(1, len(names) + 1)}
    for path in sorted(paths, key=len, reverse=True):
        status = below.lookup(os.fsencode(path))
        if status is not None and stat.S_ISDIR(status.st_mode) and os.path.isdir(f"{root}/{path}"):
            _copy_metadata(status, f"{root}/{path}")


def _copy_xattrs(source: str, target: str) -> None:
    """Copy attributes, the mark that a directory is opaque among them."""
    for name in os.listxattr(source):
        os.setxattr(target, name, os.getxattr(source, name))


def _copy_metadata(status: os.stat_result, directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    owners.give(descriptor, (status.st_uid, status.st_gid))
    os.close(descriptor)
    os.chmod(directory, stat.S_IMODE(status.st_mode))
    os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))
