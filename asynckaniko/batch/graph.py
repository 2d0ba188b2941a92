"""Which image needs which: `target:` contexts, and FROM of a tag that another is pushed as."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from asynckaniko.batch.document import Findings, Place
from asynckaniko.batch.manifest import LATE_VARIABLE, did_you_mean
from asynckaniko.batch.plan import TARGET, Batch, PlannedImage
from asynckaniko.build.scope import GlobalScope, platform_args
from asynckaniko.context.source import read_dockerfile
from asynckaniko.dockerfile.instructions import Stage
from asynckaniko.dockerfile.parser import parse
from asynckaniko.dockerfile.stages import (
    find_base,
    find_source,
    find_target,
    needed_stages,
    sources_of,
)
from asynckaniko.errors import AsynckanikoError, InvalidReference
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Reference
from asynckaniko.settings import Limits


def connect(batch: Batch, findings: Findings) -> Batch:
    """Fill in what each image needs. Cycles and needs that cannot be met go to `findings`."""
    tags = _tags(batch.images, findings)
    images = []
    for image in batch.images:
        contexts = dict(image.contexts)
        needs: dict[str, None] = {}
        for name, value in image.contexts.items():
            if value.startswith(TARGET):
                need = _target(batch, image, name, value.removeprefix(TARGET), findings)
                if need:
                    contexts[name] = f"{TARGET}{need}"
                    needs[need] = None
        tag_needs = {}
        for reference in named_images(batch, image):
            other = tags.get(reference)
            if other and other != image.name:
                tag_needs[reference] = other
                needs[other] = None
        images.append(replace(image, contexts=contexts, needs=tuple(needs), tag_needs=tag_needs))
    connected = replace(batch, images=tuple(images))
    _find_cycles(connected, findings)
    _check_platforms(connected, findings)
    return connected


def _tags(images: Sequence[PlannedImage], findings: Findings) -> dict[str, str]:
    found: dict[str, str] = {}
    for image in images:
        for position, tag in enumerate(image.tags):
            if f"${{{LATE_VARIABLE}}}" in tag:
                continue
            reference = str(Reference.parse(tag))
            if reference in found:
                findings.error(
                    image.place("tags", position),
                    f"{image.name} and {found[reference]} are both pushed as {tag}",
                )
            found[reference] = image.name
    return found


def _target(
    batch: Batch, image: PlannedImage, context: str, word: str, findings: Findings
) -> str | None:
    names = [other.name for other in batch.images]
    if word in names:
        return word
    place = image.place("contexts", context)
    several = [other.name for other in batch.images if other.parent == word]
    if len(several) == 1:
        return several[0]
    if several:
        findings.error(place, f"{TARGET}{word} is a matrix; name one of {', '.join(several)}")
    else:
        findings.error(place, f"{TARGET}{word}: no such image{did_you_mean(word, names)}")
    return None


def named_images(batch: Batch, image: PlannedImage) -> list[str]:
    """List the images outside the Dockerfile that the target's stages name, in their full form.

    Empty if the Dockerfile is not here or not one: the build itself will say so.
    """
    directory = batch.local_path(image.context)
    if directory is None:
        return []
    try:
        return list(dict.fromkeys(_named_images(batch.directory, directory, image)))
    except (AsynckanikoError, OSError):
        return []


def _named_images(start: Path, directory: Path, image: PlannedImage) -> Iterator[str]:
    found = read_dockerfile(
        dockerfile_path(start, directory, image.dockerfile),
        context=str(directory),
        limit=Limits().dockerfile_size,
    )
    dockerfile = parse(found.content)
    host = Platform.host()
    platform = Platform.parse(image.platforms[0]) if image.platforms else host
    scope = GlobalScope.of(
        dockerfile,
        build_args={k: v for k, v in image.args.items() if v is not None},
        automatic=platform_args(platform, host, image.target),
    )
    is_elsewhere = image.contexts.__contains__

    def base_name(stage: Stage) -> str:
        return scope.expand(stage.base.image, stage.base.span)

    target = find_target(dockerfile, image.target)
    for stage in needed_stages(dockerfile, target, base_name, is_elsewhere=is_elsewhere):
        name = base_name(stage)
        if not is_elsewhere(name) and find_base(dockerfile, stage, name) is None:
            yield from _reference(name)
        for instruction in stage.instructions:
            for source in sources_of(instruction):
                if not is_elsewhere(source) and find_source(dockerfile, stage, source) is None:
                    yield from _reference(source)


def dockerfile_path(start: Path, directory: Path, name: str) -> str:
    """Name the Dockerfile: below the context, as bake does, else from the manifest's directory."""
    if "://" in name or Path(name).is_absolute():
        return name
    inside = directory / name
    return str(inside if inside.exists() or not (start / name).exists() else start / name)


def _reference(name: str) -> Iterator[str]:
    try:
        yield str(Reference.parse(name))
    except InvalidReference:
        return


def _find_cycles(batch: Batch, findings: Findings) -> None:
    needs = {image.name: image.needs for image in batch.images}
    done: set[str] = set()
    for image in batch.images:
        path: list[str] = []
        _walk(image.name, needs, path, done, partial(_report_cycle, batch, findings))


def _walk(
    name: str,
    needs: Mapping[str, Sequence[str]],
    path: list[str],
    done: set[str],
    report: Callable[[list[str]], None],
) -> None:
    """Walk depth first with a stack of its own: a chain may be longer than Python's."""
    stack: list[tuple[str, Iterator[str]]] = []
    if name in done:
        return
    stack.append((name, iter(needs[name])))
    path.append(name)
    while stack:
        current, rest = stack[-1]
        need = next(rest, None)
        if need is None:
            done.add(current)
            path.pop()
            stack.pop()
        elif need in path:
            report([*path[path.index(need) :], need])
        elif need not in done:
            stack.append((need, iter(needs[need])))
            path.append(need)


def _report_cycle(batch: Batch, findings: Findings, path: list[str]) -> None:
    last, first = batch.image(path[-2]), path[-1]
    place: Place = last.place()
    for name, value in last.contexts.items():
        if value == f"{TARGET}{first}":
            place = last.place("contexts", name)
    findings.error(place, f"images need each other in a circle: {' -> '.join(path)}")


def _check_platforms(batch: Batch, findings: Findings) -> None:
    host = (str(Platform.host()),)
    by_name = {image.name: image for image in batch.images}
    for image in batch.images:
        for need in image.needs:
            offered = by_name[need].platforms or host
            for platform in image.platforms or host:
                if platform not in offered:
                    findings.error(
                        image.place("platforms"),
                        f"{image.name} needs {need} for {platform}, which is built for "
                        f"{', '.join(offered)} only",
                    )
