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
