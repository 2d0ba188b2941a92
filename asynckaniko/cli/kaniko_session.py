"""The executor's run: kaniko's log on standard error, command output on standard output."""

from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import orjson

from asynckaniko.build.request import BuildResult
from asynckaniko.build.result_files import write_result
from asynckaniko.cli.build_command import OpenBuilder, build_image, plan_image
from asynckaniko.cli.build_flags import BuildFlags
from asynckaniko.cli.inputs import given
from asynckaniko.cli.kaniko_log import Logrus
from asynckaniko.cli.options import BuildOptions
from asynckaniko.cli.report import error_report
from asynckaniko.cli.session import Session
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import CommandFailed
from asynckaniko.events import EventSink
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.reference import Reference


class KanikoSession(Session):
    """Runs one build as kaniko would."""

    def __init__(
        self,
        options: BuildOptions,
        flags: BuildFlags,
        around: Surroundings,
        *,
        stdout: IO[str],
        stderr: IO[str],
    ) -> None:
        super().__init__(options.display, stdout=stdout, stderr=stderr, command_output=stdout)
        self._build_options = options
        self._flags = flags
        self._around = around
        self._destinations = [Reference.parse(text) for text in given(flags.destination)]
        self._started = datetime.now(UTC)
        self._log = Logrus(
            self._output.write,
            format=options.display.log_format,
            timestamp=options.display.log_timestamp,
            verbosity=options.display.verbosity,
            started=self._started,
        )

    def log(self, level: str, message: str) -> None:
        """Write a line to the log, outside a build."""
        now = (datetime.now(UTC) - self._started).total_seconds()
        self._log.log(now, level, message)

    def execute(self, open_builder: OpenBuilder) -> int:
        """Build, push, write the result files, and return the exit status."""

        async def plan(sink: EventSink) -> str:
            return await plan_image(self._build_options, open_builder, sink)

        async def build(sink: EventSink) -> BuildResult:
            if self._around.boolean("KANIKO_PRINT_PLAN"):
                self.print(await plan(sink))
            return await build_image(self._build_options, open_builder, sink)

        if self._build_options.dry_run:
            return self.run(plan, then=self.print)
        return self.run(build, then=self._finish)

    def report(self, error: Exception) -> int:
        """Print what went wrong, ending as kaniko does."""
        color = self._options.color
        self._output.write(error_report(error, color=color, label="error building image:"))
        return error.exit_status if isinstance(error, CommandFailed) else 1

    def _finish(self, result: BuildResult) -> None:
        if self._flags.no_push:
            self._write_names(result.digest)
            self.log("info", "Skipping push to container registry due to --no-push flag")
            return
        directory = self._around.get("BUILDER_OUTPUT")
        if directory:
            lines = [
                orjson.dumps({"name": text, "digest": result.digest}).decode() + "\n"
                for text in given(self._flags.destination)
            ]
            write_result(Path(directory) / "images", "".join(lines))

    def _write_names(self, digest: Digest) -> None:
        for path, with_tag in (
            (self._flags.image_name_with_digest_file, False),
            (self._flags.image_name_tag_with_digest_file, True),
        ):
            if path:
                names = [
                    f"{reference.repository}{f':{reference.tag}' if with_tag else ''}"
                    for reference in self._destinations
                ]
                write_result(Path(path), "".join(f"{name}@{digest}\n" for name in names))
