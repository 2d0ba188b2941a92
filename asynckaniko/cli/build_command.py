"""`asynckaniko build`: one image, shown while it is built; the result on standard output."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol

import anyio
import orjson

from asynckaniko.build.request import BuildRequest, BuildResult
from asynckaniko.build.result_files import write_result
from asynckaniko.cli.interruption import interruptible
from asynckaniko.cli.kaniko_log import KanikoLogDisplay, Logrus
from asynckaniko.cli.options import BuildOptions, DisplayOptions
from asynckaniko.cli.progress import Display, LogToDisplay, Output, Sink, Stopping, showing
from asynckaniko.cli.progress_json import JsonDisplay, error_line
from asynckaniko.cli.progress_plain import PlainDisplay
from asynckaniko.cli.progress_quiet import NoDisplay, QuietDisplay
from asynckaniko.cli.report import error_report, exit_code
from asynckaniko.cli.timeline import Timeline
from asynckaniko.events import EventSink
from asynckaniko.settings import Settings

_MEMORY_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_NO_LIMIT = 1 << 60
_SHOW_CURSOR = "\x1b[?25h"


class ImageBuilder(Protocol):
    """The part of build.builder.Builder that is used here."""

    async def build(self, request: BuildRequest, *, on_event: EventSink) -> BuildResult: ...


OpenBuilder = Callable[[Settings], AbstractAsyncContextManager[ImageBuilder]]


def run(options: BuildOptions) -> int:
    """Build as `options` say and return the exit status."""
    from asynckaniko.build.builder import Builder

    return BuildCommand(options, Builder, stdout=sys.stdout, stderr=sys.stderr).run()


class BuildCommand:
    """One run of the command, against a builder that is opened for it."""

    def __init__(
        self,
        options: BuildOptions,
        open_builder: OpenBuilder,
        *,
        stdout: IO[str],
        stderr: IO[str],
    ) -> None:
        self._options = options
        self._open_builder = open_builder
        self._stdout = stdout
        self._output = Output(stderr)
        self._stderr = stderr
        self._timeline = Timeline()

    def run(self) -> int:
        """Build, print the result, and return the exit status.

        Raises:
            Interrupted: by a signal, after everything was cleaned up.
        """
        try:
            status = self._attempt(self._build_and_print)
        finally:
            # Where the time went is worth knowing after a failure and an interruption too.
            timings_status = self._attempt(self._write_timings)
        return status or timings_status

    def _attempt(self, work: Callable[[], None]) -> int:
        try:
            work()
        except BrokenPipeError:
            raise
        except Exception as error:
            return self._report(error)
        return 0

    def _build_and_print(self) -> None:
        result = anyio.run(self._build, backend_options={"use_uvloop": True})
        if self._options.metadata_file:
            write_result(self._options.metadata_file, metadata(result))
        if self._options.display.mode != "none":
            lines = (result.digest, *result.references)
            self._stdout.write("".join(f"{line}\n" for line in lines))
            self._stdout.flush()

    async def _build(self) -> BuildResult:
        display = open_display(self._options.display, self._output, self._stderr)
        async with showing(display) as sink:
            with _logging_to(sink, self._options.display.verbosity):
                async with (
                    interruptible(
                        on_signal=lambda name: sink(Stopping(name)),
                        before_abandoning=self._restore_terminal,
                    ),
                    self._open_builder(self._options.settings) as builder,
                ):
                    request = self._options.request
                    return await builder.build(request, on_event=self._recording(sink))

    def _recording(self, sink: Sink) -> EventSink:
        if self._options.timings is None:
            return sink

        def record(event: Any) -> None:
            self._timeline.add(event)
            sink(event)

        return record

    def _restore_terminal(self) -> None:
        if self._options.display.mode == "tty":
            self._output.write(_SHOW_CURSOR)

    def _report(self, error: Exception) -> int:
        code = exit_code(error)
        if self._options.display.mode == "json":
            self._output.write(error_line(error, code, at=datetime.now(UTC)))
        else:
            color = self._options.display.color
            limit = memory_limit() if code == 128 + 9 else 0
            self._output.write(error_report(error, color=color, memory_limit=limit))
        return code

    def _write_timings(self) -> None:
        path = self._options.timings
        if path is None or not self._timeline.has_begun:
            return
        from asynckaniko.cli.timeline_files import render_timings

        write_result(path, render_timings(self._timeline, path.suffix))


def open_display(options: DisplayOptions, output: Output, stderr: IO[str]) -> Display:
    """Make the display that `options` ask for; it writes to `output`, or draws on `stderr`."""
    started = datetime.now(UTC)
    write = output.write
    if options.mode == "log":
        log = Logrus(
            write,
            format=options.log_format,
            timestamp=options.log_timestamp,
            verbosity=options.verbosity,
            started=started,
        )
        return KanikoLogDisplay(log, write)
    if options.mode == "json":
        return JsonDisplay(write, started=started)
    if options.mode == "none" or options.verbosity in {"error", "fatal", "panic"}:
        return NoDisplay()
    if options.mode == "quiet" or options.verbosity in {"warn", "warning"}:
        return QuietDisplay(write)
    if options.mode == "tty":
        from asynckaniko.cli.progress_live import LiveDisplay

        return LiveDisplay(stderr, color=options.color)
    return PlainDisplay(write, color=options.color)


def metadata(result: BuildResult) -> str:
    """Describe the image as JSON, under the keys that docker buildx uses."""
    descriptor = result.manifest.descriptor
    fields: dict[str, Any] = {
        "containerimage.config.digest": result.manifest.config.digest,
        "containerimage.descriptor": descriptor.to_json(),
        "containerimage.digest": result.digest,
    }
    if result.references:
        fields["image.name"] = ",".join(result.references)
    return orjson.dumps(fields, option=orjson.OPT_INDENT_2).decode()


def memory_limit() -> int:
    """Read this process's cgroup limit in bytes; 0 if there is none."""
    for path in _MEMORY_LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdigit() and int(text) < _NO_LIMIT else 0
    return 0


@contextmanager
def _logging_to(sink: Sink, verbosity: str) -> Iterator[None]:
    """Show the developers' log too: all of it at trace, ours at debug, else what needs action."""
    level = {"trace": logging.DEBUG, "debug": logging.DEBUG}.get(verbosity, logging.WARNING)
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
