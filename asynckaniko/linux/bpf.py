"""Write programs of seccomp filters: classic BPF over `struct seccomp_data` (seccomp(2)). Pure.

A program is bytes, and made of bytes: instructions can be joined with `+`. It looks at the
architecture first, for a 64-bit kernel takes the calls of 32-bit programs too, under other numbers.
"""

import struct
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

from asynckaniko.linux.abi import Abi

Rules: TypeAlias = Callable[[Abi], bytes]

_LOAD, _RETURN = 0x20, 0x06
_JUMP, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_ANY_BIT = 0x05, 0x15, 0x35, 0x45
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_ARGUMENT_SIZE, _INSTRUCTION_SIZE = 8, 8
_ALLOW, _NOTIFY, _ERROR = 0x7FFF0000, 0x7FC00000, 0x00050000
_FURTHEST = 255
"""Instructions that a conditional jump can leave out; `_JUMP` has no limit."""
_X32 = 0x40000000
"""Numbers from here on are a third interface of x86-64, which hardly a kernel still has."""


def program(abis: Sequence[Abi], rules: Rules, *, otherwise: bytes) -> bytes:
    """Apply `rules` to the calls of each of `abis`, and `otherwise` to those of all others.

    A call that no rule is about is allowed. Those of x32 are answered with `otherwise` too.
    """
    code = _instruction(_LOAD, _ARCHITECTURE)
    for abi in abis:
        section = _instruction(_LOAD, _NUMBER)
        section += _instruction(_JUMP_GREATER_EQUAL, _X32, 0, length(otherwise)) + otherwise
        section += rules(abi) + allow()
        code += _instruction(_JUMP_EQUAL, abi.architecture, 1, 0) + _skip(section)
    return code + otherwise


def when_called(numbers: Collection[int], *tests: bytes) -> bytes:
    """Make a rule: the calls with these numbers are put to the `tests` in turn, then allowed."""
    if not numbers:
        return b""
    body = b"".join(tests) + allow()
    code = b""
    for left, number in zip(range(len(numbers), 0, -1), sorted(numbers), strict=True):
        code += _instruction(_JUMP_EQUAL, number, left, 0)
    return code + _skip(body)


def if_argument(index: int, values: Collection[int], then: bytes) -> bytes:
    """Make a test: do `then` if the low 32 bits of an argument are in `values`.

    Negative values stand for their 32 bits. `then` must end in a return.
    """
    code = _argument(index)
    for value in sorted({value & 0xFFFFFFFF for value in values}):
        code += _instruction(_JUMP_EQUAL, value, 0, length(then)) + then
    return code


def unless_argument(index: int, values: Collection[int], then: bytes) -> bytes:
    """Make a test: do `then` if the low 32 bits of an argument are not in `values`."""
    code = _argument(index)
    known = sorted({value & 0xFFFFFFFF for value in values})
    for left, value in zip(range(len(known), 0, -1), known, strict=True):
        code += _instruction(_JUMP_EQUAL, value, left - 1 + length(then), 0)
    return code + then


def if_any_bit(index: int, bits: int, then: bytes) -> bytes:
    """Make a test: do `then` if any of `bits` is set in the argument."""
    return _argument(index) + _instruction(_JUMP_ANY_BIT, bits, 0, length(then)) + then


def refuse(number: int) -> bytes:
    """Answer with errno `number`, or with success and no effect if that is 0."""
    return _instruction(_RETURN, _ERROR | number)


def notify() -> bytes:
    """Let the holder of the filter's listener answer."""
    return _instruction(_RETURN, _NOTIFY)


def allow() -> bytes:
    """Let the kernel do it."""
    return _instruction(_RETURN, _ALLOW)


def length(code: bytes) -> int:
    """Count instructions."""
    return len(code) // _INSTRUCTION_SIZE


def _argument(index: int) -> bytes:
    # The low half comes first: none of the architectures with a table is big-endian.
    return _instruction(_LOAD, _FIRST_ARGUMENT + _ARGUMENT_SIZE * index)


def _skip(body: bytes) -> bytes:
    return _instruction(_JUMP, length(body)) + body


def _instruction(operation: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    if max(if_true, if_false) > _FURTHEST:
        raise ValueError(f"a conditional jump over {max(if_true, if_false)} instructions")
    return struct.pack("=HBBI", operation, if_true, if_false, operand)
