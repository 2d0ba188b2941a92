"""Decide under which name each source of a COPY or ADD arrives. Pure.

Reference: dockerfile reference "COPY"; tonistiigi/fsutil copy.go prepareTargetDir.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Self, TypeAlias

from asynckaniko.errors import CopyFailed
from asynckaniko.records import dataclass
from asynckaniko.rootfs.copy_sources import PickedDirectory, PickedFile


@dataclass(frozen=True, slots=True)
class GivenFile:
    """A file that comes with the job: a heredoc, or a download that is open as `descriptor`."""

    name: str
    mode: int
    owner: tuple[int, int]
    mtime: int
    content: bytes = b""
    descriptor: int = -1


@dataclass(frozen=True, slots=True)
class Archive:
    """A file whose entries arrive in its place."""

    file: PickedFile | GivenFile

    @property
    def name(self) -> str:
        return self.file.name


Item: TypeAlias = PickedFile | PickedDirectory | GivenFile | Archive


@dataclass(frozen=True, slots=True)
class Destination:
    """What `resolve_destination` found. `path` has no leading slash; empty is the root."""

    path: str
    exists: bool
    is_directory: bool
    missing_parents: tuple[str, ...]
    trailing_slash: bool
    parents: tuple[tuple[str, int, int, int, int], ...] = ()
    """Directories that are there already: path, mode, uid, gid, mtime_ns."""

    @classmethod
    def read(cls, arguments: Mapping[str, Any]) -> Self:
        path = arguments["path"].strip("/")
        return cls(
            path,
            arguments["exists"] or not path,
            arguments["is_directory"] or not path,
            tuple(parent.strip("/") for parent in arguments["missing_parents"]),
            arguments["trailing_slash"],
            tuple((path, *attributes) for path, *attributes in arguments.get("parents", ())),
        )

    def inside(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name


@dataclass(slots=True)
class Plan:
    """What to write. A directory's and an archive's place is what they are emptied into."""

    new_directories: list[str] = field(default_factory=list)
    """Those that no source stands for, outermost first."""
    places: list[tuple[Item, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def plan_copy(items: Sequence[Item], destination: Destination) -> Plan:
    """Place items in their order, each seeing what the ones before it made of the destination.

    Raises:
        CopyFailed: a directory would have to go where a file is, or a file into one.
    """
    plan = Plan()
    path, shown = destination.path, f"/{destination.path}"
    is_directory = destination.is_directory
    is_file = destination.exists and not is_directory
    files = 0
    for item in items:
        is_inside = is_directory or destination.trailing_slash
        if not _has_contents(item) and not is_inside:
            plan.places.append((item, path))
            is_file = True
            files += 1
            continue
        if is_file:
            what = "directory onto" if _has_contents(item) else "into"
            raise CopyFailed(f"cannot copy {what} file {shown}")
        is_directory = True
        place = path if _has_contents(item) else destination.inside(item_name(item))
        plan.places.append((item, place))
    if items:
        plan.new_directories += destination.missing_parents
        if is_directory and not destination.exists:
            plan.new_directories.append(path)
    if files > 1:
        plan.warnings.append(
            f"{files} sources are copied to the one file {shown}, and the last one is kept;"
            " end the destination with a slash to make it a directory"
        )
    return plan


def _has_contents(item: Item) -> bool:
    return isinstance(item, PickedDirectory | Archive)


def item_name(item: Item) -> str:
    assert not isinstance(item, PickedDirectory), "a directory's own name is not used"
    return item.name


def item_mtime(item: Item) -> int:
    """Return a source's own time, in nanoseconds."""
    match item:
        case Archive(file):
            return item_mtime(file)
        case GivenFile():
            return item.mtime
    return item.status.st_mtime_ns
