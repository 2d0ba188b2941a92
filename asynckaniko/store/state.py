"""The state directory: what it holds, who owns what, and how leftovers of dead builds go away.

```
<state-dir>/
  boot               boot id of the kernel that wrote the contents
  blobs/             compressed base layers, by digest
  cache/             which blob is the layer of a step, by cache key
  builds/            lock files: <id>.lock is held while build <id> runs, or a layer is made
  builds/<id>/       contexts that were fetched for it; private
  mounts/            a note on each of `caches`: its lock is held by commands that use it
  listed/            the same for builds without namespaces
    layers/<hex>     a layer as a list of entries and their contents
    builds/<id>*     the same, and root filesystems of mode `chroot`
    caches/          RUN --mount=type=cache
  rootfs/            owned by the root of the build's user namespace
    map              the host id behind that root, and whether it is the only id
    layers/<hex>     an unpacked layer, by diffID: an overlay lower directory
    layers/<hex>.json  what is known of it; its time is that of the last use
    layers/<hex>.settled  a layer as it has to be on top of certain others
    builds/<id>*     upper, work and scratch directories of a running build; a layer being made
    caches/          RUN --mount=type=cache
```
Nothing is fsynced: entries are trusted as long as the kernel that wrote them runs, since its page
cache is complete even after kill -9. After a reboot they are dropped.
"""

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from asynckaniko.errors import HostError
from asynckaniko.linux.locks import create_locked, try_lock
from asynckaniko.linux.placement import spread_subdirectories
from asynckaniko.store.blobs import DOWNLOAD, INGEST, keeper_of
from asynckaniko.store.drafts import remove_drafts, write_file
from asynckaniko.store.map_record import map_of

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LOCKS = (".lock", ".flock", ".new")


class StateDirectory:
    """Paths below a state directory, made on construction (synchronous, a few system calls).

    Raises:
        HostError: it cannot be created or written.
    """

    def __init__(self, root: Path, *, put_back: Callable[[Path, Path], None] | None = None) -> None:
        """Open or make it; what dead builds left is removed.

        Before, `put_back` is called for each, with its directory in `listed`, and `listed`: it
        brings home what is not the build's own.

        Raises HostError.
        """
        self._put_back = put_back
        self.root = root.absolute()
        self.blobs = self.root / "blobs"
        self.builds = self.root / "builds"
        self.cache = self.root / "cache"
        self.mounts = self.root / "mounts"
        self.rootfs = self.root / "rootfs"
        self.listed = self.root / "listed"
        try:
            self._open()
        except OSError as error:
            raise HostError(
                f"state directory {root}: {error.strerror}; name a writable directory"
                " with --state-dir (in a Pod: mount an emptyDir there)"
            ) from error

    def _open(self) -> None:
        for directory in (self.blobs, self.builds, self.cache, self.mounts, self.rootfs):
            directory.mkdir(parents=True, exist_ok=True)
        # Nothing below has the modes that it has in an image.
        self.listed.mkdir(mode=0o700, exist_ok=True)
        for name in ("layers", "builds", "caches"):
            (self.listed / name).mkdir(exist_ok=True)
        for directory in (self.builds, self.listed / "layers", self.listed / "builds"):
            spread_subdirectories(directory)
        boot = self.root / "boot"
        current = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
        with self._lock("state") as locked:
            if locked:
                self._remove_dead_builds()
                recorded = boot.read_text().strip() if boot.exists() else None
                if recorded not in {None, current}:
                    self._drop(self.blobs, self.rootfs / "layers", self.listed / "layers")
                if recorded != current:
                    # Never seen half-written, which would read as another boot.
                    unnamed = boot.with_suffix(".new")
                    unnamed.write_text(current)
                    unnamed.rename(boot)

    def claim_rootfs(self, root_id: int, *, has_one_id: bool = False) -> int:
        """Give the rootfs side to namespace root `root_id`; trees of another owner are dropped.

        So are those of the same one with more ids, or fewer: owners are kept in another way.
        Return an open file: until it is closed, nobody can claim the side for another root. Blocks
        while another process drops trees.

        Raises HostError: builds with another root are running, or its trees cannot be removed.
        """
        # The directory itself stays: it is where the processes of namespaces work.
        lock = os.open(self.rootfs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Until it is shared again, the lock is nobody's for a moment: another may be faster.
            is_claimed = any(
                self._try_claim(lock, root_id, map_of(root_id, has_one_id=has_one_id))
                for _ in range(2)
            )
        except BaseException:
            os.close(lock)
            raise
        if not is_claimed:
            os.close(lock)
            raise HostError(
                f"state directory {self.root}: builds whose root is another id are using it; wait"
                " for their end, or name another with --state-dir for this user and mode"
            )
        return lock

    def _try_claim(self, lock: int, root_id: int, claimed: str) -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(lock, fcntl.LOCK_SH)
        else:
            recorded = self.owner()
            for name in ("layers", "builds", "caches"):
                directory = self.rootfs / name
                directory.mkdir(exist_ok=True)
                spread_subdirectories(directory)
                if recorded and recorded != claimed:
                    self._empty(directory)
                if directory.stat().st_uid != root_id:
                    os.chown(directory, root_id, root_id)
            if self.rootfs.stat().st_uid != root_id:
                os.chown(self.rootfs, root_id, root_id)
            if recorded != claimed:
                write_file(self.rootfs / "map", claimed.encode())
            fcntl.flock(lock, fcntl.LOCK_SH)
        return self.owner() == claimed

    def owner(self) -> str:
        """Tell whose trees are in `rootfs`, as `map_of` writes it; "" if unknown."""
        record = self.rootfs / "map"
        return record.read_text() if record.exists() else ""

    def _empty(self, directory: Path) -> None:
        self._drop(*directory.iterdir())
        for left in directory.iterdir():
            raise HostError(
                f"state directory {self.root}: {left} is of builds with another root, and this"
                " user may not remove it; remove the directory, or name another with --state-dir"
            )

    @contextmanager
    def new_build(self) -> Iterator[str]:
        """Name a build and hold its lock; others treat unlocked builds as dead."""
        identifier = secrets.token_hex(6)
        path = self.builds / f"{identifier}.lock"
        # It has its name once it is locked: whoever could lock it would take the build for dead.
        unnamed = path.with_suffix(".new")
        file = create_locked(unnamed)
        try:
            unnamed.rename(path)
            yield identifier
        finally:
            path.unlink(missing_ok=True)
            os.close(file)

    def oldest_build(self) -> float | None:
        """Return when the oldest running build began, in POSIX seconds; None if none is running."""
        started = []
        for path in self.builds.glob("*.lock"):
            if path.stem == "state":
                continue
            try:
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                began = os.fstat(file).st_mtime
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                started.append(began)
            finally:
                os.close(file)
        return min(started, default=None)

    @contextmanager
    def new_scratch(self) -> Iterator[Path]:
        """Make a private directory that counts as a build's; the caller removes what is in it."""
        with self.new_build() as identifier:
            directory = self.builds / identifier
            directory.mkdir(mode=0o700)
            yield directory

    @contextmanager
    def _lock(self, name: str) -> Iterator[bool]:
        path = self.builds / f"{name}.lock"
        file = try_lock(path)
        if file is None:
            yield False
            return
        try:
            yield True
        finally:
            with suppress(FileNotFoundError):
                path.unlink()
            os.close(file)

    def _remove_dead_builds(self) -> None:
        places = (self.rootfs / "builds", self.listed / "builds", self.builds)
        names = {lock.stem for lock in self.builds.glob("*.lock")} - {"state"}
        # Their lock may be gone where removing them was cut short.
        for place in places[1:]:
            names |= {_build_of(entry) for entry in place.iterdir() if entry.suffix not in _LOCKS}
        names |= {keeper_of(ingest) for ingest in self.blobs.glob(f"{INGEST}*-*")} - {DOWNLOAD}
        for name in names:
            with self._lock(name) as dead:
                if dead:
                    if self._put_back is not None:
                        self._put_back(self.listed / "builds" / name, self.listed)
                    for place in places:
                        self._drop(*_of_build(place, name))
                    remove_drafts(self.blobs, f"{INGEST}{name}-*")
        remove_drafts(self.blobs, f"{INGEST}{DOWNLOAD}-*")
        remove_drafts(self.builds, "*.new")
        for directory in (self.cache, self.rootfs):
            remove_drafts(directory)

    def dead_trees(self) -> list[str]:
        """Name what dead builds left below `rootfs`, relative to it, in files of ids not ours."""
        dead = []
        builds = self.rootfs / "builds"
        for name in {_build_of(entry) for entry in builds.iterdir()}:
            with self._lock(name) as unlocked:
                if unlocked:
                    dead += [f"builds/{entry.name}" for entry in _of_build(builds, name)]
        return dead

    def _drop(self, *directories: Path) -> None:
        """Empty directories that no running build uses; what resists is left for the next time."""
        for directory in directories:
            if directory.is_dir():
                shutil.rmtree(directory, onerror=_force)
            elif directory.suffix not in _LOCKS:
                with suppress(OSError):
                    directory.unlink()
            if directory in (self.blobs, self.builds, self.listed / "layers"):
                directory.mkdir(exist_ok=True)


def _build_of(entry: Path) -> str:
    """Tell whose an entry of a directory `builds` is: it begins with the build's identifier."""
    return re.split(r"[.-]", entry.name)[0]


def _of_build(place: Path, name: str) -> list[Path]:
    return [entry for entry in place.glob("*") if _build_of(entry) == name]


def _force(function: Callable[[str], object], path: str, _: object) -> None:
    """Remove what is in a directory that its mode keeps from being changed, if that is all."""
    with suppress(OSError):
        os.chmod(os.path.dirname(path), 0o700)
        if not os.path.islink(path):
            os.chmod(path, 0o700)
        if function in (os.unlink, os.rmdir):
            function(path)
        else:
            shutil.rmtree(path, ignore_errors=True)
