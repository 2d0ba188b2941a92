"""An event loop whose clock jumps to the next timer: minutes of waiting take no time."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

import anyio


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or not timeout:
            assert ready or timeout is not None, "everything waits, and nothing will ever happen"
            return ready
        self.now += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Loop time starts at 0 and passes only while everything waits."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self.steps = 0
        """How often it has looked for what is ready: between two of them, tasks ran to an await."""
        self.interruption: tuple[int, Callable[[], Coroutine[Any, Any, None]]] | None = None
        """What to run as a task, once, before the step of a number."""

    def _run_once(self) -> None:
        self.steps += 1
        if self.interruption is not None and self.interruption[0] == self.steps:
            self._interrupting = self.create_task(self.interruption[1]())
        super()._run_once()  # type: ignore[misc]

    def time(self) -> float:
        return self._jumping.now


Test = Callable[..., Coroutine[Any, Any, None]]


def in_virtual_time(test: Test) -> Callable[..., None]:
    """Run an async test on a loop of this kind.

    Not by anyio's plugin: a fixture that lives as long as the session has it run all tests on the
    loop that the fixture began on.
    """

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        options = {"loop_factory": VirtualTimeLoop}
        anyio.run(functools.partial(test, *arguments, **named), backend_options=options)

    return run
