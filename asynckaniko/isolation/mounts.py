"""RUN --mount: bind, cache, tmpfs, secret and socket, made ready and put in place.

`prepare` finds or makes what is mounted, before the command's root exists; `attach` mounts it.
Paths on the host's side are relative to the working directory, the inner root's directory.
"""

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from typing import Any

from asynckaniko.errors import StepFailed
from asynckaniko.isolation.stub_layer import copy_metadata
from asynckaniko.linux import owners, syscalls
from asynckaniko.linux.overlay import mount_overlay
from asynckaniko.records import dataclass

_LOCKABLE = {
    os.ST_NOSUID: syscalls.MS_NOSUID,
    os.ST_NODEV: syscalls.MS_NODEV,
    os.ST_NOEXEC: syscalls.MS_NOEXEC,
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """Something to mount at `target`, a path in the image without leading slash."""

    target: str
    source: str | None
    """What to bind; None is a new tmpfs."""
    is_directory: bool = True
    read_only: bool = False
    flags: int = 0
    options: str = ""


@dataclass(frozen=True, slots=True)
class Bench:
    """Private space of one step: `memory` is a tmpfs that ends with it, `disk` has room."""

    memory: str
    disk: str

    def directory(self, name: str) -> str:
        path = f"{self.memory}/{name}"
        os.mkdir(path)
        return path


def make_bench(scratch: str) -> Bench:
    """Make the bench of a step in `scratch`, an empty directory."""
    memory = f"{scratch}/memory"
    os.mkdir(memory)
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("tmpfs", memory, "tmpfs", flags, "mode=755")
    return Bench(memory=memory, disk=scratch)


def prepare(
    specs: Sequence[Mapping[str, Any]], fds: Sequence[int], bench: Bench
) -> tuple[list[Prepared], list[str]]:
    """Return the mounts, outer targets first, and the `K=V` that secrets add to the environment.

    Raises StepFailed for a source that does not exist.
    """
    mounts: list[Prepared] = []
    environment: list[str] = []
    targets = [os.path.normpath("/" + (spec.get("target") or "")).lstrip("/") for spec in specs]
    for index, spec in enumerate(specs):
        target = targets[index]
        if spec["type"] == "secret":
            content = read_secret(fds[spec["fd"]])
            if name := spec.get("env"):
                environment.append(f"{name}={as_variable(name, content)}")
            if not target:
                continue
            mounts.append(_secret(spec, target, content, f"{bench.memory}/secret{index}"))
        elif not target:
            raise StepFailed(f"--mount=type={spec['type']}: the target must not be the root")
        else:
            # A mount point inside a read-only tree can be made while it is still writable.
            holds_others = any(other.startswith(f"{target}/") for other in targets)
            mounts.append(_prepare(spec, target, bench, str(index), writable=holds_others))
    return sorted(mounts, key=lambda mount: mount.target.count("/")), environment


def attach(mount: Prepared, place: str) -> None:
    """Mount at `place`. Read-only is left to `seal`, when the mounts inside are in place."""
    if mount.source is None:
        syscalls.mount("tmpfs", place, "tmpfs", mount.flags, mount.options)
        return
    syscalls.mount(mount.source, place, None, syscalls.MS_BIND | syscalls.MS_REC)


def seal(mount: Prepared, place: str) -> None:
    """Make what is mounted at `place` read-only if it should be."""
    if mount.read_only:
        set_read_only(place)


def set_read_only(place: str, *, recursive: bool = False) -> None:
    """Make the mount at `place` read-only and keep what else is set on it."""
    try:
        syscalls.mount_setattr(place, syscalls.MOUNT_ATTR_RDONLY, recursive=recursive)
    except OSError as error:
        # Linux before 5.12, or a seccomp profile from that time.
        if error.errno not in {errno.ENOSYS, errno.EPERM}:
            raise
        present = os.statvfs(place).f_flag
        # In a user namespace these are locked: leaving one out is refused.
        kept = sum(flag for bit, flag in _LOCKABLE.items() if present & bit)
        flags = syscalls.MS_BIND | syscalls.MS_REMOUNT | syscalls.MS_RDONLY
        syscalls.mount(None, place, None, flags | kept)


def _prepare(
    spec: Mapping[str, Any], target: str, bench: Bench, name: str, *, writable: bool
) -> Prepared:
    match spec["type"]:
        case "bind":
            return _bind(spec, target, bench, name, writable=writable)
        case "cache":
            return _cache(spec, target)
        case "tmpfs":
            options = "mode=1777" + (f",size={spec['size']}" if spec.get("size") else "")
            return Prepared(target, None, flags=syscalls.MS_NOSUID, options=options)
        case "socket":
            return Prepared(target, spec["path"], is_directory=False)
        case other:
            raise RuntimeError(f"no mount type {other!r}")


def _bind(
    spec: Mapping[str, Any], target: str, bench: Bench, name: str, *, writable: bool
) -> Prepared:
    tree = spec.get("directory")
    if tree is None:
        tree = bench.directory(f"bind{name}")
        if lowers := spec["lowers"]:
            mount_overlay(lowers, tree, scratch=bench.memory)
    wanted = spec.get("source") or ""
    source, is_directory = _inside(tree, wanted, f"--mount=type=bind,source={wanted}")
    read_only = spec.get("readonly", True)
    if read_only and not (writable and is_directory):
        return Prepared(target, source, is_directory, True)
    copy = _discardable(source, bench, name, is_directory=is_directory)
    return Prepared(target, copy, is_directory, read_only)


def _cache(spec: Mapping[str, Any], target: str) -> Prepared:
    directory = spec["directory"]
    make_cache(directory, spec)
    wanted = spec.get("source") or ""
    source, is_directory = _inside(directory, wanted, f"--mount=type=cache,source={wanted}")
    return Prepared(target, source, is_directory, spec.get("readonly", False))


def make_cache(directory: str, spec: Mapping[str, Any]) -> None:
    """Make a cache's directory as the mount says, unless it is there. Raises OSError."""
    try:
        os.mkdir(directory)
    except FileExistsError:
        return
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # chown clears set-id bits (chown(2)), so the mode comes last.
        owners.give(opened, (spec.get("uid", 0), spec.get("gid", 0)))
        os.fchmod(opened, spec.get("mode", 0o755))
    finally:
        os.close(opened)


def _secret(spec: Mapping[str, Any], target: str, content: bytes, path: str) -> Prepared:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0)
    try:
        os.write(descriptor, content)
        owners.give(descriptor, (spec.get("uid", 0), spec.get("gid", 0)))
        os.fchmod(descriptor, spec.get("mode", 0o400))
    finally:
        os.close(descriptor)
    return Prepared(target, path, is_directory=False, read_only=True)


def read_secret(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def as_variable(name: str, content: bytes) -> str:
    if b"\0" in content:
        raise StepFailed(f"secret for the variable {name} contains a NUL byte; mount it as a file")
    return os.fsdecode(content)


def _inside(tree: str, path: str, what: str) -> tuple[str, bool]:
    """Find `path` in `tree` without ever leaving it; return a path to bind and its kind.

    A cache can be changed by other steps at this very moment, so the result names what was found
    (an open descriptor), not where.
    """
    # A cache may lie on a volume where others can put a link in its place.
    root = os.open(tree, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = syscalls.openat2(root, path.strip("/") or ".", os.O_PATH)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StepFailed(f"{what}: not found") from error
    finally:
        os.close(root)
    return f"/proc/self/fd/{found}", stat.S_ISDIR(os.fstat(found).st_mode)


def _discardable(source: str, bench: Bench, name: str, *, is_directory: bool) -> str:
    """Return a writable view of `source`; what is written is thrown away with the step."""
    if not is_directory:
        copy = f"{bench.disk}/file{name}"
        _copy_file(source, copy)
        return copy
    # An overlay takes directories by name only.
    origin, view = bench.directory(f"origin{name}"), bench.directory(f"view{name}")
    syscalls.mount(source, origin, None, syscalls.MS_BIND)
    upper, work = f"{bench.disk}/upper{name}", f"{bench.disk}/work{name}"
    os.mkdir(upper)
    os.mkdir(work)
    descriptor = os.open(origin, os.O_RDONLY | os.O_DIRECTORY)
    copy_metadata(descriptor, upper)
    os.close(descriptor)
    mount_overlay([origin], view, upper=upper, work=work, volatile=True, scratch=bench.memory)
    return view


def _copy_file(source: str, target: str) -> None:
    reader = os.open(source, os.O_RDONLY)
    writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        status = os.fstat(reader)
        while os.copy_file_range(reader, writer, 1 << 30):
            continue
        os.fchown(writer, status.st_uid, status.st_gid)
        os.fchmod(writer, stat.S_IMODE(status.st_mode))
        os.utime(writer, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(reader)
        os.close(writer)
