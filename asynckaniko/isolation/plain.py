"""When commands may run without namespaces: in another root directory, or in this one."""

import os
import sys
from pathlib import Path

from asynckaniko.errors import IsolationUnavailable
from asynckaniko.linux import capabilities, owners
from asynckaniko.linux.capabilities import Capability

CHROOT, IN_PLACE = "chroot", "in-place"
PLAIN_MODES = (IN_PLACE, CHROOT)
RUNTIME = Path("/kaniko")
"""Where the executor image has all that it needs itself, and nothing of other images."""

_NEEDED = (
    Capability.CHOWN,
    Capability.DAC_OVERRIDE,
    Capability.FOWNER,
    Capability.SETUID,
    Capability.SETGID,
)
_FIRST_PID_NAMESPACE = "pid:[4026531836]"
"""PROC_PID_INIT_INO of linux/proc_ns.h: that of the machine itself."""


def check_in_place() -> None:
    """Refuse to take this process's own `/` for a root filesystem where it is a machine's.

    Raises IsolationUnavailable: it is not the executor image's container, or lacks a capability.
    """
    if not Path(sys.executable).resolve().is_relative_to(RUNTIME):
        raise IsolationUnavailable(
            "mode in-place deletes everything in / but mounts: it works only in a container of the"
            f" executor image, where Python and all it needs lie below {RUNTIME}; this is"
            f" {sys.executable}"
        )
    if os.readlink("/proc/self/ns/pid") == _FIRST_PID_NAMESPACE:
        raise IsolationUnavailable(
            "mode in-place deletes everything in / but mounts, and this process shares the"
            " machine's own process ids: it is not in a container, or in a Pod with hostPID: true"
        )
    _check_capabilities(IN_PLACE, _NEEDED)


def check_chroot() -> None:
    """Require the capabilities of mode chroot. Raises IsolationUnavailable.

    SETPCAP takes SYS_CHROOT away from commands, which could leave their root with it.
    """
    _check_capabilities(CHROOT, (*_NEEDED, Capability.SYS_CHROOT, Capability.SETPCAP))


def missing_for_files() -> str:
    """Say which files cannot be as the image has them, for lack of capabilities; empty if none."""
    held = capabilities.effective()
    lacking = {
        Capability.FSETID: "set-gid bits of other groups' files",
        Capability.SETFCAP: "file capabilities",
    }
    missing = {name: what for name, what in lacking.items() if name not in held}
    if not missing:
        return ""
    names = ", ".join(capability.name for capability in missing)
    return (
        f"commands cannot keep or set {' and '.join(missing.values())}: add {names} to the"
        " container's capabilities"
    )


def _check_capabilities(mode: str, needed: tuple[Capability, ...]) -> None:
    if os.geteuid() != 0:
        raise IsolationUnavailable(
            f"mode {mode} needs root, to give files their owners; in a Pod set securityContext:"
            " {runAsUser: 0}",
            refusal="EPERM",
            pod=_pod("runAsUser: 0"),
        )
    if owners.are_recorded():
        raise IsolationUnavailable(
            f"mode {mode} needs more ids than one, to give files their owners: this process's user"
            " namespace has no other"
        )
    held = capabilities.effective()
    missing = [capability.name for capability in needed if capability not in held]
    if missing:
        added = f"capabilities: {{add: [{', '.join(missing)}]}}"
        raise IsolationUnavailable(
            f"mode {mode} lacks capabilities; set securityContext: {{{added}}}",
            refusal="EPERM",
            pod=_pod(added),
        )


def _pod(setting: str) -> str:
    return f"spec:\n  containers:\n  - securityContext:\n      {setting}\n"
