"""How many builds may run at once: a number of jobs, and the memory they say they take."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import field
from pathlib import Path

from anyio import Event
from anyio.lowlevel import checkpoint

from asynckaniko.records import dataclass

_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_MEMINFO = Path("/proc/meminfo")
_SHARE = 0.9
"""The rest is for this process and the page cache."""


def memory_budget() -> int:
    """Return the bytes that builds may take together here: by the cgroup or the machine."""
    limits = []
    for path in _CGROUP_LIMITS:
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdigit():
            limits.append(int(text))
    lines = map(str.split, _MEMINFO.read_text().splitlines())
    limits += [int(words[1]) * 1024 for words in lines if words[0] == "MemTotal:"]
    return int(min(limits) * _SHARE)


@dataclass(slots=True, eq=False)
class _Waiter:
    rank: tuple[float, ...]
    weight: int
    memory: int
    admitted: Event = field(default_factory=Event)
    overtaken: int = 0


class Admission:
    """Lets builds in by rank; one that does not fit yet may be overtaken, but not for ever."""

    def __init__(self, *, jobs: int, memory: int) -> None:
        self._jobs = jobs
        self._memory = memory
        self._free_jobs = jobs
        self._free_memory = memory
        self._waiting: list[_Waiter] = []

    @asynccontextmanager
    async def admit(
        self, *, weight: int = 1, memory: int = 0, rank: tuple[float, ...] = ()
    ) -> AsyncIterator[None]:
        """Wait for room; hold it for the block. What asks for more than there is gets all of it."""
        waiter = _Waiter(rank, min(weight, self._jobs), min(memory, self._memory))
        self._waiting.append(waiter)
        self._waiting.sort(key=lambda waiting: waiting.rank)
        try:
            # All that are ready at the same moment line up before the first of them is let in.
            await checkpoint()
            self._let_in()
            await waiter.admitted.wait()
            yield
        finally:
            if waiter.admitted.is_set():
                self._free_jobs += waiter.weight
                self._free_memory += waiter.memory
            else:
                self._waiting.remove(waiter)
            self._let_in()

    def _let_in(self) -> None:
        passed_over: list[_Waiter] = []
        for waiter in list(self._waiting):
            if waiter.weight <= self._free_jobs and waiter.memory <= self._free_memory:
                self._free_jobs -= waiter.weight
                self._free_memory -= waiter.memory
                self._waiting.remove(waiter)
                waiter.admitted.set()
                for other in passed_over:
                    other.overtaken += 1
            elif waiter.overtaken >= self._jobs:
                return
            else:
                passed_over.append(waiter)
