"""The rows of the live display: one line each, cut to the screen's width."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import field

from rich.text import Text

from asynckaniko.cli.labels import count_text, seconds_text, size_text
from asynckaniko.records import dataclass

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_SPINNER_ASCII = "|/-\\"
_MOST_TAIL = 6
_TIME_WIDTH = 7
_BAR_WIDTH = 20


@dataclass(slots=True, eq=False)
class Running:
    """Something that goes on: its label, since when, and what it said or moved so far."""

    label: str
    started: float
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_MOST_TAIL))
    transferred: int = 0
    size: int = 0


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Marks, with stand-ins for terminals that only know ASCII."""

    done: str = "✓"
    failed: str = "✗"
    cached: str = "="
    warning: str = "!"
    note: str = "·"
    output: str = "│"
    filled: str = "━"
    empty: str = "─"
    ellipsis: str = "…"
    spinner: str = _SPINNER

    @classmethod
    def for_encoding(cls, encoding: str) -> "Glyphs":
        if encoding.lower().startswith("utf"):
            return cls()
        return cls("+", "x", "=", "!", "-", "|", "#", "-", "~", _SPINNER_ASCII)


@dataclass(frozen=True, slots=True)
class Rows:
    """Makes rows for a screen of `width` columns."""

    glyphs: Glyphs
    width: int

    def row(self, mark: str, label: str, right: str = "", *, style: str = "") -> Text:
        """Write ` ✓ label ... right`, the label cut or padded so that `right` ends the line.

        `style` is that of the mark.
        """
        line = Text(no_wrap=True).append(f" {mark} ", style=style)
        room = self.width - line.cell_len - (_TIME_WIDTH + 1 if right else 0) - 1
        line.append_text(self._fit(Text(label), max(8, room), pad=bool(right)))
        if right:
            line.append(f" {right:>{_TIME_WIDTH}}", style="dim")
        return line

    def running(self, task: Running, now: float) -> Text:
        spinner = self.glyphs.spinner
        mark = spinner[int(now * 10) % len(spinner)]
        label = task.label
        if task.size:
            bar = f"{self._bar(task.transferred / task.size)} " if self.width >= 66 else ""
            label = f"{label}  {bar}{_moved(task)}"
        return self.row(mark, label, seconds_text(now - task.started), style="cyan")

    def output(self, line: str) -> Text:
        """Write a line that a command printed, below the command's row."""
        text = Text.from_ansi(line)
        head = Text(f"   {self.glyphs.output} ", style="dim", no_wrap=True)
        text.stylize("dim")
        return head.append_text(self._fit(text, self.width - head.cell_len - 1))

    def region(self, tasks: list[Running], footer: str, *, now: float, height: int) -> list[Text]:
        """Lay out what is running within `height` rows: a row each, then what fits of output."""
        most = max(1, height - 2)
        shown, hidden = tasks[:most], len(tasks) - most
        if hidden > 0:
            shown, hidden = tasks[: most - 1], len(tasks) - most + 1
        tails = _tail_lengths([len(task.tail) for task in shown], most - len(shown))
        rows: list[Text] = []
        for task, length in zip(shown, tails, strict=True):
            rows.append(self.running(task, now))
            rows += [self.output(line) for line in list(task.tail)[len(task.tail) - length :]]
        if hidden > 0:
            rows.append(self.row(self.glyphs.ellipsis, f"and {hidden} more", style="dim"))
        rows.append(self._fit(Text(f" {footer}", style="bold"), self.width - 1))
        return rows

    def _bar(self, share: float) -> str:
        width = _BAR_WIDTH if self.width >= 80 else _BAR_WIDTH // 2
        filled = min(width, int(share * width))
        return self.glyphs.filled * filled + self.glyphs.empty * (width - filled)

    def _fit(self, text: Text, width: int, *, pad: bool = False) -> Text:
        text.no_wrap = True
        if text.cell_len > width:
            text.truncate(max(1, width - len(self.glyphs.ellipsis)), overflow="crop")
            text.append(self.glyphs.ellipsis)
        if pad and text.cell_len < width:
            text.pad_right(width - text.cell_len)
        return text


def _moved(task: Running) -> str:
    """Write how much of how much, in columns that do not jump."""
    total = size_text(task.size)
    number, unit = total.split(" ")
    done, done_unit = size_text(task.transferred).split(" ")
    text = f"{done} / {total}" if done_unit == unit else f"{done} {done_unit} / {total}"
    return f"{text:>{2 * len(number) + len(unit) + 4}}"


def _tail_lengths(available: Iterable[int], room: int) -> Iterator[int]:
    """Share out `room` rows among tails, evenly, nobody getting more than it has."""
    wanted = list(available)
    given = [0] * len(wanted)
    while room > 0 and (open_ := [i for i, want in enumerate(wanted) if given[i] < want]):
        for index in open_[:room]:
            given[index] += 1
        room -= len(open_[:room])
    return iter(given)


def footer_text(seconds: float, *, running: int, done: int, stopping: str) -> str:
    if stopping:
        return f"{stopping}: stopping and cleaning up; Ctrl-C once more ends at once"
    now = f", {running} running" if running else ""
    return f"{seconds_text(seconds)}  {count_text(done, 'step')} done{now}"
