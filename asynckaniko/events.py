"""What happens during a build, as values.

Events are for users and telemetry; `logging` is for developers. They are frozen, carry units in
their names (`seconds`; `size` is bytes) and never a secret. Started/Finished events of one thing
carry the same `step`.
"""

from collections.abc import Callable
from typing import TypeAlias

from asynckaniko.oci.digest import DiffID, Digest
from asynckaniko.records import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction of one stage. `number` and `total` count within the stage, from 1."""

    stage: str
    """The stage's name, or its index as text."""
    number: int
    total: int
    instruction: str
    """The instruction as written, on one line."""
    line: int


@dataclass(frozen=True, slots=True)
class BuildStarted:
    """The Dockerfile is parsed; `stages` are those that will be built, in file order."""

    dockerfile: str
    target: str
    stages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BuildWarning:
    """Something the author should look at. `rule` is a lint rule's name or empty."""

    message: str
    rule: str = ""
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class BaseResolved:
    """A base image's manifest and config are known; nothing of its layers is fetched yet."""

    reference: str
    digest: Digest
    layers: int
    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LayerPullStarted:
    """A base layer is about to be downloaded. `size` is that of the compressed blob."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class LayerPulled:
    """A base layer is downloaded, verified and unpacked (or only stored, if not `unpacked`)."""

    digest: Digest
    size: int
    seconds: float
    unpacked: bool


@dataclass(frozen=True, slots=True)
class LayerReused:
    """A base layer that was needed was in the state directory already."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class StageStarted:
    stage: str


@dataclass(frozen=True, slots=True)
class StageFinished:
    stage: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StepStarted:
    step: Step


@dataclass(frozen=True, slots=True)
class StepOutput:
    """One line a command printed, without its line end."""

    step: Step
    line: str
    stream: str
    """`stdout` or `stderr`."""
    seconds: float
    """Since the step started."""


@dataclass(frozen=True, slots=True)
class StepFinished:
    step: Step
    seconds: float
    cached: bool = False


@dataclass(frozen=True, slots=True)
class StepFailedEvent:
    step: Step
    seconds: float
    message: str


@dataclass(frozen=True, slots=True)
class CacheMissed:
    """The first step of a stage that no cache had a layer for.

    `changed` names the ingredients of its key that are others than in the last build of the same
    target from this state directory; empty if there was none, or if they are all the same.
    """

    stage: str
    instruction: str
    line: int
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LayerPacked:
    """A step's changes are a layer blob. `uncompressed_size` is that of the tar."""

    step: Step
    digest: Digest
    diff_id: DiffID
    size: int
    uncompressed_size: int
    entries: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BlobProgress:
    """How far a transfer is; at most two a second for each blob. `verb` is `pull` or `push`."""

    verb: str
    digest: Digest
    transferred: int
    size: int


class BlobRoute:
    """How a blob came to be in the destination repository."""

    UPLOADED = "uploaded"
    MOUNTED = "mounted"
    EXISTED = "existed"


@dataclass(frozen=True, slots=True)
class BlobPushed:
    """A blob is in the destination repository. `route` is one of BlobRoute."""

    repository: str
    digest: Digest
    size: int
    route: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RequestRetried:
    """A registry request failed in a way that may pass, and will be sent again."""

    method: str
    url: str
    reason: str
    attempt: int
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class ImagePushed:
    """The manifest is in the registry under `reference` (repository:tag)."""

    reference: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class OutputWritten:
    """A layout, archive or result file is in place. `kind` names the output class."""

    kind: str
    path: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class BuildFinished:
    """Everything that was asked for is where it was asked to be."""

    digest: Digest
    seconds: float
    layers: int
    size: int
    """Sum of the sizes of config and layers, compressed."""


Event: TypeAlias = (
    BuildStarted
    | BuildWarning
    | BaseResolved
    | LayerPullStarted
    | LayerPulled
    | LayerReused
    | StageStarted
    | StageFinished
    | StepStarted
    | StepOutput
    | StepFinished
    | StepFailedEvent
    | CacheMissed
    | LayerPacked
    | BlobProgress
    | BlobPushed
    | RequestRetried
    | ImagePushed
    | OutputWritten
    | BuildFinished
)
EventSink: TypeAlias = Callable[[Event], None]
"""Called on the event loop, in order. Must not block and must not raise."""


def ignore(_: Event) -> None:
    """Be the sink of callers who do not watch."""
