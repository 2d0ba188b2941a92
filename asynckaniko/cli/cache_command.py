"""`asynckaniko cache list` and `cache prune`: what the state directory keeps, and for how long."""

import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import IO, TypeVar

import anyio
import orjson

from asynckaniko.build.housekeeping import Housekeeping, Pruned
from asynckaniko.cache.contents import Stored
from asynckaniko.cache.eviction import Bounds
from asynckaniko.cli.interruption import interruptible
from asynckaniko.cli.labels import count_text, plain_text, size_text
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.settings import Settings

_KINDS = {
    "layer": "layer",
    "base": "base layer",
    "unpacked": "unpacked",
    "listed": "listed",
    "mount": "cache mount",
    "plain mount": "cache mount",
}
_Result = TypeVar("_Result")


class CacheCommand:
    """Looks at one state directory, and the caches of mounts, or prunes them."""

    def __init__(
        self,
        state_dir: str | None,
        cache_mount_dir: str | None,
        around: Surroundings,
        *,
        stdout: IO[str],
    ) -> None:
        named = state_dir or around.get("ASYNCKANIKO_STATE_DIR")
        directory = Path(named).absolute() if named else around.state_dir()
        mounts = cache_mount_dir or around.get("ASYNCKANIKO_CACHE_MOUNT_DIR")
        self._settings = Settings(
            state_dir=directory, cache_mount_dir=Path(mounts).absolute() if mounts else None
        )
        self._stdout = stdout

    def list(self, *, as_json: bool) -> int:
        """Print what is kept, and return the exit status. Raises HostError."""
        stored = self._run(lambda keeping: keeping.contents())
        if as_json:
            self._stdout.write("".join(f"{_json_line(item)}\n" for item in stored))
        else:
            self._stdout.write("".join(f"{line}\n" for line in table(stored, now=time.time())))
        return 0

    def prune(
        self,
        *,
        size: int | None,
        mount_size: int | None,
        unused_seconds: float | None,
        everything: bool,
    ) -> int:
        """Remove, say what, and return the exit status. Raises HostError."""
        bounds = Bounds(
            size=size,
            mount_size=mount_size,
            used_since=None if unused_seconds is None else time.time() - unused_seconds,
            everything=everything,
        )
        pruned: Pruned = self._run(lambda keeping: keeping.prune(bounds))
        freed = sum(item.size for item in pruned.removed)
        what = count_text(len(pruned.removed), "item")
        self._stdout.write(
            f"removed {what}, {size_text(freed)}; {size_text(pruned.left)} are left\n"
        )
        return 0

    def _run(self, work: Callable[[Housekeeping], Awaitable[_Result]]) -> _Result:
        async def run() -> _Result:
            async with (
                interruptible(on_signal=lambda _: None, before_abandoning=lambda: None),
                Housekeeping.open(self._settings) as keeping,
            ):
                return await work(keeping)

        return anyio.run(run, backend_options={"use_uvloop": True})


def table(stored: Sequence[Stored], *, now: float) -> list[str]:
    """Write a line for each item, and one with the sums."""
    rows = [("KIND", "SIZE", "AGE", "LAST USED", "WHAT")]
    for item in stored:
        what = plain_text(item.what) or item.name[:12]
        used = f"{_age(now - item.last_used)} ago"
        rows.append((_KINDS[item.kind], size_text(item.size), _age(now - item.created), used, what))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}"
        f"  {row[3]:>{widths[3]}}  {row[4]}"
        for row in rows
    ]
    total = size_text(sum(item.size for item in stored))
    return [*(lines if stored else []), f"{count_text(len(stored), 'item')}, {total}"]


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


def _json_line(item: Stored) -> str:
    return orjson.dumps(
        {
            "kind": item.kind,
            "name": item.name,
            "size": item.size,
            "created": round(item.created, 3),
            "last_used": round(item.last_used, 3),
            "what": item.what,
            "keys": item.keys,
        }
    ).decode()
