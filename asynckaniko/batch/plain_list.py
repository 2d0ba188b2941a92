"""Read a plain list: a Dockerfile or a directory on each line, and what it is pushed as.

    services/api            registry.example.com/team/api:1
    services/web/Dockerfile registry.example.com/team/web:1

Lists are what scripts produce; whatever more is to be said of an image needs a manifest.
"""

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path

from asynckaniko.batch.document import Fields, Findings, Items, Node, Place, Scalar

_KEY = re.compile(r"""\s*(?:[\w."'-]+\s*:(?:\s|$)|---|%YAML)""")
"""How a line of a manifest begins; paths have no colon before a space."""
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.]+")


def is_list(content: bytes) -> bool:
    """Tell a list of lines by its first one."""
    for line in content.decode(errors="replace").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            return not (line.lstrip().startswith(("{", "[", "- ")) or _KEY.match(line))
    return False


def read_list(content: bytes, findings: Findings, *, directory: Path) -> Fields:
    """Turn lines into a manifest. Problems go to `findings`."""
    text = content.decode(errors="replace")
    findings.source = text
    items: list[Node] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = [] if line.lstrip().startswith("#") else line.split()
        place = Place(findings.file, number, 1)
        if len(words) > 2:
            findings.error(place, "a line has a Dockerfile or directory and one destination")
        elif words:
            nodes: dict[str, Node] = {"context": Scalar(words[0], place)}
            if len(words) == 2:
                nodes["tags"] = Items((Scalar(words[1], place),), place)
            items.append(Fields(nodes, place))
    return translate_list(items, Place(findings.file, 1, 1), findings, directory=directory)


def translate_list(
    items: Iterable[Node], place: Place, findings: Findings, *, directory: Path
) -> Fields:
    """Turn paths and images without a key into a manifest; `name` of an image is its key."""
    images: dict[str, Node] = {}
    for item in items:
        nodes = _fields(item)
        given = nodes.pop("name", None)
        path = nodes.get("context")
        if isinstance(path, Scalar) and "dockerfile" not in nodes:
            nodes |= _split(path, directory)
        context = path.text if isinstance(path, Scalar) else ""
        name = given.text if isinstance(given, Scalar) else _name(context, directory)
        if given is not None and name in images:
            findings.error(given.place, f"two images are called {name}")
        keys = item.keys if isinstance(item, Fields) else {}
        images[_free(name, images)] = Fields(nodes, item.place, keys)
    return Fields(
        {"version": Scalar("1", place), "images": Fields(images, place)},
        place,
    )


def _split(path: Scalar, directory: Path) -> dict[str, Node]:
    """Take a file's name as the Dockerfile's, and where it is as the context."""
    if "://" in path.text or not (directory / path.text).is_file():
        return {}
    head, name = posixpath.split(path.text)
    return {
        "context": Scalar(head or ".", path.place),
        "dockerfile": Scalar(name, path.place),
    }


def _name(path: str, directory: Path) -> str:
    """Name an image after its path."""
    head, last = posixpath.split(posixpath.normpath(path))
    words = head if last in {"Dockerfile", "Containerfile"} else posixpath.join(head, last)
    name = _NOT_IN_NAMES.sub("-", words).strip("-._")
    return name or _NOT_IN_NAMES.sub("-", directory.absolute().name).strip("-._") or "image"


def _free(name: str, taken: Iterable[str]) -> str:
    used, number, free = set(taken), 1, name
    while free in used:
        number += 1
        free = f"{name}-{number}"
    return free


def _fields(node: Node) -> dict[str, Node]:
    return dict(node.nodes) if isinstance(node, Fields) else {"context": node}
