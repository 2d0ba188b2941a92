"""`asynckaniko push`: an image that exists already, shown while it is sent."""

import sys
from pathlib import Path
from typing import IO

from asynckaniko.build.push_image import PushedImage, push_image
from asynckaniko.build.request import DigestFile, NamesFile, Push
from asynckaniko.build.result_files import write_result
from asynckaniko.cli.options import BuildOptions
from asynckaniko.cli.session import Session
from asynckaniko.events import EventSink
from asynckaniko.oci.reference import Reference


def run(source: Path, options: BuildOptions) -> int:
    """Push as `options` say and return the exit status."""
    return PushCommand(source, options, stdout=sys.stdout, stderr=sys.stderr).run()


class PushCommand:
    """One run of the command."""

    def __init__(
        self, source: Path, options: BuildOptions, *, stdout: IO[str], stderr: IO[str]
    ) -> None:
        self._source = source
        self._options = options
        outputs = options.request.outputs
        self._references = [
            Reference.parse(output.reference) for output in outputs if isinstance(output, Push)
        ]
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
        return await push_image(
            self._source,
            self._references,
            settings=self._options.settings,
            check_push=self._options.request.check_push,
            on_event=sink,
        )

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
