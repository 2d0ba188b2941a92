"""The images of a manifest when nothing is left to expand: what engines work from."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from asynckaniko.batch.document import Fields, Place, find
from asynckaniko.batch.manifest import (
    CacheOptions,
    ImageFields,
    KubernetesOptions,
    LocalOutput,
    SecretSource,
)
from asynckaniko.batch.quantities import parse_cpu, parse_duration, parse_memory
from asynckaniko.records import dataclass

TARGET = "target:"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedImage:
    """One image to build. Text is as in the manifest: relative paths are relative to that."""

    name: str
    parent: str
    """The manifest's key: that of the matrix, else `name`."""
    context: str = "."
    dockerfile: str = "Dockerfile"
    target: str = ""
    args: Mapping[str, str | None] = field(default_factory=dict)
    """None takes the environment's variable of the same name."""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    contexts: Mapping[str, str] = field(default_factory=dict)
    platforms: tuple[str, ...] = ()
    secrets: tuple[SecretSource, ...] = ()
    cache: CacheOptions | None = None
    outputs: tuple[LocalOutput, ...] = ()
    ulimits: Mapping[str, str] = field(default_factory=dict)
    shm_size: str = ""
    memory: int = 0
    cpu: float = 0.0
    weight: int = 1
    retries: int = 0
    timeout_seconds: float | None = None
    needs: tuple[str, ...] = ()
    """Images that have to exist before this one is built."""
    tag_needs: Mapping[str, str] = field(default_factory=dict)
    """Tag that a FROM or --from names to the image that is pushed as it."""
    node: Fields = field(default=Fields({}, Place("")), compare=False, repr=False)

    def place(self, *path: int | str) -> Place:
        """Return where something of this image stands."""
        return find(self.node, path)

    @classmethod
    def of(cls, name: str, parent: str, fields: ImageFields, node: Fields) -> "PlannedImage":
        needs = fields.resources
        return cls(
            name=name,
            parent=parent,
            context=fields.context,
            dockerfile=fields.dockerfile,
            target=fields.target,
            args=fields.args,
            labels=fields.labels,
            annotations=fields.annotations,
            tags=tuple(dict.fromkeys(fields.tags)),
            contexts=fields.contexts,
            platforms=tuple(dict.fromkeys(fields.platforms)),
            secrets=tuple(fields.secrets),
            cache=fields.cache,
            outputs=tuple(fields.outputs),
            ulimits=fields.ulimits,
            shm_size=fields.shm_size or "",
            memory=parse_memory(needs.memory) if needs.memory else 0,
            cpu=parse_cpu(needs.cpu) if needs.cpu else 0.0,
            weight=needs.weight,
            retries=fields.retries,
            timeout_seconds=parse_duration(fields.timeout) if fields.timeout else None,
            node=node,
        )

    def to_manifest(self) -> dict[str, Any]:
        """Write the image as a manifest's entry that means the same without variables."""
        shown: dict[str, Any] = {"context": self.context, "dockerfile": self.dockerfile}
        shown |= {
            "target": self.target,
            "args": dict(self.args),
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
            "tags": list(self.tags),
            "contexts": dict(self.contexts),
            "platforms": list(self.platforms),
            "secrets": [secret.model_dump(exclude_defaults=True) for secret in self.secrets],
            "cache": self.cache.model_dump(by_alias=True) if self.cache else None,
            "outputs": [output.model_dump() for output in self.outputs],
            "ulimits": dict(self.ulimits),
            "shmSize": self.shm_size,
            "resources": self._resources(),
            "retries": self.retries,
            "timeout": f"{self.timeout_seconds:g}s" if self.timeout_seconds else None,
        }
        escaped: dict[str, Any] = _escaped({key: v for key, v in shown.items() if v})
        return escaped

    def _resources(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.memory:
            found["memory"] = str(self.memory)
        if self.cpu:
            found["cpu"] = f"{self.cpu:g}"
        if self.weight > 1:
            found["weight"] = self.weight
        return found


def _escaped(value: Any) -> Any:
    """Keep `${` literal for whoever reads the manifest again."""
    match value:
        case str():
            return value.replace("${", "$${").replace("$${INPUT_DIGEST}", "${INPUT_DIGEST}")
        case list():
            return [_escaped(item) for item in value]
        case dict():
            return {_escaped(key): _escaped(item) for key, item in value.items()}
        case _:
            return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is to be built, in the manifest's order."""

    file: str
    directory: Path
    """What relative paths start from."""
    images: tuple[PlannedImage, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    kubernetes: KubernetesOptions = field(default_factory=KubernetesOptions)
    warnings: tuple[str, ...] = ()
    source: str = field(default="", repr=False)
    """The manifest's text, for showing its lines."""

    def image(self, name: str) -> PlannedImage:
        return next(image for image in self.images if image.name == name)

    def local_path(self, source: str) -> Path | None:
        """Return the directory that a context names on this machine, None if it is elsewhere."""
        if "://" in source:
            scheme, _, rest = source.partition("://")
            if scheme not in {"dir", "file"}:
                return None
            source = rest
        elif source.startswith("git@"):
            return None
        return Path(os.path.normpath(self.directory / source))

    def waves(self) -> list[list[PlannedImage]]:
        """Sort the images into waves: each needs only images of earlier ones."""
        level: dict[str, int] = {}
        for image in in_order(self.images):
            level[image.name] = 1 + max((level[need] for need in image.needs), default=-1)
        count = max(level.values(), default=-1) + 1
        return [[i for i in self.images if level[i.name] == number] for number in range(count)]

    def to_manifest(self) -> dict[str, Any]:
        """Write what is to be built as a manifest without variables, groups and inheritance."""
        return {"version": 1, "images": {i.name: i.to_manifest() for i in self.images}}


def in_order(images: Sequence[PlannedImage]) -> list[PlannedImage]:
    """Sort images so that each comes after what it needs; there are no cycles by now."""
    by_name = {image.name: image for image in images}
    done: dict[str, PlannedImage] = {}
    waiting = list(reversed(images))
    while waiting:
        image = waiting[-1]
        missing = [by_name[need] for need in image.needs if need not in done and need in by_name]
        if image.name in done or not missing:
            done.setdefault(image.name, image)
            waiting.pop()
        else:
            waiting += reversed(missing)
    return list(done.values())
