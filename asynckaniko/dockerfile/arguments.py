"""What is written behind a keyword, with the checks that many instructions share."""

from collections.abc import Mapping
from typing import TypedDict

from asynckaniko.dockerfile.blanks import SPACES
from asynckaniko.dockerfile.flags import FlagKind, Flags, read_flags
from asynckaniko.dockerfile.lexer import LogicalLine
from asynckaniko.dockerfile.statements import json_array
from asynckaniko.errors import DockerfileError, SourceSpan
from asynckaniko.records import dataclass

_SWITCH, _TEXT, _LIST = FlagKind.SWITCH, FlagKind.TEXT, FlagKind.LIST
_FLAGS: Mapping[str, Mapping[str, FlagKind]] = {
    "add": {
        "chown": _TEXT,
        "chmod": _TEXT,
        "link": _SWITCH,
        "keep-git-dir": _SWITCH,
        "checksum": _TEXT,
        "unpack": _SWITCH,
        "exclude": _LIST,
    },
    "copy": {
        "chown": _TEXT,
        "from": _TEXT,
        "chmod": _TEXT,
        "link": _SWITCH,
        "exclude": _LIST,
        "parents": _SWITCH,
    },
    "from": {"platform": _TEXT},
    "healthcheck": {
        "interval": _TEXT,
        "timeout": _TEXT,
        "start-period": _TEXT,
        "start-interval": _TEXT,
        "retries": _TEXT,
    },
    "run": {"mount": _LIST, "network": _TEXT, "security": _TEXT, "device": _LIST},
}


class Common(TypedDict):
    """What every instruction has."""

    span: SourceSpan
    original: str
    comments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Arguments:
    """One statement on its way to an instruction."""

    keyword: str
    """Upper case, as messages show it."""
    arguments: str
    flag_words: tuple[str, ...]
    logical: LogicalLine
    escape: str

    @property
    def common(self) -> Common:
        line = self.logical
        return {
            "span": line.span,
            "original": line.text.strip(SPACES),
            "comments": line.comments,
        }

    def flags(self) -> Flags:
        return read_flags(self.flag_words, _FLAGS.get(self.keyword.lower(), {}))

    def whole(self) -> str:
        """Return the arguments as one, for instructions that take exactly one."""
        if not self.arguments:
            raise DockerfileError(f"{self.keyword} requires exactly one argument")
        self.flags()
        return self.arguments

    def at_least_one(self, words: list[str]) -> list[str]:
        if not words:
            raise DockerfileError(f"{self.keyword} requires at least one argument")
        return words

    def array(self) -> list[str] | None:
        """Return the JSON form, if it is one, of what this machine will use as it is."""
        array = json_array(self.arguments)
        if array and any("\0" in word for word in array):
            raise DockerfileError(f"{self.keyword}: an argument contains a NUL character")
        return array
