"""The flag grammar: `--name=value` words between keyword and arguments.

Which flags an instruction knows is a table in `interpret`; here is how they are written.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import field

from asynckaniko.dockerfile.wording import hint, shown
from asynckaniko.errors import DockerfileError
from asynckaniko.records import dataclass


class FlagKind(enum.Enum):
    """How a flag takes its value."""

    SWITCH = enum.auto()
    """`--name`, `--name=true` or `--name=false`."""
    TEXT = enum.auto()
    """`--name=value`, once."""
    LIST = enum.auto()
    """`--name=value`, any number of times."""


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags of one instruction, by name without dashes."""

    texts: Mapping[str, str] = field(default_factory=dict)
    switches: Mapping[str, bool] = field(default_factory=dict)
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def text(self, name: str) -> str:
        return self.texts.get(name, "")

    def switch(self, name: str) -> bool:
        return self.switches.get(name, False)

    def list(self, name: str) -> tuple[str, ...]:
        return tuple(self.lists.get(name, ()))


def read_flags(words: Sequence[str], known: Mapping[str, FlagKind]) -> Flags:
    """Read the flag words of one instruction.

    Raises:
        DockerfileError: an unknown flag, one given twice, or one with a value it cannot have.
    """
    texts: dict[str, str] = {}
    switches: dict[str, bool] = {}
    lists: dict[str, list[str]] = {}
    for word in words:
        dashed, equals, value = word.partition("=")
        name = dashed[2:]
        kind = known.get(name)
        if kind is None:
            raise DockerfileError(f"unknown flag: {shown(dashed)}{hint(name, known)}")
        if name in texts or name in switches:
            raise DockerfileError(f"duplicate flag specified: {shown(dashed)}")
        if (equals and not value and kind is FlagKind.SWITCH) or (
            not equals and kind is not FlagKind.SWITCH
        ):
            raise DockerfileError(f"missing a value on flag: {shown(dashed)}")
        match kind:
            case FlagKind.SWITCH:
                switches[name] = _boolean(dashed, value)
            case FlagKind.TEXT:
                texts[name] = value
            case FlagKind.LIST:
                lists.setdefault(name, []).append(value)
    return Flags(texts, switches, lists)


def _boolean(dashed: str, value: str) -> bool:
    match value.lower():
        case "true" | "":
            return True
        case "false":
            return False
        case _:
            raise DockerfileError(
                f"expecting boolean value for flag {shown(dashed)}, not: {shown(value)}"
            )
