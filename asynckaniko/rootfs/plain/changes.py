"""Compare two listings of a tree, as a layer says it (image-spec layer.md, "Change Types")."""

from collections.abc import Iterator
from enum import Enum

from asynckaniko.records import dataclass
from asynckaniko.rootfs.plain.listing import Listing, is_directory


class Change(Enum):
    """What a layer says of a path."""

    PRESENT = "present"
    """It is new or changed, or a directory with such things in it."""
    REPLACED = "replaced"
    """A directory where something else was."""
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes by path, sorted as a walk goes: parents first, then by name."""

    by_path: dict[str, Change]

    def __iter__(self) -> Iterator[tuple[str, Change]]:
        return iter(self.by_path.items())


def compare(before: Listing, after: Listing) -> Changes:
    """Say what `after` has or lacks, compared with `before`."""
    found = {path: Change.PRESENT for path, row in after.items() if before.get(path) != row}
    for path in found:
        was = before.get(path)
        if was is not None and not is_directory(was) and is_directory(after[path]):
            found[path] = Change.REPLACED
    for path in before.keys() - after.keys():
        parent = path.rpartition("/")[0]
        # What was in a directory that is gone, or no directory any more, has gone with it.
        if not parent or (parent in after and is_directory(after[parent])):
            found[path] = Change.GONE
    for path in list(found):
        parent = path.rpartition("/")[0]
        while parent and parent not in found:
            found[parent] = Change.PRESENT
            parent = parent.rpartition("/")[0]
    return Changes(dict(sorted(found.items(), key=lambda item: item[0].split("/"))))
