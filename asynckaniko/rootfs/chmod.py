"""COPY and ADD --chmod: octal, or symbolic as chmod(1) has it.

POSIX chmod, "extended description"; GNU where that leaves a choice.

Octal modes hold for files, directories and the directories that are made on the way. Symbolic ones
change the mode that a file has in the source; there is no umask.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from asynckaniko.errors import DockerfileError

IMPLICIT_MODE = 0o755
"""Of directories that no source stands for."""

_OCTAL = re.compile(r"0*[0-7]{1,4}")
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION = re.compile(r"([-+=])([ugo]|[rwxXst]*)")

_SHARE = {"u": 0o4700, "g": 0o2070, "o": 0o1007, "a": 0o7777}
"""The bits that belong to each class; the sticky bit goes with the others'."""
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000}
_SHIFT = {"u": 6, "g": 3, "o": 0}
_SET_IDS = 0o6000

ChangeMode = Callable[[int, bool], int]
"""From a mode and whether it is a directory's to the new permission bits."""


@dataclass(frozen=True, slots=True)
class Chmod:
    """What --chmod makes of modes. Permission bits in, permission bits out."""

    change: ChangeMode
    implicit: int
    """For directories that no source stands for."""

    @classmethod
    def parse(cls, text: str) -> "Chmod | None":
        """Read the flag's value; None if there is none.

        Raises:
            DockerfileError: neither octal up to 7777 nor symbolic.
        """
        if not text:
            return None
        if _OCTAL.fullmatch(text):
            mode = int(text, 8)
            return cls(lambda _mode, _is_directory: mode, mode)
        return cls(_parse_symbolic(text), IMPLICIT_MODE)


@dataclass(frozen=True, slots=True)
class _Action:
    """One operator with its permissions, for the classes of `share`."""

    share: int
    operator: str
    permissions: str

    def apply(self, mode: int, is_directory: bool) -> int:
        bits = self._bits(mode, is_directory) & self.share
        match self.operator:
            case "+":
                return mode | bits
            case "-":
                return mode & ~bits
        # As GNU chmod: `=` leaves the set-id bits of a directory unless they are named.
        kept = _SET_IDS if is_directory and "s" not in self.permissions else 0
        return mode & ~(self.share & ~kept) | bits

    def _bits(self, mode: int, is_directory: bool) -> int:
        if self.permissions in _SHIFT:
            return (mode >> _SHIFT[self.permissions] & 7) * 0o111
        bits = 0
        for permission in self.permissions:
            if permission == "X":
                bits |= 0o111 if is_directory or mode & 0o111 else 0
            else:
                bits |= _BITS[permission]
        return bits


def _parse_symbolic(text: str) -> ChangeMode:
    actions: list[_Action] = []
    for clause in text.split(","):
        matched = _CLAUSE.fullmatch(clause)
        if not matched:
            raise DockerfileError(
                f"--chmod={text[:100]}: not a mode; use octal digits up to 7777"
                " or a symbolic mode such as u=rwX,go=rX"
            )
        share = 0
        for who in matched[1] or "a":
            share |= _SHARE[who]
        actions += [_Action(share, *found) for found in _ACTION.findall(matched[2])]

    def change(mode: int, is_directory: bool) -> int:
        mode &= 0o7777
        for action in actions:
            mode = action.apply(mode, is_directory)
        return mode

    return change
