"""Refuse system calls to a build step: filters of seccomp(2), for a process and all it will start.

Filters add up: of several that look at one call, the strictest answer counts. Without SYS_ADMIN
in the user namespace the kernel takes none before `give_up_new_privileges`.
"""

import ctypes
import errno
import platform
import socket
from collections.abc import Collection

from asynckaniko.linux import abi, bpf, syscalls
from asynckaniko.linux.abi import Abi

_SET_MODE_FILTER = 1
_SPECULATION_ALLOWED, _NEW_LISTENER = 1 << 2, 1 << 3
"""Without the first, kernels before 5.16 slow every filtered process down against Spectre."""
_SYS_SOCKET = 1
"""Number of socket among the calls that socketcall(2) bundles."""
_OTHER_THAN_NETWORK = (socket.AF_UNIX, socket.AF_NETLINK, socket.AF_ALG)
_EVERYBODY = -1
_F_SETOWN, _F_SETOWN_EX = 8, 15
_FIOSETOWN, _SIOCSPGRP = 0x8901, 0x8902

_OF_NO_USE = (
    *("add_key", "request_key", "keyctl", "bpf", "perf_event_open", "userfaultfd"),
    *("open_by_handle_at", "kexec_load", "init_module", "finit_module", "delete_module"),
    *("acct", "swapon", "swapoff", "reboot"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register"),
)
_NAMING_A_PROCESS = (
    *("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open"),
    *("process_vm_readv", "process_vm_writev", "prlimit64"),
)
"""In the first argument."""
_CHOWN = ("chown", "fchown", "lchown", "fchownat")
_SET_UIDS = {"setuid": 1, "setreuid": 2, "setresuid": 3}
_SET_GIDS = {"setgid": 1, "setregid": 2, "setresgid": 3}
"""With how many ids each has."""
_IDS_OF_16_BITS = tuple(f"{name}16" for name in (*_CHOWN[:3], *_SET_UIDS, *_SET_GIDS, "setgroups"))
_POSSIBLE_IDS = (0, -1)
_BY_DESCRIPTOR = ("pidfd_send_signal", "pidfd_getfd", "process_madvise")


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def give_up_new_privileges() -> None:
    """Let no program gain rights by its set-uid bit or file capabilities, from here on."""
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


def restrict() -> None:
    """Refuse what a step has no use for and an attacker of the kernel has, with EPERM mostly.

    Root of a step has few capabilities, and most of what they leave open is closed by the kernel
    itself. What is refused here would bring more of the kernel into reach: a further user
    namespace gives every capability in it, and the others are calls with a history. Docker's and
    BuildKit's default profiles refuse the same calls with the same errors.

    Does nothing on machines without a table, or whose kernel has no filters. Raises OSError.
    """
    interfaces = abi.of_this_machine()
    if not interfaces:
        return
    try:
        _install(bpf.program(interfaces, _restrictions, otherwise=bpf.refuse(errno.ENOSYS)))
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOSYS}:
            raise


def refuse_network() -> None:
    """Refuse sockets of every network, with ENETUNREACH: `--network=none` without a namespace.

    For modes that cannot have a network namespace (`chroot`, `in-place`): call it in the child
    that is about to execute the command, beside `restrict`, which keeps io_uring from making
    sockets. What is left are AF_UNIX, AF_ALG, and AF_NETLINK, which programs list interfaces and
    ask for the audit system with, and which changes nothing without NET_ADMIN. Unlike in an empty
    network namespace, there is no loopback, and abstract sockets of the Pod stay reachable.
    Descriptors that are open already keep working.

    Raises OSError, ENOSYS where it cannot be had: then the command must not run.
    """
    _require(_network_rules)


def protect(processes: Collection[int], *, threads: Collection[int] = ()) -> None:
    """Refuse to signal, trace, read, limit or open `processes`, with EPERM: the guard.

    For modes in which a command shares the executor's pid namespace and user (`chroot`,
    `in-place`): call it in the child that is about to execute the command, with every process
    that the command must leave alone, such as

        protect([os.getpid(), executor, fork_server], threads=processes.threads(executor))

    kill(-1) is refused too, and so are signals to a process group that one of them leads, pidfds
    of others, and owners of descriptors (F_SETOWN), which are sent signals. A number can be any
    thread's, so `threads` names those that tkill and ptrace must not reach; one that is started
    later is not among them. Against ptrace and reading memory the processes should have
    PR_SET_DUMPABLE off besides.

    Raises OSError, ENOSYS where it cannot be had: then the command must not run.
    """
    protected = {*processes, *threads}
    if any(number <= 0 for number in protected):
        raise ValueError(f"not numbers of processes: {sorted(protected)}")
    _require(lambda interface: _guard_rules(interface, protected))


def notify_of_owners() -> int:
    """Have chown and changes of the user answered by who reads the descriptor that is returned.

    For a user namespace that has no id but 0, where both fail. A change of the group to another
    succeeds without effect. Calls of 32-bit programs with ids of 16 bits do not exist: libraries
    know others.

    Raises OSError: EBUSY when the process has such a filter already.
    """
    return _require(_owner_rules, flags=_NEW_LISTENER)


def _require(rules: bpf.Rules, *, flags: int = 0) -> int:
    interfaces = abi.of_this_machine()
    if not interfaces:
        raise OSError(errno.ENOSYS, f"seccomp: system calls of {platform.machine()} are not known")
    code = bpf.program(interfaces, rules, otherwise=bpf.refuse(errno.ENOSYS))
    return _install(code, flags=flags)


def _install(code: bytes, *, flags: int = 0) -> int:
    program = _Program(bpf.length(code), code)
    return syscalls.seccomp(_SET_MODE_FILTER, _SPECULATION_ALLOWED | flags, ctypes.byref(program))


def _restrictions(interface: Abi) -> bytes:
    new_user = bpf.if_any_bit(0, syscalls.CLONE_NEWUSER, bpf.refuse(errno.EPERM))
    return (
        bpf.when_called(interface.numbers(_OF_NO_USE), bpf.refuse(errno.EPERM))
        # Its flags are in memory, where a filter cannot look; libraries then use clone.
        + bpf.when_called(interface.numbers(["clone3"]), bpf.refuse(errno.ENOSYS))
        + bpf.when_called(interface.numbers(["clone", "unshare"]), new_user)
    )


def _network_rules(interface: Abi) -> bytes:
    unreachable = bpf.refuse(errno.ENETUNREACH)
    return bpf.when_called(
        interface.numbers(["socket"]), bpf.unless_argument(0, _OTHER_THAN_NETWORK, unreachable)
    ) + bpf.when_called(
        # The family is in memory, where a filter cannot look; libraries know socket since 2016.
        interface.numbers(["socketcall"]),
        bpf.if_argument(0, [_SYS_SOCKET], unreachable),
    )


def _guard_rules(interface: Abi, protected: Collection[int]) -> bytes:
    refused = bpf.refuse(errno.EPERM)
    targets = {_EVERYBODY, *protected, *(-number for number in protected)}
    return (
        bpf.when_called(interface.numbers(_NAMING_A_PROCESS), bpf.if_argument(0, targets, refused))
        + bpf.when_called(interface.numbers(_BY_DESCRIPTOR), refused)
        + bpf.when_called(interface.numbers(["ptrace"]), bpf.if_argument(1, targets, refused))
        + bpf.when_called(
            interface.numbers(["fcntl"]),
            bpf.unless_argument(1, [_F_SETOWN, _F_SETOWN_EX], bpf.allow()),
            bpf.if_argument(1, [_F_SETOWN_EX], refused),
            bpf.if_argument(2, targets, refused),
        )
        + bpf.when_called(
            interface.numbers(["ioctl"]), bpf.if_argument(1, [_FIOSETOWN, _SIOCSPGRP], refused)
        )
    )


def _owner_rules(interface: Abi) -> bytes:
    rules = bpf.when_called(interface.numbers(_CHOWN), bpf.notify())
    rules += bpf.when_called(interface.numbers(_IDS_OF_16_BITS), bpf.refuse(errno.ENOSYS))
    rules += bpf.when_called(interface.numbers(["setgroups"]), bpf.refuse(0))
    for calls, answer in ((_SET_UIDS, bpf.notify()), (_SET_GIDS, bpf.refuse(0))):
        for name, ids in calls.items():
            tests = [bpf.unless_argument(index, _POSSIBLE_IDS, answer) for index in range(ids)]
            rules += bpf.when_called(interface.numbers([name]), *tests)
    return rules
