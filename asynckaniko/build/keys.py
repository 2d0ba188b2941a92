"""Compute the cache keys of all steps of a build before any step runs.

Stages are evaluated as they will be built, but without their effects: config and variables are
pure, and of the files only those of contexts are read, as digests. docs/cache.md lists what goes
into a key, and why.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from anyio import create_task_group

from asynckaniko.build.context import BuildRun
from asynckaniko.build.contexts import arrived
from asynckaniko.build.plan import PlannedStage
from asynckaniko.build.sources import FromDirectory, FromImage, FromScratch, FromStage, Source
from asynckaniko.build.state import StageState
from asynckaniko.build.steps.metadata import resolve_workdir
from asynckaniko.build.steps.run import PreparedRun, prepare_run
from asynckaniko.build.steps.transfer import Transfer, expand_transfer
from asynckaniko.cache.key import CacheKey, Ingredients
from asynckaniko.dockerfile.instructions import Add, Copy, Run, StageInstruction, Workdir
from asynckaniko.dockerfile.run_mounts import BindMount, CacheMount, RunMount, parse_mount
from asynckaniko.errors import AsynckanikoError
from asynckaniko.records import dataclass

_Values: TypeAlias = Mapping[str, str | Sequence[str]]
"""Ingredients by name."""
_PRODUCE = "asynckaniko.rootfs.copy_tree:produce"


@dataclass(frozen=True, slots=True)
class StepKey:
    """The key of one step and what it was made of. `is_copy` tells COPY and ADD from the rest."""

    key: CacheKey
    ingredients: Ingredients
    is_copy: bool


class KeyMaker:
    """Makes the keys of one build's steps; each digest of a context is computed once."""

    def __init__(self, run: BuildRun) -> None:
        self._run = run
        self._ends: dict[int, StageState] = {}
        self._final: dict[int, CacheKey] = {}
        self.keys: dict[tuple[int, int], StepKey] = {}
        """By stage and position of the instruction."""

    async def make(self) -> None:
        """Compute all keys. Raises what evaluating the instructions raises, with their lines."""
        for planned in self._run.plan.in_order():
            await self._stage(planned)

    async def _stage(self, planned: PlannedStage) -> None:
        base = planned.base
        parent = self._ends[base.index] if isinstance(base, FromStage) else None
        state = StageState.start(self._run, planned, parent)
        parts = [
            (position, instruction, await self._evaluate(state, instruction))
            for position, instruction in enumerate(planned.instructions)
        ]
        identities: dict[int, _Values] = {}
        async with create_task_group() as digests:
            for position, instruction, part in parts:
                if part is not None:
                    digests.start_soon(
                        self._identify, planned, instruction, part, identities, position
                    )
        key = await self._base_key(planned)
        for position, instruction, part in parts:
            if part is None:
                continue
            ingredients = Ingredients.of(parent=key, **part.known, **identities[position])
            key = ingredients.key()
            is_copy = isinstance(instruction, Copy | Add)
            self.keys[planned.index, position] = StepKey(key, ingredients, is_copy)
        self._ends[planned.index] = state
        self._final[planned.index] = key

    async def _base_key(self, planned: PlannedStage) -> CacheKey:
        base = await arrived(planned.base)
        match base:
            case FromStage(index):
                return self._final[index]
            case FromDirectory():
                everything = Transfer(base, ["."], "/", planned.stage.base.span)
                content = (await self._files(planned, everything))["content"]
            case _:
                content = (await self._source(base))["content"]
        clamp = self._run.timestamps.clamp
        return Ingredients.of(
            base=content,
            platform=str(planned.platform),
            clamp="" if clamp is None else str(clamp),
        ).key()

    async def _evaluate(self, state: StageState, instruction: StageInstruction) -> "_Part | None":
        """Carry out an instruction on the state; for one that makes a layer, tell what it is."""
        try:
            match instruction:
                case Run():
                    prepared = prepare_run(state, instruction)
                    mounts = [parse_mount(text, state.scope.expand) for text in instruction.mounts]
                    return _Part(_run_ingredients(state, prepared), mounts=mounts)
                case Copy() | Add():
                    transfer = await expand_transfer(state, instruction)
                    return _Part(_copy_ingredients(state, transfer), transfer=transfer)
                case Workdir(path=path):
                    target = resolve_workdir(state.config, state.scope.expand(path))
                    state.config.runtime["WorkingDir"] = target
                    if target == "/":
                        return None
                    made = {"kind": "WORKDIR", "path": target, "user": state.user}
                    if (epoch := self._run.timestamps.epoch) is not None:
                        made["time"] = str(epoch)
                    return _Part(made)
                case _:
                    state.metadata.apply(instruction)
                    return None
        except AsynckanikoError as error:
            raise error.at(instruction.span, self._run.dockerfile.text) from error.__cause__

    async def _identify(
        self,
        planned: PlannedStage,
        instruction: StageInstruction,
        part: "_Part",
        identities: dict[int, _Values],
        position: int,
    ) -> None:
        """Find what identifies the files an instruction reads."""
        try:
            if part.transfer is not None:
                identities[position] = await self._files(planned, part.transfer)
            else:
                mounted = [await self._mounted(planned, mount) for mount in part.mounts]
                identities[position] = {"mounts": mounted}
        except AsynckanikoError as error:
            raise error.at(instruction.span, self._run.dockerfile.text) from error.__cause__

    async def _mounted(self, planned: PlannedStage, mount: RunMount) -> str:
        described = repr(mount)
        if isinstance(mount, BindMount | CacheMount) and mount.from_:
            source = await arrived(planned.sources[mount.from_])
        elif isinstance(mount, BindMount):
            source = await arrived(self._run.context_source)
        else:
            return described
        if isinstance(source, FromDirectory):
            part = Transfer(source, [f"./{mount.source}"], "/", planned.stage.base.span)
            part.parents = True
            content = (await self._files(planned, part))["content"]
        else:
            content = (await self._source(source))["content"]
        return f"{described} {content}"

    async def _files(self, planned: PlannedStage, transfer: Transfer) -> _Values:
        """Identify what is copied: content for a context, origin for anything else."""
        if not isinstance(transfer.source, FromDirectory):
            identity = await self._source(transfer.source)
            heredocs = [text for pair in transfer.heredocs for text in pair]
            return {**identity, "paths": transfer.sources, "heredocs": heredocs}
        directory = {"directory": os.fspath(transfer.source.directory)}
        job: dict[str, Any] = {
            **transfer.job_arguments(),
            "source": directory,
            "destination": _ANYWHERE,
            "owner": None,
            "clamp": 0,
            "output": "digest",
        }
        unused = os.memfd_create("digest", os.MFD_CLOEXEC)
        try:
            fds = [unused, *(remote.file for remote in transfer.remote)]
            async with self._run.resources.processes:
                result = await self._run.resources.outer.call(_PRODUCE, job, fds=fds)
        finally:
            os.close(unused)
        return {"content": result["digest"], "items": result["items"]}

    async def _source(self, source: Source) -> dict[str, str]:
        match await arrived(source):
            case FromStage(index):
                return {"content": f"stage {self._final[index]}"}
            case FromImage(image):
                return {"content": "image " + " ".join(image.config.diff_ids)}
            case FromScratch():
                return {"content": "scratch"}
            case FromDirectory(directory):
                raise AssertionError(f"{directory}: files of a context are identified by content")


_ANYWHERE = {
    "path": "c",
    "exists": True,
    "is_directory": True,
    "missing_parents": [],
    "trailing_slash": True,
}
"""Where files go when only their digest matters; the real place is an ingredient of its own."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What is known of a step without its files."""

    known: _Values
    transfer: Transfer | None = None
    mounts: Sequence[RunMount] = ()


def _run_ingredients(state: StageState, prepared: PreparedRun) -> _Values:
    return {
        "kind": "RUN",
        "command": prepared.argv,
        "script": prepared.script,
        "environment": sorted(f"{name}={value}" for name, value in state.scope.env.items()),
        "workdir": state.workdir,
        "user": state.user,
        "network": "none" if prepared.instruction.network == "none" else "",
    }


def _copy_ingredients(state: StageState, transfer: Transfer) -> _Values:
    return {
        "kind": "ADD" if transfer.is_add else "COPY",
        "destination": transfer.absolute_destination(state.workdir),
        "owner": transfer.chown,
        "mode": transfer.chmod,
        "options": [
            name
            for name, is_set in (
                ("link", transfer.link),
                ("parents", transfer.parents),
                ("unpack", transfer.unpack is True),
                ("no unpack", transfer.unpack is False),
            )
            if is_set
        ],
        "exclude": transfer.excludes if not isinstance(transfer.source, FromDirectory) else (),
    }
