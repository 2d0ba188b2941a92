"""Ignored: which parts of a plain tree belong to someone else and are left as they are."""

import os
import re
from collections.abc import Iterable, Mapping
from fnmatch import translate
from typing import Any, Self

from asynckaniko.records import dataclass

_MOUNT_POINT = 4
"""The field of /proc/self/mountinfo (proc_pid_mountinfo(5))."""
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Ignored:
    """Paths from the root, without a leading slash, as str with surrogates.

    `whole` are ignored with all below; of `inside` the directory itself counts, and what is in it
    does not. `patterns` are globs, one for each name of a path; they ignore as `whole` does.
    """

    whole: frozenset[str] = frozenset()
    inside: frozenset[str] = frozenset()
    patterns: "tuple[tuple[re.Pattern[str], ...], ...]" = ()

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        """Read `whole`, `inside` and `patterns` of a job's arguments, and add the mounts.

        With `mounts`, the root is this process's own and its mount points are `whole`.
        """
        whole = {_clean(path) for path in arguments.get("whole", ())}
        if arguments.get("mounts"):
            whole |= set(mount_points())
        return cls(
            frozenset(whole - {""}),
            frozenset(_clean(path) for path in arguments.get("inside", ())),
            tuple(_compile(pattern) for pattern in arguments.get("patterns", ())),
        )

    def skips(self, path: str) -> bool:
        """Tell of an entry whose parents are not ignored whether it is."""
        return path in self.whole or (bool(self.patterns) and self._matches(path))

    def covers(self, path: str) -> bool:
        """Tell whether an entry is ignored, by itself or with a directory it is in."""
        names = path.split("/")
        for end in range(1, len(names) + 1):
            above = "/".join(names[:end])
            if self.skips(above) or (end < len(names) and above in self.inside):
                return True
        return False

    def parents(self) -> frozenset[str]:
        """List the directories that ignored paths are in: they cannot go. Not for patterns."""
        found = {""}
        for path in (*self.whole, *(f"{place}/x" for place in self.inside)):
            names = path.split("/")
            found.update("/".join(names[:end]) for end in range(1, len(names)))
        return frozenset(found)

    def _matches(self, path: str) -> bool:
        names = path.split("/")
        return any(
            len(pattern) == len(names)
            and all(part.fullmatch(name) for part, name in zip(pattern, names, strict=True))
            for pattern in self.patterns
        )


def mount_points() -> Iterable[str]:
    """List what is mounted in this process's root, the root itself left out."""
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            place = os.fsdecode(line.split()[_MOUNT_POINT])
            path = _clean(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), place))
            if path:
                yield path


def _clean(path: str) -> str:
    return "/".join(name for name in path.split("/") if name not in {"", "."})


def _compile(pattern: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(translate(name)) for name in _clean(pattern).split("/"))
