"""CacheMounts: where the directories of RUN --mount=type=cache are, and what guards them.

In the state directory, or below a directory that outlives it, which any number of processes with
state directories of their own may use at one time:

```
<cache-mount-dir>/
  map                the host id behind the root of the user namespaces whose caches are kept
  locks/             locks of caches that one command alone may use
  mounts/            a note on each cache: its lock is held by commands that use it
  rootfs/<hash>      contents, for builds in namespaces; belongs to their root
  listed/<hash>      contents, for builds without namespaces; mode 0700
```
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EACCES, ELOOP
from pathlib import Path

from asynckaniko.errors import HostError
from asynckaniko.records import dataclass
from asynckaniko.store.map_record import map_of
from asynckaniko.store.state import StateDirectory

_FLAG = "--cache-mount-dir"
_CACHES = "caches"
_LONGEST_ID = 20


@dataclass(frozen=True, slots=True)
class CacheMounts:
    """Paths of caches, of both kinds of builds."""

    namespaced: Path
    listed: Path
    notes: Path
    locks: Path
    own: Path | None = None
    """The directory that is not the state directory."""

    @classmethod
    def open(cls, directory: Path | None, state: StateDirectory) -> "CacheMounts":
        """Use `directory`, which is made if it is missing; None is the state directory.

        Blocks: a few system calls. Raises HostError.
        """
        if directory is None:
            namespaced, listed = state.rootfs / _CACHES, state.listed / _CACHES
            return cls(namespaced, listed, state.mounts, state.builds)
        root = directory.absolute()
        with _told(directory):
            if root.resolve().is_relative_to(state.root.resolve()):
                raise HostError(
                    f"{_FLAG} {directory}: it is in the state directory {state.root}, which keeps"
                    " the caches of mounts anyway; name another directory, or leave the flag out"
                )
            opened = cls(root / "rootfs", root / "listed", root / "mounts", root / "locks", root)
            opened.namespaced.mkdir(mode=0o755, parents=True, exist_ok=True)
            opened.listed.mkdir(mode=0o700, exist_ok=True)
            for place in (opened.notes, opened.locks):
                place.mkdir(mode=0o700, exist_ok=True)
                if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
                    raise PermissionError(EACCES, os.strerror(EACCES), place)
            for place in (opened.namespaced, opened.listed, opened.notes, opened.locks):
                # Others may write to the volume: nothing of it may lead out of it.
                if place.is_symlink():
                    raise OSError(ELOOP, "is a symbolic link", place)
        return opened

    @property
    def attached(self) -> str | None:
        """What has to be mounted where builds in namespaces look for caches."""
        return os.fspath(self.namespaced) if self.own else None

    def job_path(self, name: str, *, is_listed: bool) -> str:
        """Name a cache as jobs of one kind of builds see it."""
        if is_listed and self.own:
            return os.fspath(self.listed / name)
        return f"{_CACHES}/{name}"

    def seed_lock(self, name: str) -> Path:
        """Name the lock of who fills a new cache."""
        return self.locks / f"seed-{name}.flock"

    def owner(self) -> str:
        """Tell which id is behind the root of those who use a directory of its own; "": unknown."""
        return _read(self.own / "map") if self.own else ""

    def claim(self, root_id: int, *, has_one_id: bool = False) -> None:
        """Give the namespaces' side to root `root_id`; the state directory's is claimed with it.

        Unlike there, nothing of another owner is dropped: other processes may be using it.

        Raises HostError: it cannot be given away, or belongs to namespaces with another root,
        whose ids mean something else.
        """
        if self.own is None:
            return
        with _told(self.own), _held(self.locks / "map.flock"):
            recorded, claimed = self.owner(), map_of(root_id, has_one_id=has_one_id)
            if recorded not in {"", claimed}:
                raise HostError(
                    f"{_FLAG} {self.own}: its caches belong to builds whose root is id"
                    f" {recorded} of this machine, and here it is id {claimed}; give builds of"
                    " another user, mode or id range a directory of their own, or remove this one"
                )
            _give(self.namespaced, root_id)
            if not recorded:
                draft = self.own / "map.new"
                draft.unlink(missing_ok=True)
                with draft.open("x") as file:
                    file.write(claimed)
                draft.rename(self.own / "map")


@contextmanager
def _told(directory: Path) -> Iterator[None]:
    """Let an error say which flag it is about. Raises HostError."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename not in {None, os.fspath(directory)} else ""
        raise HostError(
            f"{_FLAG} {directory}: {where}{error.strerror}; name a directory that can be written"
            " (in a Pod: mount a volume there)"
        ) from error


@contextmanager
def _held(path: Path) -> Iterator[None]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(path, flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _read(path: Path) -> str:
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return ""
    try:
        return os.pread(file, _LONGEST_ID, 0).decode(errors="replace")
    finally:
        os.close(file)


def _give(directory: Path, owner: int) -> None:
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(opened).st_uid != owner:
            os.fchown(opened, owner, owner)
    finally:
        os.close(opened)
