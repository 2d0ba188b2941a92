"""The network of a step that shall have none: a loopback device and nothing else."""

import errno
import fcntl
import os
import socket
import struct
from typing import NoReturn

from asynckaniko.linux import syscalls

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1


def enter_empty_network() -> None:
    """Move this process into a new network namespace with a loopback that works."""
    syscalls.unshare(syscalls.CLONE_NEWNET)
    try:
        _bring_loopback_up()
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        # SYS_ADMIN without NET_ADMIN, as a Pod may have it.
        _enter_network_of_a_child()


def _enter_network_of_a_child() -> None:
    """Join a network namespace that a child has made in a user namespace of its own.

    The child is its root and may bring the loopback up; its owner, this process, may enter it.
    """
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready[0])
        os.close(done[1])
        _hold_network(ready[1], done[0])
    os.close(ready[1])
    os.close(done[0])
    try:
        refusal = os.read(ready[0], 1000).decode()
        if refusal != "ready":
            raise OSError(errno.EPERM, refusal or "the network's holder died")
        holder = os.pidfd_open(child)
        syscalls.setns(holder, syscalls.CLONE_NEWNET)
        os.close(holder)
    finally:
        os.close(ready[0])
        os.close(done[1])
        os.waitpid(child, 0)


def _hold_network(ready: int, done: int) -> NoReturn:
    try:
        # Who may not look into a process may not enter its namespaces either.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
        syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNET)
        _bring_loopback_up()
        os.write(ready, b"ready")
        os.read(done, 1)
    except OSError as error:
        os.write(ready, f"--network=none: {error.strerror}".encode())
    os._exit(0)


def _bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _IFF_UP))
