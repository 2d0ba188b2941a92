"""How a loop's speed is taken and shown, and how far it is from its limit."""

import resource
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

_REPEATS = 5


@dataclass(frozen=True)
class Result:
    """`rates` are `unit` per CPU second, one for each repeat."""

    what: str
    unit: str
    rates: tuple[float, ...]
    limit: "Result | None" = None
    """Somebody who does the least that could do, on the same input."""

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    def beside(self, limit: "Result") -> Self:
        return replace(self, limit=limit)

    def __str__(self) -> str:
        span = f"({min(self.rates):.1f}-{max(self.rates):.1f})"
        shown = f"{self.what:44s} {self.rate:10.1f} {self.unit}/s {span}"
        if self.limit is None:
            return shown
        share = self.rate / self.limit.rate
        return f"{shown:85s} {share:4.0%} of {self.limit.what}: {self.limit.rate:.1f}"


def rate(what: str, amount: float, unit: str, work: Callable[[], object]) -> Result:
    """Measure `work`, which handles `amount` units each time, in CPU seconds of this process and
    of those that it started and waited for.
    """
    work()
    rates = []
    for _ in range(_REPEATS):
        started = _cpu_seconds()
        work()
        # The clock of children ticks in microseconds: nothing takes no time at all.
        rates.append(amount / max(_cpu_seconds() - started, 1e-6))
    return Result(what, unit, tuple(rates))


def rate_of(what: str, amount: float, unit: str, command: Sequence[str]) -> Result:
    """Measure a program, its start included."""

    def work() -> None:
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    return rate(what, amount, unit, work)


def _cpu_seconds() -> float:
    used = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)
