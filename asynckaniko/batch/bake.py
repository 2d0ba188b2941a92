"""Read docker-bake.json: its targets as images of a manifest, with their places kept."""

from collections.abc import Iterator
from dataclasses import replace

from asynckaniko.batch.document import Fields, Findings, Items, Node, Place, Scalar

_SAME = frozenset(
    {
        "args",
        "context",
        "contexts",
        "dockerfile",
        "inherits",
        "labels",
        "matrix",
        "name",
        "platforms",
        "tags",
        "target",
    }
)
_WITHOUT_EFFECT = {
    "attest": "attestations are not made",
    "description": "",
    "no-cache": "",
    "provenance": "attestations are not made",
    "pull": "bases are always looked up",
    "sbom": "attestations are not made",
}


def is_bake(document: Fields) -> bool:
    """Tell a bake file by its targets."""
    return "target" in document.nodes and "images" not in document.nodes


def translate_bake(document: Fields, findings: Findings) -> Fields:
    """Turn variables, groups and targets into a manifest's; record what has no counterpart."""
    place = document.place
    images: dict[str, Node] = {}
    templates: dict[str, Node] = {}
    targets = _fields(document.nodes.get("target"))
    for name, node in targets.items():
        # The convention of bake files for what is only inherited.
        kind = templates if name.startswith("_") else images
        kind[name] = _image(node, findings)
    groups: dict[str, Node] = {
        name: _fields(node).get("targets", Items((), node.place))
        for name, node in _fields(document.nodes.get("group")).items()
    }
    if "default" in targets and "default" not in groups:
        groups["default"] = Items((Scalar("default", targets["default"].place),), place)
    for name, node in document.nodes.items():
        if name not in {"target", "group", "variable"}:
            findings.error(document.key_place(name), f"{name} of a bake file is not supported")
        del node
    nodes: dict[str, Node] = {
        "version": Scalar("1", place),
        "variables": _map(_variables(document.nodes.get("variable")), place),
        "groups": _map(groups, place),
        "images": _map(images, place),
        "templates": _map(templates, place),
    }
    return Fields(nodes, place)


def _variables(node: Node | None) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for name, variable in _fields(node).items():
        default = _fields(variable).get("default")
        is_set = isinstance(default, Scalar) and default.kind != "null"
        value = default if is_set and default else Scalar("", variable.place)
        found[name] = _map({"default": value}, variable.place)
    return found


def _image(node: Node, findings: Findings) -> Node:
    if not isinstance(node, Fields):
        return node
    found: dict[str, Node] = {}
    for name, value in node.nodes.items():
        place = node.key_place(name)
        match name:
            case _ if name in _SAME:
                found[name] = value
            case "secret":
                found["secrets"] = Items(tuple(_secret(i) for i in _items(value)), place)
            case "annotations":
                found[name] = _map(dict(_annotations(value, findings)), place)
            case "ulimits":
                words = [i for i in _items(value) if isinstance(i, Scalar)]
                parts = [(word, *word.text.partition("=")) for word in words]
                limits: dict[str, Node] = {n: replace(w, text=text) for w, n, _, text in parts}
                found[name] = _map(limits, place)
            case "shm-size":
                found["shmSize"] = value
            case "output":
                found["outputs"] = Items(tuple(_outputs(value, findings)), place)
            case "cache-from" | "cache-to":
                found |= cache_of(value, name, findings)
            case _ if name in _WITHOUT_EFFECT:
                if _WITHOUT_EFFECT[name]:
                    findings.warn(place, f"{name} has no effect: {_WITHOUT_EFFECT[name]}")
            case _:
                findings.error(place, f"{name} of a bake target is not supported")
    return replace(node, nodes=found)


def _secret(node: Node) -> Node:
    fields = _pairs(node)
    fields.pop("type", None)
    if "source" in fields:
        fields["src"] = fields.pop("source")
    if "id" in fields and not {"env", "src"} & set(fields):
        fields["env"] = fields["id"]
    return _map(fields, node.place)


def _annotations(node: Node, findings: Findings) -> Iterator[tuple[str, Node]]:
    """Read `[LEVELS:]KEY=VALUE`; only the image's manifest is annotated."""
    for item in _items(node):
        text = item.text if isinstance(item, Scalar) else ""
        key, equals, value = text.partition("=")
        levels, colon, name = key.rpartition(":")
        if not isinstance(item, Scalar) or not equals or (colon and levels != "manifest"):
            findings.error(
                item.place, "this annotation is not supported: KEY=VALUE and manifest:KEY=VALUE are"
            )
        else:
            yield name, replace(item, text=value, kind="str")


def _outputs(node: Node, findings: Findings) -> Iterator[Node]:
    for item in _items(node):
        fields = _pairs(item)
        kind, path = fields.get("type"), fields.get("dest")
        word = kind.text if isinstance(kind, Scalar) else ""
        if word in {"registry", "image"}:
            continue
        if word in {"oci", "docker"} and path is not None:
            name = "docker-archive" if word == "docker" else "oci-layout"
            yield _map({"type": Scalar(name, item.place), "path": path}, item.place)
        else:
            findings.error(
                item.place, "this output is not supported: registry, oci and docker with dest are"
            )


def cache_of(node: Node, name: str, findings: Findings) -> dict[str, Node]:
    """Read what docker's programs say of caches; `name` is the field's, for warnings."""
    for item in _items(node):
        fields = _pairs(item)
        kind = fields.get("type")
        reference = fields.get("ref")
        if isinstance(kind, Scalar) and kind.text == "registry" and isinstance(reference, Scalar):
            head, _, tag = reference.text.rpartition(":")
            repository = head if head and "/" not in tag else reference.text
            value = replace(reference, text=repository)
            return {"cache": _map({"repo": value}, item.place)}
        findings.warn(item.place, f"{name} has no effect: only type=registry,ref=... is read")
    return {}


def _pairs(node: Node) -> dict[str, Node]:
    """Read `key=value,key=value`, or a map as it is; a bare word is a repository."""
    if isinstance(node, Fields):
        return dict(node.nodes)
    if not isinstance(node, Scalar):
        return {}
    if "=" not in node.text:
        return {"type": Scalar("registry", node.place), "ref": node}
    pairs = (part.partition("=") for part in node.text.split(","))
    return {key.strip(): replace(node, text=value) for key, _, value in pairs}


def _fields(node: Node | None) -> dict[str, Node]:
    return node.nodes if isinstance(node, Fields) else {}


def _items(node: Node) -> tuple[Node, ...]:
    return node.nodes if isinstance(node, Items) else (node,)


def _map(nodes: dict[str, Node], place: Place) -> Fields:
    return Fields(nodes, place)
