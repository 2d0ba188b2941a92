"""Variables, quotes and escapes in the words of an instruction.

Dockerfile reference, "Environment replacement"; BuildKit's frontend/dockerfile/shell is the
model where the reference is silent. Patterns in `${v#p}` and the like: `shell_patterns`.

Errors here have no span: the caller knows the line.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

from asynckaniko.dockerfile import shell_patterns
from asynckaniko.dockerfile.blanks import SPACE_RUN
from asynckaniko.dockerfile.wording import shown
from asynckaniko.errors import DockerfileError
from asynckaniko.records import dataclass

Lookup: TypeAlias = Callable[[str], str | None]
"""Gives the value of a variable, None when it is not set."""

LONGEST_VALUE = 1 << 20
"""What a word may expand to: `ENV a=$a$a` forty times must not fill the memory."""
_DEEPEST = 50
"""Levels of `${a:-${b:-${c:-...}}}`: more than anyone has reason for, less than Python's stack."""

_NAME = re.compile(r"\d+|[@*#?$!-]|[^\W\d]\w*")
_SPECIAL = re.compile(r"[\\`$'\"]")
_HEREDOC_MARK = re.compile(r"<<-?[\t\r ]*")


@dataclass(frozen=True, slots=True)
class Expansion:
    """The text a word became, and the variables that were looked up on the way."""

    text: str
    found: frozenset[str]
    unset: frozenset[str]


def expand(word: str, lookup: Lookup, *, escape: str = "\\") -> str:
    """Replace variables in `word`, remove its quotes and escapes; blanks stay as they are.

    Raises:
        DockerfileError: a quote or brace without its end, an operator there is not, `${v:?}`.
    """
    if not _SPECIAL.search(word):
        return word
    return _text(_Expander(word, lookup, _Mode(escape)).pieces())


def expand_words(word: str, lookup: Lookup, *, escape: str = "\\") -> list[str]:
    """Expand `word` and split it at blanks that are neither quoted nor escaped.

    Raises:
        DockerfileError: as `expand`.
    """
    return _words(_Expander(word, lookup, _Mode(escape)).pieces())


def expand_heredoc(content: str, lookup: Lookup) -> str:
    """Expand the body of a heredoc: quotes stay, and a backslash hides what follows it.

    Raises:
        DockerfileError: as `expand`.
    """
    if "$" not in content and "\\" not in content:
        return content
    mode = _Mode(quotes=False, limit=len(content) + LONGEST_VALUE)
    return _text(_Expander(content, lookup, mode).pieces())


def trace(word: str, lookup: Lookup, *, escape: str = "\\") -> Expansion:
    """Expand `word` as `expand` does and report what was looked up.

    Raises:
        DockerfileError: as `expand`.
    """
    found: set[str] = set()
    unset: set[str] = set()

    def recorded(name: str) -> str | None:
        value = lookup(name)
        (unset if value is None else found).add(name)
        return value

    return Expansion(expand(word, recorded, escape=escape), frozenset(found), frozenset(unset))


def split_words(text: str, *, keep_quotes: bool, keep_escapes: bool) -> list[str]:
    """Split `text` at unquoted blanks, its variables left as they are.

    `<<` holds together with the blanks behind it: they belong to the heredoc's word.

    Raises:
        DockerfileError: as `expand`.
    """
    mode = _Mode(keep_quotes=keep_quotes, keep_escapes=keep_escapes, keep_unset=True)
    return _words(_Expander(text, _unset, mode).pieces())


def _unset(_name: str) -> None:
    return None


_Piece: TypeAlias = tuple[str, bool]
"""Some text, and whether blanks in it separate words."""


def _text(pieces: list[_Piece]) -> str:
    return "".join(text for text, _ in pieces)


def _words(pieces: list[_Piece]) -> list[str]:
    words: list[str] = []
    parts: list[str] = []
    for text, separable in pieces:
        first, *others = SPACE_RUN.split(text) if separable else [text]
        parts.append(first)
        for other in others:
            words.append("".join(parts))
            parts = [other]
    words.append("".join(parts))
    return [word for word in words if word]


@lru_cache(maxsize=64)
def _ordinary(escape: str, stop: str, *, quotes: bool) -> re.Pattern[str]:
    """Match a run of characters that mean nothing here."""
    special = f"$<{escape}{stop}" + ("'\"" if quotes else "")
    return re.compile(f"[^{re.escape(special)}]+")


@dataclass(frozen=True, slots=True)
class _Mode:
    """What is special, and what of it stays in the text."""

    escape: str = "\\"
    quotes: bool = True
    keep_quotes: bool = False
    keep_escapes: bool = False
    keep_unset: bool = False
    limit: int = LONGEST_VALUE


class _Expander:
    """One pass over one word. `_at` is the next character."""

    def __init__(self, word: str, lookup: Lookup, mode: _Mode) -> None:
        self._word = word
        self._lookup = lookup
        self._mode = mode
        self._escape = mode.escape
        self._keep_escapes = mode.keep_escapes
        self._at = 0
        self._depth = 0
        self._grown = 0

    def pieces(self) -> list[_Piece]:
        try:
            return self._until("", keep_escapes=self._keep_escapes)
        except DockerfileError as error:
            raise DockerfileError(f"{error.message} in {shown(self._word)!r}") from None

    def _until(self, stop: str, *, keep_escapes: bool) -> list[_Piece]:
        """Expand up to `stop`, which is consumed; an empty `stop` is the end of the word."""
        outer, self._keep_escapes = self._keep_escapes, keep_escapes
        pieces: list[_Piece] = []
        ordinary = _ordinary(self._escape, stop, quotes=self._mode.quotes)
        while character := self._peek():
            if run := ordinary.match(self._word, self._at):
                self._at = run.end()
                pieces.append((run[0], True))
            elif character == stop:
                self._at += 1
                self._keep_escapes = outer
                return pieces
            elif character == "$":
                pieces.append((self._variable(), True))
            elif character == "<":
                mark = _HEREDOC_MARK.match(self._word, self._at)
                pieces.append((mark[0] if mark else "<", False))
                self._at += len(pieces[-1][0])
            elif character == "'":
                pieces.append((self._single_quoted(), False))
            elif character == '"':
                pieces.append((self._double_quoted(), False))
            else:
                kept = self._next() if self._keep_escapes else self._next()[:0]
                pieces.append((kept + self._next(), False))
        if stop:
            raise DockerfileError(f"syntax error: missing {stop!r}")
        return pieces

    def _peek(self) -> str:
        return self._word[self._at : self._at + 1]

    def _next(self) -> str:
        character = self._peek()
        self._at += 1
        return character

    def _single_quoted(self) -> str:
        end = self._word.find("'", self._at + 1)
        if end < 0:
            raise DockerfileError("unexpected end of statement while looking for single quote")
        inside = self._word[self._at + 1 : end]
        self._at = end + 1
        return f"'{inside}'" if self._mode.keep_quotes else inside

    def _double_quoted(self) -> str:
        quote = '"' if self._mode.keep_quotes else ""
        parts = [quote]
        self._at += 1
        ordinary = _ordinary(self._escape, '"', quotes=False)
        while character := self._peek():
            if run := ordinary.match(self._word, self._at):
                self._at = run.end()
                parts.append(run[0])
            elif character == '"':
                self._at += 1
                return "".join([*parts, quote])
            elif character == "$":
                parts.append(self._variable())
            elif character == self._escape:
                self._at += 1
                # Only these can be escaped between double quotes; elsewhere the escape is text
                # (and in a pattern there twice: it shall not be an escape of the pattern).
                escapable = self._peek() in ('"', "$", self._escape)
                if self._keep_escapes:
                    parts.append(character)
                parts.append(self._next() if escapable else character)
            else:
                parts.append(self._next())
        raise DockerfileError("unexpected end of statement while looking for double quote")

    def _variable(self) -> str:
        self._at += 1
        if self._peek() == "{":
            self._at += 1
            self._depth += 1
            if self._depth > _DEEPEST:
                raise DockerfileError(f"variables are nested more than {_DEEPEST} deep")
            value = self._braced()
            self._depth -= 1
            return value
        name = self._name()
        return self._value(name, f"${name}") if name else "$"

    def _name(self) -> str:
        match = _NAME.match(self._word, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match[0]

    def _value(self, name: str, written: str) -> str:
        value = self._lookup(name)
        if value is None:
            return written if self._mode.keep_unset else ""
        return self._bounded(value)

    def _bounded(self, value: str) -> str:
        self._grown += len(value)
        if self._grown > self._mode.limit:
            raise DockerfileError(f"the value becomes longer than {self._mode.limit} characters")
        return value

    def _braced(self) -> str:
        """Expand what follows `${`, with its closing brace."""
        if self._peek() in ("{", "}", ":"):
            raise DockerfileError("syntax error: bad substitution")
        name = self._name()
        operator = self._next()
        match operator:
            case "}":
                return self._value(name, f"${{{name}}}")
            case ":":
                operator += self._next()
            case "#" | "%":
                return self._trimmed(name, operator)
            case "/":
                return self._replaced(name)
            case "":
                raise DockerfileError("syntax error: missing '}'")
            case _:
                pass
        if operator[-1] not in "-+?":
            raise DockerfileError(f"unsupported modifier ({operator}) in substitution")
        return self._conditional(name, operator)

    def _conditional(self, name: str, operator: str) -> str:
        """Expand `${name-word}` and its kin; with a colon, empty counts as unset."""
        word = _text(self._until("}", keep_escapes=False))
        value = self._lookup(name)
        if value is None and self._mode.keep_unset:
            return f"${{{name}{operator}{word}}}"
        missing = value is None or (operator[0] == ":" and not value)
        match operator[-1]:
            case "-":
                return word if missing or value is None else self._bounded(value)
            case "+":
                return "" if missing else word
            case _ if missing or value is None:
                lacking = "unset" if value is None else "empty"
                raise DockerfileError(f"{name}: {shown(word) or f'is not allowed to be {lacking}'}")
            case _:
                return self._bounded(value)

    def _trimmed(self, name: str, operator: str) -> str:
        word = _text(self._until("}", keep_escapes=True))
        value = self._lookup(name)
        if value is None and self._mode.keep_unset:
            return f"${{{name}{operator}{word}}}"
        longest = word.startswith(operator)
        trim = shell_patterns.trim_prefix if operator == "#" else shell_patterns.trim_suffix
        return self._bounded(trim(value or "", word[longest:], longest=longest))

    def _replaced(self, name: str) -> str:
        every = self._peek() == "/"
        self._at += every
        pattern = _text(self._until("/", keep_escapes=True))
        replacement = _text(self._until("}", keep_escapes=True))
        value = self._lookup(name)
        if value is None and self._mode.keep_unset:
            return f"${{{name}/{'/' if every else ''}{pattern}/{replacement}}}"
        return self._bounded(
            shell_patterns.replace(
                value or "", pattern, replacement, every=every, limit=self._mode.limit
            )
        )
