"""Why commands cannot be run here, in words: an errno, what it means, and what lifts it."""

import errno
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asynckaniko.errors import AsynckanikoError, IsolationUnavailable, UnsuitableStateDir
from asynckaniko.isolation.id_maps import IdMap
from asynckaniko.linux import syscalls
from asynckaniko.linux.accounts import Identity
from asynckaniko.linux.overlay import OPAQUE, mount_overlay

_SECCOMP_FILTER = "2"


def explain_unshare(error: OSError) -> IsolationUnavailable:
    """Say why unshare(CLONE_NEWUSER | CLONE_NEWNS) failed."""
    start = f"cannot create a user namespace to run commands in ({_reason(error)})"
    refusal = _errno_name(error)
    if error.errno == errno.ENOSPC:
        return IsolationUnavailable(
            f"{start}: the limit of user namespaces is reached, often 0 on hardened nodes; "
            "raise the node's sysctl user.max_user_namespaces",
            refusal=refusal,
        )
    if error.errno == errno.EINVAL:
        return IsolationUnavailable(
            f"{start}: this kernel is built without user namespaces", refusal=refusal
        )
    if error.errno == errno.EPERM and _is_filtered():
        return IsolationUnavailable(
            f"{start}: the Pod's seccomp profile forbids it; set "
            "securityContext: {seccompProfile: {type: Unconfined}} for the container (or a "
            "Localhost profile that allows unshare, mount and setns)",
            refusal=refusal,
            pod=_container("seccompProfile: {type: Unconfined}"),
        )
    if error.errno == errno.EPERM:
        return IsolationUnavailable(
            f"{start}: the kernel or a security module forbids it; check the sysctls "
            "kernel.unprivileged_userns_clone (1) and kernel.apparmor_restrict_unprivileged_userns "
            "(0), set securityContext: {appArmorProfile: {type: Unconfined}} in a Pod, and do not "
            "start this program in a chroot",
            refusal=refusal,
            pod=_container("appArmorProfile: {type: Unconfined}"),
        )
    return IsolationUnavailable(f"{start}: {error}", refusal=refusal)


def explain_direct(error: OSError) -> IsolationUnavailable:
    """Say why mount and pid namespaces cannot be had without a user namespace."""
    return IsolationUnavailable(
        f"cannot create mount and pid namespaces ({_reason(error)}): mode `namespaces` needs "
        "CAP_SYS_ADMIN; in a Pod set hostUsers: false and securityContext: {capabilities: {add: "
        "[SYS_ADMIN]}}, which gives it inside the Pod's own user namespace only",
        refusal=_errno_name(error),
        pod=_container("capabilities: {add: [SYS_ADMIN]}", own_users=True),
    )


def explain_missing_ids(uid: int) -> IsolationUnavailable:
    """Say what a process without root and without subordinate ids lacks."""
    settings = ["runAsUser: 0"]
    if _is_filtered():
        settings.append("seccompProfile: {type: Unconfined}")
    return IsolationUnavailable(
        f"uid {uid} has no subordinate ids to run commands with: mode userns needs the ids 0 to "
        "65535 at least (mode single-id needs none); add a line such as "
        f"`{uid}:100000:65536` to /etc/subuid and /etc/subgid and install newuidmap and newgidmap "
        "(package uidmap), or run as root (in a Pod "
        f"securityContext: {{{', '.join(settings)}}}, which gives no privilege on the node)",
        pod=_container(*settings),
    )


def explain_maps(refusals: Sequence[tuple[IdMap, OSError]]) -> IsolationUnavailable:
    """Say why no id map could be written, one reason for each that was tried."""
    tried = "; ".join(f"{candidate.name}: {error.strerror}" for candidate, error in refusals)
    helpers = any(candidate.with_newuidmap for candidate, _ in refusals)
    pod = ""
    if "user name" in tried:
        cure = f"newuidmap looks the caller up: uid {os.getuid()} needs a line in /etc/passwd"
    elif helpers and _status("NoNewPrivs") == "1":
        cure = (
            "newuidmap has no effect under no_new_privs; set securityContext: "
            "{allowPrivilegeEscalation: true}"
        )
        pod = _container("allowPrivilegeEscalation: true")
    elif helpers:
        cure = (
            "newuidmap and newgidmap must be able to gain their right: give them file "
            "capabilities (setcap cap_setuid=ep, cap_setgid=ep) rather than the set-uid bit"
        )
    else:
        added = "capabilities: {add: [CHOWN, DAC_OVERRIDE, FOWNER, SETUID, SETGID]}"
        cure = f"the container lacks capabilities; set securityContext: {{{added}}}"
        pod = _container(added)
    return IsolationUnavailable(
        f"cannot map ids into the build's user namespace ({tried}): {cure}",
        refusal=_errno_name(refusals[-1][1]) if refusals else "",
        pod=pod,
    )


def explain_owner_calls(refusal: str) -> IsolationUnavailable:
    """Say why chown cannot be answered for commands that have one id; `refusal` is an errno."""
    return IsolationUnavailable(
        f"mode single-id cannot record the owners of files ({refusal}): it answers chown by a"
        " listener of seccomp. EBUSY means that the container's runtime has one already, EPERM or"
        " EACCES that the node's sysctl kernel.yama.ptrace_scope is 3, ENOSYS that this machine is"
        " not known; use more ids: runAsUser: 0, or subordinate ones",
        refusal=refusal if refusal in errno.errorcode.values() else "",
        pod=_container("runAsUser: 0"),
    )


def explain_user(user: str, identity: Identity) -> IsolationUnavailable:
    """Say why no command can run as `user` where there is one id."""
    return IsolationUnavailable(
        f"USER {user}: commands cannot run as {identity.uid}:{identity.gid} in mode single-id, "
        "which has no user but root; mode userns has: give the executor subordinate ids (a Pod of "
        "the executor image has them with securityContext: {allowPrivilegeEscalation: true}) or "
        "run it as root (runAsUser: 0), or let the RUN come before the USER",
        refusal="EINVAL",
        pod=_container("allowPrivilegeEscalation: true"),
    )


def _container(*settings: str, own_users: bool = False) -> str:
    """Write the part of a Pod that gives its container these securityContext settings."""
    lines = ["spec:", *(["  hostUsers: false"] if own_users else []), "  containers:"]
    lines += ["  - securityContext:", *(f"      {setting}" for setting in settings)]
    return "\n".join(lines) + "\n"


def check_state_directory(arguments: Mapping[str, Any], fds: Sequence[int]) -> None:
    """Rehearse a step's overlay on the real file system; a job of the fork server.

    arguments: scratch, an empty private directory, which is empty again afterwards. Raises
    UnsuitableStateDir when the file system cannot hold an overlay's changes, and
    IsolationUnavailable when mounts are forbidden.
    """
    scratch = arguments["scratch"]
    places = {name: f"{scratch}/{name}" for name in ("lower", "upper", "work", "merged")}
    for place in (*places.values(), f"{places['lower']}/replaced"):
        os.mkdir(place)
    os.close(os.open(f"{places['lower']}/deleted", os.O_CREAT | os.O_WRONLY))
    try:
        mount_overlay(
            [places["lower"]],
            places["merged"],
            upper=places["upper"],
            work=places["work"],
            volatile=True,
            scratch=scratch,
        )
        _change_as_commands_do(places["merged"], places["upper"])
    except OSError as error:
        raise explain_overlay(error, ".", name=os.getcwd()) from error
    syscalls.umount(places["merged"])
    remove_contents(scratch)


def explain_overlay(error: OSError, directory: str, *, name: str = "") -> AsynckanikoError:
    """Say why an overlay with its changes in `directory` does not work; `name` is for people.

    The directory may be reachable by a relative path only.
    """
    if error.errno in {errno.EPERM, errno.EACCES}:
        return IsolationUnavailable(
            f"cannot mount an overlay in the build's user namespace ({_reason(error)}): a security "
            "module forbids it, or the kernel is older than 5.11; in a Pod on an AppArmor node set "
            "securityContext: {appArmorProfile: {type: Unconfined}}",
            refusal=_errno_name(error),
            pod=_container("appArmorProfile: {type: Unconfined}"),
        )
    kind = _file_system(directory)
    return UnsuitableStateDir(
        f"{name or directory} is on {kind}, which cannot hold the layers of an image"
        f" ({_reason(error)}); mount a volume there (in a Pod: an emptyDir) or choose another"
        " place with --state-dir"
    )


def _change_as_commands_do(merged: str, upper: str) -> None:
    os.unlink(f"{merged}/deleted")
    os.rmdir(f"{merged}/replaced")
    os.mkdir(f"{merged}/replaced")
    os.lstat(f"{upper}/deleted")
    os.getxattr(f"{upper}/replaced", OPAQUE)


def _file_system(directory: str) -> str:
    """Name the type of the file system that holds `directory`."""
    device = os.stat(directory).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[2] == number:
            return fields[fields.index("-") + 1]
    return "an unknown file system"


def remove_contents(scratch: str) -> None:
    """Remove everything below `scratch`."""
    for parent, directories, files in os.walk(scratch, topdown=False):
        for name in files:
            os.unlink(f"{parent}/{name}")
        for name in directories:
            os.rmdir(f"{parent}/{name}")


def _reason(error: OSError) -> str:
    return os.strerror(error.errno or 0)


def _errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "")


def _is_filtered() -> bool:
    return _status("Seccomp") == _SECCOMP_FILTER


def _status(name: str) -> str:
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return ""
