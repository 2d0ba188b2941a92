"""What the machine still holds that belongs to one directory: processes, mounts, open files."""

import os
from pathlib import Path


def belonging_to(directory: Path) -> list[str]:
    """List the processes that were started with, work in, or mount something of `directory`.

    A process counts by its command line, working directory, root or mounts; this process and its
    ancestors do not.
    """
    needle = str(directory)
    spared = _ancestors()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in spared:
            reason = _ties(entry, needle)
            if reason:
                found.append(f"{entry.name}: {reason}")
    return found


def seconds_of_its_own(place: int) -> str:
    """Return how long, about years, only the sleepers of one place in this test process sleep.

    Tests run side by side: what is known by a number that all of them know is anybody's.
    """
    # Eight digits at least, for Linux has ids up to 2**22 (proc(5), pid_max).
    return f"{place}{os.getpid():07}"


def running(*words: str) -> list[int]:
    """List the processes whose argument vector starts with exactly these words."""
    wanted = b"\0".join(word.encode() for word in words) + b"\0"
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if command.startswith(wanted):
                found.append(int(entry.name))
    return found


def _ties(process: Path, needle: str) -> str:
    try:
        command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        if needle in command:
            return command[:200]
        for link in ("cwd", "root"):
            if os.readlink(process / link).startswith(needle):
                return f"{link} of {command[:100]}"
        if needle in (process / "mountinfo").read_text(errors="replace"):
            return f"mounts of {command[:100]}"
    except OSError:  # it ended, or is a kernel thread
        return ""
    return ""


def _ancestors() -> set[int]:
    found, pid = set(), os.getpid()
    while pid > 0:
        found.add(pid)
        status = Path(f"/proc/{pid}/status").read_text()
        pid = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:"))
    return found
