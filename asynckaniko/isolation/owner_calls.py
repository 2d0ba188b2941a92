"""Answer chown for commands whose user namespace has one id: see `linux.owners`.

PID 1 of the step does it, in a thread: no signal of the command's reaches that, and it has the
command's root as its own, so names lead where they lead for the command and never out. The real
chown, to root, is done each time. It copies up, takes set-id bits and capabilities away and
refuses what is read-only, as chown(2) does. Then the wanted owner is recorded.
"""

import errno
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from stat import S_ISDIR, S_ISFIFO, S_ISLNK, S_ISREG
from types import TracebackType
from typing import Self

from asynckaniko.isolation.probe import explain_user
from asynckaniko.linux import owners, seccomp, syscalls
from asynckaniko.linux.accounts import Identity
from asynckaniko.linux.notifications import Call, Listener
from asynckaniko.linux.owners import UNCHANGED, Owner

_LONGEST_PATH = 4096
_LOOK = os.O_PATH | os.O_CLOEXEC
_IDS_OF_USERS = {"setuid": 1, "setreuid": 2, "setresuid": 3}
_MOST_USERS = 20
"""That are told of; a command may try all that there are."""
_KNOWN_FLAGS = syscalls.AT_SYMLINK_NOFOLLOW | syscalls.AT_EMPTY_PATH
_DESCRIPTORS = "self/fd"


class OwnerCalls:
    """Answers the calls of one command while the block runs.

    Make it where `upper`, the overlay's upper directory, can be reached by name; enter it in PID 1
    of the step, with the finished root as its own.
    """

    def __init__(self, upper: str) -> None:
        self._upper = os.open(upper, _LOOK | os.O_DIRECTORY)
        # The caller's: it shows the command, under whatever number. The command's own may not be
        # what it seems.
        self._proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._pids = os.readlink("self/ns/pid", dir_fd=self._proc)
        self._numbers: dict[int, str] = {}
        """Of threads: here, and in `_proc`."""
        self._links: dict[tuple[int, int], Owner] = {}
        self._ours, self._theirs = socket.socketpair()
        self._stop, self._end = os.pipe()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._users: set[int] = set()

    @property
    def links(self) -> list[tuple[int, int, int, int]]:
        """Inode, time of birth, uid and gid of links and FIFOs that were given to somebody.

        2^32 - 1 is the id that was there before.
        """
        return [(*identity, *owner) for identity, owner in self._links.items()]

    @property
    def users(self) -> list[int]:
        """Ids that programs wanted to run as, and were not."""
        return sorted(self._users)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._end)
        if self._thread is not None:
            self._thread.join()
        self._ours.close()
        self._theirs.close()
        for descriptor in (self._stop, self._upper, self._proc):
            os.close(descriptor)
        if self._failure is not None and error is None:
            raise self._failure

    def admit(self, identity: Identity, user: str) -> None:
        """Refuse a USER that the namespace does not have. Raises IsolationUnavailable."""
        if (identity.uid, identity.gid) != owners.ROOT:
            raise explain_user(user, identity)

    @property
    def kept(self) -> list[int]:
        """Descriptors that the command's process needs until `install`."""
        return [self._theirs.fileno()]

    def install(self) -> None:
        """Have the calls of this process, which will be the command, answered. Raises OSError."""
        listener = seccomp.notify_of_owners()
        socket.send_fds(self._theirs, [b"l"], [listener])
        os.close(listener)

    def begin(self) -> None:
        """Begin to answer, in the process that has forked the one that calls `install`."""
        self._theirs.close()
        _, descriptors, _, _ = socket.recv_fds(self._ours, 1, 1)
        # If there is none, the command's process ended early and has said why.
        for descriptor in descriptors:
            self._thread = threading.Thread(target=self._serve, args=(Listener(descriptor),))
            self._thread.start()

    def _serve(self, listener: Listener) -> None:
        try:
            self._answer_all(listener)
        except BaseException as error:
            # For the block's end. Without a listener the command's calls fail, and do not wait.
            self._failure = error
        finally:
            listener.close()

    def _answer_all(self, listener: Listener) -> None:
        while (call := listener.receive(self._stop)) is not None:
            try:
                self._carry_out(listener, call)
            except OSError as error:
                listener.answer(call, error.errno or errno.EIO)
            else:
                listener.answer(call, 0)

    def _carry_out(self, listener: Listener, call: Call) -> None:
        """Do what the call asks for. Raises OSError, for the caller."""
        if ids := _IDS_OF_USERS.get(call.name):
            if len(self._users) < _MOST_USERS:
                self._users |= set(map(call.unsigned, range(ids))) - {0, UNCHANGED}
            return
        caller = self._number(call.thread)
        match call.name:
            case "fchown":
                opened, first_id = self._open_descriptor(caller, call.signed(0)), 1
            case "chown":
                opened = self._open(caller, syscalls.AT_FDCWD, call.arguments[0], 0)
                first_id = 1
            case "lchown":
                flags = syscalls.AT_SYMLINK_NOFOLLOW
                opened = self._open(caller, syscalls.AT_FDCWD, call.arguments[0], flags)
                first_id = 1
            case _:
                flags = call.signed(4)
                opened = self._open(caller, call.signed(0), call.arguments[1], flags)
                first_id = 2
        try:
            # What was opened is the caller's only if the caller is still who it was.
            if listener.is_waiting(call):
                wanted = call.unsigned(first_id), call.unsigned(first_id + 1)
                if call.name == "fchown" and wanted == owners.ROOT and self._has_owner(opened):
                    # useradd writes /etc/shadow- anew, and gives it to the owner of /etc/shadow:
                    # so it was told. Who means root uses chown(1), which does not call this.
                    wanted = UNCHANGED, UNCHANGED
                self._give(opened, meant_owner(wanted, self._arguments(caller)))
        finally:
            os.close(opened)

    def _has_owner(self, opened: int) -> bool:
        if not S_ISREG(os.fstat(opened).st_mode):
            return False
        with self._readable(opened) as readable:
            return owners.recorded(readable) is not None

    def _give(self, opened: int, owner: Owner) -> None:
        real = [-1 if wanted == UNCHANGED else 0 for wanted in owner]
        syscalls.chown_descriptor(opened, *real)
        mode = os.fstat(opened).st_mode
        if S_ISREG(mode) or S_ISDIR(mode):
            with self._readable(opened) as readable:
                owners.record_wanted(readable, owner)
        elif S_ISLNK(mode) or S_ISFIFO(mode):
            # What is not in the upper directory is in no layer: pipes, and links in mounts.
            with suppress(FileNotFoundError, NotADirectoryError):
                self._give_link(opened, owner)

    @contextmanager
    def _readable(self, opened: int) -> Iterator[int]:
        """Open once more what is open with O_PATH: attributes take that."""
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(f"{_DESCRIPTORS}/{opened}", flags, dir_fd=self._proc)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _give_link(self, opened: int, owner: Owner) -> None:
        place = os.readlink(os.fsencode(f"{_DESCRIPTORS}/{opened}"), dir_fd=self._proc)
        resolve = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS
        found = syscalls.openat2(
            self._upper, place.lstrip(b"/"), os.O_PATH | os.O_NOFOLLOW, resolve=resolve
        )
        try:
            identity = os.fstat(found).st_ino, syscalls.birth_time(found, b"")
        finally:
            os.close(found)
        before = self._links.get(identity, (UNCHANGED, UNCHANGED))
        self._links[identity] = owners.merged(before, owner)

    def _open(self, caller: str, start: int, address: int, flags: int) -> int:
        """Open what a call names. Raises OSError, as the kernel would to the caller."""
        if flags & ~_KNOWN_FLAGS:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        path = self._read_path(caller, address)
        if not path:
            if not flags & syscalls.AT_EMPTY_PATH:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
            return self._open_start(caller, start)
        look = _LOOK | (os.O_NOFOLLOW if flags & syscalls.AT_SYMLINK_NOFOLLOW else 0)
        with self._opened(f"{caller}/root") as root:
            if path.startswith(b"/"):
                return _resolve(root, path, look, syscalls.RESOLVE_IN_ROOT)
            is_our_root = os.path.samestat(os.fstat(root), os.stat("/"))
        directory = self._open_start(caller, start)
        try:
            # The root of a caller that has changed its own is unknown from a directory in it.
            within = 0 if is_our_root else syscalls.RESOLVE_BENEATH
            return _resolve(directory, path, look, within)
        finally:
            os.close(directory)

    def _open_start(self, caller: str, start: int) -> int:
        if start == syscalls.AT_FDCWD:
            return os.open(f"{caller}/cwd", _LOOK, dir_fd=self._proc)
        return self._open_descriptor(caller, start)

    def _open_descriptor(self, caller: str, number: int) -> int:
        try:
            return os.open(f"{caller}/fd/{number}", _LOOK, dir_fd=self._proc)
        except FileNotFoundError as error:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from error

    def _read_path(self, caller: str, address: int) -> bytes:
        memory = os.open(f"{caller}/mem", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        try:
            content = os.pread(memory, _LONGEST_PATH, address)
        except (OSError, OverflowError) as error:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT)) from error
        finally:
            os.close(memory)
        path, end, _ = content.partition(b"\0")
        if not end:
            code = errno.ENAMETOOLONG if len(content) == _LONGEST_PATH else errno.EFAULT
            raise OSError(code, os.strerror(code))
        return path

    def _arguments(self, caller: str) -> list[bytes]:
        descriptor = os.open(f"{caller}/cmdline", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        try:
            return os.read(descriptor, _LONGEST_PATH).split(b"\0")
        finally:
            os.close(descriptor)

    @contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        descriptor = os.open(path, _LOOK, dir_fd=self._proc)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _number(self, thread: int) -> str:
        """Name a thread as `_proc` does: that may belong to another pid namespace, the Pod's."""
        known = self._numbers.get(thread, str(thread))
        if not self._is(known, thread):
            known = next((name for name in self._threads() if self._is(name, thread)), "")
            if not known:
                raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
            self._numbers[thread] = known
        return known

    def _is(self, name: str, thread: int) -> bool:
        try:
            if os.readlink(f"{name}/ns/pid", dir_fd=self._proc) != self._pids:
                return False
            descriptor = os.open(f"{name}/status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        except OSError:
            # It is gone, or not ours to look at and so no command's.
            return False
        with open(descriptor, encoding="utf-8", errors="replace") as status:
            for line in status:
                if line.startswith("NSpid:"):
                    # One number for each namespace it is in, the innermost last (proc(5)).
                    return int(line.split()[-1]) == thread
        return False

    def _threads(self) -> Iterator[str]:
        # Who is new has a high number, mostly.
        for process in sorted(filter(str.isdigit, os.listdir(self._proc)), key=int, reverse=True):
            try:
                with self._opened(f"{process}/task") as tasks:
                    readable = os.open(".", os.O_RDONLY | os.O_CLOEXEC, dir_fd=tasks)
            except OSError:
                # It is gone.
                continue
            try:
                yield from os.listdir(readable)
            except FileNotFoundError:
                continue
            finally:
                os.close(readable)


def meant_owner(wanted: Owner, arguments: Sequence[bytes]) -> Owner:
    """Leave an id as it was that chown(1) or chgrp(1) was not told to change.

    GNU's pass -1 for it, busybox's what stat(2) says, and here that is always root.
    """
    names = [os.path.basename(argument) for argument in arguments[:2]]
    name = names[1] if names[0] == b"busybox" and len(names) > 1 else names[0]
    rest = arguments[2 if name != names[0] else 1 :]
    spec = next((argument for argument in rest if not argument.startswith(b"-")), b"")
    uid, gid = wanted
    if uid == 0 and (name == b"chgrp" or (name == b"chown" and spec.startswith((b":", b".")))):
        uid = UNCHANGED
    if gid == 0 and name == b"chown" and not {*b":."} & {*spec}:
        gid = UNCHANGED
    return uid, gid


def _resolve(directory: int, path: bytes, flags: int, resolve: int) -> int:
    try:
        return syscalls.openat2(
            directory, path, flags, resolve=resolve | syscalls.RESOLVE_NO_MAGICLINKS
        )
    except OSError as error:
        # A link of /proc to what a process has open would lead to this one's. Out of a caller's
        # changed root leads nothing.
        if error.errno in {errno.ELOOP, errno.EXDEV}:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM)) from error
        raise
