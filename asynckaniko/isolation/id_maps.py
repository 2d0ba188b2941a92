"""Which host ids the ids of a build's user namespace are backed by. Pure.

An image's files belong to any of 65536 ids and more, so a build wants all of them. The one id
that must not be what it seems is 0: ns-root should own nothing outside.
"""

from collections.abc import Sequence
from typing import TypeAlias

from asynckaniko.records import dataclass

Range: TypeAlias = tuple[int, int, int]
"""First id inside, first id outside, count; a line of uid_map (user_namespaces(7))."""

SINGLE = "single"
"""The name of the map with one id."""
WHOLE = ("swap", "identity", "subordinate")
ALL = (*WHOLE, SINGLE)
"""Names of maps, in the order in which they are tried."""
_HIGHEST = 2**31 - 1
"""Some file systems and programs treat ids as signed."""
_RESERVED = frozenset({0, 65534, 65535})
"""root; nobody, which unmapped ids are shown as; (uint16)-1."""


@dataclass(frozen=True, slots=True)
class IdMap:
    """A mapping to try. `name` is for people."""

    name: str
    uids: tuple[Range, ...]
    gids: tuple[Range, ...]
    with_newuidmap: bool = False
    """Written by the set-uid helpers newuidmap and newgidmap, not by the process itself."""

    @property
    def root_id(self) -> int:
        """The uid behind ns-root, as the process that writes the map sees it."""
        return self.uids[0][1]


def parse_ranges(text: str) -> tuple[Range, ...]:
    """Read /proc/PID/uid_map or gid_map."""
    rows = [line.split() for line in text.splitlines()]
    return tuple((int(inside), int(outside), int(count)) for inside, outside, count in rows)


def render_ranges(ranges: Sequence[Range]) -> str:
    """Write what /proc/PID/uid_map takes."""
    return "\n".join(" ".join(map(str, line)) for line in ranges)


def swap_map(uids: Sequence[Range], gids: Sequence[Range]) -> IdMap | None:
    """Back ns-root by the highest id and keep every other id as it is.

    `uids` and `gids` are the caller's own maps. With this map ns-root cannot touch what the
    executor's root owns, nor signal it, and it can be written without CAP_SETFCAP, which a map
    of the parent's id 0 needs since Linux 5.12. None when the caller has hardly any ids.
    """
    available = [
        stand_in for stand_in in (_highest_free(uids), _highest_free(gids)) if stand_in is not None
    ]
    if len(available) < 2:
        return None
    stand_in = min(available)
    if not (_contains(uids, stand_in) and _contains(gids, stand_in)):
        return None
    return IdMap("swap", _swapped(uids, stand_in), _swapped(gids, stand_in))


def identity_map(uids: Sequence[Range], gids: Sequence[Range]) -> IdMap:
    """Keep every id the caller has. ns-root is the caller's root: see `swap_map` for the price."""
    return IdMap(
        "identity",
        tuple((inside, inside, count) for inside, _, count in uids),
        tuple((inside, inside, count) for inside, _, count in gids),
    )


def subordinate_map(
    uid: int, gid: int, subuids: Sequence[Range], subgids: Sequence[Range]
) -> IdMap | None:
    """Back ns-root by the caller and the ids from 1 on by those of /etc/subuid and /etc/subgid."""
    if not (subuids and subgids):
        return None
    return IdMap("subordinate", _stacked(uid, subuids), _stacked(gid, subgids), True)


def single_map(uid: int, gid: int) -> IdMap:
    """Back ns-root by the caller, and have no other id: everybody may (user_namespaces(7))."""
    return IdMap(SINGLE, ((0, uid, 1),), ((0, gid, 1),))


def has_one_id(ranges: Sequence[Range]) -> bool:
    """Tell whether a map is about one id only."""
    return sum(count for _, _, count in ranges) == 1


def parse_subordinates(text: str, user: str, uid: int) -> tuple[Range, ...]:
    """Read the lines of /etc/subuid or /etc/subgid that are for this user, by name or uid."""
    found = []
    for line in text.splitlines():
        owner, _, rest = line.strip().partition(":")
        first, _, count = rest.partition(":")
        if owner in {user, str(uid)} and first.isdigit() and count.isdigit():
            found.append((0, int(first), int(count)))
    return tuple(found)


def _highest_free(ranges: Sequence[Range]) -> int | None:
    candidates = []
    for inside, _, count in ranges:
        highest = min(inside + count - 1, _HIGHEST)
        while highest in _RESERVED:
            highest -= 1
        if highest >= max(inside, 1):
            candidates.append(highest)
    return max(candidates, default=None)


def _contains(ranges: Sequence[Range], number: int) -> bool:
    return any(inside <= number < inside + count for inside, _, count in ranges)


def _swapped(ranges: Sequence[Range], stand_in: int) -> tuple[Range, ...]:
    lines: list[Range] = [(0, stand_in, 1)]
    for inside, _, count in ranges:
        start, end = inside, inside + count
        for hole in (0, stand_in):
            if start <= hole < end:
                if hole > start:
                    lines.append((start, start, hole - start))
                start = hole + 1
        if end > start:
            lines.append((start, start, end - start))
    return tuple(lines)


def _stacked(root: int, subordinates: Sequence[Range]) -> tuple[Range, ...]:
    lines: list[Range] = [(0, root, 1)]
    following = 1
    for _, outside, count in subordinates:
        lines.append((following, outside, count))
        following += count
    return tuple(lines)
