"""A logical line, split: keyword, flags, arguments; and the forms that arguments take.

The forms are those of BuildKit's frontend/dockerfile/parser. Words keep quotes and variables:
`expansion` resolves them later.
"""

import re
from functools import lru_cache

import orjson

from asynckaniko.dockerfile.blanks import BLANK_RUN, SPACES
from asynckaniko.dockerfile.wording import shown
from asynckaniko.errors import DockerfileError
from asynckaniko.records import dataclass


@dataclass(frozen=True, slots=True)
class Statement:
    """`keyword` as written, flag words without their quotes, the rest of the line."""

    keyword: str
    flags: tuple[str, ...]
    arguments: str


def split_statement(text: str, escape: str) -> Statement:
    """Split a logical line. Flags are the first words with two dashes; `--` ends them."""
    keyword, *rest = BLANK_RUN.split(text.strip(SPACES), maxsplit=1)
    if not rest:
        return Statement(keyword, (), "")
    flags, arguments = _split_flags(rest[0], escape)
    return Statement(keyword, tuple(flags), arguments.strip(SPACES))


def _split_flags(text: str, escape: str) -> tuple[list[str], str]:
    flags: list[str] = []
    position = 0
    pattern = _flag_word(escape)
    while match := pattern.match(text, position):
        word = _unquoted(match[1], escape)
        position = match.end()
        if word != "--":
            flags.append(word)
        elif position < len(text):
            break
    return flags, text[position:]


@lru_cache(maxsize=4)
def _flag_word(escape: str) -> re.Pattern[str]:
    e = re.escape(escape)
    quoted = "|".join(f"{q}(?:[^{q}{e}]|{e}.)*+(?:{q}|{e}?\\Z)" for q in "'\"")
    word = f"--(?:[^{SPACES}'\"{e}]++|{quoted}|{e}.)*+{e}?"
    return re.compile(f"[{SPACES}]*({word})(?=[{SPACES}]|\\Z)", re.DOTALL)


@lru_cache(maxsize=4)
def _quotes_and_escapes(escape: str) -> re.Pattern[str]:
    return re.compile(f"{re.escape(escape)}(.?)|(['\"])", re.DOTALL)


def _unquoted(word: str, escape: str) -> str:
    """Remove the quotes of a flag word; an escape works in single quotes as well here."""
    if escape not in word and "'" not in word and '"' not in word:
        return word
    quote = ""

    def plain(match: re.Match[str]) -> str:
        nonlocal quote
        if match[2] is None:
            return match[1]
        if quote and match[2] != quote:
            return match[2]
        quote = "" if quote else match[2]
        return ""

    return _quotes_and_escapes(escape).sub(plain, word)


def json_array(arguments: str) -> list[str] | None:
    """Read the JSON form; None if this is not JSON and therefore the shell form.

    Raises:
        DockerfileError: a JSON array that holds something else than strings.
    """
    if not arguments.startswith("["):
        return None
    try:
        array = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return None
    if not all(isinstance(element, str) for element in array):
        raise DockerfileError(
            "when using JSON array syntax, arrays must be comprised of strings only"
        )
    return list(array)


def blank_separated(arguments: str) -> list[str]:
    """Split at blanks, whatever the quotes."""
    return BLANK_RUN.split(arguments) if arguments else []


def array_or_blank_separated(arguments: str) -> list[str]:
    """Read the JSON form, else split at blanks.

    Raises:
        DockerfileError: as `json_array`.
    """
    array = json_array(arguments)
    return blank_separated(arguments) if array is None else array


@lru_cache(maxsize=4)
def _word(escape: str) -> re.Pattern[str]:
    e = re.escape(escape)
    single = "'[^']*+'?"
    double = f'"(?:[^"{e}]|{e}.)*+"?'
    return re.compile(f"(?:[^{SPACES}'\"{e}]++|{single}|{double}|{e}.)++", re.DOTALL)


def quoted_words(arguments: str, escape: str) -> list[str]:
    """Split at blanks that are neither quoted nor escaped. Quotes stay; a last lone escape goes."""
    return _word(escape).findall(arguments)


def pairs(keyword: str, arguments: str, escape: str) -> list[tuple[str, str, bool]]:
    """Read `name=value ...`, or the legacy `name rest of the line`: name, value, whether legacy.

    Raises:
        DockerfileError: a word without `=`, or a name without a value.
    """
    words = quoted_words(arguments, escape)
    if not words:
        return []
    if "=" not in words[0]:
        name, *value = BLANK_RUN.split(arguments, maxsplit=1)
        if not value:
            raise DockerfileError(f"{keyword} must have two arguments")
        return [(name, value[0], True)]
    found = []
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise DockerfileError(
                f"Syntax error - can't find = in {shown(word)!r}. Must be of the form: name=value"
            )
        found.append((name, text, False))
    return found
