"""A build context that is a directory of this machine, and the .dockerignore that holds for it."""

import os
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from asynckaniko.dockerfile.patterns import parse_ignore_file
from asynckaniko.errors import AsynckanikoError, ContextError
from asynckaniko.records import dataclass

IGNORE_FILE = ".dockerignore"
IGNORE_SIZE = 4 << 20


@dataclass(frozen=True, slots=True)
class LocalContext:
    """Where COPY and ADD read from. `directory` is absolute; `ignore` are patterns in order."""

    directory: Path
    ignore: tuple[str, ...] = ()


def open_directory(path: str, *, dockerfile: Path | None = None) -> LocalContext:
    """Check that `path` is a directory that can be read, and read what it ignores.

    `<dockerfile>.dockerignore` beside the Dockerfile replaces the context's own `.dockerignore`.

    Raises:
        ContextError: it does not exist, is no directory, or may not be read.
    """
    directory = Path(path).absolute()
    try:
        if not S_ISDIR(directory.stat().st_mode):
            raise ContextError(
                f"build context {path}: is a file, not a directory; name an archive as tar://{path}"
            )
        os.scandir(directory).close()
    except (OSError, ValueError) as error:
        raise ContextError(f"build context {path}: {reason(error)}") from error
    candidates = [directory / IGNORE_FILE]
    if dockerfile is not None:
        candidates.insert(0, dockerfile.with_name(dockerfile.name + IGNORE_FILE))
    for candidate in candidates:
        content = read_small_file(candidate, limit=IGNORE_SIZE)
        if content is not None:
            return LocalContext(directory, parse_ignored(content, str(candidate)))
    return LocalContext(directory)


def parse_ignored(content: bytes, name: str) -> tuple[str, ...]:
    """Read the patterns of an ignore file; `name` is what errors call it.

    Raises ContextError: a pattern cannot be one.
    """
    try:
        return tuple(parse_ignore_file(content))
    except AsynckanikoError as error:
        raise ContextError(f"{name}: {error}") from error


def read_small_file(path: Path, *, limit: int) -> bytes | None:
    """Read a file of at most `limit` bytes, through links; None if there is none.

    Raises:
        ContextError: larger, no regular file, or not readable.
    """
    try:
        # O_NONBLOCK: a FIFO in the place of the file must not stop the build.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise ContextError(f"{path}: {reason(error)}") from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not S_ISREG(mode):
            kind = "a directory" if S_ISDIR(mode) else "no regular file"
            raise ContextError(f"{path}: is {kind}; a file is needed here")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise ContextError(f"{path}: larger than the limit of {limit} bytes")
    return content


def reason(error: OSError | ValueError) -> str:
    """Say what was wrong without the path, which the caller names as the user wrote it."""
    return (isinstance(error, OSError) and error.strerror) or str(error)
