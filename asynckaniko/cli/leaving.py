"""The end of the program: without taking apart, object by object, what the kernel frees at once."""

import atexit
import os
import sys


class QuickExit:
    """Ends the process after threads and exit functions, when all output is out.

    Undoing some hundred modules takes longer than a request to a registry, and nobody sees it.
    """

    def __init__(self) -> None:
        self._status: int | None = None

    @classmethod
    def prepared(cls) -> "QuickExit":
        """Be the last exit function: to be called before any that must run is registered."""
        leaving = cls()
        # In development mode the interpreter reports, last of all, what was left open.
        if not sys.flags.dev_mode:
            atexit.register(leaving._leave)
        return leaving

    def with_status(self, status: int) -> int:
        """Take the exit status that the program is about to end with, and return it."""
        self._status = status
        return status

    def _leave(self) -> None:
        if self._status is None:
            return
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            # The interpreter has its own words and status for it.
            return
        os._exit(self._status)
