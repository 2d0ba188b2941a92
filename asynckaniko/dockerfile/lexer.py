"""Source text to logical lines: directives, comments, continuations, heredoc bodies.

Dockerfile reference, "Format" and "Parser directives"; BuildKit's frontend/dockerfile/parser.
Every step is linear in the file, and the limits keep a hostile file from costing more than a
moment: they are far above what a real one needs.
"""

import re
from collections.abc import Iterator
from dataclasses import replace

from asynckaniko.dockerfile.blanks import SPACES
from asynckaniko.dockerfile.heredoc import Opening, openings
from asynckaniko.dockerfile.instructions import Directives, Heredoc
from asynckaniko.dockerfile.wording import shown
from asynckaniko.errors import DockerfileError, SourceSpan
from asynckaniko.records import dataclass

LARGEST_FILE = 16 << 20
LONGEST_LINE = 65535
"""Bytes without the line end; BuildKit's limit."""
MOST_LINES = 400_000
MOST_INSTRUCTIONS = 10_000
MOST_INSTRUCTION_TEXT = 2 << 20
"""Characters of all logical lines together, heredoc bodies and comments not counted."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DIRECTIVE = re.compile(rf"#[{SPACES}]*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S(?:.*\S)?)\s*", re.ASCII)
_DIRECTIVE_NAMES = frozenset({"syntax", "escape", "check"})


@dataclass(frozen=True, slots=True)
class LogicalLine:
    """One instruction's text on one line, with the heredocs that it opened."""

    text: str
    span: SourceSpan
    comments: tuple[str, ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    empty_continuation: int = 0
    """The last physical line of an instruction that has an empty line inside, else 0."""


class Source:
    """A Dockerfile's text, its lines and its directives."""

    def __init__(self, content: bytes, *, name: str) -> None:
        """Check the limits, decode, read the directives.

        Raises:
            DockerfileError: a limit exceeded, or a directive that is wrong.
        """
        self.name = name
        content = content.removeprefix(_BYTE_ORDER_MARK)
        if not content:
            raise DockerfileError("the Dockerfile cannot be empty", span=self.span(1))
        self._check_size(content)
        self.text = content.decode("utf-8", "replace")
        self.is_utf8 = self.text.isascii() or self.text.encode() == content
        # Bytes that are not UTF-8 do no harm in a comment; elsewhere they are refused by line.
        lines = self.text if self.is_utf8 else content.decode("utf-8", "surrogateescape")
        self.lines = lines.removesuffix("\n").split("\n")
        self.directives, self.first = self._read_directives()

    def span(self, first: int, last: int = 0) -> SourceSpan:
        return SourceSpan(self.name, first, max(first, last))

    def _check_size(self, content: bytes) -> None:
        if len(content) > LARGEST_FILE:
            raise DockerfileError(
                f"the Dockerfile is larger than {LARGEST_FILE >> 20} MiB", span=self.span(1)
            )
        if content.count(b"\n") > MOST_LINES:
            raise DockerfileError(
                f"the Dockerfile has more than {MOST_LINES} lines", span=self.span(1)
            )
        for number, line in enumerate(content.split(b"\n"), 1):
            if len(line) > LONGEST_LINE:
                raise DockerfileError(
                    f"dockerfile line greater than max allowed size of {LONGEST_LINE}",
                    span=self.span(number),
                )

    def _read_directives(self) -> tuple[Directives, int]:
        """Read the directives; return them and the index of the first line after them."""
        directives = Directives()
        seen: set[str] = set()
        # After `#!` only what concerns others is a directive, so that scripts can be Dockerfiles.
        script = self.lines[0].startswith("#!")
        for index, line in enumerate(self.lines[script:], script):
            found = _DIRECTIVE.fullmatch(line.strip(SPACES))
            name = found[1].lower() if found else ""
            if found is None or name not in _DIRECTIVE_NAMES or (script and name == "escape"):
                return directives, index
            span = self.span(index + 1)
            if name in seen:
                raise DockerfileError(f"only one {name} parser directive can be used", span=span)
            seen.add(name)
            value = found[2]
            if name == "escape" and value not in ("\\", "`"):
                raise DockerfileError(
                    f"invalid escape token {shown(value)!r}: it is a backslash or a backtick",
                    span=span,
                )
            match name:
                case "escape":
                    directives = replace(directives, escape=value)
                case "syntax":
                    directives = replace(directives, syntax=value)
                case _:
                    directives = replace(directives, check=value, check_line=index + 1)
        return directives, len(self.lines)


def logical_lines(source: Source) -> Iterator[LogicalLine]:
    """Give the instructions of a file one by one.

    Raises:
        DockerfileError: a heredoc without its end, text that is not UTF-8, too much of it.
    """
    return _Reader(source).read()


class _Reader:
    """Goes through the lines once. `_index` is the next one."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lines = source.lines
        self._escape = source.directives.escape
        self._index = source.first

    def read(self) -> Iterator[LogicalLine]:
        comments: list[str] = []
        count = size = 0
        while self._index < len(self._lines):
            line = self._lines[self._index].strip(SPACES)
            if not line:
                self._index += 1
                continue
            if line.startswith("#"):
                # An empty comment cuts off what is above it.
                comment = line[1:].strip(SPACES)
                if comment:
                    comments.append(comment)
                else:
                    comments.clear()
                self._index += 1
                continue
            logical = self._logical_line(tuple(comments))
            count += 1
            size += len(logical.text)
            if count > MOST_INSTRUCTIONS or size > MOST_INSTRUCTION_TEXT:
                raise DockerfileError(
                    f"the Dockerfile has more than {MOST_INSTRUCTIONS} instructions or more than"
                    f" {MOST_INSTRUCTION_TEXT >> 20} MiB of them",
                    span=logical.span,
                )
            yield logical
            comments = []

    def _logical_line(self, comments: tuple[str, ...]) -> LogicalLine:
        first = self._index
        text, has_empty = self._joined()
        span = self._source.span(first + 1, self._index)
        last = self._index
        self._check_text(text, span)
        try:
            opened = openings(text, self._escape)
        except DockerfileError as error:
            raise error.at(span) from None
        heredocs = tuple(self._heredoc(opening, first) for opening in opened)
        return LogicalLine(
            text=text,
            span=self._source.span(first + 1, self._index),
            comments=comments,
            heredocs=heredocs,
            empty_continuation=last if has_empty else 0,
        )

    def _joined(self) -> tuple[str, bool]:
        """Join the lines of one instruction; tell whether an empty one was among them."""
        parts: list[str] = []
        has_empty = False
        is_first = True
        while self._index < len(self._lines):
            line = self._lines[self._index].rstrip("\r")
            if is_first:
                line = line.lstrip(SPACES)
            self._index += 1
            if not is_first:
                bare = line.lstrip(SPACES)
                if bare.startswith("#"):
                    continue
                if not bare:
                    has_empty = True
                    continue
            is_first = False
            continued = self._before_escape(line)
            if continued is None:
                parts.append(line)
                break
            parts.append(continued)
        return "".join(parts), has_empty

    def _before_escape(self, line: str) -> str | None:
        """Return what comes before a continuation's escape; None if the line ends here."""
        stripped = line.rstrip(" \t")
        if not stripped.endswith(self._escape) or stripped[-2:-1] == self._escape:
            return None
        return stripped[:-1]

    def _heredoc(self, opening: Opening, first: int) -> Heredoc:
        start = self._index
        for index in range(start, len(self._lines)):
            line = self._lines[index].rstrip("\r")
            if (line.lstrip("\t") if opening.chomp else line) == opening.name:
                self._index = index + 1
                body = "".join(f"{text}\n" for text in self._lines[start:index])
                self._check_text(body, self._source.span(start + 1, index))
                return opening.with_body(body)
        raise DockerfileError(
            f"unterminated heredoc: no line {shown(opening.name)!r} before the end of the file",
            span=self._source.span(first + 1),
        )

    def _check_text(self, text: str, span: SourceSpan) -> None:
        if "\0" in text:
            raise DockerfileError("the instruction contains a NUL character", span=span)
        if self._source.is_utf8:
            return
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DockerfileError("the instruction is not UTF-8 text", span=span) from None
