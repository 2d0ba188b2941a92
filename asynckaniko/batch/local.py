"""Build a batch in this process, with one Builder for all of its images."""

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from anyio import CancelScope, CapacityLimiter, to_thread

from asynckaniko.batch.build_image import BatchSink, Builds, LocalBuilds, Workshop
from asynckaniko.batch.inputs import InputDigests
from asynckaniko.batch.outcome import Outcome, Status
from asynckaniko.batch.plan import Batch, PlannedImage
from asynckaniko.batch.requests import Requests, Surroundings, check_here
from asynckaniko.batch.schedule import Rules, Schedule
from asynckaniko.batch.state_file import StateFile
from asynckaniko.records import dataclass
from asynckaniko.registry.client import RegistryClient
from asynckaniko.settings import Settings
from asynckaniko.store.state import StateDirectory

OpenBuilder: TypeAlias = Callable[[Settings], AbstractAsyncContextManager[Builds]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalOptions:
    """How a batch is built here."""

    settings: Settings
    around: Surroundings
    rules: Rules
    state: StateFile
    skip_existing: bool = False


def _nothing(_: object) -> None:
    return


async def build_batch(
    batch: Batch,
    options: LocalOptions,
    open_builder: OpenBuilder,
    *,
    emit: BatchSink,
    on_start: Callable[[PlannedImage, int], None] = lambda _, __: None,
    on_end: Callable[[Outcome], None] = _nothing,
) -> list[Outcome]:
    """Build the images and tell what became of each, in the manifest's order.

    The state file is written at the start and as images end, so it holds whatever interrupts.

    Raises:
        ManifestError: something would keep a build from starting; nothing was built.
        HostError: the state directory or its file cannot be used.
    """
    check_here(batch, options.around)
    options.state.write()
    limits = replace(options.settings.limits, builds=_most_builds(batch, options.rules))
    settings = replace(options.settings, limits=limits)

    def ended(outcome: Outcome) -> None:
        on_end(outcome)
        if outcome.built is not None:
            options.state.record(outcome.name, outcome.built)
            # On the loop: it must be on the disk before whatever comes next.
            options.state.write()

    async with _open(batch, options, settings, open_builder, emit) as builds:
        schedule = Schedule(batch.images, builds, options.rules, on_start=on_start, on_end=ended)
        await schedule.run()
    return [_outcome(schedule, image) for image in batch.images]


@asynccontextmanager
async def _open(
    batch: Batch,
    options: LocalOptions,
    settings: Settings,
    open_builder: OpenBuilder,
    emit: BatchSink,
) -> AsyncIterator[LocalBuilds]:
    """Start what the builds share, for the length of the block."""
    disk = CapacityLimiter(1)
    async with (
        open_builder(settings) as builder,
        _scratch(settings, disk) as scratch,
        RegistryClient.of(settings) as registry,
    ):
        inputs = InputDigests(batch, options.around.environment, builder, disk=disk)
        workshop = Workshop(
            builder=builder, settings=settings, registry=registry, inputs=inputs, scratch=scratch
        )
        yield LocalBuilds(
            Requests(batch, options.around),
            workshop,
            done=dict(options.state.images),
            skip_existing=options.skip_existing,
            emit=emit,
        )


def _outcome(schedule: Schedule, image: PlannedImage) -> Outcome:
    unseen = Outcome(name=image.name, status=Status.CANCELLED)
    return schedule.outcomes.get(image.name, unseen)


def _most_builds(batch: Batch, rules: Rules) -> int:
    """Leave order and limits to the schedule: the Builder must not hold anyone up."""
    widest = max((len(image.platforms) for image in batch.images), default=1)
    return rules.jobs * max(1, widest)


@asynccontextmanager
async def _scratch(settings: Settings, disk: CapacityLimiter) -> AsyncIterator[Path]:
    """Make a directory for images that others read, on the file system of the blobs."""
    state = await to_thread.run_sync(StateDirectory, settings.state_dir, limiter=disk)
    with state.new_scratch() as scratch:
        try:
            yield scratch
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(shutil.rmtree, os.fspath(scratch), limiter=disk)
