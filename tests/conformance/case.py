"""What a behaviour case is: a Dockerfile, its surroundings, and what must come of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any, TypeAlias

from tests.support.images import Entry, Files, ReadImage


@dataclass(frozen=True, kw_only=True)
class Is:
    """What one path of the image must be; what is not given may be anything."""

    kind: str = "file"
    content: str | None = None
    mode: int | None = None
    owner: tuple[int, int] | None = None
    target: str | None = None
    mtime: int | None = None

    def differences(self, path: str, found: Entry | None) -> list[str]:
        if found is None:
            return [f"{path} is not there"]
        wanted = {
            "kind": self.kind,
            "content": self.content,
            "mode": self.mode,
            "owner": self.owner,
            "target": self.target,
            "mtime": self.mtime,
        }
        actual = {
            "kind": found.kind,
            "content": found.content.decode(errors="replace"),
            "mode": found.mode,
            "owner": (found.uid, found.gid),
            "target": found.target,
            "mtime": int(found.mtime),
        }
        return [
            f"{path}: {name} is {actual[name]!r}, not {value!r}"
            for name, value in wanted.items()
            if value is not None and actual[name] != value
        ]


def is_directory(mode: int | None = None, owner: tuple[int, int] | None = None) -> Is:
    return Is(kind="directory", mode=mode, owner=owner)


def is_link(target: str) -> Is:
    return Is(kind="symlink", target=target)


def has(*, mode: int | None = None, owner: tuple[int, int] | None = None) -> Is:
    return Is(mode=mode, owner=owner)


GONE = None
"""There must be nothing of that name."""
EMPTY = Is(kind="empty directory")

Tree: TypeAlias = Mapping[str, Is | str | None]
"""Path without a leading slash to what it must be; a text is a file's content."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an image must be."""

    tree: Tree = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the config's `config` object; None: the key must have no value."""
    env: Mapping[str, str | None] = field(default_factory=dict)
    """Variables of the image; None: there must be none of that name."""
    history: tuple[tuple[str, bool], ...] | None = None
    """A part of each entry's text, and whether it made a layer."""

    def differences(self, image: ReadImage) -> list[str]:
        """List what is not as it must be, which should be nothing."""
        found = [line for path, want in self.tree.items() for line in _look(image, path, want)]
        runtime = image.runtime
        for key, value in self.config.items():
            actual = runtime.get(key) or None
            if actual != value:
                found.append(f"config.{key} is {actual!r}, not {value!r}")
        variables = dict(entry.split("=", 1) for entry in runtime.get("Env") or [])
        for name, text in self.env.items():
            if variables.get(name) != text:
                found.append(f"variable {name} is {variables.get(name)!r}, not {text!r}")
        return [*found, *self._history_differences(image)]

    def _history_differences(self, image: ReadImage) -> list[str]:
        entries = image.config["history"]
        made = [not entry.get("empty_layer", False) for entry in entries]
        found = []
        if sum(made) != len(image.layers):
            found.append(f"history tells of {sum(made)} layers, there are {len(image.layers)}")
        if self.history is None:
            return found
        texts = [entry["created_by"] for entry in entries]
        if made != [layer for _, layer in self.history]:
            found.append(f"history is {list(zip(texts, made, strict=True))}")
        for text, (part, _) in zip(texts, self.history, strict=False):
            if part not in text:
                found.append(f"history has {text!r}, without {part!r}")
        return found


@dataclass(frozen=True, kw_only=True)
class Case(Outcome):
    """One behaviour. Either `error` is empty and the image is looked at, or the build must fail."""

    name: str
    dockerfile: str
    """`{web}` stands for the address of a server that has the files in `web`."""
    context: Files = field(default_factory=dict)
    ignore: str | None = None
    """The text of .dockerignore."""
    dockerfile_name: str = "Dockerfile"
    web: Mapping[str, bytes] = field(default_factory=dict)
    directories: Mapping[str, Files] = field(default_factory=dict)
    """Named contexts."""
    request: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the BuildRequest."""
    also: Callable[[ReadImage], object] | None = None
    """A further look at the image, which returns False where it must not be so."""
    error: tuple[str, ...] = ()
    """Parts of the message, in any case."""
    line: int | None = None

    @property
    def text(self) -> str:
        return dedent(self.dockerfile)


def _look(image: ReadImage, path: str, want: Is | str | None) -> list[str]:
    found = image.tree.get(path)
    if want is None:
        return [] if found is None else [f"{path} is there"]
    if want is EMPTY:
        inside = [name for name in image.tree if name.startswith(f"{path}/")]
        return is_directory().differences(path, found) + [f"{name} is there" for name in inside]
    return (Is(content=want) if isinstance(want, str) else want).differences(path, found)
