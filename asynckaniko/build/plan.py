"""Plan: which stages run, on what, and what each of them needs. Decided before anything runs.

Bases of all needed stages are resolved at the same time; what ONBUILD triggers of a base refer to
is found on the way.
"""

from collections.abc import Awaitable, Callable
from dataclasses import field

from anyio import create_task_group
from anyio.abc import TaskGroup

from asynckaniko.build.scope import GlobalScope
from asynckaniko.build.sources import BaseLayer, FromImage, FromScratch, FromStage, Source
from asynckaniko.dockerfile.instructions import (
    Add,
    Copy,
    Dockerfile,
    OnBuild,
    Run,
    Stage,
    StageInstruction,
    Workdir,
)
from asynckaniko.dockerfile.lexer import MOST_INSTRUCTIONS
from asynckaniko.dockerfile.parser import parse_trigger
from asynckaniko.dockerfile.stages import find_base, find_source, find_target, sources_of
from asynckaniko.errors import AsynckanikoError, DockerfileError, SourceSpan
from asynckaniko.oci.platform import Platform
from asynckaniko.records import dataclass

_DEEPEST = 100
"""Stages of which each is FROM the one before."""
FindContext = Callable[[str, Platform], Awaitable[Source | None]]
"""Look up a named context; None when there is none of that name."""
FindImage = Callable[[str, Platform], Awaitable[FromImage]]


@dataclass(slots=True)
class PlannedStage:
    """A stage with its base and everything it refers to resolved."""

    stage: Stage
    platform: Platform
    base: Source
    instructions: tuple[StageInstruction, ...]
    """ONBUILD triggers of the base, then the stage's own."""
    triggers: int
    """How many of `instructions` are triggers."""
    sources: dict[str, Source] = field(default_factory=dict)
    """What each `--from` value and `from=` of a mount means in this stage."""
    hits: dict[int, BaseLayer] = field(default_factory=dict)
    """Layers that a cache has for instructions, by position: those are not carried out."""

    @property
    def index(self) -> int:
        return self.stage.index

    def uses(self) -> set[int]:
        """List the stages whose files this one reads (not the one it is based on)."""
        names = {
            name
            for position, instruction in enumerate(self.instructions)
            if position not in self.hits
            for name in sources_of(instruction)
        }
        found = [self.sources[name] for name in names if name in self.sources]
        return {source.index for source in found if isinstance(source, FromStage)}

    def first_command(self) -> Run | None:
        """Return the first RUN that no cache makes needless."""
        for position, instruction in enumerate(self.instructions):
            if isinstance(instruction, Run) and position not in self.hits:
                return instruction
        return None

    def looks_at_files(self, *, after: int = -1) -> bool:
        """Tell whether an instruction after position `after` looks at the stage's files."""
        return any(
            isinstance(instruction, Run | Copy | Add | Workdir) and position not in self.hits
            for position, instruction in enumerate(self.instructions)
            if position > after
        )


@dataclass(slots=True)
class Plan:
    """The stages to build, by index, and the one that becomes the image."""

    target: int
    stages: dict[int, PlannedStage]

    def lineage(self) -> list[int]:
        """List the stages whose steps are layers of the image, base first."""
        chain = [self.target]
        while isinstance(base := self.stages[chain[-1]].base, FromStage):
            chain.append(base.index)
        return chain[::-1]

    def in_order(self) -> list[PlannedStage]:
        return [self.stages[index] for index in sorted(self.stages)]

    def has_readers(self, index: int) -> bool:
        """Tell whether a later stage looks at the files that stage `index` leaves."""
        needed = self.needed()
        read = {used for other in needed for used in self.stages[other].uses()}
        # A base comes before the stages on it: from the last to the first, one pass is enough.
        for other in sorted(needed, reverse=True):
            stage = self.stages[other]
            if isinstance(stage.base, FromStage) and (other in read or stage.looks_at_files()):
                read.add(stage.base.index)
        return index in read

    def needed(self) -> set[int]:
        """List the stages that have to be carried out: cached steps need nothing of others."""
        needed: set[int] = set()
        waiting = [self.target]
        while waiting:
            index = waiting.pop()
            if index in needed:
                continue
            needed.add(index)
            stage = self.stages[index]
            waiting += stage.uses()
            if isinstance(stage.base, FromStage):
                waiting.append(stage.base.index)
        return needed


class Planner:
    """Resolves a parsed Dockerfile into a Plan."""

    def __init__(
        self,
        dockerfile: Dockerfile,
        *,
        scope: GlobalScope,
        platform: Platform,
        find_context: FindContext,
        find_image: FindImage,
    ) -> None:
        self._dockerfile = dockerfile
        self._scope = scope
        self._platform = platform
        self._find_context = find_context
        self._find_image = find_image
        self._planned: dict[int, PlannedStage] = {}
        self._started: set[int] = set()
        self._triggered = 0
        self._tasks: TaskGroup

    async def plan(self, target: str) -> Plan:
        """Plan the stages that `target` (empty: the last stage) needs.

        Raises:
            DockerfileError: unknown target or stage, circular or forward references.
            RegistryError: a base cannot be resolved.
        """
        stage = find_target(self._dockerfile, target)
        # One group for all: a thousand stages one below the other are no deep recursion.
        async with create_task_group() as self._tasks:
            self._tasks.start_soon(self._require, stage.index)
        self._check_depth()
        return Plan(stage.index, self._planned)

    def _check_depth(self) -> None:
        """Refuse more stages above one another than anyone needs, or a stack of calls takes."""
        depth: dict[int, int] = {}
        for index in sorted(self._planned):
            planned = self._planned[index]
            below = depth[planned.base.index] if isinstance(planned.base, FromStage) else 0
            depth[index] = below + 1
            if depth[index] > _DEEPEST:
                raise DockerfileError(
                    f"more than {_DEEPEST} stages, each FROM the one before",
                    span=planned.stage.base.span,
                )

    async def _require(self, index: int) -> None:
        if index in self._started:
            return
        self._started.add(index)
        stage = self._dockerfile.stages[index]
        span = stage.base.span
        try:
            platform = self._stage_platform(stage)
            base = await self._base(stage, platform)
        except AsynckanikoError as error:
            raise error.at(span) from error.__cause__
        if isinstance(base, FromStage):
            self._tasks.start_soon(self._require, base.index)
        triggers = await self._triggers(base, span)
        instructions = (*triggers, *stage.instructions)
        planned = PlannedStage(stage, platform, base, instructions, len(triggers))
        self._planned[index] = planned
        await self._resolve_sources(planned)
        for used in planned.uses():
            self._tasks.start_soon(self._require, used)

    def _stage_platform(self, stage: Stage) -> Platform:
        if not stage.base.platform:
            return self._platform
        text = self._scope.expand(stage.base.platform, stage.base.span)
        if not text:
            raise DockerfileError(f"FROM --platform={stage.base.platform} is empty when expanded")
        return Platform.parse(text)

    async def _base(self, stage: Stage, platform: Platform) -> Source:
        name = self._scope.expand(stage.base.image, stage.base.span)
        if not name.strip():
            raise DockerfileError(f"base name ({stage.base.image}) should not be blank")
        context = await self._find_context(name, platform)
        if context is not None:
            return context
        earlier = find_base(self._dockerfile, stage, name)
        if earlier is not None:
            return FromStage(earlier.index)
        if name == "scratch":
            return FromScratch()
        return await self._find_image(name, platform)

    async def _triggers(self, base: Source, span: SourceSpan) -> list[StageInstruction]:
        match base:
            case FromImage(image):
                texts = list(image.config.runtime.get("OnBuild") or [])
            case FromStage(index):
                own = self._dockerfile.stages[index].instructions
                texts = [line.trigger for line in own if isinstance(line, OnBuild)]
            case _:
                texts = []
        # Every stage may take over every trigger: what is short in the file need not be short.
        if self._triggered > MOST_INSTRUCTIONS:
            # Another stage says so already.
            return []
        self._triggered += len(texts)
        if self._triggered > MOST_INSTRUCTIONS:
            raise DockerfileError(f"more than {MOST_INSTRUCTIONS} ONBUILD triggers", span=span)
        return [parse_trigger(text, span) for text in texts]

    async def _resolve_sources(self, planned: PlannedStage) -> None:
        async def resolve(name: str, span: SourceSpan) -> None:
            try:
                planned.sources[name] = await self._source(name, planned)
            except AsynckanikoError as error:
                raise error.at(span) from error.__cause__

        async with create_task_group() as tasks:
            for name, span in source_names(planned.instructions).items():
                tasks.start_soon(resolve, name, span)

    async def _source(self, name: str, planned: PlannedStage) -> Source:
        context = await self._find_context(name, planned.platform)
        if context is not None:
            return context
        stage = find_source(self._dockerfile, planned.stage, name)
        if stage is not None:
            return FromStage(stage.index)
        if name == "scratch":
            return FromScratch()
        return await self._find_image(name, planned.platform)


def source_names(instructions: tuple[StageInstruction, ...]) -> dict[str, SourceSpan]:
    """Collect what `--from` and `from=` name, each with the first line that does."""
    names: dict[str, SourceSpan] = {}
    for instruction in instructions:
        try:
            for name in sources_of(instruction):
                names.setdefault(name, instruction.span)
        except DockerfileError as error:
            raise error.at(instruction.span) from None
    return names
