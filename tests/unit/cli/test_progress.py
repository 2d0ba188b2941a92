"""Events reach the display in order, however slow it is, and none is lost at the end."""

import logging
import threading
from collections.abc import Iterable

import anyio
import anyio.lowlevel
import pytest

from asynckaniko.cli.progress import (
    LogMessage,
    LogToDisplay,
    Moment,
    Output,
    OutputDropped,
    Shown,
    showing,
)
from asynckaniko.errors import CopyFailed
from asynckaniko.events import StageStarted, StepOutput
from tests.unit.cli.script import MAKE

pytestmark = pytest.mark.anyio


class Recorder:
    """A display that remembers."""

    interval = 0.01

    def __init__(self) -> None:
        self.shown: list[Shown] = []
        self.ticks = 0
        self.threads: set[int] = set()
        self.closed_at = -1.0

    def show(self, moments: Iterable[Moment]) -> None:
        self.threads.add(threading.get_ident())
        self.shown += [event for _, event in moments]

    def tick(self, now: float) -> None:
        self.ticks += 1

    def close(self, now: float) -> None:
        self.closed_at = now


async def test_events_are_shown_in_order_outside_the_event_loop() -> None:
    display = Recorder()
    events = [StageStarted(str(number)) for number in range(100)]

    async with showing(display) as sink:
        for event in events:
            sink(event)
            await anyio.lowlevel.checkpoint()

    assert display.shown == events
    assert threading.get_ident() not in display.threads
    assert display.closed_at > 0


async def test_time_passes_for_the_display_when_nothing_happens() -> None:
    class Ticking(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.ticked = anyio.Event()

        def tick(self, now: float) -> None:
            super().tick(now)
            if self.ticks == 3:
                anyio.from_thread.run_sync(self.ticked.set)

    display = Ticking()

    async with showing(display):
        with anyio.fail_after(10):
            await display.ticked.wait()


async def test_failing_build_is_shown_to_its_end_and_raises_its_own_error() -> None:
    display = Recorder()

    with pytest.raises(CopyFailed, match="no file"):
        async with showing(display) as sink:
            sink(StageStarted("one"))
            raise CopyFailed("no file")

    assert display.shown == [StageStarted("one")]


async def test_cancelled_build_is_shown_to_its_end() -> None:
    display = Recorder()

    with anyio.CancelScope() as scope:
        async with showing(display) as sink:
            try:
                scope.cancel()
                await anyio.sleep(1)
            finally:
                sink(StageStarted("cleaning up"))

    assert display.shown == [StageStarted("cleaning up")]
    assert display.closed_at >= 0


async def test_output_that_nobody_reads_is_dropped_and_counted() -> None:
    class Stuck(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.entered, self.release = anyio.Event(), threading.Event()

        def show(self, moments: Iterable[Moment]) -> None:
            anyio.from_thread.run_sync(self.entered.set)
            assert self.release.wait(30)
            super().show(moments)

    display = Stuck()
    line = StepOutput(MAKE, "x" * (1 << 20), "stdout", 0.0)

    async with showing(display) as sink:
        sink(StageStarted("one"))
        await display.entered.wait()
        for _ in range(50):
            sink(line)
        sink(StageStarted("two"))
        display.release.set()

    kept = [event for event in display.shown if isinstance(event, StepOutput)]
    dropped = [event.lines for event in display.shown if isinstance(event, OutputDropped)]
    assert 0 < len(kept) < 50
    assert sum(dropped) == 50 - len(kept)
    assert StageStarted("two") in display.shown


async def test_developers_log_is_shown_with_the_progress() -> None:
    display = Recorder()
    logger = logging.getLogger("asynckaniko.test")
    async with showing(display) as sink:
        handler = LogToDisplay(sink, logging.WARNING)
        logger.addHandler(handler)
        try:
            logger.warning("%s is slow", "disk")
            logger.info("not worth it")
        finally:
            logger.removeHandler(handler)

    assert display.shown == [LogMessage(logging.WARNING, "asynckaniko.test", "disk is slow")]


def test_stream_that_breaks_is_not_written_to_again() -> None:
    class Broken:
        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            raise BrokenPipeError

        def flush(self) -> None:
            pass

    stream = Broken()
    output = Output(stream)  # type: ignore[arg-type]

    output.write("one")
    output.write("two")

    assert stream.writes == 1
    assert not output.is_open
