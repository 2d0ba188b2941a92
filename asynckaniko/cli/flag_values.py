"""What flags take: Go's booleans, numbers, words, durations, sizes and paths."""

import re
from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from asynckaniko.errors import UsageError
from asynckaniko.records import dataclass

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)", re.ASCII)
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+", re.ASCII)

_SIZE = re.compile(
    r"(?P<number>[0-9]+(?:\.[0-9]*)?)\s*(?P<unit>[kmgt]?)(?:(?P<binary>i)?b)?",
    re.ASCII | re.IGNORECASE,
)

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def parse_bool(text: str) -> bool | None:
    """Read a boolean word as Go's strconv.ParseBool does; None for any other word."""
    if text in _TRUE:
        return True
    return False if text in _FALSE else None


class Boolean(click.ParamType[bool]):
    """A switch: bare or with one of Go's boolean words after `=`."""

    name = "boolean"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        if isinstance(value, bool):
            return value
        found = parse_bool(value)
        if found is None:
            raise _invalid(value, param, "true or false")
        return found


class Quantity(click.ParamType[float | None]):
    """What `parse` reads; an empty value means the flag is not set.

    `parse` returns None for what is not `wanted`.
    """

    def __init__(self, name: str, parse: Callable[[str], float | None], wanted: str) -> None:
        self.name = name
        self._parse = parse
        self._wanted = wanted

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        if isinstance(value, int | float):
            return value
        if not value:
            return None
        found = self._parse(value)
        if found is None:
            raise _invalid(value, param, self._wanted)
        return found


def parse_whole_number(text: str) -> int | None:
    """Read a decimal number; None for anything else."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII) else None


class OneOf(click.ParamType[str | None]):
    """One of a few words; an empty value means the flag is not set."""

    name = "choice"

    def __init__(self, *words: str) -> None:
        self.words = words

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | None:
        word = value.lower()
        if word and word not in self.words:
            raise _invalid(value, param, f"one of {', '.join(self.words)}")
        return word or None

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(word) for word in self.words if word.startswith(incomplete)]


def parse_duration(text: str) -> float | None:
    """Read a duration as Go's time.ParseDuration does, in seconds; None for anything else."""
    sign = -1.0 if text.startswith("-") else 1.0
    digits = text.removeprefix("-").removeprefix("+") if text[:1] in "+-" else text
    if digits == "0":
        return 0.0
    if not _DURATION.fullmatch(digits):
        return None
    parts = _DURATION_PART.findall(digits)
    return sign * sum(float(number) * _SECONDS[unit] for number, unit in parts)


def parse_size(text: str) -> int | None:
    """Read a size in bytes, with the units of `df -h` and of disks: `20GB`, `512MiB`, `1g`.

    None for anything else.
    """
    match = _SIZE.fullmatch(text.strip())
    if not match:
        return None
    power = " kmgt".index(match["unit"].lower() or " ")
    return int(float(match["number"]) * (1024 if match["binary"] else 1000) ** power)


class PathName(click.ParamType[str]):
    """A path, which shells can complete; `kind` is `file` or `dir`."""

    name = "path"

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type=self.kind)]


def _invalid(value: str, param: click.Parameter | None, wanted: str) -> UsageError:
    name = param.opts[0] if param else "flag"
    return UsageError(f'invalid argument "{value}" for "{name}": it must be {wanted}')


@dataclass(frozen=True, slots=True)
class Value:
    """What a flag takes: `metavar` stands for it on the help page; empty for a switch."""

    metavar: str = ""
    type: "click.ParamType[Any]" = click.STRING
    repeat: bool = False


SWITCH = Value(type=Boolean())
NUMBER = Value("N", Quantity("number", parse_whole_number, "a whole number"))
FILE = Value("FILE", PathName("file"))
DURATION = Value("DURATION", Quantity("duration", parse_duration, "a duration like 336h or 1h30m"))
SIZE = Value("SIZE", Quantity("size", parse_size, "a size like 20GB or 512MiB"))
DIRECTORY = Value("DIR", PathName("dir"))


def one_of(*words: str) -> Value:
    return Value("|".join(words), OneOf(*words))


def repeated(metavar: str) -> Value:
    return Value(metavar, repeat=True)
