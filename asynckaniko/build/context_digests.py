"""Digests of what is copied from directories, for cache keys. Most are begun ahead of the keys.

A key needs the base's config first, which a registry has. Most copies name their sources without
variables, so what they read is known when the Dockerfile is: it is read while the base is resolved.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from anyio import Event, create_task_group
from anyio.abc import TaskGroup

from asynckaniko.build.remote_files import is_remote
from asynckaniko.build.scope import GlobalScope
from asynckaniko.build.sources import FromDirectory
from asynckaniko.build.steps.transfer import Transfer
from asynckaniko.concurrency import single_error
from asynckaniko.dockerfile.expansion import expand
from asynckaniko.dockerfile.instructions import Add, Copy, Dockerfile, Stage, StageInstruction
from asynckaniko.dockerfile.stages import find_target, needed_stages
from asynckaniko.errors import AsynckanikoError, DockerfileError

if TYPE_CHECKING:
    from asynckaniko.build.request import BuildRequest
    from asynckaniko.build.workspace import Resources

_PRODUCE = "asynckaniko.rootfs.copy_tree:produce"
_ANYWHERE = {
    "path": "c",
    "exists": True,
    "is_directory": True,
    "missing_parents": [],
    "trailing_slash": True,
}
"""Where files go when only their digest matters; the real place is an ingredient of its own."""


class ContextDigests:
    """Computes digests for one build."""

    def __init__(self, resources: "Resources", tasks: TaskGroup) -> None:
        self._resources = resources
        self._tasks = tasks
        self._ahead: dict[str, _Ahead] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, resources: "Resources") -> AsyncIterator[Self]:
        """Compute within the block; what was begun ahead and nobody asked for ends with it."""
        with single_error():
            async with create_task_group() as tasks:
                yield cls(resources, tasks)
                tasks.cancel_scope.cancel()

    async def of(self, directory: FromDirectory, transfer: Transfer) -> dict[str, Any]:
        """Return `digest` and `items` of what `transfer` copies. Raises what `produce` raises."""
        job = _job(directory, transfer)
        # Given once: who asks again, later, wants to know how the files are then.
        ahead = self._ahead.pop(repr(job), None)
        if ahead is not None:
            await ahead.done.wait()
            if ahead.result is not None:
                return ahead.result
        return await self._compute(job, [remote.file for remote in transfer.remote])

    def begin(
        self,
        request: "BuildRequest",
        dockerfile: Dockerfile,
        scope: GlobalScope,
        context: FromDirectory,
    ) -> None:
        """Begin with what the stages that are needed copy from `context`, where it is known yet."""

        def base_name(stage: Stage) -> str:
            return scope.expand(stage.base.image, stage.base.span)

        try:
            stages = needed_stages(
                dockerfile,
                find_target(dockerfile, request.target),
                base_name,
                is_elsewhere=request.build_contexts.__contains__,
            )
        except DockerfileError:
            # Who plans the build says what is wrong.
            return
        for stage in stages:
            for instruction in stage.instructions:
                transfer = _known_transfer(instruction, scope, context)
                if transfer is None:
                    continue
                job = _job(context, transfer)
                if repr(job) not in self._ahead:
                    ahead = self._ahead[repr(job)] = _Ahead()
                    self._tasks.start_soon(self._compute_ahead, job, ahead)

    async def _compute_ahead(self, job: Mapping[str, Any], ahead: "_Ahead") -> None:
        try:
            ahead.result = await self._compute(job, [])
        except AsynckanikoError:
            # Whoever asks for it tries again, and knows the line to blame.
            return
        finally:
            ahead.done.set()

    async def _compute(self, job: Mapping[str, Any], files: list[int]) -> dict[str, Any]:
        unused = os.memfd_create("digest", os.MFD_CLOEXEC)
        try:
            async with self._resources.processes:
                result: dict[str, Any] = await self._resources.outer.call(
                    _PRODUCE, job, fds=[unused, *files]
                )
        finally:
            os.close(unused)
        return result


class _Ahead:
    def __init__(self) -> None:
        self.done = Event()
        self.result: dict[str, Any] | None = None


class _UnknownError(Exception):
    """A word has a variable, whose value depends on where it stands."""


def _known_transfer(
    instruction: StageInstruction, scope: GlobalScope, context: FromDirectory
) -> Transfer | None:
    """Make the transfer of an instruction as far as its digest goes; None if that is not known."""
    if not isinstance(instruction, Copy | Add) or instruction.heredocs:
        return None
    if isinstance(instruction, Copy) and instruction.from_:
        return None
    try:
        sources = [expand(word, _refuse, escape=scope.escape) for word in instruction.sources]
        chmod = expand(instruction.chmod, _refuse, escape=scope.escape)
    except (_UnknownError, DockerfileError):
        return None
    if any(map(is_remote, sources)):
        return None
    transfer = Transfer(context, sources, "", instruction.span, chmod=chmod)
    transfer.excludes = list(instruction.excludes)
    if isinstance(instruction, Copy):
        transfer.parents = instruction.parents
    else:
        transfer.is_add, transfer.unpack = True, instruction.unpack
    return transfer


def _refuse(name: str) -> str | None:
    raise _UnknownError(name)


def _job(directory: FromDirectory, transfer: Transfer) -> dict[str, Any]:
    return {
        **transfer.job_arguments(),
        "source": {"directory": os.fspath(directory.directory)},
        "destination": _ANYWHERE,
        "owner": None,
        "clamp": 0,
        "output": "digest",
    }
