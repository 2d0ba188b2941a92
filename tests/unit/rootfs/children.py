"""Run a function in a forked child: in the build's namespaces, or without a system call."""

import ctypes
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

from asynckaniko.isolation import user_namespace
from asynckaniko.linux import syscalls

Result = TypeVar("Result")

_OPENAT2 = 437
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_LOAD_NUMBER, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def in_child(function: Callable[[], Result]) -> Result:
    """Return what `function` returns, or raise what it raises, in a forked child."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        _answer(function, write_end)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    assert answer, f"the child ended with status {status} and said nothing"
    error, result = pickle.loads(answer)
    if error is not None:
        raise error
    outcome: Result = result
    return outcome


def in_namespaces(directory: Path, function: Callable[[], Result]) -> Result:
    """Run `function` as root of new namespaces with umask 0, in `directory`, which it owns.

    Paths must be relative: directories above may be closed to it.
    """

    def enter() -> Result:
        os.chdir(directory)
        user_namespace.enter()
        os.umask(0)
        return function()

    return in_child(enter)


def refuse_openat2(code: int) -> None:
    """Let openat2 fail with `code` in this process from now on, as a seccomp profile does."""
    instructions = (
        struct.pack("HBBI", _LOAD_NUMBER, 0, 0, 0),
        struct.pack("HBBI", _JUMP_IF_EQUAL, 0, 1, _OPENAT2),
        struct.pack("HBBI", _RETURN, 0, 0, _ERRNO | code),
        struct.pack("HBBI", _RETURN, 0, 0, _ALLOW),
    )
    code_buffer = ctypes.create_string_buffer(b"".join(instructions))
    program = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(code_buffer))
    program_buffer = ctypes.create_string_buffer(program)
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(program_buffer))


def _answer(function: Callable[[], object], write_end: int) -> NoReturn:
    answer: tuple[BaseException | None, object]
    try:
        answer = (None, function())
    except BaseException as error:
        answer = (error, None)
    with open(write_end, "wb") as pipe:
        pickle.dump(answer, pipe)
    os._exit(0)
