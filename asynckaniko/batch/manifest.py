"""The manifest's shape: what may stand where. Its JSON Schema is shipped as `schema.json`.

Words may hold `${NAME}`, also where a number is wanted, so numbers are checked after expansion.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from importlib import resources
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from asynckaniko.batch.document import Findings, Node, find, plain
from asynckaniko.batch.quantities import parse_cpu, parse_duration, parse_memory
from asynckaniko.build.step_limits import parse_shm_size, parse_ulimit
from asynckaniko.errors import InvalidReference
from asynckaniko.isolation import rlimits
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Reference

LATE_VARIABLE = "INPUT_DIGEST"
"""Known only when an image's turn comes; tags may hold it."""

_WORD = {"type": ["string", "number", "boolean"]}
_AMOUNT = {"type": ["string", "number"]}
Text: TypeAlias = Annotated[str, WithJsonSchema(_WORD)]
Words: TypeAlias = dict[str, Text]


def _memory(text: str) -> str:
    parse_memory(text)
    return text


def _cpu(text: str) -> str:
    parse_cpu(text)
    return text


def _duration(text: str) -> str:
    parse_duration(text)
    return text


def _ulimits(found: dict[str, str]) -> dict[str, str]:
    for name, text in found.items():
        if name not in rlimits.NUMBERS:
            raise ValueError(f"{name} is unknown{did_you_mean(name, list(rlimits.NUMBERS))}")
        parse_ulimit(text)
    return found


def _shm_size(text: str) -> str:
    if parse_shm_size(text) == 0:
        raise ValueError(f'"{text}": it must be more than 0')
    return text


def _platform(text: str) -> str:
    try:
        return str(Platform.parse(text))
    except InvalidReference as error:
        raise ValueError(str(error)) from error


def _tag(text: str) -> str:
    try:
        reference = Reference.parse(text.replace(f"${{{LATE_VARIABLE}}}", "0" * 64))
    except InvalidReference as error:
        raise ValueError(str(error)) from error
    if reference.digest:
        raise ValueError(f"a tag cannot have a digest: {text}")
    return text


Memory: TypeAlias = Annotated[str, AfterValidator(_memory), WithJsonSchema(_AMOUNT)]
Cpu: TypeAlias = Annotated[str, AfterValidator(_cpu), WithJsonSchema(_AMOUNT)]
Duration: TypeAlias = Annotated[str, AfterValidator(_duration)]
PlatformText: TypeAlias = Annotated[str, AfterValidator(_platform)]
Tag: TypeAlias = Annotated[str, AfterValidator(_tag)]
Ulimits: TypeAlias = Annotated[Words, AfterValidator(_ulimits)]
ShmSize: TypeAlias = Annotated[str, AfterValidator(_shm_size), WithJsonSchema(_AMOUNT)]
Count: TypeAlias = Annotated[int, Field(ge=0), WithJsonSchema({"type": ["integer", "string"]})]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Variable(_Model):
    """A value that the environment or `--var` can change."""

    default: Text | None = None
    env: str = ""
    """The environment variable that stands in for the default; else one of the same name does."""


class SecretKey(_Model):
    """A key of a Kubernetes Secret."""

    name: str
    key: str


class SecretSource(_Model):
    """Where a secret's value comes from: a variable or file here, a Secret on the cluster."""

    id: str
    env: str = ""
    src: str = ""
    kubernetes: SecretKey | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "SecretSource":
        if bool(self.env) == bool(self.src) and not (self.kubernetes and not self.env):
            raise ValueError("a secret has either env or src")
        return self


class CacheOptions(_Model):
    """Layers of earlier builds, as --cache-repo and its kin."""

    repo: str = ""
    ttl: Duration = "336h"
    write: bool = True
    run_layers: bool = True
    copy_layers: bool = False


class LocalOutput(_Model):
    """A file or directory that is written besides what is pushed."""

    type: Literal["oci-layout", "docker-archive"]
    path: str


class ResourceNeeds(_Model):
    """What a build takes while it runs: admission here, the Pod's requests on a cluster."""

    memory: Memory | None = None
    cpu: Cpu | None = None
    weight: Annotated[int, Field(ge=1), WithJsonSchema({"type": ["integer", "string"]})] = 1
    """How many of --jobs it counts as."""


class ImageFields(_Model):
    """What is said of an image, or of several by `defaults` and `templates`."""

    inherits: list[str] = []
    matrix: dict[str, list[Text]] = {}
    name: str = ""
    context: str = "."
    dockerfile: str = "Dockerfile"
    target: str = ""
    args: dict[str, Text | None] = {}
    labels: Words = {}
    annotations: Words = {}
    tags: list[Tag] = []
    contexts: Words = {}
    platforms: list[PlatformText] = []
    secrets: list[SecretSource] = []
    cache: CacheOptions | None = None
    outputs: list[LocalOutput] = []
    resources: ResourceNeeds = ResourceNeeds()
    ulimits: Ulimits = {}
    """Soft and hard limit of each RUN by docker's name, as --ulimit."""
    shm_size: ShmSize | None = None
    retries: Count = 0
    timeout: Duration | None = None


class KubernetesOptions(_Model):
    """How images are built as Jobs of a cluster."""

    namespace: str = "default"
    service_account: str = ""
    image: str = ""
    """The image with `asynckaniko` that the Pods run."""
    queue: str = ""
    """A Kueue LocalQueue, which then admits the Jobs."""
    parallelism: Count = 50
    ttl: Duration = "24h"
    working_dir: str = "/workspace"
    """Where relative contexts are, in the Pod."""
    registry_secret: str = ""
    """A Secret of type kubernetes.io/dockerconfigjson with the registries' credentials."""
    pod_template: dict[str, Any] = {}
    """Laid over the Pod template: volumes, tolerations, annotations."""


class Engines(_Model):
    kubernetes: KubernetesOptions = KubernetesOptions()


class Manifest(_Model):
    """The whole file."""

    version: Literal["1"]
    variables: dict[str, Variable | Text] = {}
    defaults: ImageFields = ImageFields()
    templates: dict[str, ImageFields] = {}
    groups: dict[str, list[str]] = {}
    images: dict[str, ImageFields]
    engine: Engines = Engines()


class Outline(_Model):
    """The file before variables are expanded: images are looked at one by one afterwards."""

    version: Literal["1"]
    variables: dict[str, Variable | Text] = {}
    defaults: dict[str, Any] = {}
    templates: dict[str, dict[str, Any]] = {}
    groups: dict[str, list[str]] = {}
    images: dict[str, dict[str, Any] | None]
    engine: dict[str, Any] = {}


Shape = TypeVar("Shape", bound=_Model)


def validate(shape: type[Shape], node: Node, findings: Findings) -> Shape | None:
    """Check `node`; each problem is recorded at its own place. None if there was one."""
    try:
        return shape.model_validate(plain(node))
    except ValidationError as error:
        for problem in error.errors():
            path = tuple(step for step in problem["loc"] if step != "[key]")
            place = find(node, path, key=problem["type"] == "extra_forbidden")
            findings.error(place, _message(shape, path, problem))
        return None


def _message(shape: type[_Model], path: tuple[int | str, ...], problem: Any) -> str:
    name = ".".join(str(step) for step in path)
    match problem["type"]:
        case "extra_forbidden":
            return f"{name} is unknown here{did_you_mean(str(path[-1]), _names_at(shape, path))}"
        case "missing":
            hint = ": begin the file with version: 1" if name == "version" else ""
            return f"{name} is missing{hint}"
        case "value_error":
            return f"{name}: {problem['ctx']['error']}"
        case "list_type" | "dict_type" | "model_type" | "model_attributes_type":
            kind = "a list" if problem["type"] == "list_type" else "a map"
            return f"{name} must be {kind}"
        case "string_type":
            return f"{name} must be a word, not {_kind(problem['input'])}"
        case "literal_error":
            return f"{name} must be {problem['ctx']['expected'].replace(chr(39), '')}"
        case _:
            return f"{name}: {problem['msg'][:1].lower()}{problem['msg'][1:]}"


def _kind(value: Any) -> str:
    if value is None:
        return "empty"
    return "a map" if isinstance(value, dict) else "a list"


def _names_at(shape: type[_Model], path: tuple[int | str, ...]) -> list[str]:
    fields: Mapping[str, Any] = shape.model_fields
    for step in path[:-1]:
        field = fields.get(re.sub(r"([A-Z])", r"_\1", str(step)).lower())
        inner = getattr(field, "annotation", None)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            fields = inner.model_fields
    return [field.alias or name for name, field in fields.items()]


def did_you_mean(word: str, words: list[str]) -> str:
    """Write a hint, or what there is, or nothing."""
    near = get_close_matches(word, words, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; there is {', '.join(sorted(words))}" if 0 < len(words) <= 24 else ""


def make_schema() -> bytes:
    """Make the JSON Schema of a manifest, as it is shipped."""
    schema = Manifest.model_json_schema(by_alias=True)
    schema["properties"]["version"] = {"enum": [1, "1"]}
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "asynckaniko batch manifest",
        **{key: value for key, value in schema.items() if key != "title"},
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"


def read_schema() -> bytes:
    """Return the shipped JSON Schema."""
    return resources.files("asynckaniko.batch").joinpath("schema.json").read_bytes()
