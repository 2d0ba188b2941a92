"""Calls of another process, answered: which are, what is said of them, what their caller gets."""

import errno
import os
import platform
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from asynckaniko.linux import seccomp
from asynckaniko.linux.notifications import Call, Listener
from tests.unit.linux.test_seccomp import answer, call_as_32_bit_program

UNCHANGED = 2**32 - 1


@contextmanager
def caller(function: Callable[[], object]) -> Iterator[tuple[Listener, int, int]]:
    """Give the listener of a child that calls `function`, its pid, and a pipe that ends with it."""
    ours, theirs = socket.socketpair()
    gone, alive = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(gone)
        socket.send_fds(theirs, [b"l"], [seccomp.notify_of_owners()])
        os._exit(answer(function))
    os.close(alive)
    theirs.close()
    _, (descriptor,), _, _ = socket.recv_fds(ours, 1, 1)
    ours.close()
    listener = Listener(descriptor)
    yield listener, pid, gone
    listener.close()
    os.close(gone)


def calls_of(function: Callable[[], object], number: int = 0) -> tuple[list[Call], int]:
    """Answer all calls with errno `number`; return them, and the exit status of the caller."""
    calls = []
    with caller(function) as (listener, pid, gone):
        while (call := listener.receive(gone)) is not None:
            calls.append(call)
            listener.answer(call, number)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return calls, status


@pytest.mark.parametrize(
    ("function", "names", "ids"),
    [
        pytest.param(lambda: os.chown("/", 5, 6), {"chown", "fchownat"}, (5, 6), id="chown"),
        pytest.param(lambda: os.lchown("/", 5, -1), {"lchown", "fchownat"}, (5, UNCHANGED), id="l"),
        pytest.param(lambda: os.fchown(1, -1, 6), {"fchown"}, (UNCHANGED, 6), id="fchown"),
        pytest.param(lambda: os.chown("x", 2**31, 6, dir_fd=1), {"fchownat"}, (2**31, 6), id="at"),
    ],
)
def test_chown_is_notified_with_its_arguments(
    function: Callable[[], object], names: set[str], ids: tuple[int, int]
) -> None:
    (call,), status = calls_of(function)

    assert call.name in names
    first = 2 if call.name == "fchownat" else 1
    assert (call.unsigned(first), call.unsigned(first + 1)) == ids
    assert status == 0


def test_caller_gets_the_errno_of_the_answer() -> None:
    _, status = calls_of(lambda: os.fchown(1, 5, 6), errno.EROFS)

    assert status == errno.EROFS


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (lambda: os.setuid(5), ["setuid"]),
        (lambda: os.setreuid(-1, 5), ["setreuid"]),
        (lambda: os.setresuid(0, 0, 5), ["setresuid"]),
        (lambda: os.setresuid(0, -1, 0), []),
        (lambda: os.setgid(5), []),
        (lambda: os.setresgid(5, 5, 5), []),
        (lambda: os.setgroups([5, 6]), []),
    ],
)
def test_changes_of_the_user_are_notified_and_those_of_groups_have_no_effect(
    function: Callable[[], object], named: list[str]
) -> None:
    def twice() -> None:
        before = os.getresuid(), os.getresgid(), os.getgroups()
        function()
        if (os.getresuid(), os.getresgid(), os.getgroups()) != before:
            raise OSError(errno.ENOTRECOVERABLE, "changed")

    calls, status = calls_of(twice)

    assert [call.name for call in calls] == named
    assert status == 0


def test_call_of_a_caller_that_was_killed_waits_no_more() -> None:
    with caller(lambda: os.fchown(1, 5, 6)) as (listener, pid, gone):
        call = listener.receive(gone)
        assert call is not None
        assert call.thread == pid
        assert listener.is_waiting(call)

        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

        assert not listener.is_waiting(call)
        listener.answer(call, 0)
        assert listener.receive(gone) is None


def test_process_has_one_such_filter_at_most() -> None:
    def again() -> None:
        os.close(seccomp.notify_of_owners())

    _, status = calls_of(again)

    assert status == errno.EBUSY


if platform.machine() == "x86_64":

    def test_32_bit_programs_have_the_calls_with_wide_ids_only() -> None:
        def first_wrong() -> None:
            if call_as_32_bit_program("fchown16", 1, 5) != errno.ENOSYS:
                raise OSError(1, "fchown16")
            if call_as_32_bit_program("fchown", 1, 5) != 0:
                raise OSError(2, "fchown")

        (call,), status = calls_of(first_wrong)

        assert (call.name, call.unsigned(0), call.unsigned(1)) == ("fchown", 1, 5)
        assert status == 0
