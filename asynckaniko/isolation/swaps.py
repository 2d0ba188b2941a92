"""RUN --mount where nothing can be mounted: what a mount would show stands there itself.

What is at a target is set aside, its substitute is moved or copied in, and after the command both
go back. So a job that runs a command in a root filesystem that is a plain directory does this:

    with swapped_in(mounts, fds, root=root, drawer=drawer) as swapped:
        status = ...            # the command, and until its last process is gone

`mounts` are described as `step.run` has them, with these differences:

    bind    `directory`, or `lowers` with one directory at most; always a copy, so a command may
            write to it, and what it writes is thrown away
    cache   one step at a time: hold its lock for `shared` too. With `readonly` a copy
    tmpfs   a directory on disk; `size` is not kept
    secret  a file on disk, mode 0400, overwritten and removed afterwards
    file    `content` (text), `mode`: a file that the build gives, as /etc/resolv.conf
    tree    `directory`: made for this step only; it is moved in and removed afterwards

`drawer` is a private directory on the root's file system and outside what a command can see, or at
least of what becomes part of the layer; where the kernel cannot rename, things are copied.

A job that is killed, as a cancelled one is, puts nothing back. Call the job
`swap_recovery.recover` with the drawer afterwards, while the locks of its caches are still held;
and once before anything is built or tidied up where an earlier process may have been killed.

A target that is a mount point itself cannot be moved: that is an error.
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import field
from pathlib import Path
from typing import Any

from asynckaniko.errors import StepFailed
from asynckaniko.isolation.mounts import as_variable, read_secret
from asynckaniko.isolation.stub_layer import locate
from asynckaniko.isolation.substitutes import (
    PART,
    Cache,
    Content,
    Copied,
    EmptyDirectory,
    Moved,
    Secret,
    Socket,
    Substitute,
)
from asynckaniko.isolation.swap_journal import (
    Journal,
    Phase,
    Swap,
)
from asynckaniko.isolation.swap_recovery import open_real, put_back, remove_missing
from asynckaniko.linux.relocate import move
from asynckaniko.records import dataclass

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(slots=True)
class Swapped:
    """What a step's mounts come to. Paths are real ones in the root, without leading slash."""

    environment: list[str] = field(default_factory=list)
    """`K=V` that secrets add."""
    stubs: list[str] = field(default_factory=list)
    """Outermost missing directories, and files, that are made for the step only.

    They are gone afterwards, but for directories that the command has put something in.
    """
    restored: list[str] = field(default_factory=list)
    """Targets that existed: whatever a comparison says, nothing at or below them has changed."""
    parents: list[str] = field(default_factory=list)
    """Directories of targets: their modification time is kept, their change time is not."""


@contextmanager
def swapped_in(
    specs: Sequence[Mapping[str, Any]], fds: Sequence[int], *, root: str, drawer: str
) -> Iterator[Swapped]:
    """Put what `specs` describe in place for the length of the block.

    Raises:
        StepFailed: a source is missing, something of the wrong kind is at a target, or the command
            did what a mount would not have let it do. Everything else is put back then too.
        OSError: there is no space left, or no right.
    """
    swapped = Swapped()
    with ExitStack() as opened:
        top = os.open(root, _DIRECTORY)
        opened.callback(os.close, top)
        journal = opened.enter_context(Journal.begin(drawer, root))
        homes: set[tuple[str, str]] = set()
        for number, (target, spec) in enumerate(sorted(_targets(specs, fds, swapped), key=_depth)):
            what = f"--mount=type={spec['type']},target=/{target}"
            with _named(what):
                substitute = _substitute(spec, fds, top, what)
                opened.callback(substitute.close)
                if isinstance(substitute, Cache):
                    if substitute.home in homes:
                        raise StepFailed(f"{what}: the cache is at another target already")
                    homes.add(substitute.home)
                opened.enter_context(
                    _one(number, target, substitute, top=top, journal=journal, swapped=swapped)
                )
        yield swapped


def _targets(
    specs: Sequence[Mapping[str, Any]], fds: Sequence[int], swapped: Swapped
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for spec in specs:
        if spec["type"] == "secret" and (name := spec.get("env")):
            content = read_secret(fds[spec["fd"]])
            swapped.environment.append(f"{name}={as_variable(name, content)}")
        target = os.path.normpath("/" + (spec.get("target") or "")).lstrip("/")
        if target:
            yield target, spec
        elif spec["type"] != "secret":
            raise StepFailed(f"--mount=type={spec['type']}: the target must not be the root")


def _depth(target: tuple[str, Mapping[str, Any]]) -> int:
    return target[0].count("/")


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        raise StepFailed(
            f"{what}: a volume or file of the container is mounted there, and cannot be moved"
            " aside; choose another target"
        ) from error


def _substitute(spec: Mapping[str, Any], fds: Sequence[int], root: int, what: str) -> Substitute:
    wanted = spec.get("source") or ""
    from_ = f"--mount=type={spec['type']},source={wanted}"
    match spec["type"]:
        case "bind":
            return Copied(_tree_of(spec), wanted, from_)
        case "cache":
            cache = Cache(spec, root, what)
            if not spec.get("readonly"):
                return cache
            cache.close()
            return Copied(spec["directory"], wanted, from_)
        case "tmpfs":
            return EmptyDirectory()
        case "secret":
            ids = spec.get("uid", 0), spec.get("gid", 0)
            return Secret(read_secret(fds[spec["fd"]]), spec.get("mode", 0o400), *ids)
        case "socket":
            return Socket(spec["path"], root)
        case "file":
            return Content(spec["content"].encode(), spec.get("mode", 0o644))
        case "tree":
            return Moved(spec["directory"])
        case other:
            raise RuntimeError(f"no mount type {other!r}")


def _tree_of(spec: Mapping[str, Any]) -> str | None:
    if spec.get("directory") is not None:
        return str(spec["directory"])
    lowers = spec["lowers"]
    if len(lowers) > 1:
        raise RuntimeError("a bind mount without mounts shows one directory, not a stack of them")
    return str(lowers[0]) if lowers else None


@contextmanager
def _one(
    number: int,
    target: str,
    substitute: Substitute,
    *,
    top: int,
    journal: Journal,
    swapped: Swapped,
) -> Iterator[None]:
    """Have one substitute in place for the length of the block."""
    swap = _plan(number, target, substitute, top)
    base = open_real(top, swap.base)
    parent = -1
    try:
        journal.plan(swap)
        _report(swap, swapped)
        phase = Phase.PLANNED
        try:
            with _times_kept(base):
                parent = _make_missing(base, swap.missing)
                if swap.existed:
                    _set_aside(swap, parent, journal.aside)
                journal.reach(swap, Phase.ASIDE)
                phase = Phase.ASIDE
                substitute.place(swap.name, parent)
                if isinstance(substitute, Secret):
                    journal.note_secret(swap, substitute.status())
                    substitute.fill()
            yield
        finally:
            with _times_kept(base):
                try:
                    if phase is Phase.ASIDE:
                        substitute.clear(swap.name, parent)
                finally:
                    journal.reach(swap, Phase.CLEARED)
                    put_back(swap, parent, journal.aside)
                    remove_missing(base, swap.missing)
                    journal.reach(swap, Phase.DONE)
    finally:
        for descriptor in {base, parent} - {-1}:
            os.close(descriptor)


def _set_aside(swap: Swap, parent: int, aside: int) -> None:
    try:
        os.rename(swap.name, str(swap.number), src_dir_fd=parent, dst_dir_fd=aside)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        path = f"{os.readlink(f'/proc/self/fd/{parent}')}/{swap.name}"
        # A rename takes along what is mounted inside; a copy and removal would empty it.
        if any(place.startswith(f"{path}/") for place in _mount_points()):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path) from error
        move(swap.name, parent, str(swap.number), aside, part=PART)


def _mount_points() -> list[str]:
    lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
    # Blanks and backslashes are escaped, in octal digits (proc_pid_mountinfo(5)).
    places = (line.split()[4].decode("unicode_escape").encode("latin-1") for line in lines)
    return [os.fsdecode(place) for place in places]


def _plan(number: int, target: str, substitute: Substitute, top: int) -> Swap:
    existing, missing = locate(top, target)
    if not existing and not missing:
        raise StepFailed(f"cannot mount at /{target}: it leads to the root")
    if not missing:
        _check_kind(target, existing, top, substitute)
    *parents, name = [*existing, *missing]
    base = parents if not missing else existing
    cache = substitute if isinstance(substitute, Cache) else None
    return Swap(
        number=number,
        base="/".join(base),
        missing=tuple(missing[:-1]),
        name=name,
        existed=not missing,
        kind=substitute.kind,
        home=cache.home if cache else None,
        identity=cache.identity if cache else None,
    )


def _check_kind(target: str, existing: Sequence[str], top: int, substitute: Substitute) -> None:
    there = stat.S_ISDIR(os.lstat("/".join(existing), dir_fd=top).st_mode)
    if there != substitute.is_directory:
        wanted, found = ("directory", "file") if substitute.is_directory else ("file", "directory")
        raise StepFailed(f"cannot mount a {wanted} at /{target}: a {found} is there in the image")


def _report(swap: Swap, swapped: Swapped) -> None:
    # What lies in another mount is none of the image's.
    made = [*swapped.restored, *swapped.stubs]
    if any(swap.target == path or swap.target.startswith(f"{path}/") for path in made):
        return
    if swap.existed:
        swapped.restored.append(swap.target)
    else:
        names = [*swap.missing, swap.name]
        swapped.stubs.append(f"{swap.base}/{names[0]}".lstrip("/"))
    swapped.parents.append(swap.base)


@contextmanager
def _times_kept(directory: int) -> Iterator[None]:
    """Keep the directory's modification time as it is when the block begins."""
    status = os.fstat(directory)
    try:
        yield
    finally:
        os.utime(directory, ns=(status.st_atime_ns, status.st_mtime_ns))


def _make_missing(base: int, missing: Sequence[str]) -> int:
    """Make the directories between; return the innermost, or `base`."""
    directory = base
    for name in missing:
        try:
            os.mkdir(name, 0o755, dir_fd=directory)
            inner = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
        finally:
            if directory != base:
                os.close(directory)
        os.fchmod(inner, 0o755)
        directory = inner
    return directory
