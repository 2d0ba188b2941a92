"""ImageConfig: how to run an image and how it came to be (image-spec config.md).

Fields that we do not know are kept: a base image's config passes through a build unharmed.
"""

import copy
from collections.abc import Sequence
from dataclasses import field
from datetime import UTC, datetime
from typing import Any, Self

import orjson

from asynckaniko.errors import IntegrityError, InvalidReference
from asynckaniko.oci.digest import DiffID, Digest
from asynckaniko.oci.documents import read_object
from asynckaniko.oci.platform import Platform
from asynckaniko.records import dataclass

DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def format_time(seconds: float) -> str:
    """Write POSIX seconds as RFC 3339 in UTC, with a fraction only if there is one."""
    moment = datetime.fromtimestamp(seconds, UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    if moment.microsecond:
        text += f".{moment.microsecond:06d}".rstrip("0")
    return text + "Z"


@dataclass(frozen=True, slots=True)
class History:
    """One instruction's trace. `created` is RFC 3339."""

    created_by: str
    created: str = ""
    empty_layer: bool = False
    comment: str = ""
    author: str = ""

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {}
        if self.created:
            document["created"] = self.created
        document["created_by"] = self.created_by
        if self.author:
            document["author"] = self.author
        if self.comment:
            document["comment"] = self.comment
        if self.empty_layer:
            document["empty_layer"] = True
        return document


@dataclass(slots=True)
class ImageConfig:
    """The config document. `runtime` is its `config` object: Env, Cmd, User, ... by Docker's names.

    Mutable while a stage is built: a stage owns its copy (`fork`).
    """

    platform: Platform
    runtime: dict[str, Any] = field(default_factory=dict)
    diff_ids: list[DiffID] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    author: str = ""
    created: str = ""
    other: dict[str, Any] = field(default_factory=dict)
    """Top-level fields we have no use for."""

    @classmethod
    def scratch(cls, platform: Platform) -> Self:
        return cls(platform, runtime={"Env": [DEFAULT_PATH], "WorkingDir": "/"})

    @classmethod
    def parse(cls, content: bytes, *, where: str, limit: int = 8 << 20) -> Self:
        """Read a config blob.

        Raises:
            IntegrityError: not a config: wrong types in the fields that a build relies on.
        """
        document = read_object(content, where=where, limit=limit)
        rootfs = document.pop("rootfs", None) or {}
        try:
            diff_ids = [DiffID(Digest.parse(text)) for text in rootfs.get("diff_ids") or []]
        except (InvalidReference, TypeError, AttributeError) as error:
            raise IntegrityError(f"{where}: rootfs.diff_ids: {error}") from error
        runtime = document.pop("config", None) or {}
        history = document.pop("history", None) or []
        _check(runtime, history, where)
        platform = Platform.from_json(document)
        for name in ("os", "architecture", "variant", "os.version"):
            document.pop(name, None)
        return cls(
            platform,
            runtime,
            diff_ids,
            history,
            author=str(document.pop("author", "")),
            created=str(document.pop("created", "")),
            other=document,
        )

    def fork(self) -> Self:
        """Return a copy that shares nothing with this config."""
        return copy.deepcopy(self)

    @property
    def env(self) -> list[str]:
        """`NAME=value`, in the order of the image."""
        return list(self.runtime.get("Env") or [])

    def add_layer(self, diff_id: DiffID, history: History) -> None:
        self.diff_ids.append(diff_id)
        self.history.append(history.to_json())

    def add_history(self, history: History) -> None:
        self.history.append(history.to_json())

    def join_history(self, start: int) -> None:
        """Leave the last entry with a layer, of those from `start` on, the only one."""
        own = [entry for entry in self.history[start:] if not entry.get("empty_layer")]
        for entry in own[:-1]:
            entry["empty_layer"] = True

    def to_bytes(self) -> bytes:
        """Write the document with sorted keys: equal configs are equal bytes."""
        document: dict[str, Any] = dict(self.other)
        document |= self.platform.to_json()
        if self.author:
            document["author"] = self.author
        if self.created:
            document["created"] = self.created
        document["config"] = {k: v for k, v in self.runtime.items() if v not in (None, [], {}, "")}
        document["rootfs"] = {"type": "layers", "diff_ids": list(self.diff_ids)}
        document["history"] = self.history
        return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)


_STRINGS = ("User", "WorkingDir", "StopSignal")
_LISTS = ("Env", "Cmd", "Entrypoint", "Shell", "OnBuild")
_MAPS = ("Labels", "Volumes", "ExposedPorts")


def _check(runtime: Any, history: Any, where: str) -> None:
    if not isinstance(runtime, dict) or not isinstance(history, list):
        raise IntegrityError(f"{where}: config or history has the wrong type")
    for name in _STRINGS:
        if not isinstance(runtime.get(name) or "", str):
            raise IntegrityError(f"{where}: config.{name} is not a string")
    for name in _LISTS:
        if not _is_strings(runtime.get(name) or []):
            raise IntegrityError(f"{where}: config.{name} is not a list of strings")
    for name in _MAPS:
        if not isinstance(runtime.get(name) or {}, dict):
            raise IntegrityError(f"{where}: config.{name} is not an object")
    if not all(isinstance(entry, dict) for entry in history):
        raise IntegrityError(f"{where}: history is not a list of objects")


def _is_strings(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(item, str) for item in value)
    )
