"""Which files and directories the sources of a COPY or ADD name.

Sources are paths or wildcards from the root of the source, whatever they look like: a leading
slash changes nothing, `..` stops at the root, links are followed inside it. What .dockerignore
excludes is not there. Reference: BuildKit, frontend/dockerfile/dockerfile2llb dispatchCopy and
tonistiigi/fsutil copy.ResolveWildcards.
"""

import os
from collections.abc import Iterator, Sequence
from stat import S_ISDIR
from typing import TypeAlias

from asynckaniko.dockerfile.patterns import PatternMatcher, has_wildcard, match_path
from asynckaniko.dockerfile.wording import hint
from asynckaniko.errors import CopyFailed
from asynckaniko.records import dataclass
from asynckaniko.rootfs.trees import Tree

_PIVOT = "/./"
_EVERYTHING = "**"


@dataclass(frozen=True, slots=True)
class PickedFile:
    """A source that is no directory. `path` has no links; `name` is what it is called in one."""

    name: str
    path: str
    status: os.stat_result


@dataclass(frozen=True, slots=True)
class PickedDirectory:
    """A source whose contents are copied. `only` is a pattern from `path`: --parents has it."""

    path: str
    status: os.stat_result
    only: str = ""

    def filters(self) -> list[PatternMatcher]:
        return [PatternMatcher([_EVERYTHING, "!" + self.only])] if self.only else []


Picked: TypeAlias = PickedFile | PickedDirectory


class SourceView:
    """A tree as COPY sees it: without what is ignored."""

    def __init__(self, tree: Tree, ignore: Sequence[str] = ()) -> None:
        self.tree = tree
        self.ignore = PatternMatcher(list(ignore)) if ignore else None

    def pick(self, source: str, *, excludes: PatternMatcher | None = None) -> list[Picked]:
        """Find what `source` names, sorted; nothing only if it is a wildcard.

        --exclude applies to what a directory contains, and to the name of a file.

        Raises:
            CopyFailed: a path without wildcards that is not there, or a link that leads nowhere.
        """
        path = clean(source)
        paths = self._expand(path) if has_wildcard(path) else [path]
        picked = [self._look(path) for path in paths]
        if excludes is None:
            return picked
        return [
            p for p in picked if isinstance(p, PickedDirectory) or not excludes.excludes(p.name)
        ]

    def pick_with_parents(self, source: str) -> list[PickedDirectory]:
        """Find what `source` names under --parents: `base/./pattern`, or a pattern from the root.

        Raises:
            CopyFailed: no wildcard anywhere, and not there; or the base is no directory.
        """
        before, pivot, after = source.partition(_PIVOT)
        base, only = (clean(before), clean(after)) if pivot else ("", clean(source))
        if not has_wildcard(base) and not has_wildcard(only):
            self._require(base, only)
        bases = self._expand(base) if has_wildcard(base) else [base]
        picked: list[PickedDirectory] = []
        for path in bases:
            found = self._look(path)
            if isinstance(found, PickedDirectory):
                picked.append(PickedDirectory(found.path, found.status, only))
            elif not has_wildcard(base):
                raise CopyFailed(f'"/{path}": not a directory')
        return picked

    def hides(self, path: str, *, is_directory: bool) -> bool:
        """Tell whether .dockerignore excludes `path` with all that a directory contains."""
        if self.ignore is None or not path or not self.ignore.excludes(path):
            return False
        pending = [path] if is_directory else []
        while pending:
            directory = pending.pop()
            if not self.ignore.may_include_below(directory):
                continue
            for name, is_below in self._list(directory):
                below = f"{directory}/{name}"
                if not self.ignore.excludes(below):
                    return False
                if is_below:
                    pending.append(below)
        return True

    def _look(self, path: str) -> Picked:
        """Say what `path` leads to. Raises CopyFailed."""
        try:
            place = self.tree.resolve(os.fsencode(path))
            status = None if place.missing else self.tree.lookup(place.path)
        except (FileNotFoundError, NotADirectoryError):
            status = None
        except (OSError, ValueError) as error:
            detail = error.strerror if isinstance(error, OSError) else str(error)
            raise CopyFailed(f'cannot read "/{path}": {detail}') from error
        if status is None:
            why = self._explain_link(path) or self._nearest(path)
            raise CopyFailed(f'"/{path}": not found{why}')
        found = os.fsdecode(place.path)
        is_directory = S_ISDIR(status.st_mode)
        if any(self.hides(name, is_directory=is_directory) for name in {path, found}):
            raise CopyFailed(f'"/{path}": not found: it is there, but .dockerignore excludes it')
        if is_directory:
            return PickedDirectory(found, status)
        return PickedFile(path.rpartition("/")[2], found, status)

    def _explain_link(self, path: str) -> str:
        try:
            target = self.tree.read_link(os.fsencode(path))
        except (OSError, ValueError):
            # Nothing more to say than that it is not there.
            return ""
        if target is None:
            return ""
        shown = os.fsdecode(target)
        return f': it is a link to "{shown}", which is looked up among the files to copy from'

    def _nearest(self, path: str) -> str:
        """Name what is called almost so, beside it."""
        parent, _, name = path.rpartition("/")
        try:
            place = self.tree.resolve(os.fsencode(parent))
            beside = [] if place.missing else self.tree.list_directory(place.path)
        except (OSError, ValueError):
            # There is nothing beside what is in no directory.
            return ""
        below = f"{os.fsdecode(place.path)}/".lstrip("/")
        names = (name for name, _ in beside)
        if self.ignore is not None:
            names = (name for name in names if not self.ignore.excludes(below + name))
        return hint(name, names)

    def _require(self, base: str, only: str) -> None:
        """Insist on a path under --parents. Links on the way are not followed there."""
        whole = clean(f"{base}/{only}")
        self._look(whole)
        start = base
        for name in only.split("/")[:-1]:
            start = clean(f"{start}/{name}")
            if self._explain_link(start):
                raise CopyFailed(
                    f'"/{whole}": "/{start}" is a link, which --parents does not follow;'
                    " name what it leads to"
                )

    def _expand(self, pattern: str) -> list[str]:
        """List the paths that match a wildcard pattern; links are followed before it only."""
        names = pattern.split("/")
        first = next(index for index, name in enumerate(names) if has_wildcard(name))
        start = "/".join(names[:first])
        try:
            place = self.tree.resolve(os.fsencode(start))
            status = None if place.missing else self.tree.lookup(place.path)
        except OSError:
            # What is before the wildcard is not there, so nothing matches.
            return []
        if status is None or not S_ISDIR(status.st_mode):
            return []
        return list(self._match(os.fsdecode(place.path), names[first:]))

    def _match(self, directory: str, patterns: list[str]) -> Iterator[str]:
        pattern, *rest = patterns
        for name, is_directory in self._list(directory):
            if not match_path(pattern, name):
                continue
            path = f"{directory}/{name}" if directory else name
            if not rest:
                if not self.hides(path, is_directory=is_directory):
                    yield path
            elif is_directory:
                yield from self._match(path, rest)

    def _list(self, path: str) -> list[tuple[str, bool]]:
        """List a directory: (name, is a directory), sorted. Raises CopyFailed."""
        try:
            return self.tree.list_directory(os.fsencode(path))
        except OSError as error:
            raise CopyFailed(f'cannot read "/{path}": {error.strerror}') from error


def clean(path: str) -> str:
    """Join the components of a source: no `.`, no slash around it, and `..` stops at the root."""
    names: list[str] = []
    for name in path.split("/"):
        if name == "..":
            del names[-1:]
        elif name not in ("", "."):
            names.append(name)
    return "/".join(names)
