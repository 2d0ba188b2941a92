"""The patterns of `${v#p}`, `${v%p}` and `${v/p/r}`: `*`, `?` and literal text.

POSIX "Pattern Matching Notation" without bracket expressions, as BuildKit has it: `*` and `?`
do not match a line end, and a backslash escapes `*`, `?` and itself (`/` and `}` too, which
otherwise end the pattern).
"""

from bisect import bisect_left

from asynckaniko.dockerfile.wildcards import Gap, Step, Wildcards, reverse
from asynckaniko.dockerfile.wording import shown
from asynckaniko.errors import DockerfileError

_LINE_END = "\n"
_MOST_WORK = 1 << 30
"""Pattern length times text length: a place costs a bit per character, so this takes a moment."""


def trim_prefix(value: str, pattern: str, *, longest: bool) -> str:
    """Cut the shortest or longest beginning that matches."""
    steps = _steps(pattern)
    literal = _literal(steps)
    if literal is not None:
        return value.removeprefix(literal)
    end = _compiled(steps, value).end(value, longest=longest)
    return value if end is None else value[end:]


def trim_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """Cut the shortest or longest end that matches."""
    steps = _steps(pattern)
    literal = _literal(steps)
    if literal is not None:
        return value.removesuffix(literal)
    backwards = value[::-1]
    end = _compiled(reverse(steps), value).end(backwards, longest=longest)
    return value if end is None else backwards[end:][::-1]


def replace(value: str, pattern: str, replacement: str, *, every: bool, limit: int) -> str:
    """Replace the first match, or every one, each as long as can be.

    Raises:
        DockerfileError: the pattern cannot be read, or the result is longer than `limit`.
    """
    steps = _steps(pattern)
    literal = _literal(steps)
    if literal:
        count = value.count(literal) if every else min(1, value.count(literal))
        _check_length(len(value) + count * (len(replacement) - len(literal)), limit)
        return value.replace(literal, replacement, -1 if every else 1)
    forwards, length = _compiled(steps, value), len(value)
    backwards = _compiled(reverse(steps), value)
    starts = sorted(length - end for end in backwards.ends(value[::-1]))
    kept: list[str] = []
    size = position = copied = 0
    while position <= length:
        at = bisect_left(starts, position)
        if at == len(starts):
            break
        start = starts[at]
        end = forwards.end(value, start, longest=True)
        assert end is not None  # every start has a match
        kept.append(value[copied:start])
        # Nothing, right after a match, is no match of its own.
        if end > copied or start == 0:
            kept.append(replacement)
            size += len(replacement)
            _check_length(size, limit)
        copied = end
        if not every:
            break
        position = max(end, position + 1)
    return "".join([*kept, value[copied:]])


def _check_length(length: int, limit: int) -> None:
    if length > limit:
        raise DockerfileError(f"the value becomes longer than {limit} characters")


def _not_line_end(character: str) -> bool:
    return character != _LINE_END


def _steps(pattern: str) -> list[Step]:
    steps: list[Step] = []
    characters = iter(pattern)
    for character in characters:
        if character == "*":
            steps.append(Gap.STRETCH)
        elif character == "?":
            steps.append(_not_line_end)
        elif character == "\\":
            escaped = next(characters, "")
            if not escaped or escaped not in "*?\\/}":
                raise DockerfileError(f"invalid escape '\\{escaped}' in pattern {shown(pattern)!r}")
            steps.append(escaped)
        else:
            steps.append(character)
    return steps


def _literal(steps: list[Step]) -> str | None:
    """Return the text if there are no wildcards: string operations are fast."""
    if all(isinstance(step, str) for step in steps):
        return "".join(step for step in steps if isinstance(step, str))
    return None


def _compiled(steps: list[Step], value: str) -> Wildcards:
    if len(steps) * len(value) > _MOST_WORK:
        raise DockerfileError(
            f"a pattern of {len(steps)} characters is too much for a value of {len(value)}"
        )
    return Wildcards(steps, barrier=_LINE_END)
