"""What a step moves in a root filesystem, written down before it is moved.

A step that is killed, with its builder or alone, cannot put anything back. Its journal says what
there is to put back; `swaps.recover` does it. One line of JSON for each fact, on disk before what
it announces happens. The journal's file is locked while its step lives.
"""

import json  # noqa: TID251  paths are file names: lone surrogates must survive
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from typing import Any, Self

from asynckaniko.linux.locks import create_locked, try_lock
from asynckaniko.linux.relocate import discard
from asynckaniko.records import dataclass

_SUFFIX = ".journal"
_UNFINISHED = ".new"
_LARGEST = 16 << 20


class Phase(StrEnum):
    """How far a swap has come."""

    PLANNED = "planned"
    ASIDE = "aside"
    """What stood at the target, if anything, is set aside; its substitute is in, or will be."""
    CLEARED = "cleared"
    """The substitute is gone again."""
    DONE = "done"


class Kind(StrEnum):
    """What must become of a substitute whose step was killed."""

    THROWN_AWAY = "thrown away"
    WIPED = "wiped"
    SENT_HOME = "sent home"


@dataclass(frozen=True, slots=True)
class Swap:
    """One target. Paths in the root are without links and without leading slash."""

    number: int
    base: str
    """The deepest directory on the way to the target that was there."""
    missing: tuple[str, ...]
    """Names of directories below it that were made, down to the one that holds the target."""
    name: str
    existed: bool
    kind: Kind
    home: tuple[str, str] | None = None
    """A cache's own place, outside the root: directory and name."""
    identity: tuple[int, int] | None = None
    """Device and inode of a cache in its own place."""

    @property
    def parent(self) -> str:
        return "/".join([*([self.base] if self.base else []), *self.missing])

    @property
    def target(self) -> str:
        return f"{self.parent}/{self.name}".lstrip("/")


@dataclass(slots=True)
class Record:
    """What a journal says about one swap."""

    swap: Swap
    phase: Phase = Phase.PLANNED
    secret: tuple[int, int] | None = None
    """Device and inode of a secret's file."""


class Journal:
    """The journal of a living step; `aside` is an open directory for what is set aside."""

    def __init__(self, file: int, aside: int) -> None:
        self._file = file
        self.aside = aside
        self._open: set[int] = set()

    @classmethod
    @contextmanager
    def begin(cls, drawer: str, root: str) -> Iterator[Self]:
        """Begin a journal in the directory `drawer` for the length of the block.

        It goes away if all its swaps are done by then, else it stays for `swaps.recover`.
        """
        name = secrets.token_hex(8)
        path = f"{drawer}/{name}{_SUFFIX}"
        file = create_locked(path + _UNFINISHED)
        try:
            # Under its final name it is locked already: no recovery takes it for a dead step's.
            status = os.stat(root)
            identity = [status.st_dev, status.st_ino]
            _append(file, {"root": root, "identity": identity})
            os.rename(path + _UNFINISHED, path)
            os.mkdir(f"{drawer}/{name}", 0o700)
            _sync(drawer)
            aside = os.open(f"{drawer}/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            journal = cls(file, aside)
            try:
                yield journal
            finally:
                os.close(aside)
                if not journal._open:
                    _remove_aside(drawer, name)
                    os.unlink(path)
        finally:
            os.close(file)

    def plan(self, swap: Swap) -> None:
        self._open.add(swap.number)
        _append(self._file, {"plan": asdict(swap)})

    def note_secret(self, swap: Swap, status: os.stat_result) -> None:
        _append(self._file, {"secret": [swap.number, [status.st_dev, status.st_ino]]})

    def reach(self, swap: Swap, phase: Phase) -> None:
        if phase is Phase.DONE:
            self._open.discard(swap.number)
        _append(self._file, {"reached": [swap.number, phase]})


@dataclass(slots=True)
class Abandoned:
    """The journal of a step that is dead, held by who cleans up after it.

    Paths are as that step was given them: relative ones to the same working directory.
    """

    root: str
    identity: tuple[int, int]
    """Device and inode of the root; what has others now is not what the step worked on."""
    records: list[Record]
    aside: str


@contextmanager
def abandoned(drawer: str) -> Iterator[Iterator[Abandoned]]:
    """Give the journals of dead steps one after the other; each is deleted once the next is asked.

    Those of living steps, here or in other processes, are passed over.
    """
    files: list[int] = []

    def each() -> Iterator[Abandoned]:
        for entry in sorted(os.listdir(drawer)):
            path = f"{drawer}/{entry}"
            if not entry.endswith((_SUFFIX, _UNFINISHED)):
                continue
            file = try_lock(path, is_new=False)
            if file is None:
                continue
            files.append(file)
            aside = path.removesuffix(_UNFINISHED).removesuffix(_SUFFIX)
            yield _read(file, aside)
            os.unlink(path)

    try:
        yield each()
    finally:
        for file in files:
            os.close(file)


def _remove_aside(drawer: str, name: str) -> None:
    directory = os.open(drawer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # A copy that was not finished may be in it.
        discard(name, directory)
    finally:
        os.close(directory)


def _read(file: int, aside: str) -> Abandoned:
    root, identity = "", (0, 0)
    records: dict[int, Record] = {}
    # What is cut off at the end was not begun.
    for line in os.pread(file, _LARGEST, 0).split(b"\n")[:-1]:
        for key, value in json.loads(line).items():
            match key:
                case "root":
                    root = value
                case "identity":
                    identity = value[0], value[1]
                case "plan":
                    records[value["number"]] = Record(_swap(value))
                case "secret":
                    records[value[0]].secret = (value[1][0], value[1][1])
                case "reached":
                    records[value[0]].phase = Phase(value[1])
    return Abandoned(root, identity, list(records.values()), aside)


def _swap(value: dict[str, Any]) -> Swap:
    pairs = {name: tuple(value[name]) if value[name] else None for name in ("home", "identity")}
    return Swap(
        **{**value, **pairs, "missing": tuple(value["missing"]), "kind": Kind(value["kind"])}
    )


def _append(file: int, fact: dict[str, Any]) -> None:
    line = json.dumps(fact).encode() + b"\n"
    while line:
        line = line[os.write(file, line) :]
    os.fdatasync(file)


def _sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
