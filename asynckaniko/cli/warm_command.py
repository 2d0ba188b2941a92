"""`asynckaniko warm`: base images brought to a shared directory, shown while they come."""

from typing import IO

from asynckaniko.build.warm import WarmedImage, warm
from asynckaniko.cli.session import Session
from asynckaniko.cli.warm_options import WarmOptions
from asynckaniko.events import EventSink


class WarmCommand:
    """One run of the command."""

    def __init__(self, options: WarmOptions, *, stdout: IO[str], stderr: IO[str]) -> None:
        self._options = options
        self._session = Session(options.display, stdout=stdout, stderr=stderr)
        self._failed = 0

    def run(self) -> int:
        """Warm, print a line for each image, and return the exit status.

        That is the first error's if any image failed: who names an image wants it.

        Raises:
            Interrupted: by a signal.
        """
        return self._session.run(self._warm, then=self._tell) or self._failed

    async def _warm(self, sink: EventSink) -> list[WarmedImage]:
        return await warm(self._options.request, settings=self._options.settings, on_event=sink)

    def _tell(self, images: list[WarmedImage]) -> None:
        for image in images:
            if image.error is not None:
                self._failed = self._failed or image.error.exit_code
            else:
                self._session.print(f"{image.digest} {image.state} {image.reference}")
