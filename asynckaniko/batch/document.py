"""Read YAML or JSON as nodes that know where they stand, so that every error can say so.

Scalars keep their text: `3.10` stays `3.10` and is never the number 3.1.
"""

import re
from collections.abc import Iterator
from dataclasses import field, replace
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from asynckaniko.errors import ManifestError
from asynckaniko.records import dataclass

_MOST_NODES = 100_000
"""Aliases can make a small file unfold to any size."""
_MERGE = "tag:yaml.org,2002:merge"
_TAG = "tag:yaml.org,2002:"
_INDENT = re.compile(r"^[\t ]+", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Place:
    """Line and column, from 1, of a file; line 0 is what was given elsewhere, on a command line."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Scalar:
    """A word. `kind` is YAML's opinion of it: str, int, float, bool, null or another."""

    text: str
    place: Place
    kind: str = "str"


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    nodes: tuple["Node", ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Fields:
    """A map with text keys, in the file's order; `keys` are the places of the keys."""

    nodes: dict[str, "Node"]
    place: Place
    keys: dict[str, Place] = field(default_factory=dict)

    def key_place(self, name: str) -> Place:
        return self.keys.get(name) or self.nodes[name].place


Node: TypeAlias = Scalar | Items | Fields


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a manifest, and where."""

    place: Place
    message: str


@dataclass(slots=True)
class Findings:
    """Collects all problems and warnings of a manifest, each once."""

    source: str = ""
    """The manifest's text, for showing its lines."""
    file: str = ""
    problems: dict[Problem, None] = field(default_factory=dict)
    warnings: dict[Problem, None] = field(default_factory=dict)

    def error(self, place: Place, message: str) -> None:
        self.problems[Problem(place, message)] = None

    def warn(self, place: Place, message: str) -> None:
        self.warnings[Problem(place, message)] = None

    def check(self) -> None:
        """Raise ManifestError with everything found so far, if anything was."""
        if not self.problems:
            return
        ordered = sorted(self.problems, key=lambda p: (not p.place.line, p.place.line))
        lines = [line for problem in ordered for line in self._lines(problem)]
        count = f"{len(ordered)} problems" if len(ordered) > 1 else "1 problem"
        raise ManifestError("\n".join((f"{self.file}: {count}", *lines)))

    def warning_lines(self) -> list[str]:
        return [f"{warning.place}: {warning.message}" for warning in self.warnings]

    def _lines(self, problem: Problem) -> Iterator[str]:
        yield f"{problem.place}: {problem.message}"
        lines = self.source.split("\n")
        place = problem.place
        if place.file == self.file and 1 <= place.line <= len(lines):
            yield f"  {place.line:4} | {lines[place.line - 1].rstrip()}"


def read_document(content: bytes, findings: Findings) -> Fields | Items | None:
    """Parse YAML, of which JSON is a part; None when it is a word. Problems go to `findings`."""
    file = findings.file
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        findings.error(Place(file), f"not UTF-8 text: byte {error.start}")
        return None
    findings.source = text
    if text.lstrip().startswith(("{", "[")):
        # JSON may be indented with tabs, YAML not.
        text = _INDENT.sub(lambda match: " " * len(match[0]), text)
    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        lines = text.split("\n")
        line = lines[place.line - 1] if 0 < place.line <= len(lines) else ""
        hint = "; inside [ ] and { } quote words with ${...}" if "${" in line else ""
        findings.error(place, f"not YAML: {error.problem or error.context}{hint}")
        return None
    except (YAMLError, RecursionError, ValueError) as error:
        findings.error(Place(file), f"not YAML: {str(error).splitlines()[0]}")
        return None
    found = _Reader(findings).read(node, ())
    if isinstance(found, Scalar):
        findings.error(Place(file, 1, 1), "a manifest is a map with version and images")
        return None
    return found


class _Reader:
    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._count = 0

    def read(self, node: Any, above: tuple[int, ...]) -> Node:
        mark = node.start_mark if node is not None else None
        place = Place(self._findings.file, *((mark.line + 1, mark.column + 1) if mark else (1, 1)))
        self._count += 1
        if id(node) in above or self._count > _MOST_NODES or len(above) > 64:
            if self._count <= _MOST_NODES + 1:
                self._findings.error(place, "an alias unfolds without end, or too far")
            return Scalar("", place, "null")
        inside = (*above, id(node))
        match node:
            case ScalarNode():
                return Scalar(str(node.value), place, str(node.tag).removeprefix(_TAG))
            case SequenceNode():
                return Items(tuple(self.read(item, inside) for item in node.value), place)
            case MappingNode():
                return self._fields(node, place, inside)
            case _:
                return Scalar("", place, "null")

    def _fields(self, node: Any, place: Place, above: tuple[int, ...]) -> Fields:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        places: dict[str, Place] = {}
        for key, value in node.value:
            at = Place(place.file, key.start_mark.line + 1, key.start_mark.column + 1)
            if str(key.tag) == _MERGE:
                sources = value.value if isinstance(value, SequenceNode) else [value]
                for source in sources:
                    found = self.read(source, above)
                    merged = {**(found.nodes if isinstance(found, Fields) else {}), **merged}
                continue
            if not isinstance(key, ScalarNode):
                self._findings.error(at, "a key must be a word")
                continue
            name = str(key.value)
            if name in own:
                self._findings.error(at, f"{name} is given twice; first at {places[name]}")
            own[name] = self.read(value, above)
            places[name] = at
        return Fields({**merged, **own}, place, places)


def plain(node: Node) -> Any:
    """Turn a node into plain values: every word is text, null is None."""
    match node:
        case Scalar(kind="null"):
            return None
        case Scalar(text=text):
            return text
        case Items(nodes=nodes):
            return [plain(item) for item in nodes]
        case Fields(nodes=nodes):
            return {name: plain(value) for name, value in nodes.items()}


def typed(node: Node) -> Any:
    """Turn a node into values with YAML's types, for what goes to Kubernetes as it is."""
    match node:
        case Scalar(kind="null"):
            return None
        case Scalar(text=text, kind="bool"):
            return text.lower() == "true"
        case Scalar(text=text, kind="int"):
            return int(text.replace("_", ""), 0)
        case Scalar(text=text, kind="float"):
            return float(text.replace("_", ""))
        case Scalar(text=text):
            return text
        case Items(nodes=nodes):
            return [typed(item) for item in nodes]
        case Fields(nodes=nodes):
            return {name: typed(value) for name, value in nodes.items()}


def merge(below: Node | None, above: Node) -> Node:
    """Lay `above` over `below`: maps merge key by key, anything else is replaced."""
    if not isinstance(below, Fields) or not isinstance(above, Fields):
        return above
    nodes = dict(below.nodes)
    for name, value in above.nodes.items():
        nodes[name] = merge(nodes.get(name), value)
    return replace(above, nodes=nodes, keys={**below.keys, **above.keys})


def find(node: Node, path: tuple[int | str, ...], *, key: bool = False) -> Place:
    """Return where `path` below `node` stands, or the nearest thing above it.

    A word is to blame itself, unless its `key` is; of a map or a list the key tells more.
    """
    place = node.place
    for step in path:
        match node:
            case Fields(nodes=nodes) if step in nodes:
                place = node.key_place(str(step))
                node = nodes[str(step)]
            case Items(nodes=items) if isinstance(step, int) and step < len(items):
                node = items[step]
                place = node.place
            case _:
                return place
    return node.place if isinstance(node, Scalar) and not key else place


def bent(node: Node) -> Iterator[Scalar]:
    """Give the words below `node` that other readers of YAML turn into another text."""
    match node:
        case Scalar(kind="int" | "float"):
            if _as_number(node) != node.text:
                yield node
        case Items(nodes=nodes):
            for item in nodes:
                yield from bent(item)
        case Fields(nodes=by_name):
            for value in by_name.values():
                yield from bent(value)
        case _:
            return


def _as_number(scalar: Scalar) -> str:
    text = scalar.text.replace("_", "")
    try:
        return str(int(text, 0)) if scalar.kind == "int" else repr(float(text))
    except ValueError:
        return text.lstrip("0")
