"""Processes: what they hold, and how to end those that have no pid namespace to die with."""

import errno
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress

from asynckaniko.linux import syscalls

_PAUSE_SECONDS = 0.005
_HIGHEST_DESCRIPTOR = 2**31 - 1


def close_all_but(kept: Iterable[int]) -> None:
    """Close every descriptor of this process but 0, 1, 2 and those in `kept`."""
    start = 3
    for number in sorted(set(kept)):
        if number >= start:
            _close(start, number - 1)
            start = number + 1
    _close(start, _HIGHEST_DESCRIPTOR)


def _close(first: int, last: int) -> None:
    if first > last:
        return
    try:
        syscalls.close_range(first, last)
    except OSError as error:
        # Linux before 5.9. Trying every number up to the limit, a billion sometimes, takes minutes.
        if error.errno not in {errno.ENOSYS, errno.EPERM}:
            raise
        for number in map(int, os.listdir("/proc/self/fd")):
            if first <= number <= last:
                with suppress(OSError):  # the one that listed the directory
                    os.close(number)


def children(pid: int) -> list[int]:
    """List the living and unreaped children of `pid`; nothing when it is gone."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as listing:
                found += map(int, listing.read().split())
    except (FileNotFoundError, ProcessLookupError):
        # The process or the thread ended while it was read.
        return found
    return found


def descendants(pid: int) -> list[int]:
    """List the children of `pid`, theirs, and so on, parents first."""
    found: list[int] = []
    pending = children(pid)
    while pending:
        found += pending
        pending = [grandchild for child in pending for grandchild in children(child)]
    return found


def kill_tree(pid: int) -> None:
    """SIGKILL `pid`, a child of the caller, and everything below it.

    Everything is stopped first, until nothing new appears: a fork cannot run away from the kill.
    What is killed is left for its parent (or the subreaper above it) to reap.
    """
    stopped: set[int] = set()
    while found := {pid, *descendants(pid)} - stopped:
        for process in found:
            _send(process, signal.SIGSTOP)
        stopped |= found
        time.sleep(_PAUSE_SECONDS)
    for process in stopped:
        _send(process, signal.SIGKILL)


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        # Ended and reaped by its parent in the meantime: nothing is left to stop.
        return
