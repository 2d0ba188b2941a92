"""Make small trees, describe them, and unpack layers with somebody else's program."""

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

TIME = 1_700_000_000_123_456_789


@dataclass(frozen=True)
class Node:
    """Something in a tree. `mode` 0 stands for what is usual for the kind."""

    kind: str = "file"
    content: bytes = b""
    target: str = ""
    mode: int = 0
    owner: tuple[int, int] | None = None
    mtime: int = TIME
    xattrs: Mapping[str, bytes] = field(default_factory=dict)


def file(content: bytes = b"", **more: Any) -> Node:
    return Node("file", content, **more)


def directory(**more: Any) -> Node:
    return Node("directory", **more)


def symlink(target: str, **more: Any) -> Node:
    return Node("symlink", target=target, **more)


def hard_link(target: str) -> Node:
    return Node("hard link", target=target)


def fifo(**more: Any) -> Node:
    return Node("fifo", **more)


def make(root: Path, nodes: Mapping[str, Node]) -> Path:
    """Create `nodes` below `root`, in the order given; parents that are not listed are 0755."""
    root.mkdir(parents=True, exist_ok=True)
    for name, node in nodes.items():
        path = root / name
        missing = [parent for parent in path.parents if not parent.exists()]
        for parent in reversed(missing):
            parent.mkdir()
            parent.chmod(0o755)
        _create(root, path, node)
        if node.owner is not None:
            os.chown(path, *node.owner, follow_symlinks=False)
        for key, value in node.xattrs.items():
            os.setxattr(path, key, value, follow_symlinks=False)
        if node.kind not in ("symlink", "hard link"):
            path.chmod(node.mode or (0o755 if node.kind == "directory" else 0o644))
    times = dict.fromkeys(_implied(nodes), TIME) | {k: n.mtime for k, n in nodes.items()}
    for name in sorted(times, key=len, reverse=True):
        if name not in nodes or nodes[name].kind != "hard link":
            os.utime(root / name, ns=(times[name], times[name]), follow_symlinks=False)
    return root


def _create(root: Path, path: Path, node: Node) -> None:
    match node.kind:
        case "file":
            path.write_bytes(node.content)
        case "directory":
            path.mkdir(exist_ok=True)
        case "symlink":
            path.symlink_to(node.target)
        case "hard link":
            path.hardlink_to(root / node.target)
        case "fifo":
            os.mkfifo(path)


def _implied(nodes: Mapping[str, Node]) -> set[str]:
    return {str(parent) for name in nodes for parent in Path(name).parents if str(parent) != "."}


def describe(root: Path) -> dict[str, dict[str, Any]]:
    """Say everything that an image says about each entry below `root`."""
    first: dict[tuple[int, int], str] = {}
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(root.rglob("*")):
        name, status = str(path.relative_to(root)), path.lstat()
        entry: dict[str, Any] = {
            "kind": stat.S_IFMT(status.st_mode),
            "mode": stat.S_IMODE(status.st_mode),
            "owner": (status.st_uid, status.st_gid),
            "mtime": status.st_mtime_ns,
        }
        if stat.S_ISLNK(status.st_mode):
            entry["target"] = os.readlink(path)
        else:
            entry["xattrs"] = {key: os.getxattr(path, key) for key in os.listxattr(path)}
        if stat.S_ISREG(status.st_mode):
            entry["content"] = path.read_bytes()
            entry["same as"] = first.setdefault((status.st_dev, status.st_ino), name)
        found[name] = entry
    return found


def unpack(layer: Path, root: Path) -> Path:
    """Unpack a layer without whiteouts, by GNU tar."""
    root.mkdir(exist_ok=True)
    options = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-p"]
    subprocess.run(["tar", *options, "-xf", layer, "-C", root], check=True)
    return root


def members(layer: bytes) -> dict[str, tarfile.TarInfo]:
    """Read a layer's entries by Python's tarfile; a name that occurs twice is an error."""
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        listed = tar.getmembers()
    found = {member.name: member for member in listed}
    assert len(found) == len(listed), "an entry is there twice"
    return found


def contents(layer: bytes) -> dict[str, bytes]:
    """Read the content of each regular file of a layer, hard links included."""
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        opened = {member.name: tar.extractfile(member) for member in tar if not member.issym()}
        return {name: file.read() for name, file in opened.items() if file is not None}


def _consistent(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """Keep what can exist together: nothing below files, hard links to files that are there."""
    kept: dict[str, Node] = {}
    for path, node in nodes.items():
        parents = [str(parent) for parent in Path(path).parents]
        if any(kept.get(parent, directory()).kind != "directory" for parent in parents):
            continue
        if any(other.startswith(path + "/") for other in kept):
            continue
        files = [other for other, found in kept.items() if found.kind == "file"]
        if node.kind == "hard link":
            if files:
                kept[path] = hard_link(files[-1])
        else:
            kept[path] = node
    return kept


_NAMES = st.sampled_from(["a", "b", "c", "ä", "x" * 101, ".hidden", "sp ace"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map("/".join)
_MODES = st.integers(0, 0o7777)
_TIMES = st.integers(0, 4 * 10**18)
_XATTRS = st.dictionaries(st.sampled_from(["user.a", "user.b"]), st.binary(max_size=20), max_size=2)
_NODES = st.one_of(
    st.builds(file, st.binary(max_size=2000), mode=_MODES, mtime=_TIMES, xattrs=_XATTRS),
    st.builds(directory, mode=_MODES, mtime=_TIMES, xattrs=_XATTRS),
    st.builds(symlink, st.text("ab/.", min_size=1, max_size=150), mtime=_TIMES),
    st.builds(fifo, mode=_MODES, mtime=_TIMES),
    st.just(hard_link("?")),
)
RANDOM = st.dictionaries(_PATHS, _NODES, max_size=12).map(_consistent)
"""Trees of every kind of entry."""
