"""Small files that tell other programs what was built: written last, and whole."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from asynckaniko.errors import HostError, OutOfSpace

_OUT_OF_SPACE = frozenset({28, 122})  # ENOSPC, EDQUOT


def write_result(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Put `text` into `path`: a reader sees the old content or the new, never a part.

    A file that cannot be replaced is written in place: a device or pipe, or one that is mounted by
    itself, as a Pod's termination log is. Missing parent directories are made.

    Raises:
        HostError: with the path and the reason.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        if _is_special(path):
            path.write_text(text)
        else:
            _replace(path, text, mode)
    except OSError as error:
        kind = OutOfSpace if error.errno in _OUT_OF_SPACE else HostError
        raise kind(f"{path}: {error.strerror}") from error


def _is_special(path: Path) -> bool:
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def _replace(path: Path, text: str, mode: int) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        draft.touch(mode=0o600)
        draft.write_text(text)
        os.chmod(draft, mode)
        os.rename(draft, path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        if not path.exists():
            raise
        path.write_text(text)
