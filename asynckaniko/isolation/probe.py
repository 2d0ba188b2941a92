"""Why commands cannot be run here, in words: an errno, what it means, and what lifts it."""

import errno
from collections.abc import Sequence
from pathlib import Path

from asynckaniko.isolation.id_maps import IdMap

_SECCOMP_FILTER = "2"


def explain_unshare(error: OSError) -> str:
    """Say why unshare(CLONE_NEWUSER | CLONE_NEWNS) failed."""
    start = f"cannot create a user namespace to run commands in ({error.strerror})"
    if error.errno == errno.ENOSPC:
        return (
            f"{start}: the limit of user namespaces is reached, often 0 on hardened nodes; "
            "raise the node's sysctl user.max_user_namespaces"
        )
    if error.errno == errno.EINVAL:
        return f"{start}: this kernel is built without user namespaces"
    if error.errno == errno.EPERM and _status("Seccomp") == _SECCOMP_FILTER:
        return (
            f"{start}: the Pod's seccomp profile forbids it; set "
            "securityContext: {seccompProfile: {type: Unconfined}} for the container (or a "
            "Localhost profile that allows unshare, mount and setns)"
        )
    if error.errno == errno.EPERM:
        return (
            f"{start}: the kernel or a security module forbids it; check the sysctls "
            "kernel.unprivileged_userns_clone (1) and kernel.apparmor_restrict_unprivileged_userns "
            "(0), set securityContext: {appArmorProfile: {type: Unconfined}} in a Pod, and do not "
            "start this program in a chroot"
        )
    return f"{start}: {error}"


def explain_missing_ids(uid: int) -> str:
    """Say what a process without root and without subordinate ids lacks."""
    return (
        f"uid {uid} has no subordinate ids to run commands with: an image needs the ids 0 to "
        f"65535 at least; add a line such as `{uid}:100000:65536` to /etc/subuid and /etc/subgid "
        "and install newuidmap and newgidmap (package uidmap), or run as root "
        "(securityContext: {runAsUser: 0}, which needs no privilege on the node)"
    )


def explain_maps(refusals: Sequence[tuple[IdMap, OSError]]) -> str:
    """Say why no id map could be written, one reason for each that was tried."""
    tried = "; ".join(f"{candidate.name}: {error.strerror}" for candidate, error in refusals)
    helpers = any(candidate.with_newuidmap for candidate, _ in refusals)
    if helpers and _status("NoNewPrivs") == "1":
        cure = (
            "newuidmap has no effect under no_new_privs; set securityContext: "
            "{allowPrivilegeEscalation: true}"
        )
    elif helpers:
        cure = (
            "newuidmap and newgidmap must be able to gain their right: give them file "
            "capabilities (setcap cap_setuid=ep, cap_setgid=ep) rather than the set-uid bit"
        )
    else:
        cure = (
            "the container lacks capabilities; set securityContext: {capabilities: {add: "
            "[CHOWN, DAC_OVERRIDE, FOWNER, SETUID, SETGID]}}"
        )
    return f"cannot map ids into the build's user namespace ({tried}): {cure}"


def _status(name: str) -> str:
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return ""
