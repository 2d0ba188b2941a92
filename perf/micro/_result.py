"""How a loop's speed is taken and shown."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

_REPEATS = 5


@dataclass(frozen=True)
class Result:
    """`rates` are `unit` per CPU second, one for each repeat."""

    what: str
    unit: str
    rates: tuple[float, ...]

    def __str__(self) -> str:
        middle, low, high = statistics.median(self.rates), min(self.rates), max(self.rates)
        return f"{self.what:44s} {middle:10.1f} {self.unit}/s ({low:.1f}-{high:.1f})"


def rate(
    what: str, amount: float, unit: str, work: Callable[[], object], repeats: int = 5
) -> Result:
    """Measure `work`, which handles `amount` units each time, in CPU seconds of this process."""
    work()
    rates = []
    for _ in range(_REPEATS):
        started = time.process_time()
        work()
        rates.append(amount / (time.process_time() - started))
    return Result(what, unit, tuple(rates))
