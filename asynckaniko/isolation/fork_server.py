"""The client of a fork server: run synchronous jobs in forked children from asynchronous code.

The event loop's process has threads and cannot fork safely, and does not want to do the work of
a layer in its interpreter. So a small program that has neither (`server`) is started once, and
forks one child per call: 1 or 2 ms each, with the job's modules loaded already.
"""

import json  # noqa: TID251  arguments hold file names: lone surrogates must survive
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from anyio import (
    CancelScope,
    Event,
    Lock,
    create_task_group,
    move_on_after,
    wait_readable,
    wait_writable,
)
from anyio.abc import TaskGroup

from asynckaniko.concurrency import single_error
from asynckaniko.errors import HostError, from_wire
from asynckaniko.isolation.launch import Launch
from asynckaniko.isolation.namespaces import Confinement

_DEFAULT = Confinement()
_STOP_SECONDS = 5.0
_REAP_SECONDS = 30.0
"""After SIGKILL only a process that hangs in the kernel, on a dead disk say, is still there."""
_STDERR_TAIL = 4000
_MESSAGE_SIZE = 64 * 1024


class ForkServer:
    """A process that forks a child for each call. Safe for many tasks at once.

    When the server dies, running calls raise HostError and so does every later call.
    """

    def __init__(self, launch: Launch) -> None:
        self.root_id = 0
        """Host uid and gid behind ns-root; 0 without namespaces."""
        self.has_one_id = False
        """The user namespace has no other id: owners are recorded beside files."""
        self._control = launch.control
        self._process = launch.process
        self._launch = launch
        self._reaping = Lock()
        self._sending = Lock()
        self._calls: dict[int, _Call] = {}
        self._numbers = 0
        self._lost: str | None = None
        """Why no call can work any more."""
        self._stopping = False

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        *,
        directory: Path,
        preload: Sequence[str],
        namespaces: bool,
        confinement: Confinement = _DEFAULT,
        tasks: TaskGroup | None = None,
        launch: Launch | None = None,
    ) -> AsyncIterator[Self]:
        """Start a server that works in `directory`; leaving the block ends it and all calls.

        With `namespaces`, calls run as root of the build's user namespace and `directory` is
        given to it; `confinement` says how. `preload` names the modules whose functions can be
        called; a `launch` has loaded them already. Raises IsolationUnavailable, HostError.
        """
        server = cls(launch or Launch.begin(preload))
        try:
            await server._greet(directory, confinement if namespaces else None)
            async with server._receiving(tasks):
                yield server
        finally:
            try:
                await server._stop()
            finally:
                server._launch.close()

    async def call(
        self,
        function: str,
        arguments: Mapping[str, Any],
        *,
        fds: Sequence[int] = (),
        directory: Path | None = None,
    ) -> Any:
        """Return what `module:name(arguments, fds)` returns in a child of the server.

        Arguments and result are JSON values. The descriptors arrive as duplicates. `directory` is
        where the child works, if not where the server does. Raises the
        AsynckanikoError that the child raised; HostError or OutOfSpace for its OSError, or when
        it was killed; RuntimeError with its traceback for anything else. When cancelled, kills
        the child and all its descendants, and returns when they are gone.
        """
        if self._lost is not None:
            raise HostError(self._lost)
        self._numbers += 1
        number = self._numbers
        call = self._calls[number] = _Call()
        exchange = os.memfd_create(function)
        try:
            os.write(exchange, json.dumps(arguments).encode())
            request: dict[str, Any] = {"call": number, "function": function}
            if directory is not None:
                request["directory"] = os.fspath(directory)
            await self._carry_out(request, call, [exchange, *fds])
            return self._outcome(function, call, exchange)
        finally:
            del self._calls[number]
            os.close(exchange)

    async def _carry_out(
        self, request: Mapping[str, Any], call: "_Call", fds: Sequence[int]
    ) -> None:
        try:
            async with self._sending:
                await self._send(request, fds)
                call.sent = True
            await call.ended.wait()
        finally:
            if call.sent and not call.ended.is_set():
                with move_on_after(_REAP_SECONDS, shield=True):
                    async with self._sending:
                        await self._send({"kill": request["call"]})
                    await call.ended.wait()

    def _outcome(self, function: str, call: "_Call", exchange: int) -> Any:
        if call.status is None:
            raise HostError(f"{function}: {self._lost}")
        if call.status < 0:
            raise HostError(
                f"{function}: its process was killed by signal {-call.status}"
                + (" (out of memory, most likely)" if call.status == -9 else "")
            )
        if call.status > 0:
            raise RuntimeError(f"{function} ended with {call.status}: {self._said()}")
        outcome = json.loads(os.pread(exchange, os.fstat(exchange).st_size, 0))
        if "error" in outcome:
            error = from_wire(outcome["error"])
            if "trace" in outcome:
                error.add_note(outcome["trace"])
            raise error
        if "crash" in outcome:
            raise RuntimeError(f"{function} failed in a helper process:\n{outcome['crash']}")
        return outcome["result"]

    async def _greet(self, directory: Path, confinement: Confinement | None) -> None:
        wanted = asdict(confinement) if confinement else None
        await self._send({"directory": os.fspath(directory), "confinement": wanted})
        answer = await self._next()
        if answer is None:
            await self._ended()
            raise HostError(f"the fork server did not start: {self._said()}")
        if "error" in answer:
            raise from_wire(answer["error"])
        self.root_id, self.has_one_id = answer["root_id"], answer["one_id"]

    @asynccontextmanager
    async def _receiving(self, tasks: TaskGroup | None) -> AsyncIterator[None]:
        if tasks is None:
            with single_error():
                async with create_task_group() as own, self._receiving(own):
                    yield
            return
        ended = Event()
        tasks.start_soon(self._receive, ended)
        try:
            yield
        finally:
            await self._stop()
            with CancelScope(shield=True):
                await ended.wait()

    async def _receive(self, ended: Event) -> None:
        # The end of the server, not a cancellation, ends this: calls wait for its word.
        with CancelScope(shield=True):
            await self._settle_calls()
        ended.set()

    async def _settle_calls(self) -> None:
        while (report := await self._next()) is not None:
            # The caller may have given up on a process that cannot be killed.
            if call := self._calls.get(report["ended"]):
                call.status = report["status"]
                call.ended.set()
        code = await self._ended()
        if self._stopping:
            self._lost = "the fork server was stopped"
        else:
            self._lost = f"the fork server died ({_how(code)}): {self._said()}"
        for call in self._calls.values():
            call.ended.set()

    async def _send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
        content = json.dumps(message).encode()
        while True:
            try:
                socket.send_fds(self._control, [content], list(fds))
                return
            except BlockingIOError:
                await wait_writable(self._control)
            except ConnectionError:
                # The server is gone; whoever receives its end says so to all calls.
                return

    async def _next(self) -> dict[str, Any] | None:
        while True:
            await wait_readable(self._control)
            try:
                content = self._control.recv(_MESSAGE_SIZE)
            except BlockingIOError:
                continue
            except ConnectionError:
                return None
            message: dict[str, Any] | None = json.loads(content) if content else None
            return message

    def _said(self) -> str:
        stderr = self._launch.stderr
        size = os.fstat(stderr).st_size
        tail = os.pread(stderr, _STDERR_TAIL, max(0, size - _STDERR_TAIL))
        return tail.decode(errors="replace").strip() or "it said nothing"

    async def _stop(self) -> None:
        """Stop the server and wait for its end, unless that has happened."""
        self._stopping = True
        with CancelScope(shield=True):
            with suppress(OSError):  # it is gone
                # It sees the end of the socket, kills what still runs, and exits.
                self._control.shutdown(socket.SHUT_WR)
            with move_on_after(_STOP_SECONDS):
                await self._ended()
            if self._process.returncode is None:
                self._process.kill()
                await self._ended()

    async def _ended(self) -> int:
        """Wait for the end of the server and return its status, negative for a signal."""
        async with self._reaping:
            while (code := self._process.poll()) is None:
                await wait_readable(self._launch.end)
            return code


class _Call:
    def __init__(self) -> None:
        self.sent = False
        self.ended = Event()
        self.status: int | None = None
        """Exit code, negative for a signal; None when the server died."""


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
