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


def threads(pid: int) -> list[int]:
    """List the numbers of all threads that `pid` has now; nothing when it is gone."""
    try:
        return sorted(map(int, os.listdir(f"/proc/{pid}/task")))
    except (FileNotFoundError, ProcessLookupError):
        return []


def kill_tree(pid: int) -> None:
    """SIGKILL `pid`, a child of the caller, and everything below it, without a pid namespace.

    For this `pid` should be a subreaper (PR_SET_CHILD_SUBREAPER) that was one before it started
    anything: then what is started below it stays below it, in whatever session. It is stopped
    first and killed last, so that nothing leaves the tree meanwhile. All others are stopped until
    nothing new appears, and then killed: a fork cannot run away from the kill. That is repeated
    until nothing appears that was not killed, for processes can continue each other. One that
    hangs in the kernel, on a dead disk say, is not waited for. What was killed is left for the
    caller, or the subreaper above it, to reap.
    """
    _send(pid, signal.SIGSTOP)
    killed: set[int] = set()
    while found := set(descendants(pid)) - killed:
        stopped: set[int] = set()
        while found:
            for process in found:
                _send(process, signal.SIGSTOP)
            stopped |= found
            time.sleep(_PAUSE_SECONDS)
            found = set(descendants(pid)) - killed - stopped
        for process in stopped:
            _send(process, signal.SIGKILL)
        killed |= stopped
        # A child whose parent dies while the tree is read could be seen below neither.
        time.sleep(_PAUSE_SECONDS)
    _send(pid, signal.SIGKILL)


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        # Ended and reaped by its parent in the meantime: nothing is left to stop.
        return
