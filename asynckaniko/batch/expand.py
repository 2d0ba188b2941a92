"""From a manifest's text to the images it describes: inheritance, matrix, variables, overrides."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from asynckaniko.batch.bake import is_bake, translate_bake
from asynckaniko.batch.compose import is_compose, translate_compose
from asynckaniko.batch.document import (
    Fields,
    Findings,
    Items,
    Node,
    Scalar,
    bent,
    merge,
    read_document,
    typed,
)
from asynckaniko.batch.graph import connect
from asynckaniko.batch.manifest import (
    ImageFields,
    KubernetesOptions,
    Outline,
    did_you_mean,
    validate,
)
from asynckaniko.batch.overrides import apply_overrides
from asynckaniko.batch.plain_list import is_list, read_list, translate_list
from asynckaniko.batch.plan import Batch, PlannedImage
from asynckaniko.batch.selection import expand_groups, select
from asynckaniko.batch.variables import expand_node, resolve_variables
from asynckaniko.records import dataclass

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_OWN = ("inherits", "matrix", "name")
"""What an image does not take over from another."""
_TEXT_FIELDS = (
    "args",
    "annotations",
    "labels",
    "matrix",
    "tags",
    "contexts",
    "variables",
    "target",
    "name",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the caller wants of a manifest."""

    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    variables: Mapping[str, str] = field(default_factory=dict)
    settings: Sequence[str] = ()
    """`pattern.field[.key]=value`."""
    only: Sequence[str] = ()
    """Images, groups and patterns; empty: the group `default`, else all."""


def load(content: bytes, file: str, *, directory: Path, choices: Choices | None = None) -> Batch:
    """Read a manifest, or what can stand for one, into the images that are to be built.

    Reads the Dockerfiles of local contexts too, to find which images need one another.

    Raises:
        ManifestError: lists everything that is wrong.
    """
    findings = Findings(file=file)
    document = _read(content, findings, directory)
    findings.check()
    assert document is not None, "else there was a problem"
    outline = validate(Outline, document, findings)
    findings.check()
    assert outline is not None, "else there was a problem"
    expansion = _Expansion(document, outline, choices or Choices(), findings)
    images = expansion.images()
    groups = expand_groups(document, outline.groups, images, findings)
    kubernetes = expansion.kubernetes()
    batch = Batch(
        file=file,
        directory=directory.absolute(),
        images=tuple(images),
        variables=expansion.values,
        groups=groups,
        kubernetes=kubernetes or KubernetesOptions(),
        source=findings.source,
    )
    batch = connect(batch, findings)
    findings.check()
    batch = select(batch, expansion.choices.only, findings)
    findings.check()
    return replace(batch, warnings=tuple(findings.warning_lines()))


def _read(content: bytes, findings: Findings, directory: Path) -> Fields | None:
    """Read a manifest, a bake or compose file or a list, as a manifest."""
    if is_list(content):
        return read_list(content, findings, directory=directory)
    document = read_document(content, findings)
    match document:
        case Items(nodes=items, place=place):
            return translate_list(items, place, findings, directory=directory)
        case Fields() if is_bake(document):
            return translate_bake(document, findings)
        case Fields() if is_compose(document):
            return translate_compose(document, findings)
        case _:
            return document


class _Expansion:
    def __init__(
        self, document: Fields, outline: Outline, choices: Choices, findings: Findings
    ) -> None:
        self.choices = choices
        self._findings = findings
        self._defaults = document.nodes.get("defaults")
        self._engine = document.nodes.get("engine")
        self._images = _fields(document.nodes.get("images"))
        self._templates = _fields(document.nodes.get("templates"))
        self._used: set[str] = set()
        self.values = resolve_variables(
            outline.variables,
            document.nodes.get("variables"),
            environment=choices.environment,
            given=choices.variables,
            findings=findings,
        )
        self._warn_of_bent_words(document)

    def images(self) -> list[PlannedImage]:
        found: list[PlannedImage] = []
        for key, node in self._images.items():
            whole = self._inherited(key, node, ())
            found += self._of_matrix(key, whole, _fields(node))
        for name, node in self._templates.items():
            if name in self._images:
                place = node.place
                self._findings.error(place, f"{name} is both a template and an image")
            if name not in self._used:
                validate(
                    ImageFields, expand_node(node, self.values, self._findings), self._findings
                )
        found = apply_overrides(found, self.choices.settings, self._findings)
        self._check_names(found)
        return found

    def kubernetes(self) -> KubernetesOptions | None:
        node = _fields(self._engine).get("kubernetes")
        for name in _fields(self._engine):
            if name != "kubernetes":
                place = _fields(self._engine)[name].place
                self._findings.error(place, f"engine.{name} is unknown; there is kubernetes")
        if node is None:
            return None
        expanded = expand_node(node, self.values, self._findings)
        options = validate(KubernetesOptions, expanded, self._findings)
        template = _fields(expanded).get("podTemplate")
        if options and template is not None:
            return options.model_copy(update={"pod_template": typed(template)})
        return options

    def _inherited(self, name: str, node: Node, above: tuple[str, ...]) -> Fields:
        """Lay the image over what it inherits, and that over the defaults."""
        own = node if isinstance(node, Fields) else Fields({}, node.place)
        below: Node | None = self._defaults if not above else None
        if isinstance(below, Fields):
            below = _without(below, _OWN)
        path = (*above, name)
        for parent in _words(own.nodes.get("inherits")):
            word = expand_node(parent, self.values, self._findings)
            assert isinstance(word, Scalar), "a word stays one"
            below = self._lay(below, word, path)
        return _as_fields(merge(below, own))

    def _lay(self, below: Node | None, parent: Scalar, path: tuple[str, ...]) -> Node | None:
        name = parent.text
        if name in path:
            shown = " -> ".join((*path[path.index(name) :], name))
            self._findings.error(parent.place, f"images inherit in a circle: {shown}")
            return below
        node = self._templates.get(name, self._images.get(name))
        if node is None:
            hint = did_you_mean(name, [*self._templates, *self._images])
            self._findings.error(parent.place, f"{name} is no image and no template{hint}")
            return below
        self._used.add(name)
        return merge(below, _without(self._inherited(name, node, path), _OWN))

    def _of_matrix(
        self, key: str, whole: Fields, own: Mapping[str, Node]
    ) -> Iterator[PlannedImage]:
        axes = self._axes(own.get("matrix"))
        for combination in itertools.product(*axes.values()):
            choice = dict(zip(axes, combination, strict=True))
            values = {**self.values, **choice}
            nodes = {k: v for k, v in whole.nodes.items() if k not in ("matrix", "name")}
            node = replace(whole, nodes=nodes)
            expanded = _as_fields(expand_node(node, values, self._findings))
            name = self._name(key, own.get("name"), values, choice)
            fields = validate(ImageFields, expanded, self._findings)
            if fields is not None:
                yield PlannedImage.of(name, key, fields, expanded)

    def _axes(self, node: Node | None) -> dict[str, list[str]]:
        axes: dict[str, list[str]] = {}
        if node is not None and not isinstance(node, Fields):
            self._findings.error(node.place, "matrix must be a map of names to lists")
        for name, values in _fields(node).items():
            words = _words(expand_node(values, self.values, self._findings))
            axes[name] = [word.text for word in words]
            if not words:
                self._findings.error(values.place, f"matrix.{name} must be a list of words")
        return axes

    def _name(
        self, key: str, template: Node | None, values: Mapping[str, str], choice: Mapping[str, str]
    ) -> str:
        place = self._images[key].place
        if isinstance(template, Scalar):
            expanded = expand_node(template, values, self._findings)
            assert isinstance(expanded, Scalar), "a word stays one"
            name, place = expanded.text, template.place
        else:
            words = (_NOT_IN_NAMES.sub("-", value) for value in choice.values())
            name = "-".join((key, *words))
        if not _NAME.fullmatch(name):
            self._findings.error(place, f"{name!r} is no name: letters, digits, dot, dash and _")
        return name

    def _check_names(self, images: Sequence[PlannedImage]) -> None:
        seen: dict[str, PlannedImage] = {}
        for image in images:
            if image.name in seen:
                place = _fields(self._images[image.parent]).get("name", image.node).place
                self._findings.error(
                    place,
                    f"two images are called {image.name}; let name hold every variable of matrix",
                )
            seen[image.name] = image

    def _warn_of_bent_words(self, document: Fields) -> None:
        places = [document, *_fields(document.nodes.get("images")).values()]
        places += _fields(document.nodes.get("templates")).values()
        places += [self._defaults] if self._defaults else []
        for node in places:
            for name, value in _fields(node).items():
                for word in bent(value) if name in _TEXT_FIELDS else ():
                    self._findings.warn(
                        word.place,
                        f"{word.text} is read as written, but as a number by other readers of "
                        f'YAML; write "{word.text}"',
                    )


def _fields(node: Node | None) -> dict[str, Node]:
    return node.nodes if isinstance(node, Fields) else {}


def _as_fields(node: Node) -> Fields:
    return node if isinstance(node, Fields) else Fields({}, node.place)


def _words(node: Node | None) -> list[Scalar]:
    if not isinstance(node, Items):
        return []
    return [item for item in node.nodes if isinstance(item, Scalar)]


def _without(node: Fields, names: Sequence[str]) -> Fields:
    return replace(node, nodes={k: v for k, v in node.nodes.items() if k not in names})
