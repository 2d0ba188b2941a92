"""Drafts: small files that get their name once they are complete, and those of killed processes."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from asynckaniko.linux.locks import create_locked, try_lock


def write_file(path: Path, content: bytes) -> None:
    """Give `path` this content, all at once, whether it is there or not. Raises OSError."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    # Locked while it is written: that is how `remove_drafts` tells who lives.
    file = create_locked(draft, mode=0o666)
    try:
        with open(file, "wb", closefd=False) as writer:
            writer.write(content)
        draft.rename(path)
    except BaseException:
        with suppress(FileNotFoundError):
            draft.unlink()
        raise
    finally:
        os.close(file)


def remove_drafts(directory: Path, pattern: str = ".*") -> None:
    """Delete the drafts of `directory` that nobody writes any more. Raises OSError."""
    for path in directory.glob(pattern):
        file = try_lock(path, is_new=False)
        if file is not None:
            # It may have got its name and been let go since it was listed.
            path.unlink(missing_ok=True)
            os.close(file)
