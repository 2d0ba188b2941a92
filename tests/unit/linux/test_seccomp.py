import ctypes
import errno
import os
import platform
from collections.abc import Callable

import pytest

from asynckaniko.linux import seccomp, syscalls

NUMBERS = {
    "x86_64": {"keyctl": 250, "bpf": 321, "clone": 56, "clone3": 435, "getppid": 110},
    "aarch64": {"keyctl": 219, "bpf": 280, "clone": 220, "clone3": 435, "getppid": 173},
}[platform.machine()]
SIGCHLD = 17

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: int) -> int:
    """Return the errno of a system call, 0 for success."""
    result = libc.syscall(NUMBERS[name], *map(ctypes.c_ulong, arguments))
    return ctypes.get_errno() if result == -1 else 0


def under_the_filter(function: Callable[[], int]) -> int:
    pid = os.fork()
    if pid == 0:
        seccomp.restrict()
        os._exit(function())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def unshare(flags: int) -> int:
    try:
        syscalls.unshare(flags)
    except OSError as error:
        return error.errno or 255
    return 0


def clone(flags: int) -> int:
    return call("clone", flags | SIGCHLD, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        pytest.param(lambda: call("getppid"), 0, id="ordinary call"),
        pytest.param(lambda: call("keyctl", 0, 0, 0), errno.EPERM, id="keyctl"),
        pytest.param(lambda: call("bpf", 0, 0, 0), errno.EPERM, id="bpf"),
        pytest.param(lambda: call("clone3", 0, 0), errno.ENOSYS, id="clone3"),
        pytest.param(lambda: unshare(syscalls.CLONE_NEWUSER), errno.EPERM, id="unshare user"),
        pytest.param(
            lambda: unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS),
            errno.EPERM,
            id="unshare user and more",
        ),
        pytest.param(lambda: unshare(syscalls.CLONE_NEWUTS), 0, id="unshare something else"),
        pytest.param(lambda: clone(syscalls.CLONE_NEWUSER), errno.EPERM, id="clone with user"),
    ],
)
def test_calls_answer_as_under_docker(function: Callable[[], int], expected: int) -> None:
    assert under_the_filter(function) == expected


def test_processes_can_be_made() -> None:
    def fork() -> int:
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert under_the_filter(fork) == 7


def test_filter_is_inherited_and_brings_no_other_restriction() -> None:
    def status() -> int:
        lines = open("/proc/self/status").read().splitlines()  # noqa: SIM115  exits at once
        return 0 if "NoNewPrivs:\t0" in lines and "Seccomp:\t2" in lines else 1

    def in_a_grandchild() -> int:
        pid = os.fork()
        if pid == 0:
            os._exit(status())
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert under_the_filter(in_a_grandchild) == 0
