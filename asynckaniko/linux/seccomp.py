"""Refuse system calls that a build step has no use for and an attacker of the kernel has.

Root of a step has few capabilities, and most of what they leave open is closed by the kernel
itself. What is refused here would bring more of the kernel into reach: a further user namespace
gives every capability in it, and the others are calls with a history. Docker's and BuildKit's
default profiles refuse the same calls with the same errors.
"""

import ctypes
import errno
import platform
import struct
from dataclasses import dataclass

from asynckaniko.linux import syscalls

_LOAD, _RETURN = 0x20, 0x06
_JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_ANY_BIT = 0x15, 0x35, 0x45
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_SET_MODE_FILTER = 1
_SPECULATION_ALLOWED = 1 << 2
"""Without it, kernels before 5.16 slow every filtered process down against Spectre."""


@dataclass(frozen=True, slots=True)
class _Table:
    """Numbers of one architecture, from its unistd.h."""

    architecture: int
    """AUDIT_ARCH_* of linux/audit.h."""
    refused: tuple[int, ...]
    """add_key, request_key, keyctl, bpf, perf_event_open, userfaultfd, open_by_handle_at,
    kexec_load, init_module, finit_module, delete_module, acct, swapon, swapoff, reboot."""
    clone: int
    unshare: int


_REFUSED_EVERYWHERE = (425, 426, 427)
"""io_uring_setup, io_uring_enter, io_uring_register."""
_CLONE3 = 435
_X32 = 0x40000000
"""Numbers from here on are a third interface of x86-64, which hardly a kernel still has."""
_X86_64 = _Table(
    0xC000003E,
    (248, 249, 250, 321, 298, 323, 304, 246, 175, 313, 176, 163, 167, 168, 169),
    clone=56,
    unshare=272,
)
_I386 = _Table(
    0x40000003,
    (286, 287, 288, 357, 336, 374, 342, 283, 128, 350, 129, 51, 87, 115, 88),
    clone=120,
    unshare=310,
)
_AARCH64 = _Table(
    0xC00000B7,
    (217, 218, 219, 280, 241, 282, 265, 104, 105, 273, 106, 89, 224, 225, 142),
    clone=220,
    unshare=97,
)
_ARM = _Table(
    0x40000028,
    (309, 310, 311, 386, 364, 388, 371, 347, 128, 379, 129, 51, 87, 115, 88),
    clone=120,
    unshare=337,
)
_TABLES = {"x86_64": (_X86_64, _I386), "aarch64": (_AARCH64, _ARM)}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def restrict() -> None:
    """Refuse the calls for this process and all its descendants, with EPERM mostly.

    Takes SYS_ADMIN in the user namespace. Does nothing on machines without a table, or whose
    kernel has no filters. Raises OSError.
    """
    tables = _TABLES.get(platform.machine(), ())
    if not tables:
        return
    instructions = _program(tables)
    program = _Program(len(instructions) // 8, instructions)
    try:
        syscalls.seccomp(_SET_MODE_FILTER, _SPECULATION_ALLOWED, ctypes.byref(program))
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOSYS}:
            raise


def _program(tables: tuple[_Table, ...]) -> bytes:
    code = _instruction(_LOAD, _ARCHITECTURE)
    for table in tables:
        section = _section(table)
        code += _instruction(_JUMP_EQUAL, table.architecture, 0, len(section) // 8) + section
    return code + _refuse(errno.ENOSYS)


def _section(table: _Table) -> bytes:
    code = _instruction(_LOAD, _NUMBER)
    code += _instruction(_JUMP_GREATER_EQUAL, _X32, 0, 1) + _refuse(errno.ENOSYS)
    for number in (*table.refused, *_REFUSED_EVERYWHERE):
        code += _instruction(_JUMP_EQUAL, number, 0, 1) + _refuse(errno.EPERM)
    # Its flags are in memory, where a filter cannot look; libraries then use clone.
    code += _instruction(_JUMP_EQUAL, _CLONE3, 0, 1) + _refuse(errno.ENOSYS)
    code += _instruction(_JUMP_EQUAL, table.clone, 1, 0)
    code += _instruction(_JUMP_EQUAL, table.unshare, 0, 3)
    code += _instruction(_LOAD, _FIRST_ARGUMENT)
    code += _instruction(_JUMP_ANY_BIT, syscalls.CLONE_NEWUSER, 0, 1) + _refuse(errno.EPERM)
    return code + _instruction(_RETURN, _ALLOW)


def _refuse(number: int) -> bytes:
    return _instruction(_RETURN, _ERROR | number)


def _instruction(operation: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", operation, if_true, if_false, operand)
