"""`asynckaniko push` and `index create`: what exists already, shown while it is sent."""

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from asynckaniko.build.image_index import create_index
from asynckaniko.build.push_image import PushedImage, push_image
from asynckaniko.build.request import DigestFile, NamesFile, Push
from asynckaniko.build.result_files import write_result
from asynckaniko.cli.options import BuildOptions
from asynckaniko.cli.session import Session
from asynckaniko.events import EventSink
from asynckaniko.oci.reference import Reference


def run(source: Path, options: BuildOptions) -> int:
    """Push the image at `source` as `options` say and return the exit status."""

    def push(names: list[str], sink: EventSink) -> Awaitable[PushedImage]:
        return push_image(
            source,
            names,
            settings=options.settings,
            check_push=options.request.check_push,
            on_event=sink,
        )

    return PushCommand(push, options, stdout=sys.stdout, stderr=sys.stderr).run()


def run_index(sources: Sequence[str], annotations: Mapping[str, str], options: BuildOptions) -> int:
    """Push an index of the images at `sources` and return the exit status."""

    def push(names: list[str], sink: EventSink) -> Awaitable[PushedImage]:
        return create_index(
            names,
            sources,
            settings=options.settings,
            annotations=annotations,
            check_push=options.request.check_push,
            on_event=sink,
        )

    return PushCommand(push, options, stdout=sys.stdout, stderr=sys.stderr).run()


class PushCommand:
    """One run of a command that sends something to the destinations and prints its digest."""

    def __init__(
        self,
        push: Callable[[list[str], EventSink], Awaitable[PushedImage]],
        options: BuildOptions,
        *,
        stdout: IO[str],
        stderr: IO[str],
    ) -> None:
        self._send = push
        self._options = options
        outputs = options.request.outputs
        self._names = [output.reference for output in outputs if isinstance(output, Push)]
        self._references = [Reference.parse(name) for name in self._names]
        self._session = Session(
            options.display, stdout=stdout, stderr=stderr, timings=options.timings
        )

    def run(self) -> int:
        """Push, print the result, and return the exit status.

        Raises:
            Interrupted: by a signal.
        """
        return self._session.run(self._push, then=self._tell)

    async def _push(self, sink: EventSink) -> PushedImage:
        return await self._send(self._names, sink)

    def _tell(self, image: PushedImage) -> None:
        for output in self._options.request.outputs:
            match output:
                case DigestFile(path=path):
                    write_result(path, image.digest)
                case NamesFile(path=path, with_tag=with_tag):
                    names = [
                        f"{reference.repository}{f':{reference.tag}' if with_tag else ''}"
                        for reference in self._references
                    ]
                    write_result(path, "".join(f"{name}@{image.digest}\n" for name in names))
                case _:
                    pass
        self._session.print(image.digest, *image.references)
