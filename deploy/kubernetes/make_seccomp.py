#!/usr/bin/env python3
"""Derive seccomp profiles for Pods from the one that podman ships (containers-common).

    make_seccomp.py > seccomp-profile.json      # the Localhost profile for building

podman's own lets everybody make namespaces and mounts. containerd's and CRI-O's RuntimeDefault
lets only those with SYS_ADMIN, has no pivot_root for anybody, and answers clone3, whose flags a
filter cannot see, with ENOSYS so that libc falls back to clone. Standard library only.
"""

import json
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, TypeAlias

Rule: TypeAlias = dict[str, Any]

SOURCE = Path("/usr/share/containers/seccomp.json")
"""Debian: golang-github-containers-common, which buildah depends on."""
ALLOW, REFUSE = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
EPERM, ENOSYS = 1, 38
_MOUNT_CALLS = (
    "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount", "open_tree",
    "umount", "umount2",
)  # fmt: skip
_NAMESPACE_CALLS = ("clone", "clone3", "setns", "unshare")
_FOR_ADMINISTRATORS = (
    *_MOUNT_CALLS, *_NAMESPACE_CALLS,
    "bpf", "fanotify_init", "lookup_dcookie", "perf_event_open", "quotactl", "setdomainname",
    "sethostname", "syslog",
)  # fmt: skip
_FOR_NOBODY = ("keyctl", "pivot_root")
_FOR_BUILDS = (*_MOUNT_CALLS, *_NAMESPACE_CALLS, "keyctl", "pivot_root", "sethostname")
_NEW_NAMESPACES = 0x7E020000
"""All CLONE_NEW* flags."""
_ARCHITECTURES = {
    "amd64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "arm64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
}


def runtime_default(capabilities: Collection[str], *, architecture: str = "amd64") -> Rule:
    """Give the profile a container runtime makes of RuntimeDefault for these capabilities."""
    rules = [
        rule
        for rule in json.loads(SOURCE.read_bytes())["syscalls"]
        if _applies(rule, capabilities, architecture)
    ]
    gated = {*_FOR_ADMINISTRATORS, *_FOR_NOBODY}
    for rule in rules:
        rule["names"] = [name for name in rule["names"] if name not in gated]
    if "CAP_SYS_ADMIN" in capabilities:
        rules.append({"names": list(_FOR_ADMINISTRATORS), "action": ALLOW})
    else:
        rules.append({"names": ["clone"], "action": ALLOW, "args": [_without(_NEW_NAMESPACES)]})
        rules.append({"names": ["clone3"], "action": REFUSE, "errnoRet": ENOSYS})
    return _profile(rules, _ARCHITECTURES[architecture])


def for_builds() -> Rule:
    """Give RuntimeDefault without SYS_ADMIN, and what a build's own user namespace takes."""
    profiles = [
        runtime_default(["CAP_SYS_CHROOT", "CAP_AUDIT_WRITE"], architecture=name)
        for name in _ARCHITECTURES
    ]
    rules: list[Rule] = [{"names": sorted(_FOR_BUILDS), "action": ALLOW}]
    for profile in profiles:
        for rule in profile["syscalls"]:
            names = [name for name in rule["names"] if name not in _FOR_BUILDS]
            kept = rule | {"names": sorted(names)}
            if names and kept not in rules:
                rules.append(kept)
    architectures = [name for profile in profiles for name in profile["architectures"]]
    return _profile(rules, architectures)


def _applies(rule: Rule, capabilities: Collection[str], architecture: str) -> bool:
    include, exclude = rule.get("includes") or {}, rule.get("excludes") or {}
    return (
        rule["action"] == ALLOW
        and architecture in include.get("arches", [architecture])
        and architecture not in exclude.get("arches", [])
        and set(include.get("caps", ())) <= set(capabilities)
        and not set(exclude.get("caps", ())) & set(capabilities)
    )


def _profile(rules: list[Rule], architectures: list[str]) -> Rule:
    fields = ("names", "action", "errnoRet", "args")
    return {
        "defaultAction": REFUSE,
        "defaultErrnoRet": EPERM,
        "architectures": architectures,
        "syscalls": [
            {field: rule[field] for field in fields if rule.get(field) is not None}
            for rule in rules
            if rule["names"]
        ],
    }


def _without(flags: int) -> Rule:
    return {"index": 0, "value": flags, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}


if __name__ == "__main__":
    json.dump(for_builds(), sys.stdout, indent=2)
    sys.stdout.write("\n")
