"""Enter the build's user namespace: all ids an image uses, without any right outside.

Documentation: user_namespaces(7).
"""

import errno
import json  # noqa: TID251  talk between two processes of this module, before anything else is up
import os
import pwd
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from asynckaniko.errors import HostError, from_wire, to_wire
from asynckaniko.isolation import id_maps, probe
from asynckaniko.isolation.id_maps import IdMap, Range
from asynckaniko.linux import syscalls
from asynckaniko.records import dataclass


@dataclass(frozen=True, slots=True)
class Entered:
    """The user namespace this process now lives in."""

    root_id: int
    """Uid and gid behind ns-root, in the caller's view."""
    map_name: str
    opened: int | None = None
    """A directory that was opened with the caller's rights, in the new mount namespace."""

    @property
    def has_one_id(self) -> bool:
        return self.map_name == id_maps.SINGLE


def enter(allowed: Collection[str] = id_maps.ALL, *, open_too: str | None = None) -> Entered:
    """Continue as root of a new user namespace, with a new mount namespace, in the same directory.

    The working directory is given to ns-root. The id maps whose names are `allowed` are tried (see
    id_maps). `open_too` is a directory to open before the caller's rights are gone. Raises
    IsolationUnavailable: which permission is missing, and what grants it; HostError.
    """
    candidates = [candidate for candidate in _candidates() if candidate.name in allowed]
    if not candidates:
        raise probe.explain_missing_ids(os.geteuid())
    return _enter_user_namespace(candidates, open_too)


def open_directory(path: str) -> int:
    """Open a directory, which may not be a link, for being mounted elsewhere. Raises HostError."""
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(
            f"{path}: {error.strerror}; the process that builds needs the right to enter every"
            " directory of the path as its own user, without capabilities"
        ) from error


def _candidates() -> list[IdMap]:
    uids = id_maps.parse_ranges(Path("/proc/self/uid_map").read_text())
    gids = id_maps.parse_ranges(Path("/proc/self/gid_map").read_text())
    maps: list[IdMap | None]
    if os.geteuid() != 0:
        maps = [_subordinates()]
    elif id_maps.has_one_id(uids):
        maps = []
    else:
        maps = [id_maps.swap_map(uids, gids), id_maps.identity_map(uids, gids)]
    maps.append(id_maps.single_map(os.geteuid(), os.getegid()))
    return [candidate for candidate in maps if candidate is not None]


def _subordinates() -> IdMap | None:
    uid, gid = os.geteuid(), os.getegid()
    return id_maps.subordinate_map(
        uid, gid, _subordinate_ranges("/etc/subuid", uid), _subordinate_ranges("/etc/subgid", uid)
    )


def _subordinate_ranges(path: str, uid: int) -> tuple[Range, ...]:
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = ""
    try:
        return id_maps.parse_subordinates(Path(path).read_text(), user, uid)
    except FileNotFoundError:
        return ()


def _enter_user_namespace(candidates: Sequence[IdMap], open_too: str | None) -> Entered:
    ours, theirs = os.pipe(), os.pipe()
    writer = os.fork()
    if writer == 0:
        _write_maps(candidates, wait_on=theirs[0], close=[ours[0], theirs[1]], answer=ours[1])
    os.close(ours[1])
    os.close(theirs[0])
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
    except OSError as error:
        os.close(theirs[1])
        os.waitpid(writer, 0)
        raise probe.explain_unshare(error) from error
    os.write(theirs[1], b"r")
    os.close(theirs[1])
    answer = _read_all(ours[0])
    os.waitpid(writer, 0)
    if "error" in answer:
        raise from_wire(answer["error"])
    if "host_error" in answer:
        raise HostError(answer["host_error"])
    opened = open_directory(open_too) if open_too else None
    entered = Entered(answer["root_id"], answer["map"], opened)
    if not entered.has_one_id:
        os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    return entered


def _write_maps(
    candidates: Sequence[IdMap], *, wait_on: int, close: Sequence[int], answer: int
) -> NoReturn:
    """Be the process that stays outside for long enough to map the parent's new namespace."""
    target = os.getppid()
    for descriptor in close:
        os.close(descriptor)
    if os.read(wait_on, 1) != b"r":
        os._exit(0)
    outcome = _map_first_allowed(target, candidates)
    os.write(answer, json.dumps(outcome).encode())
    os._exit(0)


def _map_first_allowed(pid: int, candidates: Sequence[IdMap]) -> dict[str, Any]:
    refusals = []
    for candidate in candidates:
        try:
            _apply(pid, candidate)
        except OSError as error:
            refusals.append((candidate, error))
            continue
        return _give_directory(candidate)
    return {"error": to_wire(probe.explain_maps(refusals))}


def _apply(pid: int, candidate: IdMap) -> None:
    if candidate.with_newuidmap:
        _run_helper("newuidmap", pid, candidate.uids)
        _run_helper("newgidmap", pid, candidate.gids)
        return
    if candidate.name == id_maps.SINGLE:
        # Else groups that keep somebody out of a file could be left.
        _write(f"/proc/{pid}/setgroups", "deny")
    _write(f"/proc/{pid}/uid_map", id_maps.render_ranges(candidate.uids))
    _write(f"/proc/{pid}/gid_map", id_maps.render_ranges(candidate.gids))


def _give_directory(candidate: IdMap) -> dict[str, Any]:
    if os.stat(".").st_uid != candidate.root_id:
        try:
            os.chown(".", candidate.root_id, candidate.root_id)
        except OSError as error:
            reason = f"{os.getcwd()}: cannot give it to the build's root: {error.strerror}"
            return {"host_error": reason}
    return {"map": candidate.name, "root_id": candidate.root_id}


def _write(path: str, content: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        # The kernel takes a map in one write or not at all.
        os.write(descriptor, content.encode())
    finally:
        os.close(descriptor)


def _run_helper(program: str, pid: int, ranges: Sequence[Range]) -> None:
    numbers = [str(number) for line in ranges for number in line]
    complaint = os.memfd_create(program)
    try:
        helper = os.posix_spawnp(
            program,
            [program, str(pid), *numbers],
            {},
            file_actions=[(os.POSIX_SPAWN_DUP2, complaint, 2)],
        )
    except FileNotFoundError as error:
        raise OSError(errno.ENOENT, f"{program} is not installed") from error
    _, status = os.waitpid(helper, 0)
    said = os.pread(complaint, 1000, 0).decode(errors="replace").strip()
    os.close(complaint)
    if status != 0:
        raise OSError(errno.EPERM, said or f"{program} ended with {status}")


def _read_all(descriptor: int) -> dict[str, Any]:
    content = b""
    while chunk := os.read(descriptor, 65536):
        content += chunk
    os.close(descriptor)
    answer: dict[str, Any] = (
        json.loads(content) if content else {"host_error": "the id map writer died"}
    )
    return answer
