"""Make the root of a new tree this process's own, whatever directory it lies in."""

import os

from asynckaniko.rootfs.xattrs import list_xattrs

_DEFAULT_ACL = "system.posix_acl_default"


def claim(root: int, uid: int, gid: int) -> None:
    """Give an open, empty directory an owner and mode 0755, and nothing to pass on.

    Its parent may have a setgid bit, as volumes with an fsGroup have in Kubernetes, or a default
    ACL. Without them here, what is made below belongs to its maker's group and has the mode that
    was asked for. Raises OSError.
    """
    os.fchown(root, uid, gid)
    if _DEFAULT_ACL in list_xattrs(root):
        os.removexattr(root, _DEFAULT_ACL)
    os.fchmod(root, 0o755)
