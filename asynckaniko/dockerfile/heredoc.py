"""Heredocs: which words of a line open one, and what a shell is given for RUN.

`[fd]<<[-][blanks]WORD`, as in POSIX "Here-Document"; RUN, COPY and ADD take them, and ONBUILD
with one of those.
"""

import re

from asynckaniko.dockerfile.expansion import split_words
from asynckaniko.dockerfile.instructions import Heredoc
from asynckaniko.dockerfile.statements import json_array, split_statement
from asynckaniko.errors import DockerfileError
from asynckaniko.records import dataclass

_OPENING = re.compile(r"(\d*)<<(-?)[\t\n\f\r ]*([^<]*)", re.ASCII)
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)
_TAKES_HEREDOCS = frozenset({"run", "copy", "add"})


@dataclass(frozen=True, slots=True)
class Opening:
    """The word that opens a heredoc: its body is still to come."""

    name: str
    expand: bool
    chomp: bool
    file_descriptor: int

    def with_body(self, raw: str) -> Heredoc:
        return Heredoc(
            name=self.name,
            content=without_tabs(raw) if self.chomp else raw,
            expand=self.expand,
            chomp=self.chomp,
            file_descriptor=self.file_descriptor,
            raw=raw,
        )


def without_tabs(body: str) -> str:
    """Strip the leading tabs of each line, as `<<-` asks for."""
    return _LEADING_TABS.sub("", body)


def read_opening(word: str) -> Opening | None:
    """Read one word; None if it does not open a heredoc.

    Raises:
        DockerfileError: a quote in the word without its end.
    """
    match = _OPENING.fullmatch(word)
    if match is None:
        return None
    digits, dash, rest = match.groups()
    names = split_words(rest, keep_quotes=False, keep_escapes=False)
    if len(names) != 1:
        # No word at all, or blanks: `<<EOF sh` is more than one.
        return None
    quoted = split_words(rest, keep_quotes=True, keep_escapes=False)
    return Opening(
        name=names[0],
        expand=quoted == names,
        chomp=bool(dash),
        file_descriptor=int(digits[-6:] or "0"),
    )


def openings(line: str, escape: str) -> list[Opening]:
    """List the heredocs that a logical line opens, in the order of their bodies.

    Raises:
        DockerfileError: as `read_opening`.
    """
    if "<<" not in line or not _may_open(line, escape):
        return []
    try:
        words = split_words(line, keep_quotes=True, keep_escapes=True)
    except DockerfileError:
        # A quote or a brace that only the shell can make sense of: then `<<` is its affair too.
        return []
    return [opening for word in words if (opening := read_opening(word))]


def _may_open(line: str, escape: str) -> bool:
    statement = split_statement(line, escape)
    if statement.keyword.lower() == "onbuild":
        statement = split_statement(statement.arguments, escape)
    if statement.keyword.lower() not in _TAKES_HEREDOCS:
        return False
    return json_array(statement.arguments) is None


def with_bodies(line: str, heredocs: tuple[Heredoc, ...]) -> str:
    """Write a line and its heredocs as they were written, for a shell or a stored trigger."""
    return "".join([line, *(f"\n{heredoc.raw}{heredoc.name}" for heredoc in heredocs)])


def is_only_heredoc(command: str) -> bool:
    """Tell whether a RUN is nothing but a heredoc: then its body is the script."""
    try:
        return read_opening(command) is not None
    except DockerfileError:
        return False
