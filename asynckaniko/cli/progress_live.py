"""Progress on a terminal: what is done scrolls up, what is running is redrawn in place below.

The live part never grows beyond the screen, and every line is cut to its width.
"""

import logging
from collections.abc import Callable, Hashable, Iterable
from typing import IO, Any, cast

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from asynckaniko.cli.labels import (
    count_text,
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
from asynckaniko.cli.live_rows import Glyphs, Rows, Running, footer_text
from asynckaniko.cli.progress import LogMessage, Moment, OutputDropped, Shown, Stopping
from asynckaniko.events import (
    BaseResolved,
    BlobProgress,
    BlobPushed,
    BlobRoute,
    BuildFinished,
    BuildStarted,
    BuildWarning,
    CacheMissed,
    ImagePushed,
    LayerPulled,
    LayerPullStarted,
    OutputWritten,
    RequestRetried,
    StepFailedEvent,
    StepFinished,
    StepOutput,
    StepStarted,
)


class LiveDisplay:
    """Draws progress on the terminal that `stream` is."""

    interval = 0.1

    def __init__(self, stream: IO[str], *, color: bool) -> None:
        self._console = Console(
            file=cast("IO[str]", _Synchronized(stream)),
            force_terminal=True,
            no_color=not color,
            highlight=False,
            markup=False,
        )
        self._glyphs = Glyphs.for_encoding(self._console.encoding)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._stages: tuple[str, ...] = ()
        self._running: dict[Hashable, Running] = {}
        self._uploaded = 0
        self._steps_done = 0
        self._stopping = ""
        self._finished: list[Text] = []
        self._drawn_at = -1.0
        self._is_open = True

    def show(self, moments: Iterable[Moment]) -> None:
        for now, event in moments:
            self._apply(now, event)

    def tick(self, now: float) -> None:
        if self._finished or now - self._drawn_at >= self.interval:
            self._draw(now)

    def close(self, now: float) -> None:
        """Leave what is done on the screen and take the live part away."""
        self._running.clear()
        self._draw(now)
        if self._is_open and self._live.is_started:
            self._guarded(self._live.stop)

    def _apply(self, now: float, event: Shown) -> None:
        match event:
            case BuildStarted(_, _, stages):
                self._stages = stages
            case StepStarted(step):
                self._running[step] = Running(step_label(step, self._stages), now)
            case StepOutput(step, line):
                if step in self._running:
                    self._running[step].tail.append(output_text(line, color=True))
            case StepFinished(step, seconds, cached):
                self._running.pop(step, None)
                self._steps_done += 1
                took = "CACHED" if cached else seconds_text(seconds)
                mark = self._glyphs.cached if cached else self._glyphs.done
                self._tell(step_label(step, self._stages), took, mark=mark)
            case StepFailedEvent(step, seconds):
                self._running.pop(step, None)
                label = step_label(step, self._stages)
                row = self._rows().row(self._glyphs.failed, label, seconds_text(seconds))
                row.stylize("bold red")
                self._finished.append(row)
            case Stopping(signal):
                self._stopping = signal
            case _:
                self._apply_transfer(now, event)

    def _apply_transfer(self, now: float, event: Shown) -> None:
        match event:
            case BaseResolved(reference, _, layers, size, seconds):
                what = f"{count_text(layers, 'layer')}, {size_text(size)}"
                self._tell(f"FROM {reference}  {what}", seconds_text(seconds))
            case LayerPullStarted(digest, size):
                self._running[digest] = Running(f"pull {short_digest(digest)}", now, size=size)
            case BlobProgress(verb, digest, transferred, size):
                key: Hashable = digest if verb == "pull" else (verb, digest)
                label = f"{verb} {short_digest(digest)}"
                task = self._running.setdefault(key, Running(label, now, size=size))
                task.transferred = transferred
            case LayerPulled(digest, size, seconds):
                self._running.pop(digest, None)
                label = f"pulled {short_digest(digest)}  {size_text(size)}"
                self._tell(label, seconds_text(seconds))
            case BlobPushed(_, digest, size, route):
                self._running.pop(("push", digest), None)
                if route == BlobRoute.UPLOADED:
                    self._uploaded += size
            case ImagePushed(reference, digest):
                self._tell(f"pushed {reference}  {short_digest(digest)}")
            case OutputWritten(kind, path, _):
                self._tell(f"wrote {path}  ({output_kind(kind)})")
            case BuildFinished(_, seconds, layers, size):
                what = f"{count_text(layers, 'layer')}, {size_text(size)}"
                uploaded = f", {size_text(self._uploaded)} uploaded" if self._uploaded else ""
                self._tell(f"built: {what}{uploaded}", seconds_text(seconds))
            case _:
                self._apply_message(event)

    def _apply_message(self, event: Shown) -> None:
        match event:
            case BuildWarning():
                self._say(warning_text(event), "yellow")
            case CacheMissed(changed=changed) if changed:  # else there was nothing to hit
                self._say(f"cache miss: {miss_text(event)}", "dim", mark=self._glyphs.note)
            case RequestRetried():
                self._say(f"retry: {retry_text(event)}", "yellow")
            case OutputDropped(lines):
                self._say(f"{count_text(lines, 'line')} of output not shown", "yellow")
            case LogMessage(level, name, text):
                self._say_logged(level, f"{name}: {text}")
            case _:
                pass  # the other events tell of parts of what is shown already

    def _tell(self, label: str, right: str = "", *, mark: str = "") -> None:
        mark = mark or self._glyphs.done
        self._finished.append(self._rows().row(mark, label, right, style="green"))

    def _say_logged(self, level: int, text: str) -> None:
        """Add a line of a log; its mark stands for its level."""
        if level >= logging.ERROR:
            self._say(text, "red", mark=self._glyphs.failed)
        elif level >= logging.WARNING:
            self._say(text, "yellow")
        else:
            self._say(text, "dim", mark=self._glyphs.note)

    def _say(self, text: str, style: str, *, mark: str = "") -> None:
        """Add a message, a warning if it has no other mark.

        Unlike a row it takes as many lines as it needs.
        """
        mark = mark or self._glyphs.warning
        words = Text(plain_text(text), style=style)
        lines = words.wrap(self._console, max(20, self._console.width - 4))
        for number, line in enumerate(lines):
            head = f" {mark} " if number == 0 else "   "
            self._finished.append(Text(head, style=style).append_text(line))

    def _rows(self) -> Rows:
        return Rows(self._glyphs, self._console.width)

    def _draw(self, now: float) -> None:
        self._drawn_at = now
        self._guarded(lambda: self._draw_unguarded(now))
        self._finished.clear()

    def _draw_unguarded(self, now: float) -> None:
        if not self._live.is_started:
            self._live.start()
        steps = sum(1 for task in self._running.values() if not task.size)
        footer = footer_text(now, running=steps, done=self._steps_done, stopping=self._stopping)
        rows = self._rows().region(
            list(self._running.values()), footer, now=now, height=self._console.height
        )
        with self._console:  # one write for all of it, or the screen flickers
            if self._finished:
                self._console.print(Group(*self._finished))
            self._live.update(Group(*rows), refresh=True)

    def _guarded(self, draw: Callable[[], None]) -> None:
        """Stop drawing when the terminal has gone away; the build goes on."""
        if not self._is_open:
            return
        try:
            draw()
        except (OSError, ValueError):
            self._is_open = False


class _Synchronized:
    """Tells the terminal that what one write brings belongs together, so that nothing flickers.

    Terminals that do not know the mode ignore it.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(f"\x1b[?2026h{text}\x1b[?2026l") if text else 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
