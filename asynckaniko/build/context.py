"""BuildRun: everything the stages of one running build share."""

from dataclasses import field
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, Lock
from anyio.abc import TaskGroup

from asynckaniko.build.base_layers import BaseLayers
from asynckaniko.build.contexts import BuildContexts
from asynckaniko.build.layers import LayerFiles
from asynckaniko.build.plan import Plan
from asynckaniko.build.remote_files import RemoteFile
from asynckaniko.build.request import BuildRequest
from asynckaniko.build.scope import GlobalScope
from asynckaniko.build.sources import FromArrival, FromDirectory
from asynckaniko.build.workspace import Resources, Workspace
from asynckaniko.dockerfile.instructions import Dockerfile
from asynckaniko.events import EventSink
from asynckaniko.records import dataclass

if TYPE_CHECKING:
    from asynckaniko.build.caching import StepCache
    from asynckaniko.build.export import Exporter


@dataclass(frozen=True, slots=True, kw_only=True)
class Timestamps:
    """`created` is for config and history (RFC 3339); `clamp` the latest time of files, if any.

    `epoch` is SOURCE_DATE_EPOCH, if it is given: the time of what the build makes of itself.
    """

    created: str
    clamp: int | None
    epoch: int | None = None


@dataclass(slots=True, kw_only=True)
class BuildRun:
    """One build in progress."""

    request: BuildRequest
    dockerfile: Dockerfile
    plan: Plan
    scope: GlobalScope
    contexts: BuildContexts
    context_source: FromDirectory | FromArrival
    timestamps: Timestamps
    resources: Resources
    base_layers: BaseLayers
    workspace: Workspace
    layer_files: LayerFiles
    """Of layers as the image will have them."""
    step_files: LayerFiles
    """Of steps' layers, which may not be the image's (--single-snapshot)."""
    emit: EventSink
    tasks: TaskGroup
    """Background work of this build: packing. Its failure ends the build."""
    steps: CapacityLimiter
    """Steps at a time (--jobs)."""
    keep_blobs: bool = False
    """An output will hold or send base blobs, so a pull for the image stores them too."""
    exporter: "Exporter" = field(init=False)
    cache: "StepCache" = field(init=False)
    secrets: dict[str, bytes] = field(default_factory=dict, repr=False)
    network_files: dict[str, str] = field(default_factory=dict)
    """Path in the image to text: resolv.conf and hosts as RUN sees them."""
    fetched: dict[tuple[str, ...], tuple[list[str], list[RemoteFile]]] = field(default_factory=dict)
    """What ADDs named by URL, by sources and checksum."""
    context_copies: dict[str, str] = field(default_factory=dict)
    """Parts of contexts that RUN mounts show, by what they hold."""
    context_copies_lock: Lock = field(default_factory=Lock)
