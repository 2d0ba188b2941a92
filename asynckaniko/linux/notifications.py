"""System calls of other processes that this one answers: listeners of seccomp_unotify(2)."""

import ctypes
import errno
import fcntl
import os
import select
import struct

from asynckaniko.linux import abi
from asynckaniko.records import dataclass

_RECEIVE, _SEND, _IS_VALID = 0xC0502100, 0xC0182101, 0x40082102
"""SECCOMP_IOCTL_NOTIF_*"""
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
"""struct seccomp_notif: id, pid, flags; of seccomp_data number, architecture, pointer, arguments"""
_ANSWER = struct.Struct("=QqiI")


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that waits for its answer."""

    identifier: int
    thread: int
    """Number of the calling thread, in the pid namespace of whoever received this."""
    name: str
    """As in `abi`; empty if it is not there."""
    arguments: tuple[int, ...]

    def signed(self, index: int) -> int:
        """Return the argument as an int of 32 bits."""
        return ctypes.c_int32(self.arguments[index] & 0xFFFFFFFF).value

    def unsigned(self, index: int) -> int:
        """Return the argument as an unsigned int of 32 bits."""
        return self.arguments[index] & 0xFFFFFFFF


class Listener:
    """The reading end of a filter that notifies (`seccomp.notify_of_owners`)."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._names = {
            (interface.architecture, number): name
            for interface in abi.of_this_machine()
            for name, numbers in interface.calls.items()
            for number in numbers
        }

    def close(self) -> None:
        """Let the kernel answer: ENOSYS, as to all that wait and will."""
        os.close(self._descriptor)

    def receive(self, stop: int) -> Call | None:
        """Wait for a call; None when `stop` becomes readable, or nobody is left to call."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(stop, select.POLLIN)
        while True:
            events = dict(poll.poll())
            if stop in events or events.get(self._descriptor, 0) & select.POLLHUP:
                return None
            buffer = bytearray(_NOTIFICATION.size)
            try:
                fcntl.ioctl(self._descriptor, _RECEIVE, buffer)
            except OSError as error:
                # The caller was killed before, or interrupted and will call again.
                if error.errno in {errno.ENOENT, errno.EINTR}:
                    continue
                raise
            identifier, thread, _, number, architecture, _, *arguments = _NOTIFICATION.unpack(
                buffer
            )
            name = self._names.get((architecture, number), "")
            return Call(identifier, thread, name, tuple(arguments))

    def is_waiting(self, call: Call) -> bool:
        """Tell whether the thread still waits: if so, its number was not another's in between."""
        try:
            fcntl.ioctl(self._descriptor, _IS_VALID, struct.pack("=Q", call.identifier))
        except FileNotFoundError:
            return False
        return True

    def answer(self, call: Call, number: int) -> None:
        """Let the call fail with errno `number`, or succeed with 0 if that is 0."""
        try:
            fcntl.ioctl(self._descriptor, _SEND, _ANSWER.pack(call.identifier, 0, -number, 0))
        except FileNotFoundError:
            # The caller was killed meanwhile.
            return
