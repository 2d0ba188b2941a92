"""Go's `filepath.Match`: the wildcards of COPY, of .dockerignore and of --exclude.

`*` and `?` stop at a slash, `[a-z]` and `[^a-z]` are classes, a backslash escapes. Patterns of
ignore files know `**` besides.
"""

from asynckaniko.dockerfile.wildcards import Gap, Step, joined
from asynckaniko.dockerfile.wording import shown
from asynckaniko.errors import DockerfileError
from asynckaniko.records import dataclass


@dataclass(frozen=True, slots=True)
class CharacterClass:
    """`[...]`: ranges of characters, each with its ends. As in Go, a slash may be among them."""

    ranges: tuple[tuple[str, str], ...]
    is_negated: bool = False

    def __call__(self, character: str) -> bool:
        return self.is_negated != any(low <= character <= high for low, high in self.ranges)


def not_slash(character: str) -> bool:
    """Test for what `?` stands for."""
    return character != "/"


def read_glob(pattern: str, *, double_star: bool) -> list[Step]:
    """Read a pattern. With `double_star`, `**` crosses slashes, and `**/` may be nothing.

    Raises:
        DockerfileError: a bracket without its end, an empty or upside-down class, a last backslash.
    """
    steps: list[Step] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        match character:
            case "*" if double_star and pattern.startswith("*", position):
                position += 1
                position += pattern.startswith("/", position)
                _add_gap(steps, Gap.FOLDERS if position < len(pattern) else Gap.ANYTHING)
            case "*":
                _add_gap(steps, Gap.STRETCH)
            case "?":
                steps.append(not_slash)
            case "[":
                found, position = _read_class(pattern, position)
                steps.append(found)
            case "\\":
                if position == len(pattern):
                    raise _bad(pattern, "it ends in a backslash")
                steps.append(pattern[position])
                position += 1
            case _:
                steps.append(character)
    return steps


def _add_gap(steps: list[Step], gap: Gap) -> None:
    if steps and isinstance(last := steps[-1], Gap):
        steps[-1] = joined(last, gap)
    else:
        steps.append(gap)


def _read_class(pattern: str, position: int) -> tuple[CharacterClass, int]:
    """Read a class behind its opening bracket; return it and the position behind it."""
    is_negated = pattern.startswith("^", position)
    position += is_negated
    ranges: list[tuple[str, str]] = []
    while not (ranges and pattern.startswith("]", position)):
        low, position = _class_character(pattern, position)
        high = low
        if pattern.startswith("-", position):
            high, position = _class_character(pattern, position + 1)
        if low > high:
            raise _bad(pattern, f"{low}-{high} is upside down")
        ranges.append((low, high))
    return CharacterClass(tuple(ranges), is_negated), position + 1


def _class_character(pattern: str, position: int) -> tuple[str, int]:
    escaped = pattern.startswith("\\", position)
    position += escaped
    character = pattern[position : position + 1]
    if not character or (character in "-]" and not escaped):
        raise _bad(pattern, "a bracket has no end or nothing in it")
    return character, position + 1


def _bad(pattern: str, reason: str) -> DockerfileError:
    return DockerfileError(f"syntax error in pattern {shown(pattern)!r}: {reason}")
