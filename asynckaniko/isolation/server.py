"""The fork server's program: forks one child per call, reports when it and its tree are gone.

Started by `fork_server.ForkServer` with a clean environment; everything is said on one socket of
type SOCK_SEQPACKET, a JSON object per message:

    to the server:   {"preload": [...]}                                 first, once
                     {"directory": path, "confinement": {...} or null}  next, once
                     {"call": id, "function": "module:name", "directory": path or absent}
                                                          with descriptors: exchange, *fds
                     {"kill": id}
    from it:         {"ready": true, "root_id": id, "one_id": bool} or {"error": {...}}
                     {"ended": id, "status": exit code, negative for a signal}

The exchange is a memfd: the caller wrote the arguments, the child writes the outcome in their
place before it exits. When the socket closes, for whatever reason, the server kills every call
and exits; with namespaces it is PID 1 of its own, so the kernel does it.

Standard library only, one thread, and nothing is imported after a child may have lost sight of
the file system. Every call in a server with namespaces is PID 1 of a pid namespace of its own
and has its own mount namespace: a call that ended has left no process and no mount behind.
"""

import faulthandler
import gc
import importlib
import json  # noqa: TID251  the argument names are file names: lone surrogates must survive
import os
import select
import signal
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NoReturn, TypeAlias

from asynckaniko.errors import AsynckanikoError, HostError, host_error, to_wire
from asynckaniko.isolation import namespaces
from asynckaniko.isolation.namespaces import Confinement
from asynckaniko.linux import memory, processes, syscalls

Job: TypeAlias = Callable[[Mapping[str, Any], Sequence[int]], Any]

_MESSAGE_SIZE = 64 * 1024
_MOST_DESCRIPTORS = 253
"""SCM_MAX_FD of the kernel."""


def main(descriptor: int) -> None:
    """Serve the control socket `descriptor` until it closes."""
    # Not every way to start a process closes what its parent had left inheritable.
    processes.close_all_but([descriptor])
    control = socket.socket(fileno=descriptor)
    control.set_inheritable(False)
    _default_signals()
    faulthandler.enable()
    try:
        for module in json.loads(control.recv(_MESSAGE_SIZE))["preload"]:
            importlib.import_module(module)
        content = control.recv(_MESSAGE_SIZE)
        if not content:
            # It was not needed after all.
            return
        request = json.loads(content)
        _enter(request["directory"])
        server, ids = _prepare(control, request["confinement"])
    except AsynckanikoError as error:
        control.send(json.dumps({"error": to_wire(error)}).encode())
        return
    # What was loaded until now is shared with the children as long as nobody writes to it.
    gc.collect()
    gc.freeze()
    control.send(json.dumps({"ready": True, **ids}).encode())
    memory.forget_files()
    server.serve()


def _enter(directory: str) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        raise HostError(f"cannot work in {directory}: {error.strerror}") from error


def _prepare(
    control: socket.socket, wanted: Mapping[str, Any] | None
) -> "tuple[_Server, dict[str, Any]]":
    """Enter the namespaces that are wanted; return the server for them and what it says of ids."""
    if wanted is None:
        return _PlainServer(control), {"root_id": 0, "one_id": False}
    confinement = Confinement(**wanted)
    entered = namespaces.enter(confinement)
    kind = _SharedPidsServer if confinement.shared_pids else _NamespacedServer
    return kind(control), {"root_id": entered.root_id, "one_id": entered.has_one_id}


def _default_signals() -> None:
    """Start as from a fresh login: what a parent ignored or blocked would reach every command.

    As PID 1 of a namespace, a process is also safe from signals of that namespace that have no
    handler; Python's own for SIGINT would be one.
    """
    for number in signal.valid_signals():
        # Python needs SIGPIPE ignored. The last two cannot be changed.
        if number not in {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


class _Server(ABC):
    """The loop: messages from the socket, ends of children. Subclasses say how to fork and kill."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._calls: dict[int, int] = {}
        """Call id to the pid of its child."""
        self._ends: dict[int, int] = {}
        """pidfd to call id."""

    def serve(self) -> None:
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor != self._control.fileno():
                    self._reap(descriptor)
                elif not self._receive():
                    self.end()
                    return

    @abstractmethod
    def fork(self) -> int:
        """Fork a child that is confined as calls of this server are; 0 in the child."""

    @abstractmethod
    def confine(self) -> None:
        """Finish the confinement in the child."""

    @abstractmethod
    def kill(self, pid: int) -> None:
        """Begin to end the child `pid` and all its descendants."""

    @abstractmethod
    def sweep(self) -> None:
        """End what a child that was reaped has left behind."""

    @abstractmethod
    def end(self) -> None:
        """End all calls: nobody waits for them any more."""

    def _receive(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(
            self._control, _MESSAGE_SIZE, _MOST_DESCRIPTORS
        )
        if not message:
            return False
        request = json.loads(message)
        if "kill" in request:
            # It may have ended by itself; its report is on the way then.
            if request["kill"] in self._calls:
                self.kill(self._calls[request["kill"]])
            return True
        try:
            self._start(request, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _start(self, request: Mapping[str, Any], descriptors: list[int]) -> None:
        call, function = request["call"], request["function"]
        try:
            pid = self.fork()
        except OSError as error:
            _write_outcome(descriptors[0], {"error": to_wire(host_error(error, doing=function))})
            self._report(call, 0)
            return
        if pid == 0:
            self._become_call(function, request.get("directory"), descriptors)
        self._calls[call] = pid
        end = os.pidfd_open(pid)
        self._ends[end] = call
        self._poll.register(end, select.POLLIN)

    def _become_call(
        self, function: str, directory: str | None, descriptors: Sequence[int]
    ) -> NoReturn:
        """Be the child of one call. Never returns into the server's loop."""
        try:
            os.umask(0)
            processes.close_all_but(descriptors)
            exchange, *fds = descriptors
            _write_outcome(exchange, self._outcome(function, directory, exchange, fds))
        except BaseException as error:
            os.write(2, _describe(error).encode(errors="replace"))
            os._exit(1)
        os._exit(0)

    def _outcome(
        self, function: str, directory: str | None, exchange: int, fds: Sequence[int]
    ) -> dict[str, Any]:
        try:
            self.confine()
            if directory is not None:
                os.chdir(directory)
            arguments = json.loads(os.pread(exchange, os.fstat(exchange).st_size, 0))
            return {"result": _resolve(function)(arguments, fds)}
        except AsynckanikoError as error:
            return {"error": to_wire(error)}
        except OSError as error:
            return {"error": to_wire(host_error(error, doing=function)), "trace": _describe(error)}
        except BaseException as error:
            return {"crash": _describe(error)}

    def _reap(self, end: int) -> None:
        self._poll.unregister(end)
        os.close(end)
        call = self._ends.pop(end)
        _, status = os.waitpid(self._calls.pop(call), 0)
        self.sweep()
        self._report(call, os.waitstatus_to_exitcode(status))

    def _report(self, call: int, status: int) -> None:
        self._control.send(json.dumps({"ended": call, "status": status}).encode())


class _NamespacedServer(_Server):
    """Calls are PID 1 of their own pid namespace: killing or losing one takes all below it along.

    waitpid returns for the PID 1 of a namespace after its last process is gone
    (pid_namespaces(7)), so an end that is reported is complete.
    """

    def __init__(self, control: socket.socket) -> None:
        super().__init__(control)
        self._self = os.pidfd_open(os.getpid())

    def fork(self) -> int:
        syscalls.unshare(syscalls.CLONE_NEWPID)
        pid = -1
        try:
            pid = os.fork()
        finally:
            if pid != 0:
                # A second unshare is refused while children go elsewhere than their parent lives.
                syscalls.setns(self._self, syscalls.CLONE_NEWPID)
        return pid

    def confine(self) -> None:
        syscalls.unshare(syscalls.CLONE_NEWNS)

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def sweep(self) -> None:
        """Nothing is left of a pid namespace whose PID 1 was reaped."""

    def end(self) -> None:
        """The kernel kills all calls when this process, PID 1 above them, exits."""


class _PlainServer(_Server):
    """Calls are ordinary children; as subreaper the server inherits whatever they leave."""

    def __init__(self, control: socket.socket) -> None:
        super().__init__(control)
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        if os.geteuid() == 0:
            # Commands of modes without namespaces run as the same user.
            syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
        self._self = os.getpid()

    def fork(self) -> int:
        return os.fork()

    def confine(self) -> None:
        # What its own children leave stays below it, apart from what others leave.
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self._self:
            os._exit(1)

    def kill(self, pid: int) -> None:
        processes.kill_tree(pid)

    def sweep(self) -> None:
        while left := set(processes.children(self._self)) - set(self._calls.values()):
            for pid in left:
                processes.kill_tree(pid)
                os.waitpid(pid, 0)

    def end(self) -> None:
        self._calls.clear()
        self.sweep()


class _SharedPidsServer(_PlainServer):
    """Calls have mount namespaces of their own, but see and can signal each other."""

    def confine(self) -> None:
        super().confine()
        syscalls.unshare(syscalls.CLONE_NEWNS)


def _resolve(function: str) -> Job:
    module, _, name = function.partition(":")
    if module not in sys.modules:
        raise RuntimeError(f"{module} is not among the fork server's preloaded modules")
    job: Job = getattr(sys.modules[module], name)
    return job


def _write_outcome(exchange: int, outcome: Mapping[str, Any]) -> None:
    content = json.dumps(outcome).encode()
    os.ftruncate(exchange, 0)
    written = 0
    while written < len(content):
        written += os.pwrite(exchange, content[written:], written)


def _describe(error: BaseException) -> str:
    """Format a traceback without reading source files: the file system may be the image's."""
    lines = []
    while True:
        lines.append(f"{type(error).__name__}: {error}")
        lines += _frames(error.__traceback__)
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None:
            return "\n".join(lines) + "\n"
        lines.append("caused by")
        error = cause


def _frames(trace: TracebackType | None) -> list[str]:
    lines = []
    while trace is not None:
        code = trace.tb_frame.f_code
        lines.append(f"  {code.co_filename}:{trace.tb_lineno} in {code.co_name}")
        trace = trace.tb_next
    return lines
