"""What a process holds at one moment: descriptors, children, mounts, temporary files."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ledger:
    descriptors: Counter[str]
    """By what they refer to; numbers are reused and say nothing."""
    children: frozenset[str]
    mounts: frozenset[str]
    temporary: frozenset[str]


def take(temporary: Path, *, mounts_below: Path) -> Ledger:
    """Look around; of the machine's mounts only those below a directory count."""
    return Ledger(
        Counter(_descriptors()),
        frozenset(_children()),
        frozenset(mount for mount in _mounts() if mount.startswith(f"{mounts_below}/")),
        frozenset(os.listdir(temporary)),
    )


def compare(before: Ledger, after: Ledger) -> list[str]:
    """Say what is in `after` only, one phrase for each kind."""
    found = {
        "open": sorted((after.descriptors - before.descriptors).elements()),
        "running": sorted(after.children - before.children),
        "mounted": sorted(after.mounts - before.mounts),
        "in TMPDIR": sorted(after.temporary - before.temporary),
    }
    return [f"{kind} {', '.join(names)}" for kind, names in found.items() if names]


def _descriptors() -> list[str]:
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:  # the one that listed the directory
            continue
    return [target for target in found if not target.startswith(f"/proc/{os.getpid()}/fd")]


def _children() -> list[str]:
    found = []
    for task in os.listdir("/proc/self/task"):
        try:
            children = Path(f"/proc/self/task/{task}/children").read_text().split()
        except FileNotFoundError:  # the thread ended
            continue
        found += [f"{pid} ({_name(pid)})" for pid in children]
    return found


def _name(pid: str) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except FileNotFoundError:
        return "gone"
    return b" ".join(words[:4]).decode(errors="replace").strip() or "zombie"


def _mounts() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines]
