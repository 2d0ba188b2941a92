"""Which paths of a context a build can read, and how the helper that unpacks it is told."""

import json  # noqa: TID251  paths are file names: lone surrogates must survive
import os
import posixpath
from typing import Self

from asynckaniko.records import dataclass

_MESSAGE_SIZE = 4096
"""PIPE_BUF: what a pipe takes, and gives, in one piece."""


@dataclass(frozen=True, slots=True)
class NeededPaths:
    """Paths from the context's root, without `..`; `prefixes` are of paths that need not exist."""

    paths: tuple[str, ...]
    prefixes: tuple[str, ...]


class Choice:
    """A pipe on which the helper is told once what is needed. Use as a context manager."""

    def __init__(self, message: bytes | None = None) -> None:
        self.reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        if message is not None:
            self.tell(message)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.reader)
        os.close(self._writer)

    def tell(self, message: bytes) -> None:
        os.write(self._writer, message)


def message_of(needed: NeededPaths | None, *, optional: list[str]) -> bytes:
    """Say it in JSON; that all is needed if it is None, or too much to be said.

    `optional` are files that may be read as well, if they are there.
    """
    if needed is None:
        return b"null"
    document = {
        "required": needed.paths,
        "optional": [posixpath.normpath(f"/{path}").lstrip("/") for path in optional],
        "prefixes": needed.prefixes,
    }
    message = json.dumps(document).encode()
    return message if len(message) <= _MESSAGE_SIZE else b"null"
