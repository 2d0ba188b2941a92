"""What structured concurrency needs beyond anyio: one error, one flight."""

from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeAlias, TypeVar

from anyio import CancelScope, Event
from anyio.abc import TaskGroup

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

Checkpoint: TypeAlias = Callable[[], None]
"""Called often from long synchronous loops; raises to stop them when the build is cancelled."""


@contextmanager
def single_error() -> Iterator[None]:
    """Raise the error itself where a caller asked for one thing and one thing failed.

    Task groups wrap even a lone failure in an ExceptionGroup; several failures stay a group. One
    failure that several tasks waited for, and all raised, is still one.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        cause: BaseException = group
        while isinstance(cause, BaseExceptionGroup) and _is_one(cause):
            cause = cause.exceptions[0]
        raise cause from cause.__cause__


def _is_one(group: BaseExceptionGroup[BaseException]) -> bool:
    return len(group.exceptions) == 1 or len({id(leaf) for leaf in leaves(group)}) == 1


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Give the errors that a group is made of, in order; an error that is no group is its own."""
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from leaves(member)
    else:
        yield error


class SingleFlight(Generic[Key, Value]):
    """Does the work for a key once, however many tasks ask for it at the same time.

    The work runs in `tasks`, not in the task that asked first, so that one caller's cancellation
    does not take the result from the others; when the last caller is gone it is cancelled.
    Results are not kept: a later call asks again.
    """

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._flights: dict[Key, _Flight[Value]] = {}

    async def do(self, key: Key, work: Callable[[], Awaitable[Value]]) -> Value:
        """Return what `work` returns or raise what it raises, run once for all current callers."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            self._tasks.start_soon(self._fly, key, flight, work)
        flight.waiting += 1
        try:
            await flight.landed.wait()
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.landed.is_set():
                flight.scope.cancel()
                # A newcomer must not board a flight that is being cancelled.
                if self._flights.get(key) is flight:
                    del self._flights[key]
        return flight.outcome()

    async def _fly(
        self, key: Key, flight: "_Flight[Value]", work: Callable[[], Awaitable[Value]]
    ) -> None:
        try:
            with flight.scope:
                flight.value = (await work(),)
        except Exception as error:
            flight.error = error
        finally:
            if self._flights.get(key) is flight:
                del self._flights[key]
            flight.landed.set()


class _Flight(Generic[Value]):
    def __init__(self) -> None:
        self.landed = Event()
        self.scope = CancelScope()
        self.waiting = 0
        self.value: tuple[Value] | None = None
        self.error: Exception | None = None

    def outcome(self) -> Value:
        if self.error is not None:
            raise self.error
        if self.value is None:
            raise RuntimeError("what this work belongs to was closed while callers waited for it")
        return self.value[0]
