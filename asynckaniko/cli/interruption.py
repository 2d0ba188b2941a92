"""SIGINT and SIGTERM end a command by cancelling it, so that everything is cleaned up."""

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from anyio import TASK_STATUS_IGNORED, CancelScope, create_task_group, open_signal_receiver
from anyio.abc import TaskStatus

from asynckaniko.cli.report import Interrupted
from asynckaniko.concurrency import single_error


@asynccontextmanager
async def interruptible(
    *, on_signal: Callable[[str], None], before_abandoning: Callable[[], None]
) -> AsyncIterator[None]:
    """Cancel the body at SIGINT, SIGTERM or SIGHUP; raise Interrupted when it has ended.

    `on_signal` is called at once with the signal's name. A second SIGINT ends the process there
    and then, after a call of `before_abandoning`.
    """
    watch = _Watch(on_signal, before_abandoning)
    with single_error():
        async with create_task_group() as tasks:
            await tasks.start(watch.run)
            try:
                with watch.work:
                    yield
            except Exception as error:
                if watch.received:
                    # Whatever broke while everything was being torn down is not the news.
                    raise Interrupted(watch.received) from error
                raise
            finally:
                tasks.cancel_scope.cancel()
    if watch.work.cancelled_caught:
        raise Interrupted(watch.received)


class _Watch:
    def __init__(
        self, on_signal: Callable[[str], None], before_abandoning: Callable[[], None]
    ) -> None:
        self.work = CancelScope()
        self.received = 0
        self._on_signal = on_signal
        self._before_abandoning = before_abandoning

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        with open_signal_receiver(*_signals()) as signals:
            task_status.started()
            async for number in signals:
                if self.received and number == signal.SIGINT:
                    self._before_abandoning()
                    os._exit(128 + signal.SIGINT)
                if not self.received:
                    self.received = number
                    self.work.cancel()
                    self._on_signal(signal.Signals(number).name)


def _signals() -> tuple[signal.Signals, ...]:
    # nohup(1) ignores SIGHUP so that we outlive the terminal.
    hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGINT, signal.SIGTERM, *hangup)
