"""System calls by ctypes. Each raises OSError with the errno and the call's arguments."""

import ctypes
import errno
import os
import platform
import struct
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC = 32, 4096, 8192, 16384
MS_PRIVATE, MS_SLAVE, MS_STRICTATIME = 1 << 18, 1 << 19, 1 << 24
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
PR_SET_CHILD_SUBREAPER, PR_CAPBSET_DROP = 36, 24

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS = 1, 2, 4
RESOLVE_BENEATH, RESOLVE_IN_ROOT = 8, 16

MADV_DONTNEED = 4

AT_FDCWD = -100
AT_RECURSIVE, AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW = 0x8000, 0x1000, 0x100
MOUNT_ATTR_RDONLY = 1
_KEYCTL_JOIN_SESSION_KEYRING = 1
_STATX_SIZE, _STATX_BTIME, _STATX_BTIME_OFFSET = 256, 0x800, 80

# Calls from 5.1 on have one number on all machines; -1 is answered with ENOSYS.
_COMMON_NUMBERS = {"close_range": 436, "openat2": 437, "mount_setattr": 442}
_NUMBERS = _COMMON_NUMBERS | {
    "x86_64": {"pivot_root": 155, "keyctl": 250, "seccomp": 317},
    "aarch64": {"pivot_root": 41, "keyctl": 219, "seccomp": 277},
}.get(platform.machine(), {"pivot_root": -1, "keyctl": -1, "seccomp": -1})

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns", ctypes.c_uint64),
    )


def openat2(
    directory: int,
    path: str | bytes,
    flags: int,
    mode: int = 0,
    *,
    resolve: int = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
) -> int:
    """Open `path` as seen with the directory file descriptor `directory` as root; O_CLOEXEC.

    Absolute paths, `..` and symlinks stay inside. Raises OSError, ENOSYS on kernels before 5.6.
    """
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    while True:
        descriptor = _syscall(
            _NUMBERS["openat2"], directory, os.fsencode(path), ctypes.byref(how), 24
        )
        if descriptor >= 0:
            return int(descriptor)
        code = ctypes.get_errno()
        # EAGAIN: a rename or mount raced with the walk; the answer may be stale (openat2(2)).
        if code not in {errno.EAGAIN, errno.EINTR}:
            raise OSError(code, os.strerror(code), path)


def madvise(start: int, size: int, advice: int) -> None:
    """Advise the kernel of the pages from address `start` on."""
    code = _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), advice)
    _check(code, f"madvise({start:#x}, {size}, {advice})")


def malloc_trim() -> None:
    """Call malloc_trim(3) with no reserve, where the C library has it."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


def mallopt(option: int, value: int) -> None:
    """Call mallopt(3) where the C library has it; one that knows no such option ignores it."""
    set_option = getattr(_libc, "mallopt", None)
    if set_option is not None:
        set_option(option, value)


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def close_range(first: int, last: int) -> None:
    """Close the descriptors `first` to `last`, open or not (5.9)."""
    _check(_syscall(_NUMBERS["close_range"], first, last, 0), f"close_range({first}, {last})")


def setns(descriptor: int, kind: int) -> None:
    """Join the namespace of `kind` that `descriptor` (a namespace or a pidfd, 5.8) refers to."""
    _check(_libc.setns(descriptor, kind), f"setns({kind:#x})")


def join_new_session_keyring() -> None:
    """Leave the session keyring of the caller's login, with what is in it, for an empty one."""
    _check(_syscall(_NUMBERS["keyctl"], _KEYCTL_JOIN_SESSION_KEYRING, None), "keyctl")


def mount(
    source: str | bytes | None,
    target: str | bytes,
    kind: str | None = None,
    flags: int = 0,
    data: str | bytes | None = None,
) -> None:
    """Call mount(2). `data` must be shorter than a page."""
    result = _libc.mount(
        _bytes(source), _bytes(target), _bytes(kind), ctypes.c_ulong(flags), _bytes(data)
    )
    _check(result, f"mount({source!r}, {target!r}, {kind!r}, {flags:#x})")


def umount(target: str | bytes, flags: int = 0) -> None:
    _check(_libc.umount2(_bytes(target), flags), f"umount2({target!r})")


def mount_setattr(path: str | bytes, attributes: int, *, recursive: bool = False) -> None:
    """Add mount `attributes` and leave the others, locked ones too, as they are (5.12)."""
    attr = _MountAttr(attributes, 0, 0, 0)
    flags = AT_RECURSIVE if recursive else 0
    result = _syscall(
        _NUMBERS["mount_setattr"], AT_FDCWD, _bytes(path), flags, ctypes.byref(attr), 32
    )
    _check(result, f"mount_setattr({path!r}, {attributes:#x})")


def pivot_root(new: str, old: str) -> None:
    _check(_syscall(_NUMBERS["pivot_root"], _bytes(new), _bytes(old)), "pivot_root")


def prctl(option: int, *arguments: int) -> None:
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    _check(_libc.prctl(option, *padded), f"prctl({option})")


def seccomp(operation: int, flags: int, argument: Any) -> int:
    """Call seccomp(2) and return its answer, a descriptor if a listener was asked for."""
    result = int(_syscall(_NUMBERS["seccomp"], operation, flags, argument))
    _check(result, "seccomp")
    return result


def chown_descriptor(descriptor: int, uid: int, gid: int) -> None:
    """Be fchown(2) that takes descriptors of O_PATH too, those of links among them."""
    result = _libc.fchownat(descriptor, b"", uid, gid, AT_EMPTY_PATH)
    _check(result, f"fchownat({descriptor}, {uid}, {gid})")


def birth_time(directory: int, path: bytes) -> int:
    """Return when the inode at `path`, a link itself, was made, in nanoseconds; 0 if not known."""
    status = (ctypes.c_byte * _STATX_SIZE)()
    result = _libc.statx(directory, path, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH, _STATX_BTIME, status)
    _check(result, f"statx({path!r})")
    seconds, nanoseconds = struct.unpack_from("=qI", bytes(status), _STATX_BTIME_OFFSET)
    return int(seconds * 1_000_000_000 + nanoseconds)


def capget(header: ctypes.Structure, data: ctypes.Array[Any]) -> None:
    _check(_libc.capget(ctypes.byref(header), data), "capget")


def capset(header: ctypes.Structure, data: ctypes.Array[Any]) -> None:
    _check(_libc.capset(ctypes.byref(header), data), "capset")


def sethostname(name: str) -> None:
    encoded = os.fsencode(name)
    _check(_libc.sethostname(encoded, len(encoded)), "sethostname")


def _bytes(value: str | bytes | None) -> bytes | None:
    return None if value is None else os.fsencode(value)


def _check(result: Any, what: str) -> None:
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
