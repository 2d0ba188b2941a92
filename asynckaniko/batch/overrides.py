"""`--set PATTERN.FIELD[.KEY]=VALUE`: the command line's word over the manifest's."""

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from asynckaniko.batch.document import Fields, Findings, Items, Node, Place, Scalar, merge
from asynckaniko.batch.manifest import ImageFields, did_you_mean, validate
from asynckaniko.batch.plan import PlannedImage

_LISTS = frozenset({"tags", "platforms"})
_FIXED = frozenset({"inherits", "matrix", "name"})


def apply_overrides(
    images: Sequence[PlannedImage], settings: Sequence[str], findings: Findings
) -> list[PlannedImage]:
    """Change the images that match; what cannot be is recorded in `findings`.

    For `tags` and `platforms` the first setting replaces the list and later ones add to it;
    `+=` adds to what the manifest has.
    """
    nodes = {image.name: image.node for image in images}
    replaced: set[tuple[str, str]] = set()
    for setting in settings:
        place = Place(f"--set {setting.partition('=')[0]}")
        path, equals, value = setting.partition("=")
        adds = path.endswith("+")
        pattern, field, key = _split(path.removesuffix("+"), nodes)
        if not equals or not field:
            findings.error(place, "it must be PATTERN.FIELD[.KEY]=VALUE, like api*.args.V=2")
            continue
        names = [name for name in nodes if fnmatchcase(name, pattern)]
        if not names:
            findings.error(
                place, f"no image is called {pattern}{did_you_mean(pattern, list(nodes))}"
            )
        if field in _FIXED:
            findings.error(place, f"{field} cannot be set")
            continue
        for name in names:
            new: Node = Scalar(value, place)
            if field in _LISTS:
                before = nodes[name].nodes.get(field)
                keep = adds or (name, field) in replaced
                old = before.nodes if keep and isinstance(before, Items) else ()
                new = Items((*old, new), place)
                replaced.add((name, field))
            elif key:
                new = Fields({key: new}, place, {key: place})
            change = Fields({field: new}, place, {field: place})
            merged = merge(nodes[name], change)
            assert isinstance(merged, Fields), "two maps make one"
            nodes[name] = merged
    return [_again(image, nodes[image.name], findings) for image in images]


def _split(path: str, names: dict[str, Fields]) -> tuple[str, str, str]:
    """Split `pattern.field.key`; names may have dots, and so may keys."""
    known = {field.alias or name for name, field in ImageFields.model_fields.items()}
    parts = path.split(".")
    for end in range(1, len(parts)):
        if parts[end] in known:
            return ".".join(parts[:end]), parts[end], ".".join(parts[end + 1 :])
    return (parts[0], parts[1], ".".join(parts[2:])) if len(parts) > 1 else (path, "", "")


def _again(image: PlannedImage, node: Fields, findings: Findings) -> PlannedImage:
    if node is image.node:
        return image
    fields = validate(ImageFields, node, findings)
    if fields is None:
        return image
    return replace(PlannedImage.of(image.name, image.parent, fields, node), node=node)
