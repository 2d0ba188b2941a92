"""Put back what stood at the targets of a step's mounts, also when the step is dead.

A dead step's root filesystem may be in any state, and what its command left in it may be hostile:
nothing here follows a link in it.
"""

import errno
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from asynckaniko.isolation.substitutes import PART, REAL, is_same, send_home, wipe
from asynckaniko.isolation.swap_journal import Abandoned, Kind, Phase, Record, Swap, abandoned
from asynckaniko.linux import syscalls
from asynckaniko.linux.relocate import discard, move

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""What says that there is no such directory without links on the way."""


def recover(arguments: Mapping[str, Any], fds: Sequence[int]) -> int:
    """Put back what dead steps have left in place, and return how many there were. A job.

    arguments: drawer; directory, what the steps had as working directory, if it is not this
    process's. Steps that live, whosoever they are, are left alone. A cache whose step is dead goes
    home as that step left it; a copy of one is thrown away.
    """
    count = 0
    directory = arguments.get("directory", "")
    with abandoned(arguments["drawer"]) as journals:
        for journal in journals:
            count += 1
            _recover(journal, directory)
    return count


def open_real(top: int, path: str) -> int:
    """Open a directory by a path without links."""
    return syscalls.openat2(top, path or ".", _DIRECTORY, resolve=REAL)


def remove_missing(base: int, missing: Sequence[str]) -> None:
    """Remove the directories that were made, from the inside, until one has something in it."""
    for end in range(len(missing), 0, -1):
        try:
            holder = open_real(base, "/".join(missing[: end - 1]))
        except OSError as error:
            if error.errno not in _GONE:
                raise
            # The command has something else there.
            continue
        try:
            os.rmdir(missing[end - 1], dir_fd=holder)
        except OSError as error:
            if error.errno not in _GONE | {errno.ENOTEMPTY, errno.EEXIST}:
                raise
        finally:
            os.close(holder)


def put_back(swap: Swap, parent: int, aside: int) -> None:
    """Put what was set aside back; what was never moved has nothing there."""
    if not is_aside(swap, aside):
        return
    if os.fstat(parent).st_nlink == 0:
        # The command deleted the directory, and on a machine with mounts all but its mount point.
        discard(str(swap.number), aside)
        return
    discard(swap.name, parent)
    move(str(swap.number), aside, swap.name, parent, part=PART)


def is_aside(swap: Swap, aside: int) -> bool:
    """Tell whether what stood at the target is set aside."""
    return str(swap.number) in os.listdir(aside)


def _recover(journal: Abandoned, directory: str) -> None:
    root = os.path.join(directory, journal.root)
    with ExitStack() as opened:
        if os.path.isdir(root) and os.path.isdir(journal.aside):
            top, aside = (os.open(path, _DIRECTORY) for path in (root, journal.aside))
            opened.callback(os.close, top)
            opened.callback(os.close, aside)
            status = os.fstat(top)
            is_its_root = (status.st_dev, status.st_ino) == journal.identity
            for record in reversed(journal.records if is_its_root else ()):
                if record.phase is not Phase.DONE:
                    _undo(record, top, aside, directory)
    drawer, name = os.path.split(journal.aside)
    holder = os.open(drawer, _DIRECTORY)
    try:
        discard(name, holder)
    finally:
        os.close(holder)


def _undo(record: Record, top: int, aside: int, directory: str) -> None:
    swap = record.swap
    with ExitStack() as opened:
        base = _open_if_there(top, swap.base)
        if base is None:
            return
        opened.callback(os.close, base)
        parent = _open_if_there(base, "/".join(swap.missing))
        if parent is not None:
            opened.callback(os.close, parent)
            discard(PART, parent)
            # An earlier recovery, itself cut short, may have put the original back.
            if record.phase is Phase.ASIDE and (not swap.existed or is_aside(swap, aside)):
                _clear(record, parent, directory)
            put_back(swap, parent, aside)
        remove_missing(base, swap.missing)


def _open_if_there(top: int, path: str) -> int | None:
    """Open a directory; None if the dead step had not made it yet, or its command moved it."""
    try:
        return open_real(top, path)
    except OSError as error:
        if error.errno not in _GONE:
            raise
        return None


def _clear(record: Record, parent: int, directory: str) -> None:
    swap = record.swap
    match swap.kind:
        case Kind.WIPED if record.secret is None or is_same(swap.name, parent, record.secret):
            _wipe_at(swap.name, parent)
        case Kind.SENT_HOME if swap.home and is_same(swap.name, parent, swap.identity):
            path, home = swap.home
            _send_home(swap.name, parent, os.path.join(directory, path), home)
    discard(swap.name, parent)


def _wipe_at(name: str, parent: int) -> None:
    try:
        file = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
    except FileNotFoundError:
        return
    try:
        wipe(file)
    finally:
        os.close(file)


def _send_home(name: str, parent: int, path: str, home: str) -> None:
    try:
        directory = os.open(path, _DIRECTORY)
    except FileNotFoundError:
        return
    try:
        send_home(name, parent, home, directory)
    finally:
        os.close(directory)
