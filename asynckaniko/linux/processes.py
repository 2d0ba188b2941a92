"""Processes: what they hold, and how to end those that have no pid namespace to die with."""

import os
import signal
import time
from collections.abc import Iterable

_PAUSE_SECONDS = 0.005


def close_all_but(kept: Iterable[int]) -> None:
    """Close every descriptor of this process but 0, 1, 2 and those in `kept`."""
    start = 3
    for number in sorted(set(kept)):
        if number >= start:
            os.closerange(start, number)
            start = number + 1
    os.closerange(start, max(os.sysconf("SC_OPEN_MAX"), start))


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
