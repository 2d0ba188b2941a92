"""COPY and ADD --chmod: an octal mode, or a symbolic one as chmod(1) of BSD reads it.

Umask is 0. BuildKit's rules: `X` looks at the mode before any change, `=` clears the set-id bits
of whom it concerns but not the sticky bit, `o+s` and `o+t` do nothing.
"""

import re

from asynckaniko.dockerfile.wording import shown
from asynckaniko.errors import DockerfileError
from asynckaniko.records import dataclass

_EVERYONE = 0o6777
_STICKY = 0o1000
_WHO = {"u": 0o4700, "g": 0o2070, "o": 0o0007, "a": _EVERYONE}
_ANY_EXECUTE = 0o111
_PERMISSIONS = {"r": 0o444, "w": 0o222, "x": _ANY_EXECUTE, "s": 0o6000, "t": _STICKY}
_SHIFT = {"u": 6, "g": 3, "o": 0}
_CLAUSE = re.compile(r"([ugoa]*)((?:[+=-][rwxXstugo]*)+)")
_ACTION = re.compile(r"([+=-])([rwxXstugo]*)")
_OCTAL = re.compile(r"0*[0-7]{1,4}")


@dataclass(frozen=True, slots=True)
class _Change:
    """Clear bits, then set bits; `copied_from` is u, g or o whose permissions are taken."""

    clear: int = 0
    set: int = 0
    set_if_executable: int = 0
    copied_from: str = ""
    operator: str = ""
    who: int = 0


@dataclass(frozen=True, slots=True)
class Chmod:
    """What --chmod asks for. `octal` is None for a symbolic mode."""

    octal: int | None
    changes: tuple[_Change, ...] = ()

    def apply(self, mode: int, is_directory: bool) -> int:
        """Return the permission bits (07777) that a file of `mode` gets."""
        if self.octal is not None:
            return self.octal
        before = after = mode & 0o7777
        for change in self.changes:
            if change.copied_from:
                after = _copied(change, after)
                continue
            after = after & ~change.clear | change.set
            if is_directory or before & _ANY_EXECUTE:
                after |= change.set_if_executable
        return after


def parse_chmod(text: str) -> Chmod:
    """Read the value of --chmod, expanded.

    Raises:
        DockerfileError: neither an octal number up to 07777 nor a symbolic mode.
    """
    if _OCTAL.fullmatch(text):
        return Chmod(int(text, 8))
    changes: list[_Change] = []
    for clause in text.split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            raise DockerfileError(
                f"invalid chmod parameter: {shown(text)!r}. it should be octal string and between"
                " 0 and 07777, or symbolic like u=rwX,go=rX"
            )
        who = 0
        for letter in match[1]:
            who |= _WHO[letter]
        for operator, letters in _ACTION.findall(match[2]):
            changes += _action(who, operator, letters)
    return Chmod(None, tuple(changes))


def _action(who: int, operator: str, letters: str) -> list[_Change]:
    """Turn one `+rwx` into changes; copies (`g=u`) stand between the permissions around them."""
    everyone = not who
    only_others = who & ~0o0007 == 0 and not everyone
    found: list[_Change] = []
    is_set = False
    for part in re.findall("[rwxXst]+|[ugo]", letters) or [""]:
        if part in _SHIFT:
            found.append(_Change(copied_from=part, operator=operator, who=who or _EVERYONE))
            is_set = True
            continue
        bits = 0
        for letter in part.replace("X", "x" if operator == "-" else ""):
            if only_others and letter in "st":
                continue
            bits |= _PERMISSIONS[letter]
        # BuildKit takes `+rt`, for nobody in particular, to be about the sticky bit alone.
        concerned = who | _STICKY if bits & _STICKY else who or _EVERYONE
        if operator == "-":
            found.append(_Change(clear=bits & concerned))
            continue
        found.append(
            _Change(
                clear=concerned if operator == "=" and (bits or not is_set) else 0,
                set=bits & concerned,
                set_if_executable=_ANY_EXECUTE & concerned if "X" in part else 0,
            )
        )
        is_set = True
    return found


def _copied(change: _Change, mode: int) -> int:
    value = mode >> _SHIFT[change.copied_from] & 0o7
    for letter, shift in _SHIFT.items():
        if not change.who & _WHO[letter] & 0o0777:
            continue
        if change.operator == "=":
            mode &= ~(0o7 << shift)
        if change.operator == "-":
            mode &= ~(value << shift)
        else:
            mode |= value << shift
    return mode
