"""Where a build's time went: its events as spans on one axis."""

import time
from collections.abc import Iterable
from dataclasses import field

from asynckaniko.cli.labels import count_text, short_digest, size_text, step_label
from asynckaniko.events import (
    BaseResolved,
    BlobProgress,
    BlobPushed,
    BuildFinished,
    BuildStarted,
    Event,
    ImagePushed,
    LayerPacked,
    LayerPulled,
    LayerReused,
    OutputWritten,
    Step,
    StepFailedEvent,
    StepFinished,
    StepOutput,
    StepStarted,
)
from asynckaniko.records import dataclass

BASES, UPLOADS = "Base images", "Outputs"
"""Groups of rows beside the stages."""


@dataclass(frozen=True, slots=True)
class Span:
    """One bar. `kind` is image, resolve, pull, reuse, step, pack, push or write."""

    kind: str
    label: str
    start_seconds: float
    """Since the timeline began."""
    seconds: float
    detail: str = ""
    state: str = ""
    """`cached`, `failed`, `unfinished`, or empty."""


@dataclass(slots=True)
class Row:
    """One line of the picture: a step with the packing of its layer, or a transfer."""

    label: str
    spans: list[Span] = field(default_factory=list)


@dataclass(slots=True)
class Group:
    """The rows of a stage, of the base images or of the outputs."""

    title: str
    rows: list[Row] = field(default_factory=list)


class Timeline:
    """Collects events; second 0 is when it is made."""

    def __init__(self) -> None:
        self._zero = time.monotonic()
        self._moments: list[tuple[float, Event]] = []
        self._stages: tuple[str, ...] = ()

    def add(self, event: Event, *, at: float | None = None) -> None:
        """Take an event that happens now, or at a given second."""
        if isinstance(event, StepOutput | BlobProgress):
            return
        if isinstance(event, BuildStarted):
            self._stages = event.stages
        self._moments.append((self.now() if at is None else at, event))

    def now(self) -> float:
        return time.monotonic() - self._zero

    @property
    def has_begun(self) -> bool:
        return bool(self._moments)

    @property
    def seconds(self) -> float:
        """Length of the axis: until the last event."""
        return max((moment for moment, _ in self._moments), default=0.0)

    @property
    def title(self) -> str:
        started = next((e for _, e in self._moments if isinstance(e, BuildStarted)), None)
        return f"{started.dockerfile}, target {started.target}" if started else "build"

    @property
    def outcome(self) -> str:
        """Say how the build ended, on one line."""
        for _, event in reversed(self._moments):
            if isinstance(event, BuildFinished):
                return f"{count_text(event.layers, 'layer')}, {size_text(event.size)}"
            if isinstance(event, StepFailedEvent):
                return f"failed: {step_label(event.step, self._stages)}"
        return "did not finish"

    def groups(self) -> list[Group]:
        """Sort everything that took time into groups of rows, in order of their start."""
        groups: dict[str, Group] = {BASES: Group(BASES)}
        groups |= {stage: Group(f"Stage {stage}") for stage in self._stages}
        groups[UPLOADS] = Group(UPLOADS)
        steps: dict[Step, Row] = {}
        ends = self._ends()
        for now, event in self._moments:
            match event:
                case StepStarted(step):
                    steps[step] = Row(step_label(step, ("",)))
                    group = groups.setdefault(step.stage, Group(f"Stage {step.stage}"))
                    group.rows.append(steps[step])
                    end, last = ends.get(step, (self.seconds, None))
                    steps[step].spans.append(_step_span(steps[step].label, now, end, last))
                case LayerPacked(step) if step in steps:
                    steps[step].spans.append(_packing(event, now))
                case LayerPulled() | LayerReused() | BaseResolved():
                    span = _base_span(event, now)
                    groups[BASES].rows.append(Row(span.label, [span]))
                case BlobPushed() | ImagePushed() | OutputWritten():
                    span = _output_span(event, now)
                    groups[UPLOADS].rows.append(Row(span.label, [span]))
                case _:
                    pass
        for name in (BASES, UPLOADS):
            groups[name].rows.sort(key=lambda row: row.spans[0].start_seconds)
        return [group for group in groups.values() if group.rows]

    def _ends(self) -> dict[Step, tuple[float, StepFinished | StepFailedEvent]]:
        return {
            event.step: (now, event)
            for now, event in self._moments
            if isinstance(event, StepFinished | StepFailedEvent)
        }


def total_by_kind(groups: Iterable[Group]) -> dict[str, float]:
    """Add up the seconds of each kind of work, over everything that ran side by side."""
    totals: dict[str, float] = {}
    for group in groups:
        for row in group.rows:
            for span in row.spans:
                totals[span.kind] = totals.get(span.kind, 0.0) + span.seconds
    return {kind: seconds for kind, seconds in totals.items() if seconds >= 0.005}


def _step_span(
    label: str, start: float, end: float, last: StepFinished | StepFailedEvent | None
) -> Span:
    match last:
        case StepFinished(_, _, cached):
            return Span("step", label, start, end - start, state="cached" if cached else "")
        case StepFailedEvent(_, _, message):
            return Span("step", label, start, end - start, message, "failed")
        case None:
            return Span("step", label, start, end - start, state="unfinished")


def _packing(event: LayerPacked, now: float) -> Span:
    entries = "1 entry" if event.entries == 1 else f"{event.entries} entries"
    detail = f"{size_text(event.uncompressed_size)} in {entries} became {size_text(event.size)}"
    label = f"layer {short_digest(event.digest)}"
    return Span("pack", label, max(0.0, now - event.seconds), event.seconds, detail)


def _base_span(event: LayerPulled | LayerReused | BaseResolved, now: float) -> Span:
    match event:
        case BaseResolved(reference, digest, layers, size, seconds):
            detail = f"{digest}, {count_text(layers, 'layer')}, {size_text(size)}"
            return Span("resolve", reference, max(0.0, now - seconds), seconds, detail)
        case LayerPulled(digest, size, seconds, unpacked):
            label = f"{short_digest(digest)} {size_text(size)}"
            detail = "downloaded and unpacked" if unpacked else "downloaded"
            return Span("pull", label, max(0.0, now - seconds), seconds, detail)
        case LayerReused(digest, size):
            label = f"{short_digest(digest)} {size_text(size)}"
            return Span("reuse", label, now, 0.0, state="cached")


def _output_span(event: BlobPushed | ImagePushed | OutputWritten, now: float) -> Span:
    match event:
        case BlobPushed(repository, digest, size, route, seconds):
            label, detail = f"{short_digest(digest)} {size_text(size)}", f"{route}: {repository}"
            state = "" if route == "uploaded" else "cached"
            start = max(0.0, now - seconds)
            return Span("push", label, start, seconds, detail, state)
        case ImagePushed(reference, digest):
            return Span("push", reference, now, 0.0, f"manifest {digest}")
        case OutputWritten(kind, path, digest):
            return Span("write", path, now, 0.0, f"{kind} {digest}")
