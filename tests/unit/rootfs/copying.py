"""Call `produce` as a build does, and look at the archive."""

import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asynckaniko.rootfs.copy_tree import produce
from tests.unit.rootfs.trees import contents, members

NEW = {"exists": False, "is_directory": False, "missing_parents": [], "trailing_slash": False}
FILE = {**NEW, "exists": True}
DIRECTORY = {**FILE, "is_directory": True}

ROOT = {**DIRECTORY, "path": ""}


@dataclass(frozen=True)
class Copied:
    """An archive that a copy made, and what the job said about it."""

    content: bytes
    result: Mapping[str, Any]

    @property
    def members(self) -> dict[str, tarfile.TarInfo]:
        return members(self.content)

    @property
    def names(self) -> list[str]:
        return list(self.members)

    @property
    def contents(self) -> dict[str, bytes]:
        return contents(self.content)

    @property
    def modes(self) -> dict[str, int]:
        return {name: member.mode for name, member in self.members.items()}

    @property
    def owners(self) -> dict[str, tuple[int, int]]:
        return {name: (member.uid, member.gid) for name, member in self.members.items()}


def at(path: str, kind: Mapping[str, Any] = NEW, **more: Any) -> dict[str, Any]:
    """Describe a destination as `resolve_destination` does; a slash at the end counts."""
    described = {**kind, "path": path.rstrip("/"), **more}
    return described | {"trailing_slash": path.endswith("/")}


def arguments(
    sources: Sequence[str], destination: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    return {
        "sources": list(sources),
        "destination": destination,
        "owner": None,
        "chmod": "",
        "keep_owner": False,
        "ignore": [],
        "excludes": [],
        "parents": False,
        "add": False,
        "unpack": None,
        "clamp": None,
        "output": "tar",
        "compression": "none",
        "level": None,
        "files": [],
        **more,
    }


def copy(
    context: Path,
    sources: Sequence[str],
    destination: Mapping[str, Any] = ROOT,
    *,
    fds: Sequence[int] = (),
    **more: Any,
) -> Copied:
    """Copy from a local context."""
    job = {"source": {"directory": os.fspath(context)}, **arguments(sources, destination, **more)}
    with (context.parent / "archive").open("w+b") as output:
        result = produce(job, [output.fileno(), *fds])
        output.seek(0)
        return Copied(output.read(), result)
