"""Outline: what a build would do, in the words of kaniko's plan (--dryrun)."""

from collections.abc import Iterator

from asynckaniko.build.caching import StepCache
from asynckaniko.build.commands import first_command, refuse_without_commands
from asynckaniko.build.context import BuildRun
from asynckaniko.build.plan import PlannedStage
from asynckaniko.build.request import DockerArchive, OciLayout, Push
from asynckaniko.build.sources import FromImage, FromScratch, FromStage


async def outline_stages(run: BuildRun, damaged: set[str]) -> str:
    """Look everything up that a build would look up, and describe what is left to do.

    Raises:
        StepFailed: a RUN that could not be run.
        ContextError, RegistryError, ...: as the build would.
    """
    run.cache = StepCache(run, damaged)
    await run.cache.look_up(is_trial=True)
    needed = run.plan.needed()
    command = first_command(run.plan, needed)
    if command is not None:
        refuse_without_commands(run, command)
    await run.contexts.settle()
    stages = [stage for stage in run.plan.in_order() if stage.index in needed]
    return "\n".join(line for stage in stages for line in _stage(run, stage))


def _stage(run: BuildRun, planned: PlannedStage) -> Iterator[str]:
    name = planned.stage.base.name_as_written
    yield f"FROM {_base(run, planned)}{f' AS {name}' if name else ''}"
    for position, instruction in enumerate(planned.instructions):
        key = run.cache.key(planned, position)
        if key:
            yield f"CACHE {'HIT' if position in planned.hits else 'MISS'}: {key}"
        yield " ".join(instruction.original.split())
    if planned.index == run.plan.target:
        yield from _outputs(run)
    else:
        yield ""


def _base(run: BuildRun, planned: PlannedStage) -> str:
    match planned.base:
        case FromStage(index):
            return run.plan.stages[index].stage.label
        case FromImage(image):
            return image.name
        case FromScratch():
            return "scratch"
        case _:
            # A named context: a directory, whose name is all that is known of it.
            return planned.stage.base.image


def _outputs(run: BuildRun) -> Iterator[str]:
    outputs = run.request.outputs
    references = [output.reference for output in outputs if isinstance(output, Push)]
    if references:
        yield f"PUSH [{' '.join(references)}]"
    for output in outputs:
        if isinstance(output, OciLayout | DockerArchive):
            yield f"WRITE {output.path}"
