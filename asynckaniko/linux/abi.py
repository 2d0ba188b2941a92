"""Numbers of system calls, from unistd.h of each architecture.

A name stands for all calls that do the same: fcntl64 of 32-bit programs is in `fcntl`. Only the
calls of 32-bit programs that have ids of 16 bits are apart, as `chown16` and so on.
"""

import platform
from collections.abc import Iterable, Mapping

from asynckaniko.records import dataclass

_EVERYWHERE = {
    "pidfd_send_signal": (424,),
    "io_uring_setup": (425,),
    "io_uring_enter": (426,),
    "io_uring_register": (427,),
    "pidfd_open": (434,),
    "clone3": (435,),
    "pidfd_getfd": (438,),
    "process_madvise": (440,),
}
"""Calls from 5.1 on have one number on all machines."""


@dataclass(frozen=True, slots=True)
class Abi:
    """One interface of the kernel to programs."""

    architecture: int
    """AUDIT_ARCH_* of linux/audit.h."""
    calls: Mapping[str, tuple[int, ...]]
    """All numbers that do what the name says. Names that the interface lacks are left out."""

    def numbers(self, names: Iterable[str]) -> list[int]:
        """Return the numbers of those calls that this interface has."""
        return [number for name in names for number in self.calls.get(name, ())]


def _abi(architecture: int, **numbers: int | tuple[int, ...]) -> Abi:
    calls = {
        name: number if isinstance(number, tuple) else (number,) for name, number in numbers.items()
    }
    return Abi(architecture, _EVERYWHERE | calls)


_IDS_OF_32_BIT = {
    "chown": 212,
    "fchown": 207,
    "lchown": 198,
    "setuid": 213,
    "setgid": 214,
    "setreuid": 203,
    "setregid": 204,
    "setgroups": 206,
    "setresuid": 208,
    "setresgid": 210,
    "chown16": 182,
    "fchown16": 95,
    "lchown16": 16,
    "setuid16": 23,
    "setgid16": 46,
    "setreuid16": 70,
    "setregid16": 71,
    "setgroups16": 81,
    "setresuid16": 164,
    "setresgid16": 170,
}
"""Calls about ids that have the same numbers on i386 and arm."""


_X86_64 = _abi(
    0xC000003E,
    add_key=248,
    request_key=249,
    keyctl=250,
    bpf=321,
    perf_event_open=298,
    userfaultfd=323,
    open_by_handle_at=304,
    kexec_load=246,
    init_module=175,
    finit_module=313,
    delete_module=176,
    acct=163,
    swapon=167,
    swapoff=168,
    reboot=169,
    clone=56,
    unshare=272,
    socket=41,
    kill=62,
    tkill=200,
    tgkill=234,
    rt_sigqueueinfo=129,
    rt_tgsigqueueinfo=297,
    ptrace=101,
    process_vm_readv=310,
    process_vm_writev=311,
    prlimit64=302,
    fcntl=72,
    ioctl=16,
    chown=92,
    fchown=93,
    lchown=94,
    fchownat=260,
    setuid=105,
    setgid=106,
    setreuid=113,
    setregid=114,
    setgroups=116,
    setresuid=117,
    setresgid=119,
)
_I386 = _abi(
    0x40000003,
    add_key=286,
    request_key=287,
    keyctl=288,
    bpf=357,
    perf_event_open=336,
    userfaultfd=374,
    open_by_handle_at=342,
    kexec_load=283,
    init_module=128,
    finit_module=350,
    delete_module=129,
    acct=51,
    swapon=87,
    swapoff=115,
    reboot=88,
    clone=120,
    unshare=310,
    socket=359,
    socketcall=102,
    kill=37,
    tkill=238,
    tgkill=270,
    rt_sigqueueinfo=178,
    rt_tgsigqueueinfo=335,
    ptrace=26,
    process_vm_readv=347,
    process_vm_writev=348,
    prlimit64=340,
    fcntl=(55, 221),
    ioctl=54,
    fchownat=298,
    **_IDS_OF_32_BIT,
)
_AARCH64 = _abi(
    0xC00000B7,
    add_key=217,
    request_key=218,
    keyctl=219,
    bpf=280,
    perf_event_open=241,
    userfaultfd=282,
    open_by_handle_at=265,
    kexec_load=104,
    init_module=105,
    finit_module=273,
    delete_module=106,
    acct=89,
    swapon=224,
    swapoff=225,
    reboot=142,
    clone=220,
    unshare=97,
    socket=198,
    kill=129,
    tkill=130,
    tgkill=131,
    rt_sigqueueinfo=138,
    rt_tgsigqueueinfo=240,
    ptrace=117,
    process_vm_readv=270,
    process_vm_writev=271,
    prlimit64=261,
    fcntl=25,
    ioctl=29,
    fchownat=54,
    fchown=55,
    setregid=143,
    setgid=144,
    setreuid=145,
    setuid=146,
    setresuid=147,
    setresgid=149,
    setgroups=159,
)
_ARM = _abi(
    0x40000028,
    add_key=309,
    request_key=310,
    keyctl=311,
    bpf=386,
    perf_event_open=364,
    userfaultfd=388,
    open_by_handle_at=371,
    kexec_load=347,
    init_module=128,
    finit_module=379,
    delete_module=129,
    acct=51,
    swapon=87,
    swapoff=115,
    reboot=88,
    clone=120,
    unshare=337,
    socket=281,
    kill=37,
    tkill=238,
    tgkill=268,
    rt_sigqueueinfo=178,
    rt_tgsigqueueinfo=363,
    ptrace=26,
    process_vm_readv=376,
    process_vm_writev=377,
    prlimit64=369,
    fcntl=(55, 221),
    ioctl=54,
    fchownat=325,
    **_IDS_OF_32_BIT,
)
_OF_MACHINE = {"x86_64": (_X86_64, _I386), "aarch64": (_AARCH64, _ARM)}


def of_this_machine() -> tuple[Abi, ...]:
    """Return the interfaces that programs can use here, the machine's own first.

    Empty on a machine without a table.
    """
    return _OF_MACHINE.get(platform.machine(), ())
