"""Root filesystems as plain directories, for modes that cannot mount: `chroot` and `in-place`.

Layers are lists, as in mode `none`; a stage that has commands to run gets its stack of layers
written out as a tree. What a command changed becomes a layer at once, since the next step changes
the same tree.
"""

import fcntl
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anyio import CancelScope, Lock, move_on_after, sleep

from asynckaniko.build.layers import ImageLayer
from asynckaniko.dockerfile.instructions import Run
from asynckaniko.errors import AsynckanikoError, HostError, IsolationUnavailable
from asynckaniko.events import BuildWarning, EventSink
from asynckaniko.isolation.plain import CHROOT, RUNTIME, check_chroot
from asynckaniko.isolation.swap_recovery import recover
from asynckaniko.records import dataclass

if TYPE_CHECKING:
    from asynckaniko.build.sides import RootfsSide
    from asynckaniko.build.stage import StageRun
    from asynckaniko.build.workspace import Workspace

_WRITE = "asynckaniko.rootfs.plain.root:write_layers"
_EMPTY = "asynckaniko.rootfs.plain.root:empty"
_PRESERVE = "asynckaniko.rootfs.plain.preserved:preserve"
_RESTORE = "asynckaniko.rootfs.plain.preserved:restore"
_REHEARSE = "asynckaniko.isolation.plain_step:rehearse_chroot"
_FURNISH = "asynckaniko.isolation.plain_step:furnish"
_REMOVE = "asynckaniko.rootfs.remove:remove_trees"
_RECOVER = "asynckaniko.isolation.swap_recovery:recover"
_MAKE = "asynckaniko.rootfs.directories:make_directories"
_DRAWER = "aside"
_SYSTEM = ("dev", "proc", "sys")
_WITHOUT_PROC = (
    "commands run without /proc and /sys (mode chroot): Java, ps, Go's os.Executable, bash's <( ),"
    " /dev/stdout and /dev/stderr fail; no program gains rights, as sudo and ping would"
)
_WITHOUT_DEVICES = "commands have no real /dev/{0}: CAP_MKNOD is missing"
IN_PLACE_NOTICE = (
    "commands run in this container's own root filesystem (mode in-place): they can see and change"
    " the executor's files; stages run one after the other"
)
_POLL_SECONDS = 0.1
_CLEAN_UP_SECONDS = 60.0


@dataclass(slots=True)
class PlainRoot:
    """One tree, and which layers it is made of. `ignored` is what in it is none of the image's."""

    path: str
    drawer: str
    """A directory for what is set aside during a step."""
    ignored: dict[str, Any]
    unseen: dict[str, Any]
    """What is ignored when changes are looked for: `ignored`, and what the caller leaves out."""
    applied: list[ImageLayer] | None = None
    """None: unknown, so the tree has to be made anew."""
    listing: int | None = None
    """An open file with what the tree looks like; None: nobody has looked since it was changed."""

    def keep_listing(self, listing: int | None) -> None:
        """Take over what the tree looks like now."""
        if self.listing is not None:
            os.close(self.listing)
        self.listing = listing


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainRootOptions:
    """What mode `in-place` leaves alone, and whether it tidies up."""

    kept: tuple[str, ...] = ()
    """Paths that stay when the tree is `/`, beside mounts and the executor's own."""
    ignored_paths: tuple[str, ...] = ()
    """Globs of what else stays, and is left out of layers."""
    ignores_var_run: bool = True
    """Changes in /var/run are left out of layers."""
    clean_up: bool = False
    """Empty `/` when the build ends."""
    preserve: bool = False
    """Put back then what was in it before."""


def put_back(build: Path, listed: Path) -> None:
    """Bring home what commands of a dead build had in place: caches; and wipe its secrets."""
    for drawer in build.glob(f"*/{_DRAWER}"):
        recover({"drawer": os.fspath(drawer), "directory": os.fspath(listed)}, [])


@dataclass(slots=True)
class PlainRoots:
    """The trees of one build."""

    workspace: "Workspace"
    mode: str
    options: PlainRootOptions
    notices: list[str] = field(default_factory=list)
    """What commands will miss here."""
    _made: list[PlainRoot] = field(default_factory=list)
    _in_place: PlainRoot | None = None
    _lock: Lock = field(default_factory=Lock)
    _held: int | None = None
    _preserved: str | None = None
    """An archive of what was in `/`; it goes with the build's directory."""

    async def rehearse(self, side: "RootfsSide") -> None:
        """Change the root once, for nothing. Raises IsolationUnavailable."""
        check_chroot()
        place = f"{self.workspace.root}-rehearsal"
        try:
            missing = await side.call(_REHEARSE, {"root": place})
        except HostError as error:
            raise IsolationUnavailable(f"mode {CHROOT}: {error.message}") from error
        self.notices.append(_WITHOUT_PROC)
        if missing:
            self.notices.append(_WITHOUT_DEVICES.format(", ".join(missing)))

    def announce(self, emit: EventSink) -> None:
        """Tell once what commands will miss."""
        notices, self.notices = self.notices, []
        for notice in notices:
            emit(BuildWarning(notice))

    async def root_for(self, stage: "StageRun") -> PlainRoot:
        """Return the tree of a stage, with all its layers so far."""
        # Never beside a command: to what one has begun to change, that would write anew.
        await stage.root_has_base.wait()
        return await self.root_with(list(stage.layers), stage)

    async def root_with(self, layers: Sequence[ImageLayer], stage: "StageRun") -> PlainRoot:
        """Return the tree of a stage with `layers`, its lowest, in it."""
        self.announce(stage.run.emit)
        if self.mode == CHROOT:
            root = stage.plain_root
            if root is None:
                root = stage.plain_root = await self._new_root()
        else:
            await _earlier_stages(stage)
            async with self._lock:
                if self._in_place is None:
                    self._in_place = await self._take_over()
                root = self._in_place
        await self._bring_up(root, layers, stage)
        return root

    async def leave(self, root: PlainRoot) -> None:
        """Remove the tree of a stage that has run its last command."""
        if self.mode == CHROOT:
            root.keep_listing(None)
            await self._call(_REMOVE, {"paths": [root.path]})

    async def recover(self, root: PlainRoot) -> None:
        """Put back what a step that was killed had set aside."""
        with move_on_after(_CLEAN_UP_SECONDS, shield=True):
            await self._call(_RECOVER, {"drawer": root.drawer})

    async def close(self) -> None:
        """Let others have `/`, emptied or as it was before if that is wanted."""
        for made in self._made:
            made.keep_listing(None)
        root, self._in_place = self._in_place, None
        if root is not None and self.options.clean_up:
            await self._tidy(root)
        if self._held is not None:
            os.close(self._held)
            self._held = None

    async def _tidy(self, root: PlainRoot) -> None:
        arguments = {"root": root.path, "ignored": root.ignored}
        if self._preserved is None:
            with move_on_after(_CLEAN_UP_SECONDS, shield=True):
                await self._call(_EMPTY, arguments)
        else:
            # Half of it would be worse than a build that ends later.
            with CancelScope(shield=True):
                await self._call(_RESTORE, {**arguments, "archive": self._preserved})

    async def _call(self, function: str, arguments: dict[str, Any]) -> Any:
        side = await self.workspace.side()
        return await side.call(function, arguments)

    async def _new_root(self) -> PlainRoot:
        path, drawer = await self.workspace.directories("root", _DRAWER)
        ignored = {"inside": _SYSTEM}
        return self._remember(PlainRoot(path, drawer, ignored, ignored))

    def _remember(self, root: PlainRoot) -> PlainRoot:
        self._made.append(root)
        return root

    async def _take_over(self) -> PlainRoot:
        """Be the only build that has `/`: wait for others, in this process or not."""
        self._held = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        while True:
            try:
                fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await sleep(_POLL_SECONDS)
        drawer = f"{RUNTIME}/set-aside"
        await self._call(_MAKE, {"paths": [drawer]})
        await self._call(_RECOVER, {"drawer": drawer})
        resources = self.workspace.resources
        own = [os.fspath(path) for path in (resources.state.root, resources.caches.own) if path]
        whole = [os.fspath(RUNTIME), "/workspace", "/busybox", *own, *self.options.kept]
        patterns = list(self.options.ignored_paths)
        ignored = {"whole": whole, "mounts": True, "patterns": patterns}
        unseen = {
            **ignored,
            "whole": [*whole, *(["var/run"] if self.options.ignores_var_run else [])],
        }
        if self.options.clean_up and self.options.preserve:
            (directory,) = await self.workspace.directories("preserved")
            archive = f"{directory}/root.tar"
            await self._call(_PRESERVE, {"root": "/", "ignored": ignored, "archive": archive})
            self._preserved = archive
        return self._remember(PlainRoot("/", drawer, ignored, unseen))

    async def _bring_up(
        self, root: PlainRoot, layers: Sequence[ImageLayer], stage: "StageRun"
    ) -> None:
        applied = root.applied
        fresh = applied is None or not _begins_with(layers, applied)
        missing = range(0 if fresh or applied is None else len(applied), len(layers))
        if not fresh and not missing:
            return
        # Until it is done, nobody knows what is there.
        root.applied = None
        root.keep_listing(None)
        directories = await stage.files.lowers() if missing else []
        side = await self.workspace.side()
        result = await side.work(
            _WRITE,
            {
                "root": root.path,
                "layers": [directories[index] for index in missing],
                "ignored": root.ignored,
                "fresh": fresh,
            },
        )
        for path in result["left_out"]:
            stage.run.emit(
                BuildWarning(f"/{path} is not as in the image: something is mounted or kept in it")
            )
        if without := result["without_capabilities"]:
            stage.run.emit(
                BuildWarning(
                    f"/{', /'.join(without)}: commands see them without their file capabilities,"
                    " and lose them if they change the files: CAP_SETFCAP is missing"
                )
            )
        if self.mode == CHROOT and fresh:
            await side.call(_FURNISH, {"root": root.path})
        root.applied = list(layers)


async def begin_root(stage: "StageRun", command: Run, base: Sequence[ImageLayer]) -> None:
    """Write a stage's base into its plain tree while steps before `command` still look at lists.

    Where commands run in namespaces, there is no such tree. Raises AsynckanikoError with the span
    of `command`, the stage's first.
    """
    run = stage.run
    await run.workspace.side()
    if run.workspace.roots is not None:
        try:
            await run.workspace.roots.root_with(base, stage)
        except AsynckanikoError as error:
            raise error.at(command.span, run.dockerfile.text) from error.__cause__
    stage.root_has_base.set()


@asynccontextmanager
async def refusing_to_continue(root: PlainRoot) -> AsyncIterator[None]:
    """Take the tree for unknown unless the block ends well."""
    applied, root.applied = root.applied, None
    yield
    root.applied = applied


async def _earlier_stages(stage: "StageRun") -> None:
    """Wait until every stage above is done: a stage may need any of them, and there is one `/`."""
    for index, other in sorted(stage.others.items()):
        if index < stage.planned.index:
            await other.done.wait()


def _begins_with(layers: Sequence[ImageLayer], applied: Sequence[ImageLayer]) -> bool:
    return len(applied) <= len(layers) and all(
        ours is theirs for ours, theirs in zip(layers, applied, strict=False)
    )
