import ctypes
import errno
import fcntl
import mmap
import os
import platform
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from asynckaniko.linux import abi, seccomp, syscalls

NUMBERS = {
    "x86_64": {"keyctl": 250, "bpf": 321, "clone": 56, "clone3": 435, "getppid": 110},
    "aarch64": {"keyctl": 219, "bpf": 280, "clone": 220, "clone3": 435, "getppid": 173},
}[platform.machine()]
SIGCHLD = 17

NUMBERS_OF_I386 = {
    "getpid": 20,
    "kill": 37,
    "socket": 359,
    "socketcall": 102,
    "fchown": 207,
    "fchown16": 95,
}
INT_80 = bytes.fromhex("53 89f8 89f3 89d1 31d2 cd80 5b c3")
"""push rbx; eax, ebx, ecx = edi, esi, edx; edx = 0; int 0x80; pop rbx; ret"""

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: int) -> int:
    """Return the errno of a system call, 0 for success."""
    result = libc.syscall(NUMBERS[name], *map(ctypes.c_ulong, arguments))
    return ctypes.get_errno() if result == -1 else 0


def under_the_filter(
    function: Callable[[], int], install: Callable[[], None] = seccomp.restrict
) -> int:
    pid = os.fork()
    if pid == 0:
        install()
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


def answer(function: Callable[[], object]) -> int:
    """Return the errno that `function` fails with, 0 for success."""
    try:
        function()
    except OSError as error:
        return error.errno or 255
    return 0


def open_socket(family: int, kind: int = socket.SOCK_DGRAM) -> int:
    return answer(lambda: socket.socket(family, kind).close())


@pytest.mark.parametrize(
    ("family", "kind", "expected"),
    [
        (socket.AF_INET, socket.SOCK_STREAM, errno.ENETUNREACH),
        (socket.AF_INET, socket.SOCK_DGRAM, errno.ENETUNREACH),
        (socket.AF_INET, socket.SOCK_RAW, errno.ENETUNREACH),
        (socket.AF_INET6, socket.SOCK_STREAM, errno.ENETUNREACH),
        (socket.AF_PACKET, socket.SOCK_RAW, errno.ENETUNREACH),
        (socket.AF_VSOCK, socket.SOCK_STREAM, errno.ENETUNREACH),
        (socket.AF_UNIX, socket.SOCK_STREAM, 0),
        (socket.AF_NETLINK, socket.SOCK_RAW, 0),
    ],
)
def test_network_is_unreachable_and_local_sockets_are_not(
    family: int, kind: int, expected: int
) -> None:
    assert under_the_filter(lambda: open_socket(family, kind), seccomp.refuse_network) == expected


def test_connection_of_an_ordinary_program_fails_at_once() -> None:
    def curl() -> int:
        done = subprocess.run(["curl", "-s", "http://127.0.0.1:9/"], check=False)
        return done.returncode

    # 7: CURLE_COULDNT_CONNECT
    assert under_the_filter(curl, seccomp.refuse_network) == 7


@pytest.fixture
def bystander() -> "Iterator[subprocess.Popen[bytes]]":
    """A process that leads a process group, as an executor does."""
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:
        yield process
        assert process.poll() is None, "it was killed"
        process.kill()


def raw(number: int, *arguments: int) -> int:
    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return ctypes.get_errno() if result == -1 else 0


def ordinary(name: str) -> int:
    return abi.of_this_machine()[0].calls[name][0]


REACHING = {
    "kill": lambda pid: raw(ordinary("kill"), pid, signal.SIGKILL),
    "kill everybody": lambda pid: raw(ordinary("kill"), -1, 0),
    "kill its group": lambda pid: raw(ordinary("kill"), -pid, signal.SIGKILL),
    "tkill": lambda pid: raw(ordinary("tkill"), pid, signal.SIGKILL),
    "tgkill": lambda pid: raw(ordinary("tgkill"), pid, pid, signal.SIGKILL),
    "pidfd_open": lambda pid: answer(lambda: os.pidfd_open(pid)),
    "ptrace": lambda pid: raw(ordinary("ptrace"), 16, pid, 0, 0),
    "process_vm_readv": lambda pid: raw(ordinary("process_vm_readv"), pid, 0, 0, 0, 0, 0),
    "process_vm_writev": lambda pid: raw(ordinary("process_vm_writev"), pid, 0, 0, 0, 0, 0),
    "prlimit": lambda pid: answer(lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1))),
    "F_SETOWN": lambda pid: answer(lambda: fcntl.fcntl(0, fcntl.F_SETOWN, pid)),
    "F_SETOWN of its group": lambda pid: answer(lambda: fcntl.fcntl(0, fcntl.F_SETOWN, -pid)),
    "/proc as a pidfd": lambda pid: raw(
        ordinary("pidfd_send_signal"), os.open(f"/proc/{pid}", os.O_RDONLY), signal.SIGKILL, 0, 0
    ),
}


@pytest.mark.parametrize("way", REACHING)
def test_protected_process_is_out_of_reach(way: str, bystander: "subprocess.Popen[bytes]") -> None:
    reached = under_the_filter(
        lambda: REACHING[way](bystander.pid), lambda: seccomp.protect([bystander.pid])
    )

    assert reached == errno.EPERM


def test_protected_thread_is_out_of_reach(bystander: "subprocess.Popen[bytes]") -> None:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    assert thread.native_id
    number = thread.native_id

    reached = under_the_filter(
        lambda: raw(ordinary("tkill"), number, signal.SIGKILL),
        lambda: seccomp.protect([os.getppid()], threads=[number]),
    )

    done.set()
    thread.join()
    assert reached == errno.EPERM


def test_guarded_process_can_signal_and_trace_its_own(bystander: "subprocess.Popen[bytes]") -> None:
    def own_child() -> int:
        child = os.fork()
        if child == 0:
            signal.pause()
        descriptor = os.pidfd_open(child)
        fcntl.fcntl(descriptor, fcntl.F_SETFD, 0)
        if raw(ordinary("ptrace"), 16, child, 0, 0):
            return 1
        os.waitpid(child, 0)
        os.kill(child, signal.SIGKILL)
        return 0 if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL else 2

    assert under_the_filter(own_child, lambda: seccomp.protect([bystander.pid])) == 0


def test_filters_need_no_privilege_once_new_ones_are_given_up(
    bystander: "subprocess.Popen[bytes]",
) -> None:
    def as_nobody() -> None:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        seccomp.give_up_new_privileges()
        seccomp.refuse_network()
        seccomp.protect([bystander.pid])

    assert under_the_filter(lambda: open_socket(socket.AF_INET), as_nobody) == errno.ENETUNREACH


def call_as_32_bit_program(name: str, *arguments: int) -> int:
    """Return the errno of a call by the interface for i386, as a 64-bit program can use it too."""
    with mmap.mmap(-1, len(INT_80), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(INT_80)
        first = ctypes.c_char.from_buffer(page)
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int)
        result = kind(ctypes.addressof(first))(NUMBERS_OF_I386[name], *arguments)
        del first
    return -result if result < 0 else 0


if platform.machine() == "x86_64":

    def test_32_bit_programs_are_refused_the_same(bystander: "subprocess.Popen[bytes]") -> None:
        def install() -> None:
            seccomp.refuse_network()
            seccomp.protect([bystander.pid])

        def first_wrong() -> int:
            found = [
                call_as_32_bit_program("getpid", 0, 0) == 0,
                call_as_32_bit_program("socket", socket.AF_UNIX, socket.SOCK_STREAM) == 0,
                call_as_32_bit_program("socket", socket.AF_INET, socket.SOCK_STREAM)
                == errno.ENETUNREACH,
                call_as_32_bit_program("socketcall", 1, 0) == errno.ENETUNREACH,
                call_as_32_bit_program("kill", bystander.pid, signal.SIGKILL) == errno.EPERM,
            ]
            return 0 if all(found) else found.index(False) + 1

        assert under_the_filter(first_wrong, install) == 0
