"""Lock a file that whoever held the lock before may have removed."""

import fcntl
import os


def try_lock(
    path: str | os.PathLike[str], *, is_shared: bool = False, is_new: bool = True
) -> int | None:
    """Return the open, locked file; closing it unlocks it. None: it is locked, or just gone.

    A lock holds as long as the file has its name: who removes it does that under the lock.
    `is_new` makes a missing file. Links are not followed. Raises OSError.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if is_new else 0)
    try:
        file = os.open(path, flags, 0o600)
    except FileNotFoundError:
        if is_new:
            raise
        return None
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    if os.fstat(file).st_nlink == 0:
        os.close(file)
        return None
    return file


def create_locked(path: str | os.PathLike[str], *, mode: int = 0o600) -> int:
    """Return a new file, open and locked. Raises OSError, FileExistsError among them.

    Whoever removes what is not locked may take one away before it is: then another is made.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except BaseException:
            os.close(file)
            raise
        if os.fstat(file).st_nlink:
            return file
        os.close(file)
