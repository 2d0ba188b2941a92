"""Read the build sections of a compose file as images of a manifest, with their places kept.

The fields are those of the Compose specification's build.md. Of the interpolation in its
12-interpolation.md `$NAME`, `${NAME}`, `${NAME:-x}` and `$$` are read.
"""

import re
from dataclasses import replace

from asynckaniko.batch.bake import cache_of
from asynckaniko.batch.document import Fields, Findings, Items, Node, Place, Scalar

_USE = re.compile(r"\$(?:(?P<dollar>\$)|(?P<bare>[A-Za-z_]\w*)|\{(?P<braced>[^}]*)\})")
_BRACED = re.compile(r"(?P<name>[A-Za-z_]\w*)(?::-[^}]*)?")
_SERVICE = "service:"
_SAME = frozenset({"context", "dockerfile", "platforms", "tags", "target"})
_WITHOUT_EFFECT = frozenset({"no_cache", "provenance", "pull", "sbom"})


def is_compose(document: Fields) -> bool:
    """Tell a compose file by its services."""
    return "services" in document.nodes and "images" not in document.nodes


def translate_compose(document: Fields, findings: Findings) -> Fields:
    """Turn services with a build section into images; record what has no counterpart."""
    place = document.place
    if "include" in document.nodes:
        findings.error(
            document.key_place("include"),
            "include of a compose file is not read; `docker compose config` prints the whole",
        )
    reader = _Reader(findings, _fields(document.nodes.get("secrets")))
    images: dict[str, Node] = {}
    groups: dict[str, list[Node]] = {}
    for name, service in _fields(document.nodes.get("services")).items():
        fields = _fields(service)
        if "extends" in fields:
            findings.error(
                fields["extends"].place,
                f"{name}: extends is not read; `docker compose config` prints the whole",
            )
        if "build" not in fields:
            continue
        images[name] = reader.image(service, fields)
        word = Scalar(name, service.place)
        profiles = [item.text for item in _words(fields.get("profiles"))]
        for group in profiles or ["default"]:
            groups.setdefault(group, []).append(word)
    nodes: dict[str, Node] = {
        "version": Scalar("1", place),
        "variables": _map({name: Scalar("", place) for name in reader.variables}, place),
        "groups": _map({name: Items(tuple(found), place) for name, found in groups.items()}, place),
        "images": _map(images, place),
    }
    return Fields(nodes, place)


class _Reader:
    def __init__(self, findings: Findings, secrets: dict[str, Node]) -> None:
        self._findings = findings
        self._secrets = secrets
        self.variables: dict[str, None] = {}
        """Names that are used; unset ones are empty."""

    def image(self, service: Node, fields: dict[str, Node]) -> Node:
        """Translate a service that has a build section."""
        build = fields["build"]
        if isinstance(build, Scalar):
            build = _map({"context": build}, build.place)
        found: dict[str, Node] = {}
        for name, value in _fields(build).items():
            place = build.key_place(name) if isinstance(build, Fields) else value.place
            found |= self._field(name, value, place)
        if "platforms" not in found and "platform" in fields:
            found["platforms"] = Items((fields["platform"],), fields["platform"].place)
        tags = [fields[name] for name in ("image",) if name in fields]
        tags += _items(found["tags"]) if "tags" in found else ()
        if tags:
            found["tags"] = Items(tuple(tags), tags[0].place)
        return self._interpolated(Fields(found, service.place))

    def _field(self, name: str, value: Node, place: Place) -> dict[str, Node]:
        match name:
            case _ if name in _SAME:
                return {name: value}
            case "args" | "labels":
                return {name: _pairs(value)}
            case "shm_size":
                return {"shmSize": value}
            case "ulimits":
                return {name: _ulimits(value)}
            case "additional_contexts":
                return {"contexts": _contexts(_pairs(value))}
            case "secrets":
                secrets = tuple(self._secret(node) for node in _items(value))
                return {name: Items(secrets, place)}
            case "cache_from" | "cache_to":
                return cache_of(value, name, self._findings)
            case "network" if isinstance(value, Scalar) and value.text == "default":
                return {}
            case _ if name in _WITHOUT_EFFECT or name.startswith("x-"):
                return {}
        self._findings.error(place, f"build.{name} of a compose file is not supported")
        return {}

    def _secret(self, node: Node) -> Node:
        fields = node.nodes if isinstance(node, Fields) else {"source": node}
        source = fields.get("source")
        name = source.text if isinstance(source, Scalar) else ""
        declared = _fields(self._secrets.get(name))
        found: dict[str, Node] = {"id": fields.get("target", Scalar(name, node.place))}
        if "environment" in declared:
            found["env"] = declared["environment"]
        elif "file" in declared:
            found["src"] = declared["file"]
        else:
            self._findings.error(
                node.place, f"secret {name}: there is none of that name with file or environment"
            )
            found["env"] = Scalar(name, node.place)
        return _map(found, node.place)

    def _interpolated(self, node: Node) -> Node:
        match node:
            case Scalar(text=text, place=place) if "$" in text:
                return replace(node, text=self._text(text, place))
            case Items(nodes=nodes):
                return replace(node, nodes=tuple(self._interpolated(n) for n in nodes))
            case Fields(nodes=by_name):
                changed = {name: self._interpolated(value) for name, value in by_name.items()}
                return replace(node, nodes=changed)
            case _:
                return node

    def _text(self, text: str, place: Place) -> str:
        """Write compose's variables as a manifest's."""

        def translated(use: "re.Match[str]") -> str:
            if use["dollar"]:
                # What follows must not begin a variable; a manifest writes ${ as $${.
                return "$$" if text[use.end() : use.end() + 1] == "{" else "$"
            if use["bare"]:
                self.variables[use["bare"]] = None
                return f"${{{use['bare']}}}"
            whole = _BRACED.fullmatch(use["braced"])
            if whole is None:
                self._findings.error(
                    place, f"{use[0]} is not read; there is $NAME, ${{NAME}} and ${{NAME:-x}}"
                )
                return ""
            self.variables[whole["name"]] = None
            return use[0]

        return _USE.sub(translated, text)


def _contexts(node: Node) -> Node:
    """Write `service:NAME` as a need of that image."""
    if not isinstance(node, Fields):
        return node
    changed = {
        name: replace(value, text=f"target:{value.text.removeprefix(_SERVICE)}")
        if isinstance(value, Scalar) and value.text.startswith(_SERVICE)
        else value
        for name, value in node.nodes.items()
    }
    return replace(node, nodes=changed)


def _ulimits(node: Node) -> Node:
    """Write `{soft, hard}` as `SOFT:HARD`; what has not both stays, and is refused."""
    if not isinstance(node, Fields):
        return node
    found: dict[str, Node] = {}
    for name, value in node.nodes.items():
        limits = _fields(value)
        soft, hard = limits.get("soft"), limits.get("hard")
        if isinstance(soft, Scalar) and isinstance(hard, Scalar):
            found[name] = replace(soft, text=f"{soft.text}:{hard.text}", kind="str")
        else:
            found[name] = value
    return replace(node, nodes=found)


def _pairs(node: Node) -> Node:
    """Write a list of `NAME=VALUE` as a map; a name alone takes the environment's."""
    if not isinstance(node, Items):
        return node
    found: dict[str, Node] = {}
    for word in _words(node):
        name, equals, value = word.text.partition("=")
        found[name] = replace(word, text=value, kind="str" if equals else "null")
    return _map(found, node.place)


def _words(node: Node | None) -> list[Scalar]:
    nodes = node.nodes if isinstance(node, Items) else ()
    return [item for item in nodes if isinstance(item, Scalar)]


def _items(node: Node) -> tuple[Node, ...]:
    return node.nodes if isinstance(node, Items) else (node,)


def _fields(node: Node | None) -> dict[str, Node]:
    return node.nodes if isinstance(node, Fields) else {}


def _map(nodes: dict[str, Node], place: Place) -> Fields:
    return Fields(nodes, place)
