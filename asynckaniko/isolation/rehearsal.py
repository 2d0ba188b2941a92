"""Try what a RUN needs, without running anything: jobs for `doctor`, and for a Builder's start."""

import errno
import os
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from asynckaniko.isolation import root
from asynckaniko.isolation.mounts import make_bench
from asynckaniko.isolation.network import enter_empty_network
from asynckaniko.isolation.owner_calls import OwnerCalls
from asynckaniko.isolation.probe import explain_owner_calls, remove_contents
from asynckaniko.linux import owners, syscalls
from asynckaniko.linux.overlay import mount_overlay

_STRANGER = (1234, 5678)


def rehearse_step(arguments: Mapping[str, Any], fds: Sequence[int]) -> dict[str, bool]:
    """Build the root of an empty image and enter it; say what of the host is in it.

    Works in the working directory and leaves it to `clear`. Returns own_proc: whether /proc shows
    the command's processes only, or else all those of the Pod.
    """
    syscalls.unshare(syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS)
    for name in ("upper", "work", "scratch"):
        os.mkdir(name)
    bench = make_bench("scratch")
    hosts_proc = os.stat("/proc").st_dev
    place, _ = root.assemble(
        root.Layers([], "upper", "work"),
        files={"/etc/hosts": ""},
        attached=[],
        own_network=False,
        bench=bench,
    )
    syscalls.sethostname("rehearsal")
    root.enter(place)
    return {"own_proc": os.stat("/proc").st_dev != hosts_proc}


def rehearse_owner(arguments: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Give a file away on an overlay as commands do, and look whether that is recorded.

    Only where owners are recorded. Works in the directory `scratch` and leaves it empty. Raises
    IsolationUnavailable: what forbids it.
    """
    scratch = arguments["scratch"]
    places = [f"{scratch}/{name}" for name in ("lower", "upper", "work", "merged")]
    for place in places:
        os.mkdir(place)
    lower, upper, work, merged = places
    os.close(os.open(f"{lower}/file", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    mount_overlay([lower], merged, upper=upper, work=work, volatile=True, scratch=scratch)
    reader, writer = os.pipe()
    with OwnerCalls(upper) as calls:
        child = os.fork()
        if child == 0:
            _give_file(f"{merged}/file", calls, writer)
        os.close(writer)
        calls.begin()
        refusal = os.read(reader, 1000).decode()
        os.close(reader)
        os.waitpid(child, 0)
    found = owners.recorded(f"{merged}/file")
    syscalls.umount(merged)
    remove_contents(scratch)
    if refusal or found != _STRANGER:
        raise explain_owner_calls(refusal or f"the owner is recorded as {found}")


def _give_file(path: str, calls: OwnerCalls, report: int) -> NoReturn:
    try:
        # As a program is after execve: this one's memory was closed to all.
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
        calls.install()
        os.chown(path, *_STRANGER)
    except OSError as error:
        os.write(report, (errno.errorcode.get(error.errno or 0) or str(error)).encode())
    os._exit(0)


def rehearse_no_network(arguments: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Enter a network that is empty. Raises OSError."""
    enter_empty_network()


def clear(arguments: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Remove everything below the working directory."""
    remove_contents(".")
