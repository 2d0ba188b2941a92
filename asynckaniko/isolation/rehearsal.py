"""Try what a RUN needs, without running anything: jobs of the fork server for `doctor`."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from asynckaniko.isolation import root
from asynckaniko.isolation.mounts import make_bench
from asynckaniko.isolation.network import enter_empty_network
from asynckaniko.isolation.probe import remove_contents
from asynckaniko.linux import syscalls


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


def rehearse_no_network(arguments: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Enter a network that is empty. Raises OSError."""
    enter_empty_network()


def clear(arguments: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Remove everything below the working directory."""
    remove_contents(".")
