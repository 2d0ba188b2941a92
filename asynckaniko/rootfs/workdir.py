"""WORKDIR: make a directory and its parents."""

import os
from collections.abc import Mapping, Sequence
from stat import S_ISDIR, S_ISGID
from typing import Any

from asynckaniko.errors import CopyFailed
from asynckaniko.linux import owners
from asynckaniko.rootfs.destination import (
    existing_directories,
    find_owner,
    find_place,
    inherited_group,
    missing_directories,
)
from asynckaniko.rootfs.paths import RootFS
from asynckaniko.rootfs.trees import open_tree

_MODE = 0o755


def make_directory(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Make `path` and its missing parents, owned by `user`, in the upper of the mounted tree.

    What exists stays as it is. `created` lists the new directories, outermost first. They have the
    time `time` (POSIX seconds), if it is given.

    Raises:
        CopyFailed: something that is no directory is in the way, or nobody has the user's name.
    """
    user = arguments.get("user") or ""
    with open_tree(
        arguments["lowers"],
        scratch=arguments["scratch"],
        upper=arguments["upper"],
        work=arguments["work"],
    ) as tree:
        place = find_place(tree, arguments["path"])
        if not place.missing:
            _expect_directory(tree, place.path)
            return {"created": []}
        group = inherited_group(existing_directories(tree, place))
        owner = (0, group or 0)
        if user:
            owner = find_owner(tree, user, what=f"WORKDIR as USER {user}")
        mode = _MODE if group is None else _MODE | S_ISGID
        tree.make_directories(place.path, _MODE)
        created = missing_directories(place)
        for path in created:
            _dress(tree, os.fsencode(path), owner, mode, arguments.get("time"))
    return {"created": created}


def _expect_directory(tree: RootFS, path: bytes) -> None:
    status = tree.lookup(path)
    if status is None or not S_ISDIR(status.st_mode):
        raise CopyFailed(f"WORKDIR: /{os.fsdecode(path)} exists and is not a directory")


def _dress(tree: RootFS, path: bytes, owner: tuple[int, int], mode: int, time: int | None) -> None:
    directory = tree.open_directory(path)
    try:
        owners.give(directory, owner)
        # Not left to mkdir: umask takes bits away, and a setgid volume of ours would add one.
        os.chmod(directory, mode)
        if time is not None:
            os.utime(directory, (time, time))
    finally:
        os.close(directory)
