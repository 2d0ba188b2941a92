"""A program for the tests of signals: a build that goes on until it is told to stop.

Arguments: a file that says `started`, `cleaning up` and then `cleaned up`; a file that is there
when cleaning up may end; and the file for the timings.
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
    def __init__(self, journal: Path, enough: Path) -> None:
        self._journal = journal
        self._enough = enough

    def __call__(self, _: Settings) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._journal.write_text("cleaning up")
        with anyio.CancelScope(shield=True):
            while not self._enough.exists():  # noqa: ASYNC110  another process makes it
                await anyio.sleep(0.01)
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
    journal, enough, timings = map(Path, sys.argv[1:4])
    options = BuildOptions(
        settings=Settings(),
        request=BuildRequest(context="."),
        display=DisplayOptions(mode="plain"),
        timings=timings,
    )
    builder = EndlessBuilder(journal, enough)
    command = BuildCommand(options, builder, stdout=sys.stdout, stderr=sys.stderr)
    return guarded(command.run)


if __name__ == "__main__":
    sys.exit(main())
