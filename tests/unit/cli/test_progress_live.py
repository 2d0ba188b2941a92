"""The live display: what ends up on a terminal's screen."""

import logging
import re
import unicodedata

import pytest
from rich.console import Console

from asynckaniko.cli.live_rows import Glyphs, Rows, Running
from asynckaniko.cli.progress import LogMessage, Stopping
from asynckaniko.cli.progress_live import LiveDisplay
from asynckaniko.events import (
    BlobProgress,
    BuildStarted,
    BuildWarning,
    CacheMissed,
    LayerPullStarted,
    StepFailedEvent,
    StepFinished,
    StepOutput,
    StepStarted,
)
from tests.unit.cli.script import APT, MAKE, STAGES, digest, whole_build

_SEQUENCE = re.compile(r"\x1b\[\??([0-9;]*)([A-Za-z])|\r|\n|[^\x1b\r\n]+")


class Screen:
    """As much of a terminal as the live display uses. Long lines are an error, not wrapped."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.lines = [""]
        self.row = 0
        self.cursor_is_hidden = False

    def write(self, text: str) -> int:
        for found in _SEQUENCE.finditer(text):
            if found[0] == "\n":
                self.row += 1
                if self.row == len(self.lines):
                    self.lines.append("")
            elif found[2] == "A":
                self.row -= int(found[1] or 1)
            elif found[2] == "K":
                self.lines[self.row] = ""
            elif found[2] in {"l", "h"} and found[1] == "25":
                self.cursor_is_hidden = found[2] == "l"
            elif found[0][0] not in "\x1b\r":
                self.lines[self.row] += found[0]
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True

    @property
    def text(self) -> list[str]:
        return [line.rstrip() for line in self.lines if line.strip()]


def row(mark: str, label: str, time: str) -> str:
    """A row of a screen of 60 columns, of which the last stays free."""
    cut = label if len(label) <= 48 else f"{label[:47]}…"
    return f" {mark} {cut:<48} {time:>7}"


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "10")
    monkeypatch.setenv("TERM", "xterm-256color")
    return Screen()


@pytest.fixture
def display(screen: Screen) -> LiveDisplay:
    return LiveDisplay(screen, color=True)  # type: ignore[arg-type]


def test_running_steps_are_below_what_is_done(screen: Screen, display: LiveDisplay) -> None:
    display.show(
        [
            (0.0, BuildStarted("Dockerfile", "final", STAGES)),
            (0.0, StepStarted(MAKE)),
            (0.0, StepStarted(APT)),
            (0.5, StepOutput(APT, "Get:1 http://deb.debian.org", "stdout", 0.5)),
            (1.0, StepFinished(MAKE, 1.0)),
        ]
    )
    display.tick(2.0)

    assert screen.text == [
        row("✓", "[build 3/3] RUN make -j4 all", "1.0s"),
        row("⠋", "[final 1/2] RUN apt-get update && apt-get install -y curl", "2.0s"),
        "   │ Get:1 http://deb.debian.org",
        " 2.0s  1 step done, 1 running",
    ]
    assert screen.cursor_is_hidden


def test_cached_steps_and_misses_of_the_cache_are_told(
    screen: Screen, display: LiveDisplay
) -> None:
    display.show(
        [
            (0.0, BuildStarted("Dockerfile", "final", STAGES)),
            (0.0, CacheMissed("final", "RUN apt-get", 8, ("command",))),
            (0.0, StepStarted(MAKE)),
            (0.0, StepFinished(MAKE, 0.0, cached=True)),
        ]
    )
    display.close(1.0)

    assert screen.text[:2] == [
        " · cache miss: RUN apt-get: command changed",
        row("=", "[build 3/3] RUN make -j4 all", "CACHED"),
    ]


def test_messages_bear_the_mark_of_their_weight(screen: Screen, display: LiveDisplay) -> None:
    display.show(
        [
            (0.0, LogMessage(logging.INFO, "batch", "api: built in 2.0s")),
            (0.0, LogMessage(logging.WARNING, "batch", "web: skipped")),
            (0.0, LogMessage(logging.ERROR, "batch", "base: failed")),
        ]
    )
    display.close(1.0)

    assert screen.text[:3] == [
        " · batch: api: built in 2.0s",
        " ! batch: web: skipped",
        " ✗ batch: base: failed",
    ]


def test_screen_is_redrawn_in_place(screen: Screen, display: LiveDisplay) -> None:
    display.show([(0.0, StepStarted(MAKE))])
    for tenth in range(20):
        display.tick(tenth / 10)

    assert len(screen.text) == 2


def test_closing_leaves_what_is_done_and_the_cursor(screen: Screen, display: LiveDisplay) -> None:
    for now, event in whole_build():
        display.show([(now, event)])
        display.tick(now)
    display.close(9.9)

    assert screen.text == [
        row("✓", "FROM docker.io/library/debian:12  2 layers, 49.7 MB", "0.4s"),
        " ! retry: GET https://registry-1.docker.io/v2/: HTTP 503",
        "   (UNAVAILABLE); attempt 2 in 0.2s",
        row("✓", f"pulled {digest('big')[:19]}  48.5 MB", "2.6s"),
        row("✓", "[build 1/3] WORKDIR /src", "0.0s"),
        row("✓", "[build 2/3] COPY . .", "0.2s"),
        " ! LegacyKeyValueFormat: Legacy key/value format with",
        "   whitespace separator should not be used (Dockerfile:6)",
        row("✓", "[build 3/3] RUN make -j4 all", "2.6s"),
        row("✓", "[final 1/2] RUN apt-get update && apt-get install -y curl", "4.8s"),
        row("✓", "[final 2/2] COPY --from=build /src/out /usr/bin/out", "0.1s"),
        " ✓ pushed registry.example.com/team/app:latest  sha256:05b…",
        " ✓ pushed registry.example.com/team/app:1.4  sha256:05b3ab…",
        " ✓ wrote /tmp/digest  (digest file)",
        row("✓", "built: 4 layers, 82.6 MB, 31.0 MB uploaded", "9.8s"),
    ]
    assert not screen.cursor_is_hidden


def test_transfer_shows_how_far_it_is(screen: Screen, display: LiveDisplay) -> None:
    display.show(
        [
            (0.0, LayerPullStarted(digest("big"), 48_500_000)),
            (0.5, BlobProgress("pull", digest("big"), 9_700_000, 48_500_000)),
        ]
    )
    display.tick(0.5)

    assert screen.text[0] == row("⠴", f"pull {digest('big')[:19]}   9.7 / 48.5 MB", "0.5s")


def test_failed_step_stays_on_the_screen(screen: Screen, display: LiveDisplay) -> None:
    display.show([(0.0, StepStarted(MAKE)), (1.0, StepFailedEvent(MAKE, 1.0, "exit status 2"))])
    display.close(1.0)

    assert screen.text == [row("✗", "[build 3/3] RUN make -j4 all", "1.0s")]


def test_interruption_is_acknowledged(screen: Screen, display: LiveDisplay) -> None:
    display.show([(0.0, StepStarted(MAKE)), (1.0, Stopping("SIGINT"))])
    display.tick(1.0)

    assert screen.text[-1] == " SIGINT: stopping and cleaning up; Ctrl-C once more ends a…"


def test_live_part_never_outgrows_the_screen(screen: Screen, display: LiveDisplay) -> None:
    for number in range(40):
        display.show([(0.0, LayerPullStarted(digest(str(number)), 1_000_000))])
    display.show([(0.0, StepStarted(MAKE))])
    for number in range(10):
        display.show([(0.1, StepOutput(MAKE, f"line {number}", "stdout", 0.1))])
    display.tick(1.0)

    assert len(screen.text) <= 9
    assert screen.text[-2] == " … and 34 more"


def test_lines_are_cut_to_the_width_of_wide_characters(
    screen: Screen, display: LiveDisplay
) -> None:
    display.show(
        [
            (0.0, StepStarted(MAKE)),
            (0.1, StepOutput(MAKE, "警告" * 40, "stdout", 0.1)),
            (0.1, BuildWarning("詳細" * 60)),
        ]
    )
    display.tick(1.0)

    widths = [
        sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)
        for line in screen.text
    ]
    assert max(widths) <= 60


def test_terminal_that_goes_away_is_left_alone_and_does_not_stop_the_build(
    display: LiveDisplay,
) -> None:
    class Gone(Screen):
        refused = 0

        def write(self, text: str) -> int:
            self.refused += 1
            raise OSError(5, "Input/output error")

    terminal = Gone()
    gone = LiveDisplay(terminal, color=True)  # type: ignore[arg-type]
    gone.show([(0.0, StepStarted(MAKE))])
    gone.tick(1.0)
    refused = terminal.refused

    gone.show([(1.5, StepFinished(MAKE, 1.5))])
    gone.tick(2.0)
    gone.close(3.0)

    assert refused > 0
    assert terminal.refused == refused


def test_rows_of_output_are_shared_out_evenly() -> None:
    rows = Rows(Glyphs(), 40)
    tasks = [Running("one", 0.0), Running("two", 0.0), Running("three", 0.0)]
    for task, lines in zip(tasks, (6, 1, 6), strict=True):
        task.tail.extend(f"{task.label} {number}" for number in range(lines))

    region = [row.plain.strip() for row in rows.region(tasks, "footer", now=0.0, height=12)]

    assert [line for line in region if line.startswith("│")] == [
        "│ one 3",
        "│ one 4",
        "│ one 5",
        "│ two 0",
        "│ three 3",
        "│ three 4",
        "│ three 5",
    ]


def test_terminal_without_unicode_gets_ascii() -> None:
    rows = Rows(Glyphs.for_encoding("ascii"), 40)
    task = Running("pull", 0.0, transferred=5, size=10)
    task.tail.append("x" * 100)

    text = "\n".join(row.plain for row in rows.region([task], "f" * 90, now=1.0, height=10))

    assert text.isascii()


@pytest.mark.parametrize(
    ("width", "bar"), [(60, ""), (70, "━━──────── "), (100, "━━━━──────────────── ")]
)
def test_bar_is_as_long_as_there_is_room(width: int, bar: str) -> None:
    task = Running("pull x", 0.0, transferred=2_000_000, size=10_000_000)

    assert f"pull x  {bar} 2.0 / 10.0 MB " in Rows(Glyphs(), width).running(task, 0.0).plain


def test_time_ends_the_row() -> None:
    row = Rows(Glyphs(), 30).row("✓", "label", "1.0s")

    assert Console(width=30).measure(row).maximum == 29
    assert row.plain == " ✓ label                 1.0s"
