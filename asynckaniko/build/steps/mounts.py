"""RUN --mount: find what each mount shows and describe it for the process that mounts it."""

import hashlib
import os
import posixpath
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import sleep

from asynckaniko.build.contexts import arrived
from asynckaniko.build.sources import FromDirectory, FromImage, FromScratch, FromStage, Settled
from asynckaniko.build.steps.copy import copy_to_directory
from asynckaniko.build.steps.ssh_agent import forwarded_agent
from asynckaniko.dockerfile.instructions import Run
from asynckaniko.dockerfile.run_mounts import (
    BindMount,
    CacheMount,
    RunMount,
    SecretMount,
    SshMount,
    TmpfsMount,
    parse_mount,
)
from asynckaniko.errors import StepFailed
from asynckaniko.linux.locks import try_lock
from asynckaniko.records import dataclass

if TYPE_CHECKING:
    from asynckaniko.build.stage import StageRun

SCRIPT = "/run/heredoc/EOF"
"""Where a heredoc that begins with `#!` stands while it runs."""
_MOVE = "asynckaniko.rootfs.directories:move_directory"
_DEFAULT_SETTINGS = (0o755, 0, 0)
"""Mode, uid and gid of a cache of which nothing is said."""
_FIRST_FILE = 2
"""The job's descriptors begin with stdout and stderr."""
_LOCK_POLL_SECONDS = 0.1


@dataclass(slots=True)
class PreparedMounts:
    """Mount descriptions, variables and open files for the job that runs the command."""

    mounts: list[dict[str, Any]] = field(default_factory=list)
    environment: list[str] = field(default_factory=list)
    fds: list[int] = field(default_factory=list)

    def add_file(self, content: bytes, target: str, *, mode: int, uid: int, gid: int) -> None:
        """Show `content` at `target`; it lives in memory only."""
        file = os.memfd_create("mount", os.MFD_CLOEXEC)
        self.fds.append(file)
        os.write(file, content)
        os.lseek(file, 0, os.SEEK_SET)
        number = _FIRST_FILE + len(self.fds) - 1
        ids = {"mode": mode, "uid": uid, "gid": gid}
        self.mounts.append({"type": "secret", "fd": number, "target": target, **ids})


@asynccontextmanager
async def prepared_mounts(
    stage: "StageRun", instruction: Run, script: str
) -> AsyncIterator[PreparedMounts]:
    """Prepare the mounts of one RUN for the length of the block.

    Raises:
        StepFailed: a required secret or agent that was not given.
    """
    prepared = PreparedMounts()
    try:
        async with AsyncExitStack() as resources:
            mounts = [parse_mount(text, stage.state.scope.expand) for text in instruction.mounts]
            for mount in mounts:
                await _source_built(stage, mount)
            held = await resources.enter_async_context(_locks(stage, mounts))
            for number, mount in enumerate(mounts):
                await _prepare(stage, mount, number, held, prepared, resources)
            if script:
                prepared.add_file(script.encode(), SCRIPT, mode=0o755, uid=0, gid=0)
            yield prepared
    finally:
        for file in prepared.fds:
            os.close(file)


async def _prepare(
    stage: "StageRun",
    mount: RunMount,
    number: int,
    held: frozenset[str],
    prepared: PreparedMounts,
    resources: AsyncExitStack,
) -> None:
    target = _target(stage, getattr(mount, "target", ""))
    match mount:
        case BindMount():
            shown = await _source(stage, mount.from_, mount.source)
            readonly = {"target": target, "readonly": mount.readonly}
            prepared.mounts.append({"type": "bind", **shown, **readonly})
        case CacheMount():
            directory = await resources.enter_async_context(_cache(stage, mount, held))
            prepared.mounts.append(
                {
                    "type": "cache",
                    "directory": directory,
                    "source": "" if mount.from_ else mount.source,
                    "target": target,
                    "mode": mount.mode,
                    "uid": mount.uid,
                    "gid": mount.gid,
                    "readonly": mount.readonly,
                }
            )
        case TmpfsMount():
            prepared.mounts.append(
                {"type": "tmpfs", "target": target, "size": mount.size, "readonly": mount.readonly}
            )
        case SecretMount():
            _secret(stage, mount, prepared)
        case SshMount():
            await _ssh(stage, mount, number, prepared, resources)


def _target(stage: "StageRun", target: str) -> str:
    workdir = stage.state.workdir
    return posixpath.normpath(posixpath.join("/", workdir, target)) if target else ""


async def _source(stage: "StageRun", name: str, path: str) -> dict[str, Any]:
    """Describe the tree a bind mount shows, and the path in it."""
    source = await arrived(stage.planned.sources[name] if name else stage.run.context_source)
    if (await stage.run.workspace.side()).is_listed and not isinstance(source, FromScratch):
        return {"directory": await _copy_of(stage, source, path), "source": path}
    match source:
        case FromDirectory():
            return {"directory": await _copy_of(stage, source, path), "source": path}
        case FromStage(index):
            await stage.others[index].done.wait()
            return {"lowers": await stage.others[index].files.lowers(), "source": path}
        case FromImage(image):
            run = stage.run
            layers = await run.base_layers.stack(
                image.layers, run.resources.inner, keep=False, emit=run.emit
            )
            return {"lowers": layers, "source": path}
        case FromScratch():
            return {"lowers": [], "source": path}


async def _copy_of(stage: "StageRun", source: Settled, path: str) -> str:
    """Bring the needed part of a source to where a command's job may read it, once per build.

    A context's files may belong to ids that do not exist in the namespaces, and ignored files must
    not be seen; and where nothing can be mounted, stages and images are lists.
    """
    run = stage.run
    part = posixpath.normpath(posixpath.join("/", path)).lstrip("/") or "."
    match source:
        case FromDirectory(directory):
            name = f"directory {directory}"
        case FromStage(index):
            name = f"stage {index}"
        case FromImage(image):
            name = f"image {' '.join(layer.diff_id for layer in image.layers)}"
        case FromScratch():
            name = "scratch"
    key = f"{name}\0{part}"
    async with run.context_copies_lock:
        if key not in run.context_copies:
            run.context_copies[key] = await copy_to_directory(stage, source, f"./{part}")
        return run.context_copies[key]


async def _source_built(stage: "StageRun", mount: RunMount) -> None:
    """Wait for the stage a mount shows: whoever holds a cache must not wait for who wants it."""
    name = mount.from_ if isinstance(mount, BindMount | CacheMount) else ""
    if name:
        source = await arrived(stage.planned.sources[name])
        if isinstance(source, FromStage):
            await stage.others[source.index].done.wait()


@asynccontextmanager
async def _locks(stage: "StageRun", mounts: Sequence[RunMount]) -> AsyncIterator[frozenset[str]]:
    """Hold the caches that one command alone may use; give their names.

    Each once, and everybody's in one order, or commands would wait for one another for ever.
    """
    caches = [mount for mount in mounts if isinstance(mount, CacheMount)]
    # Where nothing can be mounted, a cache itself is moved to its target: one step at a time.
    kinds = {"locked"}
    if caches and (await stage.run.workspace.side()).is_listed:
        kinds.add("shared")
    names = {_cache_name(stage, mount) for mount in caches if mount.sharing in kinds}
    async with AsyncExitStack() as held:
        for name in sorted(names):
            await held.enter_async_context(_locked(_lock_path(stage, name)))
        yield frozenset(names)


@asynccontextmanager
async def _cache(stage: "StageRun", mount: CacheMount, held: frozenset[str]) -> AsyncIterator[str]:
    """Give a cache directory for the length of the block, alone or shared as the mount says."""
    name = candidate = _cache_name(stage, mount)
    file = None
    if mount.sharing == "private":
        suffix = 0
        while (file := try_lock(_lock_path(stage, candidate))) is None:
            suffix += 1
            candidate = f"{name}.{suffix}"
    else:
        assert mount.sharing == "shared" or name in held
    try:
        async with _in_use(stage.run.resources.caches.notes / candidate, _identity(mount)):
            yield await _seeded(stage, mount, candidate)
    finally:
        if file is not None:
            os.close(file)


def _identity(mount: CacheMount) -> str:
    return mount.id or posixpath.normpath(mount.target)


def _cache_name(stage: "StageRun", mount: CacheMount) -> str:
    """Name the cache: as in BuildKit those of another owner or mode, or with `from=`, are others.

    There they are since they begin with another layer. So two of `from=` with different contents
    are two, too; here they are one, which keeps what it began with.
    """
    kind = "from" if mount.from_ else ""
    settings = (mount.mode, mount.uid, mount.gid)
    if mount.source == "/" and settings != _DEFAULT_SETTINGS:
        kind += f" {settings}"
    namespace = stage.run.request.build_args.get("BUILDKIT_CACHE_MOUNT_NS", "")
    framed = f"{len(namespace)}:{namespace}{_identity(mount)}"
    # Ids come from Dockerfiles, which hold no NUL.
    framed += f"\0{kind}" if kind else ""
    return hashlib.sha256(framed.encode()).hexdigest()


def _lock_path(stage: "StageRun", name: str) -> Path:
    return stage.run.resources.caches.locks / f"cache-{name}.flock"


@asynccontextmanager
async def _in_use(note: Path, identity: str) -> AsyncIterator[None]:
    """Keep a cache from being removed for the length of the block, and note its use."""
    async with _locked(note, is_shared=True) as file:
        if os.fstat(file).st_size == 0:
            os.write(file, identity.encode(errors="surrogateescape"))
        os.utime(file)
        yield
        os.utime(file)


async def _seeded(stage: "StageRun", mount: CacheMount, name: str) -> str:
    """Fill a new cache from its `from=`, if it has one; return the path that jobs know it by."""
    caches, side = stage.run.resources.caches, await stage.run.workspace.side()
    directory = caches.job_path(name, is_listed=side.is_listed)
    place = (caches.listed if side.is_listed else caches.namespaced) / name
    if mount.from_ and not place.exists():
        # Whoever else shares it may have seen that it is new, in another process, too.
        async with _locked(caches.seed_lock(name)):
            if not place.exists():
                source = stage.planned.sources[mount.from_]
                draft = await copy_to_directory(stage, source, mount.source or "/")
                await side.call(_MOVE, {"directory": draft, "to": directory})
    return directory


@asynccontextmanager
async def _locked(path: Path, *, is_shared: bool = False) -> AsyncIterator[int]:
    """Hold a lock for the length of the block."""
    while True:
        file = try_lock(path, is_shared=is_shared)
        if file is not None:
            break
        # Another process may be who holds it, so there is no event to wait for.
        await sleep(_LOCK_POLL_SECONDS)
    try:
        yield file
    finally:
        os.close(file)


def _secret(stage: "StageRun", mount: SecretMount, prepared: PreparedMounts) -> None:
    value = stage.run.secrets.get(mount.id)
    if value is None:
        if mount.required:
            raise StepFailed(f"secret {mount.id}: not found; give it with --secret id={mount.id}")
        return
    if mount.env:
        prepared.environment.append(f"{mount.env}={value.decode(errors='surrogateescape')}")
        if not mount.target:
            return
    target = _target(stage, mount.target) or f"/run/secrets/{mount.id}"
    prepared.add_file(value, target, mode=mount.mode, uid=mount.uid, gid=mount.gid)


async def _ssh(
    stage: "StageRun",
    mount: SshMount,
    number: int,
    prepared: PreparedMounts,
    resources: AsyncExitStack,
) -> None:
    agent = stage.run.request.ssh.get(mount.id or "default")
    if agent is None:
        if mount.required:
            raise StepFailed(f"ssh agent {mount.id}: not found; give it with --ssh {mount.id}")
        return
    forwarded = forwarded_agent(stage.run.workspace, agent, mount)
    path = await resources.enter_async_context(forwarded)
    target = _target(stage, mount.target) or f"/run/buildkit/ssh_agent.{number}"
    prepared.mounts.append({"type": "socket", "path": path, "target": target})
    prepared.environment.append(f"SSH_AUTH_SOCK={target}")
