"""What a state directory holds for later builds: layers, bases and the caches of RUN mounts."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import orjson

from asynckaniko.records import dataclass
from asynckaniko.rootfs.usage import measure_tree
from asynckaniko.store.cache_mounts import CacheMounts
from asynckaniko.store.state import StateDirectory

Kind: TypeAlias = Literal["layer", "base", "unpacked", "listed", "mount", "plain mount"]
"""A cached layer's blob; a base's blob; a layer as a directory, or as a list; a mount's cache,
and one of builds without namespaces."""
MOUNT_KINDS = frozenset(("mount", "plain mount"))

_LONGEST_NOTE = 4096
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One thing that can be kept or removed. Times are POSIX seconds."""

    kind: Kind
    name: str
    """Digest (hex) of a blob, diffID (hex) of an unpacked layer, directory of a mount's cache."""
    size: int
    """Bytes; -1 if it has to be measured."""
    created: float
    last_used: float
    what: str = ""
    """The instruction that made a layer; the id or target of a mount's cache."""
    is_needed: bool = True
    """Nothing refers to it any more if not: it goes first."""
    keys: tuple[str, ...] = ()
    """Cache keys that lead to a blob; they go with it."""
    copies: tuple[str, ...] = ()
    """Directories that were made of an unpacked layer; they go with it."""


@dataclass(slots=True)
class _Entry:
    key: str
    created: float
    last_used: float
    layer: str
    diff_id: str
    what: str


@dataclass(slots=True)
class Contents:
    """A look at a state directory and the caches of mounts. Others may change both meanwhile."""

    stored: list[Stored] = field(default_factory=list)
    dangling: list[str] = field(default_factory=list)
    """Cache keys whose layer is gone."""

    @classmethod
    def read(cls, state: StateDirectory, caches: CacheMounts) -> "Contents":
        """Look at everything, without measuring. Blocks: it reads many small files."""
        entries = list(_entries(state.cache))
        blobs = {path.name: path for path in _children(state.blobs) if _HEX.fullmatch(path.name)}
        contents = cls()
        contents.dangling = [entry.key for entry in entries if entry.layer not in blobs]
        by_layer: dict[str, list[_Entry]] = {}
        for entry in entries:
            by_layer.setdefault(entry.layer, []).append(entry)
        for name, path in blobs.items():
            contents._add_blob(name, path, by_layer.get(name, []))
        made = {entry.diff_id: entry.what for entry in entries}
        contents.stored += _unpacked("unpacked", state.rootfs / "layers", made)
        contents.stored += _unpacked("listed", state.listed / "layers", made)
        contents.stored += _mounts("mount", caches.namespaced, caches.notes)
        contents.stored += _mounts("plain mount", caches.listed, caches.notes)
        return contents

    def _add_blob(self, name: str, path: Path, entries: list[_Entry]) -> None:
        try:
            status = path.stat()
        except FileNotFoundError:
            return
        newest = max(entries, key=lambda entry: entry.last_used, default=None)
        self.stored.append(
            Stored(
                kind="layer" if newest else "base",
                name=name,
                size=status.st_size,
                created=newest.created if newest else status.st_mtime,
                last_used=max([status.st_atime, *(entry.last_used for entry in entries)]),
                what=newest.what if newest else "",
                # A base's blob can be pulled again, and most builds never look at it.
                is_needed=newest is not None,
                keys=tuple(entry.key for entry in entries),
            )
        )


def _entries(directory: Path) -> Iterator[_Entry]:
    for path in _children(directory):
        if path.suffix != ".json":
            continue
        try:
            document: dict[str, Any] = orjson.loads(path.read_bytes())
            layer, diff_id = document["layer"]["digest"], document["diffID"]
            yield _Entry(
                key=path.stem,
                created=float(document["created"]),
                last_used=path.stat().st_mtime,
                layer=layer.partition(":")[2],
                diff_id=diff_id.partition(":")[2],
                what=str(document.get("madeBy", "")),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # Damaged: a look-up removes it.
            continue


def _unpacked(kind: Kind, directory: Path, made: Mapping[str, str]) -> Iterator[Stored]:
    records = {path.stem: path for path in _children(directory) if path.suffix == ".json"}
    copies: dict[str, list[str]] = {}
    used: dict[str, float] = {}
    known: dict[str, dict[str, Any]] = {}
    for name, path in records.items():
        if name.startswith("."):
            continue
        try:
            known[name] = orjson.loads(path.read_bytes())
            used[name] = path.stat().st_mtime
        except (OSError, ValueError):
            continue
        of = str(known[name].get("of", "")).removeprefix("layers/")
        if of:
            copies.setdefault(of, []).append(name)
    for name, record in known.items():
        of = str(record.get("of", "")).removeprefix("layers/")
        if of in known:
            continue
        own = copies.get(name, [])
        is_step = bool(record.get("of_step"))
        yield Stored(
            kind=kind,
            name=name,
            size=int(record.get("size", -1)),
            created=used[name],
            last_used=max(used[each] for each in (name, *own)),
            what=made.get(name, ""),
            is_needed=not of and (not is_step or name in made),
            copies=tuple(own),
        )


def _mounts(kind: Kind, directory: Path, notes: Path) -> Iterator[Stored]:
    for path in _children(directory):
        try:
            status, what = path.lstat(), ""
            # Others may write to the volume; a cache is never a link.
            if path.name.startswith(".") or not stat.S_ISDIR(status.st_mode):
                continue
            with suppress(FileNotFoundError):
                status, what = _read_note(notes / path.name)
        except FileNotFoundError:
            continue
        yield Stored(
            kind=kind,
            name=path.name,
            # Those in namespaces may belong to ids that are nobody's here.
            size=-1 if kind == "mount" else measure_tree(str(path)),
            created=status.st_mtime,
            last_used=max(status.st_mtime, status.st_atime),
            what=what,
        )


def _read_note(path: Path) -> tuple[os.stat_result, str]:
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.fstat(file), os.pread(file, _LONGEST_NOTE, 0).decode(errors="replace")
    finally:
        os.close(file)


def _children(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except FileNotFoundError:
        return []
