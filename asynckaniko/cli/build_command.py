"""`asynckaniko build`: one image, shown while it is built; the result on standard output."""

import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import IO, Any, Protocol, TypeAlias

import orjson

from asynckaniko.build.job_modules import OUTER
from asynckaniko.build.request import BuildRequest, BuildResult
from asynckaniko.build.result_files import write_result
from asynckaniko.cli.loading import loading
from asynckaniko.cli.options import BuildOptions
from asynckaniko.cli.session import Session
from asynckaniko.events import EventSink
from asynckaniko.isolation.launch import launched
from asynckaniko.settings import Settings


class ImageBuilder(Protocol):
    """The part of build.builder.Builder that is used here."""

    async def build(self, request: BuildRequest, *, on_event: EventSink) -> BuildResult: ...
    async def plan(self, request: BuildRequest, *, on_event: EventSink) -> str: ...


OpenBuilder: TypeAlias = Callable[[Settings], AbstractAsyncContextManager[ImageBuilder]]


def run(options: BuildOptions) -> int:
    """Build as `options` say and return the exit status."""
    # Nearly every build reads its context: the helper that does it starts beside our own imports.
    with launched(OUTER) as launch:
        with loading():
            from asynckaniko.build.builder import Builder

        open_builder = partial(Builder, launch=launch)
        return BuildCommand(options, open_builder, stdout=sys.stdout, stderr=sys.stderr).run()


async def build_image(
    options: BuildOptions, open_builder: OpenBuilder, sink: EventSink
) -> BuildResult:
    """Build, and send the digest where it is to be sent. Raises AsynckanikoError."""
    async with open_builder(options.settings) as builder:
        result = await builder.build(options.request, on_event=sink)
    if options.digest_url:
        from asynckaniko.cli.presigned import put_text

        await put_text(options.digest_url, result.digest)
    return result


async def plan_image(options: BuildOptions, open_builder: OpenBuilder, sink: EventSink) -> str:
    """Say what `build_image` would do. Raises AsynckanikoError."""
    async with open_builder(options.settings) as builder:
        return await builder.plan(options.request, on_event=sink)


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
        self._session = Session(
            options.display, stdout=stdout, stderr=stderr, timings=options.timings
        )

    def run(self) -> int:
        """Build, print the result, and return the exit status.

        Raises:
            Interrupted: by a signal, after everything was cleaned up.
        """
        if self._options.dry_run:
            return self._session.run(self._plan, then=self._session.print)
        return self._session.run(self._build, then=self._tell)

    async def _plan(self, sink: EventSink) -> str:
        return await plan_image(self._options, self._open_builder, sink)

    async def _build(self, sink: EventSink) -> BuildResult:
        return await build_image(self._options, self._open_builder, sink)

    def _tell(self, result: BuildResult) -> None:
        if self._options.metadata_file:
            write_result(self._options.metadata_file, metadata(result))
        self._session.print(result.digest, *result.references)


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
