"""One run of a command that takes a while: shown, interruptible, reported, timed."""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TypeVar

import anyio

from asynckaniko.build.result_files import write_result
from asynckaniko.cli.interruption import interruptible
from asynckaniko.cli.options import DisplayOptions
from asynckaniko.cli.progress import Display, LogToDisplay, Output, Sink, Stopping, showing
from asynckaniko.cli.report import error_report, exit_code
from asynckaniko.cli.timeline import Timeline
from asynckaniko.events import Event, EventSink

_MEMORY_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_NO_LIMIT = 1 << 60
_SHOW_CURSOR = "\x1b[?25h"

Result = TypeVar("Result")


class Session:
    """Runs asynchronous work in an event loop of its own."""

    def __init__(
        self,
        display: DisplayOptions,
        *,
        stdout: IO[str],
        stderr: IO[str],
        timings: Path | None = None,
        timeline: Timeline | None = None,
        command_output: IO[str] | None = None,
    ) -> None:
        """Where kaniko's log is shown, `command_output` gets what commands print, else stderr."""
        self._options = display
        self._stdout = stdout
        self._stderr = stderr
        self._output = Output(stderr)
        self._command_output = Output(command_output) if command_output else self._output
        self._timings = timings
        self._timeline = timeline or Timeline()

    def run(
        self,
        work: Callable[[EventSink], Awaitable[Result]],
        *,
        then: Callable[[Result], None],
    ) -> int:
        """Do `work`, hand its result to `then` (outside the loop), and return the exit status.

        Raises:
            Interrupted: by a signal, after everything was cleaned up.
        """
        try:
            status = self._attempt(lambda: then(self._run(work)))
        finally:
            # Where the time went is worth knowing after a failure and an interruption too.
            timings_status = self._attempt(self._write_timings)
        return status or timings_status

    def print(self, *lines: str) -> None:
        """Print results, one a line, unless nothing is to be printed."""
        if self._options.mode != "none":
            self._stdout.write("".join(f"{line}\n" for line in lines))
            self._stdout.flush()

    def _run(self, work: Callable[[EventSink], Awaitable[Result]]) -> Result:
        async def shown() -> Result:
            display = self._open_display()
            async with showing(display) as sink:
                with _logging_to(sink, self._options.verbosity):
                    async with interruptible(
                        on_signal=lambda name: sink(Stopping(name)),
                        before_abandoning=self._restore_terminal,
                    ):
                        return await work(self._recording(sink))

        return anyio.run(shown, backend_options={"use_uvloop": True})

    def _open_display(self) -> Display:
        options, write = self._options, self._output.write
        started = datetime.now(UTC)
        if options.mode == "log":
            from asynckaniko.cli.kaniko_log import KanikoLogDisplay, Logrus

            log = Logrus(
                write,
                format=options.log_format,
                timestamp=options.log_timestamp,
                verbosity=options.verbosity,
                started=started,
            )
            return KanikoLogDisplay(log, self._command_output.write)
        if options.mode == "json":
            from asynckaniko.cli.progress_json import JsonDisplay

            return JsonDisplay(write, started=started)
        if options.mode == "none" or options.verbosity in {"error", "fatal", "panic"}:
            from asynckaniko.cli.progress_quiet import NoDisplay

            return NoDisplay()
        if options.mode == "quiet" or options.verbosity in {"warn", "warning"}:
            from asynckaniko.cli.progress_quiet import QuietDisplay

            # Who asks for the developers' log gets all of it.
            return QuietDisplay(write, level=_log_level(options.verbosity))
        if options.mode == "tty":
            from asynckaniko.cli.progress_live import LiveDisplay

            return LiveDisplay(self._stderr, color=options.color)
        from asynckaniko.cli.progress_plain import PlainDisplay

        return PlainDisplay(write, color=options.color)

    def _attempt(self, work: Callable[[], None]) -> int:
        try:
            work()
        except BrokenPipeError:
            raise
        except Exception as error:
            return self.report(error)
        return 0

    def _recording(self, sink: Sink) -> EventSink:
        if self._timings is None:
            return sink

        def record(event: Event) -> None:
            self._timeline.add(event)
            sink(event)

        return record

    def _restore_terminal(self) -> None:
        if self._options.mode == "tty":
            self._output.write(_SHOW_CURSOR)

    def report(self, error: Exception) -> int:
        """Print what went wrong and return the exit status."""
        code = exit_code(error)
        if self._options.mode == "json":
            from asynckaniko.cli.progress_json import error_line

            self._output.write(error_line(error, code, at=datetime.now(UTC)))
        else:
            limit = memory_limit() if code == 128 + 9 else 0
            self._output.write(error_report(error, color=self._options.color, memory_limit=limit))
        return code

    def _write_timings(self) -> None:
        if self._timings is None or not self._timeline.has_begun:
            return
        from asynckaniko.cli.timeline_files import render_timings

        write_result(self._timings, render_timings(self._timeline, self._timings.suffix))


def memory_limit() -> int:
    """Read this process's cgroup limit in bytes; 0 if there is none."""
    for path in _MEMORY_LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdigit() and int(text) < _NO_LIMIT else 0
    return 0


def _log_level(verbosity: str) -> int:
    return {"trace": logging.DEBUG, "debug": logging.DEBUG}.get(verbosity, logging.WARNING)


@contextmanager
def _logging_to(sink: Sink, verbosity: str) -> Iterator[None]:
    """Show the developers' log too: all of it at trace, ours at debug, else what needs action."""
    level = _log_level(verbosity)
    logger = logging.getLogger(None if verbosity == "trace" else "asynckaniko")
    handler = LogToDisplay(sink, level)
    level_before = logger.level
    logger.setLevel(level)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level_before)
