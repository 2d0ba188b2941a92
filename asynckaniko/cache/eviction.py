"""Choose what to remove from a state directory. Pure."""

from collections.abc import Iterable, Sequence

from asynckaniko.cache.contents import MOUNT_KINDS, Stored
from asynckaniko.records import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What may stay. None: no such bound."""

    size: int | None = None
    """Bytes of layers, packed and unpacked."""
    mount_size: int | None = None
    """Bytes of the caches of RUN mounts."""
    used_since: float | None = None
    """POSIX seconds: what was not used since goes."""
    everything: bool = False
    """Nothing may stay."""


def choose(stored: Sequence[Stored], bounds: Bounds, *, in_use_since: float) -> list[Stored]:
    """List what goes, in order, so that the rest is within the bounds.

    What nothing refers to goes first, then what was not used for longest. What was used at or
    after `in_use_since` may be in use and stays, whatever the bounds say.
    """
    removable = _named(item for item in stored if item.last_used < in_use_since)
    if bounds.everything:
        return list(removable.values())
    layers = [item for item in stored if item.kind not in MOUNT_KINDS]
    mounts = [item for item in stored if item.kind in MOUNT_KINDS]
    chosen: dict[tuple[str, str], Stored] = {}
    if bounds.used_since is not None:
        old = (item for item in removable.values() if item.last_used < bounds.used_since)
        chosen |= _named(old)
    for items, limit in ((layers, bounds.size), (mounts, bounds.mount_size)):
        if limit is None:
            continue
        left = sum(item.size for item in items if (item.kind, item.name) not in chosen)
        for item in sorted(items, key=lambda item: (item.is_needed, item.last_used)):
            if left <= limit:
                break
            name = (item.kind, item.name)
            if name in removable and name not in chosen:
                chosen[name] = item
                left -= item.size
    return list(chosen.values())


def _named(items: Iterable[Stored]) -> dict[tuple[str, str], Stored]:
    return {(item.kind, item.name): item for item in items}
