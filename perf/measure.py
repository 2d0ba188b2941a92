"""Run one command and measure its whole process tree: wall, CPU, peak memory.

The command runs under a process of its own (this file as a program), which is the subreaper of
everything it starts: no daemonised child escapes the accounts.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Usage:
    """What a command took. Times are seconds, sizes bytes."""

    exit_code: int
    wall: float
    user: float
    system: float
    tree_memory: int
    """Largest sum of resident sizes over the tree, sampled; shared pages count repeatedly."""
    process_memory: int
    """Largest resident size of any one process, exact."""

    @property
    def cpu(self) -> float:
        return self.user + self.system


def measure(
    command: Sequence[str],
    *,
    directory: Path,
    environment: Mapping[str, str],
    log: Path,
    timeout_seconds: float,
) -> Usage:
    """Run a command to its end; its output goes to `log`."""
    result = log.with_suffix(".usage")
    watcher = [sys.executable, "-I", __file__, str(result), str(timeout_seconds)]
    with log.open("wb") as output:
        subprocess.run(
            [*watcher, *command],
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=True,
        )
    return Usage(**json.loads(result.read_text()))


def _watch(result: Path, timeout_seconds: float, command: Sequence[str]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    peak, ended = [0], threading.Event()
    sampler = threading.Thread(target=_sample, args=(peak, ended))
    sampler.start()
    started = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            exit_code = process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            exit_code = 124
    wall = time.monotonic() - started
    for pid in _tree(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    while _reap():
        pass
    ended.set()
    sampler.join()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    usage = Usage(exit_code, wall, used.ru_utime, used.ru_stime, peak[0], used.ru_maxrss * 1024)
    result.write_text(json.dumps(asdict(usage)))


def _reap() -> bool:
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        return False
    return True


def _sample(peak: list[int], ended: threading.Event) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    while not ended.wait(_SAMPLE_SECONDS):
        total = 0
        for pid in _tree(os.getpid()):
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
            except (OSError, IndexError):  # it ended
                continue
        peak[0] = max(peak[0], total)


def _tree(root: int) -> Iterator[int]:
    """Give every descendant of a process."""
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        try:
            tasks = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for task in tasks:
            try:
                children = Path(f"/proc/{pid}/task/{task}/children").read_text().split()
            except OSError:
                continue
            for child in map(int, children):
                waiting.append(child)
                yield child


if __name__ == "__main__":
    _watch(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
