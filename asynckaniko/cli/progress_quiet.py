"""Progress for those who only want to know what went wrong, or not even that."""

import logging
from collections.abc import Callable, Iterable

from asynckaniko.cli.labels import log_text, retry_text, warning_text
from asynckaniko.cli.progress import LogMessage, Moment
from asynckaniko.events import BuildWarning, RequestRetried


class QuietDisplay:
    """Prints warnings and log messages of `level` or above, nothing else."""

    interval = 60.0

    def __init__(self, write: Callable[[str], None], *, level: int = logging.WARNING) -> None:
        self._write = write
        self._level = level

    def show(self, moments: Iterable[Moment]) -> None:
        for _, event in moments:
            match event:
                case BuildWarning():
                    self._write(f"warning: {warning_text(event)}\n")
                case RequestRetried():
                    self._write(f"retry: {retry_text(event)}\n")
                case LogMessage(level, name, text) if level >= self._level:
                    self._write(f"{log_text(level, name, text)}\n")
                case _:
                    pass

    def tick(self, now: float) -> None:
        pass

    def close(self, now: float) -> None:
        pass


class NoDisplay:
    """Prints nothing."""

    interval = 60.0

    def show(self, moments: Iterable[Moment]) -> None:
        pass

    def tick(self, now: float) -> None:
        pass

    def close(self, now: float) -> None:
        pass
