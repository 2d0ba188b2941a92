"""A program for the tests of signals: a build that goes on until it is told to stop.

Arguments: a file that says `started` and then `cleaned up`, and how many seconds cleaning up takes.
"""

import sys
from pathlib import Path
from typing import Self

import anyio

from asynckaniko.build.request import BuildRequest, BuildResult
from asynckaniko.cli.build_command import BuildCommand
from asynckaniko.cli.main import guarded
from asynckaniko.cli.options import BuildOptions, DisplayOptions
from asynckaniko.events import BuildStarted, EventSink, StepStarted
from asynckaniko.settings import Settings
from tests.unit.cli.script import MAKE


class EndlessBuilder:
    def __init__(self, journal: Path, seconds: float) -> None:
        self._journal = journal
        self._seconds = seconds

    def __call__(self, _: Settings) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(self._seconds)
        self._journal.write_text("cleaned up")

    async def plan(self, request: BuildRequest, *, on_event: EventSink) -> str:
        return ""

    async def build(self, request: BuildRequest, *, on_event: EventSink) -> BuildResult:
        on_event(BuildStarted("Dockerfile", "build", ("build",)))
        on_event(StepStarted(MAKE))
        self._journal.write_text("started")
        await anyio.sleep_forever()
        raise AssertionError


def main() -> int:
    journal, seconds, timings = Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    options = BuildOptions(
        settings=Settings(),
        request=BuildRequest(context="."),
        display=DisplayOptions(mode="plain"),
        timings=timings,
    )
    builder = EndlessBuilder(journal, seconds)
    command = BuildCommand(options, builder, stdout=sys.stdout, stderr=sys.stderr)
    return guarded(command.run)


if __name__ == "__main__":
    sys.exit(main())
