"""Limit what root can do: capability sets (capabilities(7))."""

import ctypes
import errno
from enum import IntEnum

from asynckaniko.linux import syscalls


class Capability(IntEnum):
    """Those that this program names; there are more."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    FOWNER = 3
    FSETID = 4
    KILL = 5
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    NET_BIND_SERVICE = 10
    NET_RAW = 13
    SYS_CHROOT = 18
    SYS_ADMIN = 21
    MKNOD = 27
    AUDIT_WRITE = 29
    SETFCAP = 31


DOCKER_DEFAULT = frozenset(Capability) - {Capability.SYS_ADMIN}
"""What Docker gives to a container, and BuildKit to a RUN."""

_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def limit(allowed: frozenset[Capability]) -> bool:
    """Give up every capability but `allowed`, for this process and all it will execute.

    Capabilities in `allowed` that the process does not have are not gained. Returns False if root
    will have the others again in what it executes: it takes SETPCAP to keep them from it. Raises
    OSError.
    """
    may_drop = Capability.SETPCAP in effective()
    for number in range(64) if may_drop else ():
        if number not in allowed and not _drop_from_bounding_set(number):
            break
    data = (_Data * 2)()
    header = _Header(_VERSION_3, 0)
    syscalls.capget(header, data)
    for half in (0, 1):
        mask = sum(1 << (number - 32 * half) for number in allowed if number // 32 == half)
        data[half].permitted &= mask
        data[half].effective = data[half].permitted
        data[half].inheritable = 0
    syscalls.capset(header, data)
    return may_drop


def effective() -> frozenset[Capability]:
    """Return those of Capability that this process has in effect."""
    data = (_Data * 2)()
    syscalls.capget(_Header(_VERSION_3, 0), data)
    return frozenset(
        capability
        for capability in Capability
        if data[capability // 32].effective & 1 << capability % 32
    )


def _drop_from_bounding_set(number: int) -> bool:
    """Return False when the kernel has no capability of that number, nor any higher one."""
    try:
        syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True
