"""Find stages: the target, what a FROM or a --from means, and which stages a target needs."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from asynckaniko.dockerfile.instructions import Copy, Dockerfile, Run, Stage, StageInstruction
from asynckaniko.dockerfile.run_mounts import mount_source
from asynckaniko.dockerfile.wording import hint, shown
from asynckaniko.errors import DockerfileError

_INDEX = re.compile(r"[0-9]{1,9}", re.ASCII)


def find_target(dockerfile: Dockerfile, target: str) -> Stage:
    """Find the stage to build by name, in any case, or by index; the last one without a target.

    Raises:
        DockerfileError: no such stage; its message names one with a similar name.
    """
    stages = dockerfile.stages
    if not target:
        return stages[-1]
    stage = _by_name(stages, target)
    if stage is None and _INDEX.fullmatch(target) and int(target) < len(stages):
        stage = stages[int(target)]
    if stage is None:
        names = [stage.base.name for stage in stages if stage.base.name]
        listed = f"; stages: {', '.join(names)}" if names else "; no stage has a name"
        raise DockerfileError(
            f"target stage {shown(target)!r} could not be found"
            f"{hint(target.lower(), names)}{shown(listed)}"
        )
    return stage


def find_base(dockerfile: Dockerfile, stage: Stage, image: str) -> Stage | None:
    """Find the earlier stage that `FROM image` (expanded) means, if it is one.

    As in BuildKit the name counts as written: `FROM Base` is not the stage `base`.
    """
    earlier = dockerfile.stages[: stage.index]
    return next((other for other in reversed(earlier) if other.base.name == image and image), None)


def find_source(dockerfile: Dockerfile, stage: Stage, name: str) -> Stage | None:
    """Find the stage that `--from=name` in `stage` means: by name, in any case, or by index.

    Raises:
        DockerfileError: an index without a stage, the stage itself, or one that comes later.
    """
    found = _by_name(dockerfile.stages, name)
    if found is None and re.fullmatch(r"[+-]?[0-9]+", name, re.ASCII):
        if not _INDEX.fullmatch(name) or int(name) >= len(dockerfile.stages):
            raise DockerfileError(
                f"invalid stage index {shown(name)}: there are {len(dockerfile.stages)} stages"
            )
        found = dockerfile.stages[int(name)]
    if found is None or found.index < stage.index:
        return found
    if found.index == stage.index:
        raise DockerfileError(f"circular dependency detected on stage: {found.label}")
    raise DockerfileError(
        f"cannot copy from stage {shown(name)!r}, it needs to be defined before current stage"
        f" {stage.label!r}"
    )


def sources_of(instruction: StageInstruction) -> Iterator[str]:
    """Give what `--from` and the `from` of mounts name in one instruction.

    Raises:
        DockerfileError: a variable there.
    """
    match instruction:
        case Copy(from_=name) if name:
            if re.search(r"[$\\'\"]", name):
                raise DockerfileError(
                    "variable expansion is not supported for --from, define a new stage with FROM"
                    f" using ARG from global scope as a workaround: --from={shown(name)}",
                    span=instruction.span,
                )
            yield name
        case Run(mounts=mounts):
            yield from filter(None, map(mount_source, mounts))
        case _:
            pass


def needed_stages(
    dockerfile: Dockerfile,
    target: Stage,
    base_name: Callable[[Stage], str],
    *,
    triggers: Callable[[Stage], Iterable[StageInstruction]] = lambda _: (),
    is_elsewhere: Callable[[str], bool] = lambda _: False,
) -> list[Stage]:
    """List the stages that `target` needs, itself included, in file order.

    `base_name` gives the expanded image of a stage's FROM; `triggers` are ONBUILD instructions
    that a stage takes over; a name that `is_elsewhere` is a named context and no stage.

    Raises:
        DockerfileError: with the span of the instruction that refers to what cannot be.
    """
    needed: dict[int, Stage] = {}
    waiting = [target]
    while waiting:
        stage = waiting.pop()
        if stage.index in needed:
            continue
        needed[stage.index] = stage
        image = base_name(stage)
        if not is_elsewhere(image) and (base := find_base(dockerfile, stage, image)):
            waiting.append(base)
        for instruction in (*triggers(stage), *stage.instructions):
            try:
                names = [name for name in sources_of(instruction) if not is_elsewhere(name)]
                found = [find_source(dockerfile, stage, name) for name in names]
            except DockerfileError as error:
                raise error.at(instruction.span, dockerfile.text) from None
            waiting += [source for source in found if source]
    return [needed[index] for index in sorted(needed)]


def _by_name(stages: Sequence[Stage], name: str) -> Stage | None:
    """Find a stage by name; of two with the same name the later one counts."""
    lower = name.lower()
    return next((stage for stage in reversed(stages) if stage.base.name == lower and lower), None)
