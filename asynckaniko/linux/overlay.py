"""Mount a stack of directories as one tree (overlayfs), inside a user and mount namespace.

Kernel documentation: Documentation/filesystems/overlayfs.rst. Always `userxattr`: without it a
user namespace cannot mark directories opaque, and rmdir+mkdir fails with EIO.
"""

import errno
import os
import tempfile
from collections.abc import Sequence

from asynckaniko.linux import syscalls

MOST_LOWERS = 499
"""The kernel's limit is 500 layers in all."""
XATTR_PREFIX = "user.overlay."
OPAQUE = "user.overlay.opaque"


def mount_overlay(
    lowers: Sequence[str],
    target: str,
    *,
    upper: str | None = None,
    work: str | None = None,
    volatile: bool = False,
    scratch: str,
) -> None:
    """Mount `lowers` (base first) and, above them, `upper` at `target`; read-only without upper.

    With `volatile`, nothing syncs `upper` to disk: not fsync in the mount, as package managers
    call it for each file, nor the unmount, which else waits for the whole file system below. Such
    an upper cannot be an upper again.

    mount(2) takes one page of options, so the directories are named by short links in a new
    directory below `scratch`, which is removed before this returns. The links are relative: the
    caller may be allowed to reach the directories from its working directory only. Changes the
    working directory and restores it. Raises OSError.
    """
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    links = tempfile.mkdtemp(prefix="l", dir=scratch)
    start = os.getcwd()
    mount_point = os.path.join(start, target)

    def relative(path: str) -> str:
        return os.path.relpath(os.path.join(start, path), os.path.join(start, links))

    try:
        os.chdir(links)
        names = []
        # An image may hold a layer twice, empty ones above all, and overlayfs takes no directory
        # twice. The upper one says all that the lower one does.
        for index, lower in enumerate(dict.fromkeys(reversed(lowers))):
            names.append(f"{index:x}")
            os.symlink(relative(lower), names[-1])
            if _is_opaque(names[-1]):
                break
        # A read-only overlay needs two lowers; an empty one below changes nothing. It has to stay:
        # the listing of a removed directory is empty, and with it that of the whole root.
        if upper is None and len(names) == 1:
            names.append("e")
            # By a relative path, as everything here; mkdtemp returns an absolute one.
            below = relative(scratch)
            empty = os.path.basename(tempfile.mkdtemp(prefix="e", dir=below))
            os.symlink(f"{below}/{empty}", "e")
        options = f"lowerdir={':'.join(names)}"
        if upper is not None and work is not None:
            os.symlink(relative(upper), "u")
            os.symlink(relative(work), "w")
            options += ",upperdir=u,workdir=w"
        syscalls.mount(
            "overlay",
            os.path.relpath(mount_point, os.path.join(start, links)),
            "overlay",
            0,
            options + (",volatile" if upper is not None and volatile else "") + ",userxattr",
        )
    finally:
        os.fchdir(here)
        os.close(here)
        _remove_links(links)


def _is_opaque(layer: str) -> bool:
    """Tell whether a layer hides all below it; of roots, the kernel does not heed the mark."""
    try:
        return os.getxattr(layer, OPAQUE) == b"y"
    except OSError as error:
        if error.errno in {errno.ENODATA, errno.ENOTSUP}:
            return False
        raise


def _remove_links(links: str) -> None:
    for name in os.listdir(links):
        os.unlink(f"{links}/{name}")
    os.rmdir(links)
