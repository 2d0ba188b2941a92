"""Housekeeping: tell what a state directory holds, and keep it within bounds.

It takes away only what no running build can be using: whoever uses something marks it, and of what
was marked since the oldest running build began nothing goes.
"""

import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from anyio import CapacityLimiter, Lock, create_task_group, to_thread

from asynckaniko.build.plain_roots import put_back
from asynckaniko.build.sides import LazyServer
from asynckaniko.cache.contents import Contents, Stored
from asynckaniko.cache.eviction import Bounds, choose
from asynckaniko.concurrency import single_error
from asynckaniko.context.arrival import Jobs
from asynckaniko.errors import host_error
from asynckaniko.isolation.fork_server import ForkServer
from asynckaniko.isolation.namespaces import AUTO, NAMESPACES, Confinement
from asynckaniko.linux.locks import try_lock
from asynckaniko.records import dataclass
from asynckaniko.settings import Settings
from asynckaniko.store.cache_mounts import CacheMounts
from asynckaniko.store.guard import exclusive
from asynckaniko.store.state import StateDirectory

_MEASURE = "asynckaniko.rootfs.usage:measure_trees"
_REMOVE = "asynckaniko.rootfs.remove:remove_trees"
_MODULES = ("asynckaniko.rootfs.remove", "asynckaniko.rootfs.usage")
_TICK_SECONDS = 1.0
"""File systems' clocks may lag behind the one that is asked for the time."""
_RECORDS_SECONDS = 90 * 86400.0


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, and the bytes of all that is left."""

    removed: tuple[Stored, ...]
    left: int


class Housekeeping:
    """Looks after one state directory."""

    def __init__(
        self, state: StateDirectory, caches: CacheMounts, inner: Jobs, disk: CapacityLimiter
    ) -> None:
        """`inner` runs as the owner of the trees below `rootfs`."""
        self._state = state
        self._caches = caches
        self._inner = inner
        self._disk = disk
        self._pruning = Lock()

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncIterator["Housekeeping"]:
        """Look after the directories of `settings` without a Builder. Raises HostError."""
        disk = CapacityLimiter(settings.limits.disk_threads)
        state = await to_thread.run_sync(
            partial(StateDirectory, put_back=put_back), settings.state_dir, limiter=disk
        )
        caches = await to_thread.run_sync(
            CacheMounts.open, settings.cache_mount_dir, state, limiter=disk
        )
        start = partial(
            ForkServer.start,
            directory=state.rootfs,
            preload=_MODULES,
            namespaces=True,
            confinement=await to_thread.run_sync(_confinement, state, caches, limiter=disk),
        )
        with single_error():
            async with create_task_group() as serving:
                inner = LazyServer(start, serving)
                try:
                    yield cls(state, caches, inner, disk)
                finally:
                    inner.stop()

    async def contents(self) -> list[Stored]:
        """List everything with its size, what was used last first."""
        with _host_errors():
            contents = await to_thread.run_sync(
                Contents.read, self._state, self._caches, limiter=self._disk
            )
            stored = await self._measured(contents.stored)
        return sorted(stored, key=lambda item: -item.last_used)

    async def _measured(self, stored: Iterable[Stored]) -> list[Stored]:
        stored = list(stored)
        paths = [_path(item) for item in stored if item.size < 0]
        if not paths:
            return stored
        sizes = await self._inner.call(_MEASURE, {"paths": paths})
        return [
            replace(item, size=sizes[_path(item)]) if item.size < 0 else item for item in stored
        ]

    async def prune(self, bounds: Bounds) -> Pruned:
        """Remove what is not within the bounds. Raises HostError."""
        with _host_errors():
            async with self._pruning:
                return await self._prune(bounds)

    async def _prune(self, bounds: Bounds) -> Pruned:
        contents = await to_thread.run_sync(
            Contents.read, self._state, self._caches, limiter=self._disk
        )
        since = self._state.oldest_build() or time.time() + _TICK_SECONDS
        stored = await self._measured(contents.stored)
        chosen = choose(stored, bounds, in_use_since=since - _TICK_SECONDS)
        removed: list[Stored] = []
        trash: list[str] = []

        def take_away() -> None:
            self._drop_entries(contents.dangling)
            self._drop_old_records(everything=bounds.everything)
            trash.extend(self._take_unfinished_mounts())
            for item in chosen:
                taken = self._take(item)
                if taken is not None:
                    removed.append(item)
                    trash.extend(taken)

        await to_thread.run_sync(take_away, limiter=self._disk)
        trash += [path for path in self._old_trash() if path not in trash]
        if trash:
            await self._inner.call(_REMOVE, {"paths": trash})
        gone = {(item.kind, item.name) for item in removed}
        left = sum(item.size for item in stored if (item.kind, item.name) not in gone)
        return Pruned(tuple(removed), left)

    def _take(self, item: Stored) -> list[str] | None:
        """Take an item out of sight; return what is to be deleted. None: it is in use after all."""
        match item.kind:
            case "layer" | "base":
                return self._take_blob(item)
            case "unpacked":
                return self._take_layer(item)
            case "listed":
                return self._take_list(item)
            case "mount" | "plain mount":
                return self._take_mount(item)

    def _take_blob(self, item: Stored) -> list[str] | None:
        path = self._state.blobs / item.name
        with exclusive(self._state.blobs):
            try:
                if path.stat().st_atime > item.last_used:
                    return None
                path.unlink()
            except FileNotFoundError:
                return None
        self._drop_entries(item.keys)
        return []

    def _take_layer(self, item: Stored) -> list[str] | None:
        layers = self._state.rootfs / "layers"
        names = (*item.copies, item.name)
        with exclusive(layers):
            records = [layers / f"{name}.json" for name in names]
            if any(_modified(record) > item.last_used for record in records):
                return None
            trash = []
            for name, record in zip(names, records, strict=True):
                record.unlink(missing_ok=True)
                with suppress(FileNotFoundError):
                    trash.append(self._out_of_sight("layers", name))
            return trash

    def _take_list(self, item: Stored) -> list[str] | None:
        layers = self._state.listed / "layers"
        record = layers / f"{item.name}.json"
        with exclusive(layers):
            if _modified(record) > item.last_used:
                return None
            record.unlink(missing_ok=True)
            # The files are this process's own, and there are two.
            shutil.rmtree(layers / item.name, ignore_errors=True)
        return []

    def _take_mount(self, item: Stored) -> list[str] | None:
        note = self._caches.notes / item.name
        # Commands that have it mounted hold the lock together.
        file = try_lock(note)
        if file is None:
            return None
        try:
            trash = []
            if item.kind == "mount":
                trash.append(self._out_of_sight("caches", item.name))
            else:
                # The files are those of this process's user.
                shutil.rmtree(self._caches.listed / item.name)
            note.unlink()
        except FileNotFoundError:
            return None
        finally:
            os.close(file)
        return trash

    def _take_unfinished_mounts(self) -> list[str]:
        """Take away what was to be a cache, of processes that were killed while they copied it."""
        trash = []
        for directory in (self._caches.namespaced, self._caches.listed):
            for path in directory.glob(".*.part"):
                name = path.name.removeprefix(".").removesuffix(".part")
                file = try_lock(self._caches.seed_lock(name))
                if file is None:
                    continue
                try:
                    if directory == self._caches.namespaced:
                        trash.append(self._out_of_sight("caches", path.name))
                    else:
                        shutil.rmtree(path)
                except FileNotFoundError:
                    continue
                finally:
                    os.close(file)
        return trash

    def _out_of_sight(self, place: str, name: str) -> str:
        trash = f".pruned-{secrets.token_hex(6)}"
        directory = self._places()[place]
        os.rename(directory / name, directory / trash)
        return f"{place}/{trash}"

    def _old_trash(self) -> list[str]:
        """List what another process took out of sight and did not come to delete."""
        return [
            f"{place}/{path.name}"
            for place, directory in self._places().items()
            for path in directory.glob(".pruned-*")
        ]

    def _places(self) -> dict[str, Path]:
        """Tell where the directories are that jobs in namespaces know by these names."""
        return {"layers": self._state.rootfs / "layers", "caches": self._caches.namespaced}

    def _drop_entries(self, keys: Iterable[str]) -> None:
        for key in keys:
            (self._state.cache / f"{key}.json").unlink(missing_ok=True)

    def _drop_old_records(self, *, everything: bool) -> None:
        """Forget builds of targets that nobody has built for long."""
        oldest = time.time() - _RECORDS_SECONDS
        for path in self._state.cache.glob("last-*"):
            if everything or _modified(path) < oldest:
                path.unlink(missing_ok=True)


def _confinement(state: StateDirectory, caches: CacheMounts) -> Confinement:
    """Choose namespaces in which everything can be removed. Nothing is claimed for them."""
    has_roots_own = os.geteuid() == 0 and "0" in {state.owner(), caches.owner()}
    return Confinement(
        # In a user namespace root has no power over what is the machine's root's.
        mode=NAMESPACES if has_roots_own else AUTO,
        cache_mounts=caches.attached,
    )


@contextmanager
def _host_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise host_error(error) from error


def _path(item: Stored) -> str:
    return f"{'caches' if item.kind == 'mount' else 'layers'}/{item.name}"


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
