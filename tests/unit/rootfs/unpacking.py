"""Call the jobs of `apply_layer` as a build does: in its namespaces, archives by descriptor."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asynckaniko.rootfs.apply_layer import apply_on_top, unpack_layer
from tests.unit.rootfs.children import in_namespaces
from tests.unit.rootfs.trees import describe

LIMITS = {"size": 1 << 30, "entries": 1_000_000}


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@contextmanager
def memory_file(content: bytes = b"") -> Iterator[int]:
    descriptor = os.memfd_create("archive")
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def unpack(blob: bytes, directory: str = "layer", **changes: Any) -> dict[str, Any]:
    """Unpack a blob; `tar` among the changes is what is inside, if it is compressed."""
    arguments = {
        "directory": directory,
        "media_type": "application/vnd.oci.image.layer.v1.tar",
        "digest": sha256(blob),
        "size": len(blob),
        "diff_id": sha256(changes.pop("tar", blob)),
        "limits": LIMITS,
    } | changes
    with memory_file(blob) as descriptor:
        return unpack_layer(arguments, [descriptor])


def apply(archive: bytes, conflicts: str, lowers: list[str]) -> dict[str, Any]:
    """Apply an archive over `lowers` into `upper`, which is made with all else that is needed."""
    for name in ("upper", "work", "scratch"):
        Path(name).mkdir(exist_ok=True)
    arguments = {"lowers": lowers, "upper": "upper", "work": "work", "scratch": "scratch"}
    with memory_file(archive) as descriptor:
        return apply_on_top(arguments | {"conflicts": conflicts}, [descriptor])


@dataclass(frozen=True)
class Unpacked:
    """What the job said, and what is on disk as the namespace sees it."""

    result: Mapping[str, Any]
    tree: Mapping[str, Mapping[str, Any]]

    def all(self, key: str) -> dict[str, Any]:
        """Map each path to one of its facts (see `describe`), where it has that."""
        return {path: facts[key] for path, facts in self.tree.items() if key in facts}


def unpacked(tmp_path: Path, blob: bytes, **changes: Any) -> Unpacked:
    """Unpack a blob in namespaces of its own."""

    def work() -> Unpacked:
        result = unpack(blob, **changes)
        return Unpacked(result, describe(Path("layer")))

    return in_namespaces(tmp_path, work)
