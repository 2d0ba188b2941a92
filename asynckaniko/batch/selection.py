"""Which images of a manifest are built: groups, `--only`, and what the chosen ones need."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from asynckaniko.batch.document import Fields, Findings, Items, Node, Place
from asynckaniko.batch.manifest import did_you_mean
from asynckaniko.batch.plan import Batch, PlannedImage

DEFAULT_GROUP = "default"


def expand_groups(
    document: Fields,
    groups: Mapping[str, Sequence[str]],
    images: Sequence[PlannedImage],
    findings: Findings,
) -> dict[str, tuple[str, ...]]:
    """List the images of each group; groups may name groups, matrices and patterns."""
    node = document.nodes.get("groups")
    found: dict[str, tuple[str, ...]] = {}

    def members(name: str, above: tuple[str, ...]) -> list[str]:
        names: list[str] = []
        for position, word in enumerate(groups[name]):
            place = _place(node, name, position)
            if word == name and any(image.name == word for image in images):
                names.append(word)
            elif word in (*above, name):
                path = " -> ".join((*above, name, word))
                findings.error(place, f"groups name each other in a circle: {path}")
            elif word in groups:
                names += members(word, (*above, name))
            elif matches := _matches(word, images):
                names += matches
            else:
                known = [*groups, *(image.name for image in images)]
                hint = did_you_mean(word, known)
                findings.error(place, f"{word} is no image and no group{hint}")
        return names

    for name in groups:
        found[name] = tuple(dict.fromkeys(members(name, ())))
    return found


def select(batch: Batch, only: Sequence[str], findings: Findings) -> Batch:
    """Keep what is asked for (or the default group, or all), with all that it needs."""
    if not only:
        names = batch.groups.get(DEFAULT_GROUP, tuple(image.name for image in batch.images))
        return keep(batch, names)
    chosen: list[str] = []
    for word in only:
        matches = batch.groups.get(word) or _matches(word, batch.images)
        if not matches:
            known = [*batch.groups, *(image.name for image in batch.images)]
            hint = did_you_mean(word, known)
            findings.error(Place("--only"), f"{word} is no image and no group{hint}")
        chosen += matches
    return keep(batch, chosen)


def keep(batch: Batch, names: Iterable[str]) -> Batch:
    """Keep the named images and, at any distance, those that they need."""
    by_name = {image.name: image for image in batch.images}
    kept: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept.add(name)
            waiting += by_name[name].needs
    return replace(batch, images=tuple(i for i in batch.images if i.name in kept))


def _matches(word: str, images: Sequence[PlannedImage]) -> list[str]:
    return [i.name for i in images if i.parent == word or fnmatchcase(i.name, word)]


def _place(node: Node | None, name: str, position: int) -> Place:
    group = node.nodes.get(name) if isinstance(node, Fields) else None
    if isinstance(group, Items) and position < len(group.nodes):
        return group.nodes[position].place
    return group.place if group else Place("groups")
