"""What the keys of the last build of a target were made of, to tell why this one misses."""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import orjson

from asynckaniko.store.drafts import write_file

Fingerprints: TypeAlias = Mapping[str, str]
"""Digest of each ingredient, by its name."""


class LastBuild:
    """The record of one target's last build in a state directory. Synchronous.

    It only explains: what cannot be read or written is as if it were not there.
    """

    def __init__(self, directory: Path, context: str, dockerfile: str, target: str) -> None:
        words = (os.path.abspath(context), dockerfile, target)
        name = hashlib.sha256("\0".join(words).encode(errors="surrogateescape")).hexdigest()
        self._path = directory / f"last-{name[:32]}"

    def read(self) -> dict[str, Fingerprints]:
        """Return the fingerprints of each step."""
        try:
            found: dict[str, Fingerprints] = orjson.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        return found

    def write(self, steps: Mapping[str, Fingerprints]) -> None:
        with suppress(OSError):
            write_file(self._path, orjson.dumps(steps))


def explain(before: Fingerprints | None, now: Fingerprints) -> list[str]:
    """Name the ingredients that differ; `parent` only if nothing nearer does."""
    if before is None:
        return []
    names = before.keys() | now.keys()
    changed = sorted(name for name in names if before.get(name) != now.get(name))
    nearer = [name for name in changed if name != "parent"]
    return nearer or changed
