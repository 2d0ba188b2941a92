"""Show many builds on a display that was made for one: every step says whose it is."""

import logging
from dataclasses import field, replace
from pathlib import Path

from asynckaniko.batch.outcome import Outcome, Status
from asynckaniko.batch.plan import PlannedImage
from asynckaniko.batch.report import first_line
from asynckaniko.cli.labels import seconds_text
from asynckaniko.cli.progress import LogMessage, Sink
from asynckaniko.events import (
    BaseResolved,
    BuildFinished,
    BuildStarted,
    BuildWarning,
    Event,
    LayerPacked,
    LayerReused,
    OutputWritten,
    StageFinished,
    StageStarted,
    Step,
    StepFailedEvent,
    StepFinished,
    StepOutput,
    StepStarted,
)
from asynckaniko.records import dataclass

_NAME = "batch"


@dataclass(slots=True)
class BatchProgress:
    """Passes the events of all images on to one sink."""

    sink: Sink
    hidden: Path
    """Outputs below it are between the images, and nobody's result."""
    _seen: set[object] = field(default_factory=set)
    _several: set[str] = field(default_factory=set)
    """Images with more than one stage."""

    def event(self, image: str, event: Event) -> None:
        """Take an event of an image."""
        shown = self._relabelled(image, event)
        if shown is not None:
            self.sink(shown)

    def started(self, image: PlannedImage, attempt: int) -> None:
        """Tell of another attempt; the first shows in its steps."""
        if attempt > 1:
            self._say(logging.INFO, f"{image.name}: attempt {attempt}")

    def ended(self, outcome: Outcome) -> None:
        took = seconds_text(outcome.seconds)
        match outcome.status:
            case Status.BUILT:
                self._say(logging.INFO, f"{outcome.name}: built in {took}")
            case Status.KEPT:
                self._say(logging.INFO, f"{outcome.name}: kept")
            case Status.FAILED:
                reason = first_line(outcome.error) if outcome.error else ""
                self._say(logging.ERROR, f"{outcome.name}: failed after {took}: {reason}")
            case Status.SKIPPED:
                self._say(logging.WARNING, f"{outcome.name}: skipped, {outcome.reason}")
            case Status.CANCELLED:
                self._say(logging.WARNING, f"{outcome.name}: cancelled")

    def _say(self, level: int, text: str) -> None:
        self.sink(LogMessage(level, _NAME, text))

    def _relabelled(self, image: str, event: Event) -> Event | None:
        match event:
            case BuildStarted(stages=stages):
                # Not shown: a display that knows of one stage only leaves its name out.
                if len(stages) > 1:
                    self._several.add(image)
                return None
            case BuildFinished() | StageStarted() | StageFinished():
                return None
            case BuildWarning(message=message):
                return replace(event, message=f"{image}: {message}")
            case OutputWritten(path=path) if Path(path).is_relative_to(self.hidden):
                return None
            case BaseResolved(reference=reference) if str(self.hidden) in reference:
                return None
            case BaseResolved(reference=reference, digest=digest):
                return self._once((reference, digest), event)
            case LayerReused(digest=digest):
                return self._once(digest, event)
            case StepStarted() | StepOutput() | StepFinished() | StepFailedEvent() | LayerPacked():
                return replace(event, step=self._step(image, event.step))
            case _:
                return event

    def _step(self, image: str, step: Step) -> Step:
        if image not in self._several:
            return replace(step, stage=image)
        stage = f"stage-{step.stage}" if step.stage.isdigit() else step.stage
        return replace(step, stage=f"{image} {stage}")

    def _once(self, key: object, event: Event) -> Event | None:
        if key in self._seen:
            return None
        self._seen.add(key)
        return event
