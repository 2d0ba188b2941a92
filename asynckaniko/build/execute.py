"""One build from request to result: read, plan, run the stages, export."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from anyio import CapacityLimiter, create_task_group, to_thread
from anyio.abc import TaskGroup

from asynckaniko.build.base_layers import BaseLayers
from asynckaniko.build.caching import StepCache
from asynckaniko.build.commands import first_command, refuse_without_commands
from asynckaniko.build.context import BuildRun
from asynckaniko.build.contexts import BuildContexts
from asynckaniko.build.export import Exporter, needs_local_blobs, push_references
from asynckaniko.build.images import ImageFinder
from asynckaniko.build.inputs import (
    check,
    check_places,
    parse_located,
    plain_root_options,
    read_network_files,
    read_secrets,
    read_timestamps,
)
from asynckaniko.build.layers import LayerFiles
from asynckaniko.build.lint import announce, lint_plan
from asynckaniko.build.needed_files import find_needed
from asynckaniko.build.plan import Plan, Planner
from asynckaniko.build.request import BuildRequest, BuildResult
from asynckaniko.build.scope import GlobalScope, platform_args
from asynckaniko.build.sources import FromArrival, FromDirectory, FromImage
from asynckaniko.build.stage import StageRun
from asynckaniko.build.workspace import Resources, Workspace
from asynckaniko.cache.inline import write_keys
from asynckaniko.cache.layer_cache import DamagedEntry
from asynckaniko.concurrency import SingleFlight, leaves, single_error
from asynckaniko.dockerfile.instructions import Dockerfile
from asynckaniko.errors import AsynckanikoError
from asynckaniko.events import BuildFinished, BuildStarted, BuildWarning, EventSink
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Repository
from asynckaniko.store.base_directory import BaseDirectory

Outcome = TypeVar("Outcome")
Finish = Callable[[BuildRun, set[str]], Awaitable[Outcome]]
"""Makes something of a planned build; the keys are of cached layers that are not to be used."""


async def execute(
    request: BuildRequest,
    *,
    resources: Resources,
    base_layers: BaseLayers,
    emit: EventSink,
) -> BuildResult:
    """Build `request` with what the Builder shares. Raises AsynckanikoError."""
    started = time.monotonic()
    result = await carry_out(
        request, run_stages, resources=resources, base_layers=base_layers, emit=emit
    )
    size = result.manifest.config.size + sum(layer.size for layer in result.manifest.layers)
    seconds = time.monotonic() - started
    emit(BuildFinished(result.digest, seconds, len(result.manifest.layers), size))
    return result


async def carry_out(
    request: BuildRequest,
    finish: Finish[Outcome],
    *,
    resources: Resources,
    base_layers: BaseLayers,
    emit: EventSink,
) -> Outcome:
    """Read and plan, and let `finish` do the rest. Raises AsynckanikoError."""
    check(request)
    await to_thread.run_sync(check_places, request.outputs, limiter=resources.disk)
    async with BuildContexts.open(request, resources, emit) as contexts:
        execution = Execution(request, contexts, resources, base_layers, emit)
        with single_error():
            async with create_task_group() as tasks:
                result = await execution.run(tasks, finish)
        return result


class Execution:
    """Carries out one build. Its Dockerfile is read once; its stages may be run again."""

    def __init__(
        self,
        request: BuildRequest,
        contexts: BuildContexts,
        resources: Resources,
        base_layers: BaseLayers,
        emit: EventSink,
    ) -> None:
        self._request = request
        self._contexts = contexts
        self._resources = resources
        self._base_layers = base_layers
        self._emit = emit

    async def run(self, tasks: TaskGroup, finish: Finish[Outcome]) -> Outcome:
        """Plan and finish; `tasks` holds what runs beside the stages."""
        emit = self._emit
        repositories = push_references(self._request.outputs)
        found, context = await self._contexts.read_dockerfile()
        parse = partial(parse_located, found.content, name=found.name)
        dockerfile = await to_thread.run_sync(parse, limiter=self._resources.disk)
        check_push = self._resources.registry.check_push
        for repository in repositories if self._request.check_push else ():
            tasks.start_soon(partial(check_push, repository, emit=emit))
        try:
            scope, plan = await self._plan(dockerfile, tasks)
            if isinstance(context, FromArrival):
                context.arrival.choose(find_needed(plan, context))
            report = await to_thread.run_sync(
                lint_plan, dockerfile, plan, scope, context, limiter=self._resources.disk
            )
            announce(report, emit)
        except AsynckanikoError as error:
            error.source = error.source or dockerfile.text
            raise
        prepared = partial(self._run_stages, dockerfile, scope, plan, context, finish)
        return await self._run_until_cache_is_sound(prepared)

    async def _plan(self, dockerfile: Dockerfile, tasks: TaskGroup) -> tuple[GlobalScope, Plan]:
        request, resources = self._request, self._resources
        platform = Platform.parse(request.platform) if request.platform else Platform.host()
        last = dockerfile.stages[-1].base.name if dockerfile.stages else ""
        target_name = request.target or last or "default"
        automatic = platform_args(platform, Platform.host(), target_name)
        scope = GlobalScope.of(dockerfile, build_args=request.build_args, automatic=automatic)
        finder = ImageFinder(
            resources.registry,
            request.build_contexts,
            self._contexts,
            resources.disk,
            self._emit,
            SingleFlight(tasks),
            _base_directory(request),
        )
        planner = Planner(
            dockerfile,
            scope=scope,
            platform=platform,
            find_context=finder.context,
            find_image=finder.image,
        )
        with single_error():
            plan = await planner.plan(request.target)
        labels = tuple(stage.stage.label for stage in plan.in_order())
        self._emit(BuildStarted(dockerfile.name, target_name, labels))
        return scope, plan

    async def _run_until_cache_is_sound(
        self, run: Callable[[set[str]], Awaitable[Outcome]]
    ) -> Outcome:
        """Run the stages; once more without an entry of a cache that turns out to be damaged.

        Hits are believed before their bytes are seen, for most of them never are.
        """
        damaged: set[str] = set()
        while True:
            try:
                return await run(damaged)
            except (DamagedEntry, ExceptionGroup) as error:
                found = [leaf for leaf in leaves(error) if isinstance(leaf, DamagedEntry)]
                new = {entry.key: entry for entry in found if entry.key not in damaged}
                if not new:
                    raise
                damaged |= new.keys()
                for entry in new.values():
                    self._emit(BuildWarning(f"a cached layer is not used: {entry.message}"))

    async def _run_stages(
        self,
        dockerfile: Dockerfile,
        scope: GlobalScope,
        plan: Plan,
        context: FromDirectory | FromArrival,
        finish: Finish[Outcome],
        damaged: set[str],
    ) -> Outcome:
        request, resources = self._request, self._resources
        async with Workspace.open(resources) as workspace:
            workspace.plain = plain_root_options(request, resources.settings)
            with (
                LayerFiles(
                    resources.blobs,
                    workspace.identifier,
                    compression=request.compression,
                    level=request.compression_level,
                ) as layer_files,
                LayerFiles(
                    resources.blobs,
                    workspace.identifier,
                    compression=_step_compression(request),
                    level=request.compression_level,
                ) as step_files,
                single_error(),
            ):
                async with create_task_group() as stages:
                    run = BuildRun(
                        request=request,
                        dockerfile=dockerfile,
                        plan=plan,
                        scope=scope,
                        contexts=self._contexts,
                        context_source=context,
                        timestamps=read_timestamps(request, scope),
                        resources=resources,
                        base_layers=self._base_layers,
                        workspace=workspace,
                        layer_files=layer_files,
                        step_files=step_files,
                        emit=self._emit,
                        tasks=stages,
                        steps=CapacityLimiter(request.jobs or resources.settings.limits.stages),
                        keep_blobs=_keeps_blobs(request, plan),
                        secrets=await read_secrets(request, resources),
                        network_files=await read_network_files(resources),
                    )
                    result = await finish(run, damaged)
            await run.cache.keep_directories()
        return result


async def run_stages(run: BuildRun, damaged: set[str]) -> BuildResult:
    """Run each stage as a task, and export; stages wait for one another where they must."""
    run.exporter = Exporter(run)
    run.cache = StepCache(run, damaged)
    if not run.keep_blobs:
        _send_base(run)
    await run.cache.look_up()
    lineage = set(run.plan.lineage())
    needed = run.plan.needed()
    stages: dict[int, StageRun] = {}
    for planned in run.plan.in_order():
        if planned.index in needed:
            stages[planned.index] = StageRun(run, planned, stages, planned.index in lineage)
    command = first_command(run.plan, needed)
    if command is not None:
        run.workspace.command = (command.span, run.dockerfile.text)
        refuse_without_commands(run, command)
        # Now, so that it is ready when the base is; the step that needs it says what went wrong.
        run.tasks.start_soon(_enter, run)
    for stage in stages.values():
        run.tasks.start_soon(stage.build)
    target = stages[run.plan.target]
    await target.done.wait()
    await run.contexts.settle()
    config = target.config.fork()
    config.created = run.timestamps.created
    labels = {**(config.runtime.get("Labels") or {}), **run.request.labels}
    if labels:
        config.runtime["Labels"] = labels
    write_keys(config, run.cache.inline_keys(target.image_layers))
    return await run.exporter.finish(config, target.image_layers)


def _send_base(run: BuildRun) -> None:
    """Send the layers of the base while keys are computed: registries have most, or mount them."""
    base = run.plan.stages[run.plan.lineage()[0]].base
    if isinstance(base, FromImage):
        for layer in base.image.layers:
            run.exporter.add(layer)


async def _enter(run: BuildRun) -> None:
    """Decide where the build's files are, and tell what commands will miss."""
    await run.workspace.side()
    if run.workspace.roots is not None:
        run.workspace.roots.announce(run.emit)


def _base_directory(request: BuildRequest) -> BaseDirectory | None:
    cache = request.cache
    if cache is None or cache.base_directory is None:
        return None
    return BaseDirectory(cache.base_directory, ttl_seconds=cache.ttl_seconds)


def _step_compression(request: BuildRequest) -> str:
    """Choose how steps' layers are compressed: not, if they are only read again to be merged."""
    is_merged = request.single_snapshot and request.cache is None
    return "none" if is_merged else request.compression


def _keeps_blobs(request: BuildRequest, plan: Plan) -> bool:
    """Tell whether an output will need the base's blobs as bytes."""
    base = plan.stages[plan.lineage()[0]].base
    origin = base.image.origin if isinstance(base, FromImage) else None
    registry = origin.registry if isinstance(origin, Repository) else ""
    repositories = push_references(request.outputs)
    elsewhere = any(repository.registry != registry for repository in repositories)
    return elsewhere or request.force_compression or needs_local_blobs(request.outputs)
