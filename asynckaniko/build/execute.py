"""One build from request to result: read, plan, run the stages, export."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from anyio import CapacityLimiter, create_task_group, to_thread
from anyio.abc import TaskGroup

from asynckaniko.build.base_layers import BaseLayers
from asynckaniko.build.caching import StepCache
from asynckaniko.build.context import BuildRun, Timestamps
from asynckaniko.build.contexts import BuildContexts
from asynckaniko.build.export import Exporter, needs_local_blobs, push_references
from asynckaniko.build.images import ImageFinder
from asynckaniko.build.layers import LayerFiles
from asynckaniko.build.plan import Plan, Planner
from asynckaniko.build.request import BuildRequest, BuildResult
from asynckaniko.build.scope import GlobalScope, platform_args
from asynckaniko.build.sources import FromImage, Source
from asynckaniko.build.stage import StageRun
from asynckaniko.build.workspace import Resources, Workspace
from asynckaniko.concurrency import SingleFlight, single_error
from asynckaniko.dockerfile.instructions import Dockerfile
from asynckaniko.dockerfile.parser import parse
from asynckaniko.errors import AsynckanikoError, DockerfileError, UsageError
from asynckaniko.events import BuildFinished, BuildStarted, BuildWarning, EventSink
from asynckaniko.oci.config import format_time
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Repository

_EPOCH_ARG = "SOURCE_DATE_EPOCH"
_NETWORK_FILES = ("/etc/resolv.conf", "/etc/hosts")


async def execute(
    request: BuildRequest,
    *,
    resources: Resources,
    base_layers: BaseLayers,
    emit: EventSink,
) -> BuildResult:
    """Build `request` with what the Builder shares. Raises AsynckanikoError."""
    check(request)
    async with BuildContexts.open(request, resources, emit) as contexts:
        return await _execute(request, contexts, resources, base_layers, emit)


async def _execute(
    request: BuildRequest,
    contexts: BuildContexts,
    resources: Resources,
    base_layers: BaseLayers,
    emit: EventSink,
) -> BuildResult:
    started = time.monotonic()
    repositories = push_references(request.outputs)
    found, context = await contexts.read_dockerfile()
    dockerfile = await to_thread.run_sync(
        partial(parse_located, found.content, name=found.name), limiter=resources.disk
    )
    platform = Platform.parse(request.platform) if request.platform else Platform.host()
    target_name = request.target or _last_stage_name(dockerfile)
    scope = _located(
        dockerfile,
        lambda: GlobalScope.of(
            dockerfile,
            build_args=request.build_args,
            automatic=platform_args(platform, Platform.host(), target_name),
        ),
    )
    with single_error():
        async with create_task_group() as tasks:
            for repository in repositories:
                tasks.start_soon(partial(resources.registry.check_push, repository, emit=emit))
            plan = await _plan(
                request, dockerfile, scope, platform, contexts, resources, tasks, emit
            )
            emit(
                BuildStarted(
                    dockerfile.name,
                    target_name,
                    tuple(stage.stage.label for stage in plan.in_order()),
                )
            )
            for warning in dockerfile.warnings:
                span = warning.span
                emit(BuildWarning(warning.message, warning.rule, span.file, span.first))
            async with Workspace.open(resources) as workspace:
                with (
                    LayerFiles(
                        resources.blobs,
                        compression=request.compression,
                        level=request.compression_level,
                    ) as layer_files,
                    single_error(),
                ):
                    async with create_task_group() as stages:
                        run = BuildRun(
                            request=request,
                            dockerfile=dockerfile,
                            plan=plan,
                            scope=scope,
                            contexts=contexts,
                            context_source=context,
                            timestamps=_timestamps(request, scope),
                            resources=resources,
                            base_layers=base_layers,
                            workspace=workspace,
                            layer_files=layer_files,
                            emit=emit,
                            tasks=stages,
                            steps=CapacityLimiter(request.jobs or resources.settings.limits.stages),
                            keep_blobs=_keeps_blobs(request, plan, list(repositories)),
                            secrets=await _secrets(request, resources),
                            network_files=await _network_files(resources),
                        )
                        result = await _run_stages(run, stages)
    size = result.manifest.config.size + sum(layer.size for layer in result.manifest.layers)
    seconds = time.monotonic() - started
    emit(BuildFinished(result.digest, seconds, len(result.manifest.layers), size))
    return result


def check(request: BuildRequest) -> None:
    """Refuse what contradicts itself before anything is done. Raises UsageError."""
    if request.image_format not in ("", "oci", "docker"):
        raise UsageError(f"image format {request.image_format!r}: expected oci or docker")
    if request.compression not in ("gzip", "zstd", "none"):
        raise UsageError(f"compression {request.compression!r}: expected gzip, zstd or none")
    if request.compression == "zstd" and request.image_format == "docker":
        raise UsageError("zstd layers need the OCI format; Docker's has only gzip")


def parse_located(content: bytes, *, name: str) -> Dockerfile:
    """Parse; an error carries the text, so that it can be shown with its lines."""
    try:
        return parse(content, name=name)
    except AsynckanikoError as error:
        error.source = content.decode(errors="replace")
        raise


def _located(dockerfile: Dockerfile, work: Callable[[], GlobalScope]) -> GlobalScope:
    try:
        return work()
    except AsynckanikoError as error:
        error.source = error.source or dockerfile.text
        raise


def _last_stage_name(dockerfile: Dockerfile) -> str:
    return (dockerfile.stages[-1].base.name if dockerfile.stages else "") or "default"


async def _plan(
    request: BuildRequest,
    dockerfile: Dockerfile,
    scope: GlobalScope,
    platform: Platform,
    contexts: BuildContexts,
    resources: Resources,
    tasks: TaskGroup,
    emit: EventSink,
) -> Plan:
    finder = ImageFinder(
        resources.registry,
        request.build_contexts,
        contexts,
        resources.disk,
        emit,
        SingleFlight(tasks),
    )

    async def find_context(name: str, for_platform: Platform) -> Source | None:
        return await finder.context(name, for_platform)

    planner = Planner(
        dockerfile,
        scope=scope,
        platform=platform,
        find_context=find_context,
        find_image=finder.image,
    )
    try:
        with single_error():
            return await planner.plan(request.target)
    except AsynckanikoError as error:
        error.source = error.source or dockerfile.text
        raise


def _timestamps(request: BuildRequest, scope: GlobalScope) -> Timestamps:
    epoch = request.source_date_epoch
    text = scope.declared.get(_EPOCH_ARG) or request.build_args.get(_EPOCH_ARG)
    if epoch is None and text:
        try:
            epoch = int(text)
        except ValueError:
            raise DockerfileError(f"{_EPOCH_ARG}={text!r}: expected seconds since 1970") from None
    if epoch is None and request.reproducible:
        epoch = 0
    rewrite = request.rewrite_timestamp or request.reproducible
    return Timestamps(
        created=format_time(time.time() if epoch is None else epoch),
        clamp=epoch if rewrite else None,
    )


def _keeps_blobs(request: BuildRequest, plan: Plan, repositories: list[Repository]) -> bool:
    base = plan.stages[plan.lineage()[0]].base
    origin = base.image.origin if isinstance(base, FromImage) else None
    registry = origin.registry if isinstance(origin, Repository) else ""
    elsewhere = any(repository.registry != registry for repository in repositories)
    return elsewhere or needs_local_blobs(request.outputs)


async def _secrets(request: BuildRequest, resources: Resources) -> dict[str, bytes]:
    def read() -> dict[str, bytes]:
        values = {}
        for name, secret in request.secrets.items():
            if secret.value is not None:
                values[name] = secret.value
            elif secret.path is not None:
                try:
                    values[name] = secret.path.read_bytes()
                except OSError as error:
                    raise UsageError(f"secret {name}: {secret.path}: {error.strerror}") from error
        return values

    return await to_thread.run_sync(read, limiter=resources.disk)


async def _network_files(resources: Resources) -> dict[str, str]:
    """Read how this machine resolves names: RUN shares its network."""

    def read() -> dict[str, str]:
        found = {}
        for name in _NETWORK_FILES:
            path = Path(name)
            if path.is_file():
                found[name] = path.read_text(errors="surrogateescape")
        return found

    return await to_thread.run_sync(read, limiter=resources.disk)


async def _run_stages(run: BuildRun, tasks: TaskGroup) -> BuildResult:
    """Run each stage as a task; stages wait for one another where they must."""
    run.exporter = Exporter(run)
    run.cache = StepCache(run)
    await run.cache.look_up()
    lineage = set(run.plan.lineage())
    needed = run.plan.needed()
    stages: dict[int, StageRun] = {}
    for planned in run.plan.in_order():
        if planned.index in needed:
            stages[planned.index] = StageRun(run, planned, stages, planned.index in lineage)
    for stage in stages.values():
        tasks.start_soon(stage.build)
    target = stages[run.plan.target]
    await target.done.wait()
    await run.contexts.settle()
    config = target.config.fork()
    config.created = run.timestamps.created
    labels = {**(config.runtime.get("Labels") or {}), **run.request.labels}
    if labels:
        config.runtime["Labels"] = labels
    return await run.exporter.finish(config, target.layers)
