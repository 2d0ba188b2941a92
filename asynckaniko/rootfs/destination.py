"""Find where COPY and ADD write to, and for whom, in the files that there are so far."""

import os
import posixpath
from collections.abc import Mapping, Sequence
from stat import S_IMODE, S_ISDIR, S_ISGID
from typing import Any

from asynckaniko.errors import CopyFailed
from asynckaniko.linux.accounts import UnknownAccount
from asynckaniko.rootfs.paths import Place
from asynckaniko.rootfs.trees import Tree, view_tree


def resolve_destination(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """Follow `destination` in the tree of `lowers`, and look `chown` up in that of `accounts`.

    Links are followed inside the root, the last component's too. `accounts` is `lowers` if it is
    not given. Without `scratch`, both are listed layers. `missing_parents` does not contain the
    destination itself.

    Raises:
        CopyFailed: something that is no directory is in the way, or nobody has that name.
    """
    lowers, scratch = arguments["lowers"], arguments.get("scratch")
    destination, chown = arguments["destination"], arguments.get("chown")
    accounts = arguments.get("accounts", lowers)
    uid, gid = None, None
    with view_tree(lowers, scratch=scratch) as tree:
        place = find_place(tree, destination)
        status = None if place.missing else tree.lookup(place.path)
        parents = existing_directories(tree, place)
        if chown and accounts == lowers:
            uid, gid = find_owner(tree, chown, what=f"--chown={chown}")
    if chown and accounts != lowers:
        with view_tree(accounts, scratch=scratch) as tree:
            uid, gid = find_owner(tree, chown, what=f"--chown={chown}")
    return {
        "path": os.fsdecode(place.path),
        "exists": not place.missing,
        "is_directory": status is not None and S_ISDIR(status.st_mode),
        "missing_parents": missing_directories(place)[:-1],
        "parents": parents,
        "trailing_slash": names_directory(destination),
        "uid": uid,
        "gid": gid,
    }


def find_place(tree: Tree, path: str) -> Place:
    """Resolve a path to write to: all of its parents that exist must be directories.

    Raises:
        CopyFailed: one is not, or the path cannot be one.
    """
    path = posixpath.normpath("/" + path.lstrip("/"))
    try:
        return tree.resolve(os.fsencode(path))
    except (OSError, ValueError) as error:
        # ValueError: a NUL byte, which the kernel never gets to see.
        detail = error.strerror if isinstance(error, OSError) else str(error)
        raise CopyFailed(f"cannot write to {path}: {detail}") from error


def existing_directories(tree: Tree, place: Place) -> list[list[Any]]:
    """List path, mode, uid, gid and mtime_ns of the directories on the way, outermost first."""
    names = os.fsdecode(place.path).split("/")
    found: list[list[Any]] = []
    for end in range(1, len(names) + 1 - len(place.missing)):
        path = "/".join(names[:end])
        status = tree.lookup(os.fsencode(path))
        if path and status is not None and S_ISDIR(status.st_mode):
            owner = (status.st_uid, status.st_gid)
            found.append([path, S_IMODE(status.st_mode), *owner, status.st_mtime_ns])
    return found


def inherited_group(above: Sequence[Sequence[Any]]) -> int | None:
    """Return the group that mkdir(2) gives new directories: that of a setgid parent.

    `above` is what `existing_directories` found. The root does not count: its bit may be that of
    the volume that the state directory is on.
    """
    if not above:
        return None
    _, mode, _, gid, _ = above[-1]
    return int(gid) if mode & S_ISGID else None


def missing_directories(place: Place) -> list[str]:
    """List what has to be made for `place` to be there, itself included, outermost first."""
    names = os.fsdecode(place.path).split("/")
    first = len(names) - len(place.missing)
    return ["/".join(names[: end + 1]) for end in range(first, len(names))]


def find_owner(tree: Tree, spec: str, *, what: str) -> tuple[int, int]:
    """Look up `user[:group]` in the accounts of `tree`; `what` begins the error's text.

    Raises:
        CopyFailed: unknown names, which are in the text.
    """
    try:
        return tree.lookup_owner(spec)
    except UnknownAccount as error:
        raise CopyFailed(f"{what}: {error}") from error
    except OSError as error:
        raise CopyFailed(f"{what}: {error.filename}: {error.strerror}") from error


def names_directory(path: str) -> bool:
    """Tell whether a path as written can only be a directory."""
    return path.rpartition("/")[2] in ("", ".", "..")
