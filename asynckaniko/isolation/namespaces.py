"""Enter the namespaces that a build's files and commands live in.

Two ways: a user namespace of the build's own, which needs no privilege, with as many ids as can be
had or one only (SINGLE_ID), or mount and pid namespaces directly, which takes SYS_ADMIN. The second
is for a Pod that has a user namespace itself (`hostUsers: false`) and SYS_ADMIN in it: commands
then get a /proc of their own, which the kernel does not allow below the masked one of a Pod. On a
machine's real root it is never chosen unasked: commands would run as that root.

Documentation: pid_namespaces(7), mount_namespaces(7).
"""

import errno
import os
import signal
from pathlib import Path

from asynckaniko.errors import HostError
from asynckaniko.isolation import id_maps, probe, user_namespace
from asynckaniko.isolation.user_namespace import Entered
from asynckaniko.linux import capabilities, memory, syscalls
from asynckaniko.linux.capabilities import Capability
from asynckaniko.records import dataclass

AUTO, USERNS, SINGLE_ID, NAMESPACES = "auto", "userns", "single-id", "namespaces"
NONE = "none"
"""No namespaces at all, and so no commands: nothing is entered for this one."""
_CACHES = "caches"


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What to use of what the host allows."""

    mode: str = AUTO
    """AUTO, USERNS, SINGLE_ID or NAMESPACES."""
    id_map: str | None = None
    """The name of the only id map to try (see id_maps); None tries all that come into question."""
    cache_mounts: str | None = None
    """A directory that is to be seen as `caches` in the working directory, by builds only."""
    shared_pids: bool = False
    """Leave commands in the caller's pid namespace.

    Where /proc is masked and cannot be had anew, `ps` and the like find themselves only so. The
    price: commands of one build can signal each other's processes and the fork server's, though
    not the caller's with the swap map; one that does `kill -9 -1` ends the build.
    """


def choose() -> str:
    """Name the mode that AUTO stands for here."""
    return NAMESPACES if _is_root_of_a_pod() else USERNS


def enter(confinement: Confinement) -> Entered:
    """Continue as root of new namespaces, in the same directory, and as PID 1 unless shared.

    With a pid namespace the caller's process stays outside as the parent of the one that returns
    from here, and ends with it; so this must be called by a program that has nothing else to do.
    When either ends, the kernel ends every process in the namespaces.

    Raises IsolationUnavailable: which permission is missing, and what grants it.
    """
    mode = confinement.mode
    if (choose() if mode == AUTO else mode) == NAMESPACES:
        entered = _enter_directly(confinement.cache_mounts)
    else:
        entered = user_namespace.enter(_maps(confinement), open_too=confinement.cache_mounts)
    # Mounts made outside still show up here; what is mounted here stays here.
    syscalls.mount(None, "/", None, syscalls.MS_REC | syscalls.MS_SLAVE)
    if entered.opened is not None:
        _show_cache_mounts(entered.opened, confinement.cache_mounts)
    _leave_session_keyring()
    if not confinement.shared_pids:
        _become_pid_1()
    # Commands run as the same root in the same namespaces: its memory is none of theirs.
    syscalls.prctl(syscalls.PR_SET_DUMPABLE, 0)
    return entered


def _maps(confinement: Confinement) -> tuple[str, ...]:
    """Name the id maps to try: that with one id is SINGLE_ID, and AUTO's last."""
    if confinement.id_map is not None:
        return (confinement.id_map,)
    return {USERNS: id_maps.WHOLE, SINGLE_ID: (id_maps.SINGLE,)}.get(confinement.mode, id_maps.ALL)


def _is_root_of_a_pod() -> bool:
    """Tell whether this is root with SYS_ADMIN, in a user namespace that is not the machine's."""
    _, outside, count = Path("/proc/self/uid_map").read_text().split()[:3]
    whole_machine = (outside, count) == ("0", str(2**32 - 1))
    return not whole_machine and Capability.SYS_ADMIN in capabilities.effective()


def _enter_directly(open_too: str | None) -> Entered:
    try:
        syscalls.unshare(syscalls.CLONE_NEWNS)
    except OSError as error:
        raise probe.explain_direct(error) from error
    # Groups of the caller's would reach every command of an unlisted user.
    os.setgroups([])
    opened = user_namespace.open_directory(open_too) if open_too else None
    return Entered(os.geteuid(), "none", opened)


def _show_cache_mounts(opened: int, path: str | None) -> None:
    """Mount the open directory `path`, which the build's root need not be able to reach by name."""
    os.makedirs(_CACHES, 0o755, exist_ok=True)
    try:
        flags = syscalls.MS_BIND | syscalls.MS_REC
        syscalls.mount(f"/proc/self/fd/{opened}", _CACHES, None, flags)
    except OSError as error:
        raise HostError(f"{path}: cannot be shown to the build: {error.strerror}") from error
    finally:
        os.close(opened)


def _leave_session_keyring() -> None:
    try:
        syscalls.join_new_session_keyring()
    except OSError as error:
        # Seccomp profiles that refuse keyctl refuse it to commands too: the keys are out of reach.
        if error.errno not in {errno.EPERM, errno.ENOSYS}:
            raise


def _become_pid_1() -> None:
    syscalls.unshare(syscalls.CLONE_NEWPID)
    child = os.fork()
    if child:
        memory.forget_files()  # nothing is left to do here but to wait
        _, status = os.waitpid(child, 0)
        os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
