"""Progress as lines for a log, in the form of BuildKit's plain progress.

Everything that takes time has a number: `#7 [build 2/5] RUN make`, `#7 0.412 text`, `#7 DONE 3.1s`.
Where several things print at once, one keeps the floor while it has something to say, so that its
lines stay together; `#7 ...` marks where another takes over.
"""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import field

from asynckaniko.cli.labels import (
    count_text,
    log_text,
    miss_text,
    output_kind,
    output_text,
    plain_text,
    retry_text,
    seconds_text,
    short_digest,
    size_text,
    step_label,
    warning_text,
)
from asynckaniko.cli.progress import LogMessage, Moment, OutputDropped, Shown
from asynckaniko.events import (
    BaseResolved,
    BlobProgress,
    BlobPushed,
    BuildFinished,
    BuildStarted,
    BuildWarning,
    CacheMissed,
    ImagePushed,
    LayerPacked,
    LayerPulled,
    LayerPullStarted,
    LayerReused,
    OutputWritten,
    RequestRetried,
    StepFailedEvent,
    StepFinished,
    StepOutput,
    StepStarted,
)
from asynckaniko.records import dataclass

_SILENCE = 1.0
"""Seconds without a word after which another may take the floor."""
_PATIENCE = 5.0
"""Seconds after which another takes the floor all the same."""
_PROGRESS_EVERY = 5.0
"""Seconds between two progress lines of one transfer."""


@dataclass(slots=True, eq=False)
class _Task:
    """Something with a number. `waiting` are its lines that have not been printed."""

    number: int
    title: str
    started: float
    waiting: list[str] = field(default_factory=list)
    waiting_since: float = 0.0
    is_done: bool = False


class PlainDisplay:
    """Prints progress as numbered lines."""

    interval = 0.5

    def __init__(self, write: Callable[[str], None], *, color: bool = False) -> None:
        self._write = write
        self._color = color
        self._stages: tuple[str, ...] = ()
        self._tasks: dict[Hashable, _Task] = {}
        self._count = 0
        self._floor: _Task | None = None
        self._last_word = 0.0
        self._waiting: list[_Task] = []
        self._last_progress: dict[Hashable, float] = {}
        self._lines: list[str] = []

    def show(self, moments: Iterable[Moment]) -> None:
        for now, event in moments:
            self._show(now, event)
            self._pass_on(now)
        self._flush()

    def tick(self, now: float) -> None:
        self._pass_on(now)
        self._flush()

    def close(self, now: float) -> None:
        """Print what is still held back; nothing is marked as done that is not."""
        self._floor = None
        while self._waiting:
            self._take_floor(self._waiting[0], now)
            self._floor = None
        self._flush()

    def _show(self, now: float, event: Shown) -> None:
        match event:
            case StepStarted(step):
                self._task(step, step_label(step, self._stages), now)
            case StepOutput(step, line, _, seconds):
                text = output_text(line, color=self._color)
                self._say(step, f"{seconds:.3f} {text}", now)
            case StepFinished(step, seconds, cached):
                self._done(step, "CACHED" if cached else f"DONE {seconds_text(seconds)}", now)
            case StepFailedEvent(step, _, message):
                self._done(step, f"ERROR: {plain_text(message)}", now)
            case LayerPacked(step):
                self._say(step, _packed_text(event), now)
            case BuildWarning():
                self._lines.append(f"warning: {warning_text(event)}")
            case CacheMissed():
                self._lines.append(f"cache miss: {miss_text(event)}")
            case RequestRetried():
                self._lines.append(f"retry: {retry_text(event)}")
            case LogMessage(level, name, text):
                self._lines.append(log_text(level, name, text))
            case OutputDropped(lines):
                self._lines.append(f"warning: {count_text(lines, 'line')} of output not shown")
            case _:
                self._show_transfer(now, event)

    def _show_transfer(self, now: float, event: Shown) -> None:
        match event:
            case BuildStarted(dockerfile, _, stages):
                self._stages = stages
                self._task(dockerfile, f"[internal] load build definition from {dockerfile}", now)
                self._done(dockerfile, f"DONE {seconds_text(now)}", now)
            case BaseResolved(reference, digest, layers, size, seconds):
                key = ("base", reference)
                self._task(key, f"[internal] load metadata for {reference}", now)
                self._say(key, f"{digest} {count_text(layers, 'layer')}, {size_text(size)}", now)
                self._done(key, f"DONE {seconds_text(seconds)}", now)
            case LayerPullStarted(digest, size):
                self._task(digest, f"[base] {digest} {size_text(size)}", now)
            case LayerPulled(digest, _, seconds):
                self._done(digest, f"DONE {seconds_text(seconds)}", now)
            case LayerReused(digest, size):
                self._task(digest, f"[base] {digest} {size_text(size)}", now)
                self._done(digest, "CACHED", now)
            case BlobProgress():
                self._show_progress(now, event)
            case BlobPushed(repository, digest, size, route, seconds):
                size_and_time = f"{size_text(size)} {route} {seconds_text(seconds)}"
                self._say(
                    self._push(now), f"{repository} {short_digest(digest)} {size_and_time}", now
                )
            case ImagePushed(reference, digest):
                self._say(self._push(now), f"pushed {reference}@{digest}", now)
            case OutputWritten(kind, path, digest):
                key = ("output", path)
                self._task(key, f"[output] {output_kind(kind)} {path}", now)
                self._done(key, f"DONE {digest}", now)
            case BuildFinished(digest, seconds, layers, size):
                self._finish(now)
                what = f"{count_text(layers, 'layer')}, {size_text(size)}"
                self._lines.append(f"built {digest} in {seconds_text(seconds)}: {what}")

    def _show_progress(self, now: float, event: BlobProgress) -> None:
        key: Hashable = event.digest if event.verb == "pull" else self._push(now)
        task = self._tasks.get(key)
        since = self._last_progress.get(event.digest, task.started if task else now)
        if task is None or now - since < _PROGRESS_EVERY:
            return
        self._last_progress[event.digest] = now
        done = f"{size_text(event.transferred)} / {size_text(event.size)}"
        elapsed = seconds_text(now - task.started)
        self._say(key, f"{short_digest(event.digest)} {done} {elapsed}", now)

    def _push(self, now: float) -> Hashable:
        self._task("push", "[push] upload image", now)
        return "push"

    def _finish(self, now: float) -> None:
        for key, task in self._tasks.items():
            if not task.is_done:
                self._done(key, f"DONE {seconds_text(now - task.started)}", now)
        self.close(now)

    def _task(self, key: Hashable, title: str, now: float) -> None:
        if key in self._tasks:
            return
        self._count += 1
        task = self._tasks[key] = _Task(self._count, title, now)
        self._queue(task, now)

    def _say(self, key: Hashable, text: str, now: float) -> None:
        task = self._tasks.get(key)
        if task is None:
            return
        line = f"#{task.number} {text}"
        if task is self._floor:
            self._lines.append(line)
            self._last_word = now
        elif task.is_done and task not in self._waiting:
            self._lines.append(line)  # an afterthought; its number says whose
        else:
            task.waiting.append(line)
            self._queue(task, now)

    def _done(self, key: Hashable, text: str, now: float) -> None:
        task = self._tasks.get(key)
        if task is None:
            return
        self._say(key, text, now)
        task.is_done = True
        if task is self._floor:
            self._lines.append("")
            self._floor = None

    def _queue(self, task: _Task, now: float) -> None:
        if task not in self._waiting:
            task.waiting_since = now
            self._waiting.append(task)

    def _pass_on(self, now: float) -> None:
        """Let those who wait speak, as far as the one that has the floor allows."""
        while self._waiting:
            first = self._waiting[0]
            silent = now - self._last_word >= _SILENCE
            overdue = now - first.waiting_since >= _PATIENCE
            if self._floor and not silent and not overdue:
                return
            self._take_floor(first, now)

    def _take_floor(self, task: _Task, now: float) -> None:
        self._waiting.remove(task)
        if self._floor:
            self._lines += [f"#{self._floor.number} ...", ""]
        self._lines += [f"#{task.number} {task.title}", *task.waiting]
        task.waiting.clear()
        self._last_word = now
        self._floor = task
        if task.is_done:
            self._lines.append("")
            self._floor = None

    def _flush(self) -> None:
        if self._lines:
            self._write("\n".join((*self._lines, "")))
            self._lines.clear()


def _packed_text(event: LayerPacked) -> str:
    unpacked = f"{size_text(event.uncompressed_size)} unpacked"
    entries = "1 entry" if event.entries == 1 else f"{event.entries} entries"
    sizes = f"{size_text(event.size)} ({unpacked}, {entries})"
    return f"layer {short_digest(event.digest)} {sizes} {seconds_text(event.seconds)}"
