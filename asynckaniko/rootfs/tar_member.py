"""What the tar reader yields: one entry of an archive, and how much an archive may hold."""

from collections.abc import Mapping
from enum import Enum

from asynckaniko.records import dataclass


class Kind(Enum):
    """What an entry is."""

    FILE = "file"
    HARD_LINK = "hard link"
    SYMLINK = "symlink"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    DIRECTORY = "directory"
    FIFO = "fifo"


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """How much an archive may hold before it is refused."""

    size: int = 1 << 40
    """Bytes of the uncompressed archive, and of the holes of its sparse files."""
    entries: int = 20_000_000
    """Headers, extended ones included."""
    name: int = 4096
    """Bytes of an entry's name, and of a link's target."""
    extension: int = 1 << 20
    """Bytes of one extended header, and of all global ones."""


@dataclass(slots=True)
class Member:
    """One entry."""

    name: bytes
    """As written: it may be absolute, empty, or climb out with `..`."""
    kind: Kind
    mode: int
    """Permission bits with setuid, setgid and sticky."""
    uid: int
    gid: int
    mtime_ns: int
    size: int
    """Of a file's content, holes included; 0 for all other kinds."""
    link: bytes = b""
    """A symlink's text, or the name of the entry that a hard link repeats."""
    xattrs: Mapping[str, bytes] | None = None
    """All that the archive gives, allowed or not."""
    device: tuple[int, int] = (0, 0)
    """Major and minor number."""
