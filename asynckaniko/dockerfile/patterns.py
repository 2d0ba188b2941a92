"""Which paths a list of patterns names: .dockerignore, --exclude, --parents.

The rules are those of moby's patternmatcher as BuildKit uses it on a tree: patterns are tried in
order and the last that matches decides, `!` turns a pattern around, and what matches a directory
matches everything in it. Matching is linear in the path: no pattern can make it explode.
"""

import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

from asynckaniko.dockerfile.blanks import SPACES
from asynckaniko.dockerfile.globs import CharacterClass, not_slash, read_glob
from asynckaniko.dockerfile.wildcards import Gap, Step, Wildcards
from asynckaniko.errors import DockerfileError

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LONGEST_LINE = 65535
_PLAIN = re.compile(r"[^*?\[\]\\]*")
_MOST_BACKTRACKING = 2
"""Gaps for which `re`, whose time grows with a power of them, is quicker than Wildcards."""
_LONGEST_FOR_RE = 1024
_MOST_CACHED = 4096


def parse_ignore_file(content: bytes) -> list[str]:
    """Read a .dockerignore into patterns: comments and blank lines go, paths are cleaned.

    Raises:
        DockerfileError: a line longer than BuildKit reads.
    """
    patterns: list[str] = []
    text = content.removeprefix(_BYTE_ORDER_MARK).decode(errors="surrogateescape")
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > _LONGEST_LINE:
            raise DockerfileError(f"line {number} is longer than {_LONGEST_LINE} characters")
        pattern = line.strip(SPACES)
        if line.startswith("#") or not pattern:
            continue
        negation = "!" if pattern.startswith("!") else ""
        pattern = pattern.removeprefix("!").strip(SPACES)
        if pattern:
            pattern = _clean(pattern)
            pattern = pattern.removeprefix("/") or "/"
        patterns.append(negation + pattern)
    return patterns


def has_wildcard(text: str) -> bool:
    """Tell whether `*`, `?` or `[` occurs unescaped: then COPY takes every match, even none."""
    return re.search(r"[*?\[]", re.sub(r"\\.?", "", text, flags=re.DOTALL)) is not None


def match_path(pattern: str, path: str) -> bool:
    """Match a whole path as Go's `filepath.Match` does: no wildcard crosses a slash.

    Raises:
        DockerfileError: the pattern cannot be read.
    """
    return _compiled_glob(pattern).matches(path)


@lru_cache(maxsize=256)
def _compiled_glob(pattern: str) -> Wildcards:
    return Wildcards(read_glob(pattern, double_star=False), barrier="/")


class PatternMatcher:
    """An ordered list of patterns. Paths are relative, with slashes."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Compile the patterns.

        Raises:
            DockerfileError: one of them cannot be read.
        """
        stripped = (pattern.strip(SPACES) for pattern in patterns)
        self._patterns = [_Pattern(pattern) for pattern in stripped if pattern]
        self._negated = [pattern for pattern in self._patterns if pattern.is_negated]
        self._directories: dict[str, int] = {}

    @property
    def has_exceptions(self) -> bool:
        """Some pattern begins with `!`."""
        return bool(self._negated)

    @property
    def excludes_all(self) -> bool:
        """Some pattern is about everything in the root."""
        return any(
            pattern.text in ("*", "**", "**/*") and not pattern.is_negated
            for pattern in self._patterns
        )

    def excludes(self, path: str) -> bool:
        """Tell whether the patterns, all in all, match `path`. The root itself is never matched."""
        path = path.strip("/")
        if path in ("", "."):
            return False
        inherited, slash = 0, path.find("/")
        while slash >= 0:
            directory = path[:slash]
            known = self._directories.get(directory)
            if known is None:
                known, _ = self._match(directory, inherited)
                if len(self._directories) >= _MOST_CACHED:
                    self._directories.clear()
                self._directories[directory] = known
            inherited, slash = known, path.find("/", slash + 1)
        _, is_excluded = self._match(path, inherited)
        return is_excluded

    def _match(self, path: str, inherited: int) -> tuple[int, bool]:
        """Try the patterns in order; `inherited` are the bits of those that matched the parent.

        A pattern that cannot change the outcome is not tried and therefore not inherited either:
        after `**/*.log` and `!src`, src/a.log stays excluded. BuildKit does so.
        """
        matched, is_excluded, bit = 0, False, 1
        for pattern in self._patterns:
            if inherited & bit or (pattern.is_negated == is_excluded and pattern.matches(path)):
                matched |= bit
                is_excluded = not pattern.is_negated
            bit <<= 1
        return matched, is_excluded

    def may_include_below(self, path: str) -> bool:
        """Tell whether a `!` pattern may match below `path`: then it is walked though excluded."""
        below = f"{path.strip('/')}/"
        return any(pattern.may_match_below(below) for pattern in self._negated)


class _Pattern:
    """One pattern. `matches` is the cheapest test that is exact."""

    def __init__(self, written: str) -> None:
        cleaned = _clean(written)
        if cleaned == "!":
            raise DockerfileError('illegal exclusion pattern: "!"')
        self.is_negated = cleaned.startswith("!")
        self.text = cleaned.removeprefix("!")
        self._wildcards = Wildcards(read_glob(self.text, double_star=True), barrier="/")
        self.matches = _quickest_test(self.text, self._wildcards)

    def may_match_below(self, below: str) -> bool:
        """Tell whether a path that starts with `below` can match."""
        return self._wildcards.begins(below)


def _quickest_test(text: str, wildcards: Wildcards) -> Callable[[str], bool]:
    if _PLAIN.fullmatch(text):
        return text.__eq__
    if text.startswith("**") and _PLAIN.fullmatch(suffix := text[2:]):
        # `**/a` ends in `/a` or is `a`; `**a` ends in `a`, within a name too.
        whole = suffix.removeprefix("/")
        return lambda path: path.endswith(suffix) or path == whole
    if text.endswith("**") and _PLAIN.fullmatch(prefix := text[:-2]):
        return lambda path: path.startswith(prefix)
    expression = _expression(read_glob(text, double_star=True))
    if expression is None:
        return wildcards.matches
    fullmatch = re.compile(expression, re.DOTALL).fullmatch
    return lambda path: (
        fullmatch(path) is not None if len(path) <= _LONGEST_FOR_RE else wildcards.matches(path)
    )


def _clean(path: str) -> str:
    """Clean a path as Go's `filepath.Clean`: POSIX gives two leading slashes a meaning."""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def _expression(steps: Sequence[Step]) -> str | None:
    """Write a pattern as a regular expression; None if that could take long to match."""
    bounds = [index for index, step in enumerate(steps) if isinstance(step, Gap)] + [len(steps)]
    parts = [_one(step) for step in steps[: bounds[0]]]
    backtracking = 0
    for gap, following in pairwise(bounds):
        behind = [_one(step) for step in steps[gap + 1 : following]]
        if _stays_in_name(steps[gap : following + 1]):
            # `*x*`: if the first x will not do, no other will. So there is no way back to it.
            parts += ["(?>[^/]*?", *behind, ")"]
        else:
            parts += [_GAPS[steps[gap]], *behind]
            backtracking += 1
    return "".join(parts) if backtracking <= _MOST_BACKTRACKING else None


def _stays_in_name(steps: Sequence[Step]) -> bool:
    """Tell whether the steps are `*`, characters other than a slash, and `*` again."""
    if len(steps) < 2 or steps[0] is not Gap.STRETCH or steps[-1] is not Gap.STRETCH:
        return False
    between = steps[1:-1]
    return all(step is not_slash or (isinstance(step, str) and step != "/") for step in between)


_GAPS: dict[Step, str] = {Gap.STRETCH: "[^/]*", Gap.ANYTHING: ".*", Gap.FOLDERS: "(?:.*/)?"}


def _one(step: Step) -> str:
    """Write the step for one character."""
    match step:
        case str():
            return re.escape(step)
        case CharacterClass(ranges, is_negated):
            inner = "".join(f"{re.escape(low)}-{re.escape(high)}" for low, high in ranges)
            return f"[{'^' if is_negated else ''}{inner}]"
        case _:
            return "[^/]"
