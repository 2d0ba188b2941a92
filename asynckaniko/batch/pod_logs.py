"""Follow what the Pods of a batch print, each line once, whatever happens to the connections."""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from dataclasses import field
from datetime import UTC, datetime
from typing import Any

import httpx2
from anyio import CapacityLimiter, Event, create_task_group, move_on_after, sleep
from anyio.abc import TaskGroup
from lightkube.resources.core_v1 import Pod

from asynckaniko.batch.api import FAILURES, NOT_FOUND, Api, http_error, status_code
from asynckaniko.batch.kubernetes import BATCH_LABEL, CONTAINER
from asynckaniko.errors import HostError
from asynckaniko.records import dataclass

_STREAMS = 64
"""Logs that are read at a time; the next is read from its beginning, so nothing is lost."""
_LINE_SIZE = 1 << 20
"""Bytes; what a longer line has beyond them is a line of its own."""

Tell = Callable[[Any, str], None]
"""Takes a Pod and a line of its log."""


class PodLogs:
    """The logs of one batch. They are a service: losing one is told, and fails nothing."""

    def __init__(
        self, api: Api, batch: str, *, tell: Tell, last_words_seconds: float = 30.0
    ) -> None:
        """Of a Pod that has ended the rest of the log is waited for `last_words_seconds`."""
        self._api = api
        self._batch = batch
        self._tell = tell
        self._last_words_seconds = last_words_seconds
        self._is_late = False
        """A wait was in vain, and no log has come to its end since: no other Pod gets one."""
        self._pods: dict[str, Any] = {}
        self._told: dict[str, Event] = {}
        """For each Pod whether all of its log was."""
        self._missed: set[str] = set()
        """Pods that had ended before anyone looked: old news, nobody waits for it."""
        self._streams = CapacityLimiter(_STREAMS)
        self._begun: set[str] = set()
        self._is_watching = Event()
        self._over = Event()
        self.problem = ""
        """Why logs are not followed any more."""

    async def run(self) -> None:
        """Follow each Pod from the moment its build begins, until cancelled."""
        try:
            async with create_task_group() as tasks:
                states = self._api.follow(Pod, {BATCH_LABEL: self._batch})
                async with aclosing(states):
                    async for pods in states:
                        if not self._is_watching.is_set():
                            ended = (n for n, pod in pods.items() if _state(pod) == "terminated")
                            self._missed.update(ended)
                        self._pods = pods
                        self._is_watching.set()
                        self._begin(tasks)
        except* HostError as group:
            self.problem = str(group.exceptions[0])
        finally:
            self._over.set()

    async def wait_for(self, pod: str) -> bool:
        """Wait until all that a Pod has printed was told; False if it was not, and will not be."""
        if pod in self._missed:
            return False
        told = self._told.setdefault(pod, Event())
        with move_on_after(0 if self._is_late else self._last_words_seconds) as waiting:
            async with create_task_group() as tasks:
                tasks.start_soon(_first, told, tasks)
                tasks.start_soon(_first, self._over, tasks)
        self._is_late |= waiting.cancelled_caught
        return told.is_set()

    async def watching(self) -> None:
        """Wait until whatever begins from now on is seen, or will never be."""
        async with create_task_group() as tasks:
            tasks.start_soon(_first, self._is_watching, tasks)
            tasks.start_soon(_first, self._over, tasks)

    def _begin(self, tasks: TaskGroup) -> None:
        for name, pod in self._pods.items():
            if name not in self._begun and name not in self._missed and _state(pod):
                self._begun.add(name)
                tasks.start_soon(self._follow, pod)

    async def _follow(self, pod: Any) -> None:
        name = pod.metadata.name
        async with self._streams:
            try:
                await self._follow_to_end(pod)
            except HostError as error:
                self._tell(pod, f"(the rest of the log of pod {name} is lost: {error})")
        self._told.setdefault(name, Event()).set()
        self._is_late = False

    async def _follow_to_end(self, pod: Any) -> None:
        name = pod.metadata.name
        shown = _Shown()
        failures = 0
        while True:
            # What is printed by the time that a Pod has ended is all there will be.
            was_over = name not in self._pods or _state(self._pods[name]) == "terminated"
            before = shown.count
            try:
                await self._read(pod, shown)
            except httpx2.ReadTimeout:
                # A quiet command, or a connection that died without a word.
                continue
            except FAILURES as failure:
                error = http_error(failure)
                if status_code(error) == NOT_FOUND:
                    return
                failures = 1 if shown.count > before else failures + 1
                await self._api.pause(error, failures)
                continue
            if was_over:
                return
            failures = 0
            # Streams also end because a server or proxy in between has had enough of them.
            await sleep(self._api.patience.wait_seconds(1))

    async def _read(self, pod: Any, shown: "_Shown") -> None:
        pieces = self._api.log(pod.metadata.name, container=CONTAINER, since=shown.since())
        async with aclosing(pieces), aclosing(_lines(pieces)) as lines:
            shown.begin_again()
            async for line in lines:
                if shown.is_new(line):
                    self._tell(pod, line.partition(" ")[2] if _second(line) else line)


async def _first(event: Event, tasks: TaskGroup) -> None:
    await event.wait()
    tasks.cancel_scope.cancel()


@dataclass(slots=True)
class _Shown:
    """What of a log has been told, so that after a drop it goes on with the very next line.

    A server is asked for what is as new as the second before the last line's; two streams of a
    container may be a little out of order. Lines differ, as their times have nanoseconds.
    """

    count: int = 0
    _last_second: int = 0
    _recent: dict[int, Counter[str]] = field(default_factory=dict)
    """Lines by the second that they were printed in."""
    _expected: Counter[str] = field(default_factory=Counter)
    """Lines that come again after a new beginning."""

    def since(self) -> str:
        """Return the time from which to ask for lines, in RFC 3339; empty for all."""
        if not self.count:
            return ""
        return datetime.fromtimestamp(self._last_second - 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def begin_again(self) -> None:
        self._expected = Counter()
        for lines in self._recent.values():
            self._expected += lines

    def is_new(self, line: str) -> bool:
        """Tell whether a line, with its time, comes for the first time, and note that it did."""
        if self._expected[line] > 0:
            self._expected[line] -= 1
            return False
        second = _second(line)
        self.count += 1
        if second > self._last_second:
            self._last_second = second
            self._recent = {s: lines for s, lines in self._recent.items() if s >= second - 1}
        if second >= self._last_second - 1:
            self._recent.setdefault(second, Counter())[line] += 1
        return True


def _second(line: str) -> int:
    """Read the time that a line begins with; 0 if it begins with none."""
    try:
        return int(datetime.fromisoformat(line.partition(" ")[0]).timestamp())
    except ValueError:
        return 0


async def _lines(pieces: AsyncIterable[bytes]) -> AsyncGenerator[str, None]:
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
        if len(rest) > _LINE_SIZE:
            yield rest.decode(errors="replace")
            rest = b""
    if rest:
        yield rest.decode(errors="replace")


def _state(pod: Any) -> str:
    """Return what the build's container is: running, terminated, or empty while it waits."""
    statuses = (pod.status.containerStatuses if pod.status else None) or []
    for status in statuses:
        if status.name == CONTAINER and status.state:
            if status.state.terminated:
                return "terminated"
            return "running" if status.state.running else ""
    return ""
