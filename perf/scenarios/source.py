"""What a scenario works on, if not on a directory with a Dockerfile."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from perf.contenders import Contender


@dataclass(frozen=True)
class Place:
    """What is there when a scenario prepares its source."""

    directory: Path
    """Where its context was written."""
    cache: Path
    """What is made once stays there."""
    registry: str
    """`host:port`, plain http."""
    files: int
    megabytes: int


@dataclass(frozen=True)
class Source:
    """Where a scenario's context comes from, and who else does the same by other means."""

    context: str
    environment: Mapping[str, str] = field(default_factory=dict)
    peers: tuple[Contender, ...] = ()
    words: tuple[str, ...] = ()
    """What this package is told, in place of a build."""
    fills_cache: bool = False
    """Each command runs once before, with the same `{cache}` and another destination."""
    images: tuple[str, ...] = ()
    """Directories below the context that are images of their own, if it is not one."""
