"""Limits that the kernel keeps for one command (getrlimit(2)), by the names docker gives them."""

import os
import resource
from collections.abc import Mapping, Sequence

from asynckaniko.errors import StepFailed, UsageError

UNLIMITED = -1
NUMBERS = {
    "cpu": resource.RLIMIT_CPU,
    "fsize": resource.RLIMIT_FSIZE,
    "data": resource.RLIMIT_DATA,
    "stack": resource.RLIMIT_STACK,
    "core": resource.RLIMIT_CORE,
    "rss": resource.RLIMIT_RSS,
    "nproc": resource.RLIMIT_NPROC,
    "nofile": resource.RLIMIT_NOFILE,
    "memlock": resource.RLIMIT_MEMLOCK,
    "locks": 10,  # RLIMIT_LOCKS of asm-generic/resource.h, which Python has no name for
    "sigpending": resource.RLIMIT_SIGPENDING,
    "msgqueue": resource.RLIMIT_MSGQUEUE,
    "nice": resource.RLIMIT_NICE,
    "rtprio": resource.RLIMIT_RTPRIO,
    "rttime": resource.RLIMIT_RTTIME,
}


def check(limits: Mapping[str, tuple[int, int]]) -> None:
    """Require that (soft, hard) limits can be set by a process like this one.

    Raises:
        UsageError: an unknown name, values that do not fit, or a hard limit above this process's.
    """
    for name, (soft, hard) in limits.items():
        if name not in NUMBERS:
            raise UsageError(f"ulimit {name}: there is no such limit; there is {_names()}")
        if min(soft, hard) < UNLIMITED:
            raise UsageError(f"ulimit {name}={soft}:{hard}: it must be a number, or -1 for none")
        if _exceeds(soft, hard):
            raise UsageError(f"ulimit {name}={soft}:{hard}: the soft limit is above the hard one")
        own = resource.getrlimit(NUMBERS[name])[1]
        if _exceeds(hard, own):
            raise UsageError(
                f"ulimit {name}={soft}:{hard}: the hard limit of this process is {own}, and it may"
                " not give commands more; lower the limit, or start asynckaniko with a higher one"
            )


def impose(limits: Mapping[str, Sequence[int]]) -> None:
    """Limit this process, which is about to be the command.

    Raises:
        StepFailed: the kernel refuses, or would not keep the limit.
    """
    for name, (soft, hard) in limits.items():
        try:
            if name == "nproc" and soft != UNLIMITED:
                _require_enforcement(hard)
            resource.setrlimit(NUMBERS[name], (soft, hard))
        except (OSError, ValueError) as error:
            raise StepFailed(f"cannot set ulimit {name}={soft}:{hard}: {error}") from error


def _require_enforcement(hard: int) -> None:
    """Find out whether forks count: they do not for the machine's own root (kernel/fork.c)."""
    resource.setrlimit(resource.RLIMIT_NPROC, (0, hard))
    try:
        child = os.fork()
    except BlockingIOError:
        return
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    raise StepFailed(
        "ulimit nproc: the kernel does not count processes of the machine's root, whom this"
        " command runs as; use USER, a mode with user namespaces, or a Pod with hostUsers: false"
    )


def _exceeds(value: int, most: int) -> bool:
    return most != UNLIMITED and (value == UNLIMITED or value > most)


def _names() -> str:
    return ", ".join(sorted(NUMBERS))
