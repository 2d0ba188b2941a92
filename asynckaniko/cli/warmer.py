"""The program `warmer`, as kaniko has it: its flags, its log lines, its exit codes.

`python -m asynckaniko.cli.warmer` is what `/kaniko/warmer` runs. It fails, with 1, only if not one
image could be warmed.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

import click

from asynckaniko.cli.flags import Command
from asynckaniko.cli.kaniko_log import Logrus
from asynckaniko.cli.main import guarded
from asynckaniko.cli.session import Session
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.cli.warm_flags import kaniko_warmer_flags
from asynckaniko.cli.warm_options import WarmOptions, read_warm
from asynckaniko.errors import AsynckanikoError
from asynckaniko.events import EventSink

if TYPE_CHECKING:
    from asynckaniko.build.warm import WarmedImage

_PROGRAM = "cache warmer"


def warmer(arguments: Sequence[str] | None = None) -> int:
    """Run kaniko's warmer and return the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    return guarded(lambda: _run(words))


def _run(words: list[str]) -> int:
    command = Command(
        _PROGRAM,
        callback=_warm,
        params=kaniko_warmer_flags(),
        help="Bring base images into a directory that builds share, as kaniko's warmer does.",
        options_metavar="[flags]",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    try:
        with command.make_context(_PROGRAM, words) as context:
            status: int = command.invoke(context)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except (AsynckanikoError, click.ClickException) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        sys.stderr.write(f"Error: {text}\nUsage:\n  {_PROGRAM} [flags]\n")
        return 1
    return status


def _warm(**values: Any) -> int:
    options = read_warmer(values, Surroundings.of_this_process())
    return WarmerSession(options, stdout=sys.stdout, stderr=sys.stderr).warm()


def read_warmer(values: dict[str, Any], around: Surroundings) -> WarmOptions:
    """Turn kaniko's flags into options. Raises UsageError."""
    # The warmer does not have this variable, and it may be meant for the executor beside it.
    environment = dict(around.environment)
    environment.pop("KANIKO_REGISTRY_MIRROR", None)
    shared = {
        **values,
        "custom_platform": values["customplatform"],
        "log_format": values["log_format"] or "color",
    }
    return read_warm(values["image"], shared, replace(around, environment=environment))


class WarmerSession(Session):
    """Warms as kaniko would tell of it."""

    def __init__(self, options: WarmOptions, *, stdout: IO[str], stderr: IO[str]) -> None:
        super().__init__(options.display, stdout=stdout, stderr=stderr)
        self._warm_options = options
        self._images: list[WarmedImage] = []
        self._started = datetime.now(UTC)
        self._log = Logrus(
            self._output.write,
            format=options.display.log_format,
            timestamp=options.display.log_timestamp,
            verbosity=options.display.verbosity,
            started=self._started,
        )

    def warm(self) -> int:
        """Warm the images and return the exit status."""
        status = self.run(self._bring, then=self._tell)
        if status:
            return status
        if all(image.state == "failed" for image in self._images):
            self._fail("Failed to warm any of the given images")
            return 1
        return 0

    async def _bring(self, sink: EventSink) -> "list[WarmedImage]":
        from asynckaniko.build.warm import warm

        options = self._warm_options
        return await warm(options.request, settings=options.settings, on_event=sink)

    def _tell(self, images: "list[WarmedImage]") -> None:
        self._images = images
        for image in images:
            if image.state == "present":
                self._say("info", f"Image already in cache: {image.reference}")
            elif image.state == "fetched":
                self._say("debug", f"Wrote {image.reference} to cache")

    def report(self, error: Exception) -> int:
        """Print what went wrong, ending as kaniko does: on standard output."""
        self._fail(str(error))
        return 1

    def _fail(self, text: str) -> None:
        self._stdout.write(f"Failed warming cache: {text}\n")
        self._stdout.flush()

    def _say(self, level: str, message: str) -> None:
        self._log.log((datetime.now(UTC) - self._started).total_seconds(), level, message)


if __name__ == "__main__":
    sys.exit(warmer())
