"""The build checks of BuildKit, under its rule names, on a parsed Dockerfile.

No I/O: what is known of base images and of .dockerignore comes in as `Surroundings`. Every word of
the checked stages is expanded on the way, in order, so this is also where a file is refused that
would grow without bounds when it is built (`growth`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field

from asynckaniko.dockerfile.growth import Growth
from asynckaniko.dockerfile.instructions import (
    Dockerfile,
    From,
    OnBuild,
    Stage,
    StageInstruction,
    Warning,
)
from asynckaniko.dockerfile.lexer import MOST_INSTRUCTIONS
from asynckaniko.dockerfile.lint_from import GlobalArgs, check_defaults, check_from
from asynckaniko.dockerfile.lint_options import Findings, LintOptions
from asynckaniko.dockerfile.lint_stages import StageLint, StageState
from asynckaniko.dockerfile.lint_syntax import (
    check_instructions,
    check_keyword_case,
    check_stage_names,
)
from asynckaniko.dockerfile.parser import parse_trigger, parse_until_error
from asynckaniko.dockerfile.patterns import PatternMatcher
from asynckaniko.dockerfile.stages import find_base, find_target, needed_stages
from asynckaniko.errors import DockerfileError, SourceSpan
from asynckaniko.records import dataclass

_MOST_LINES = 10
_CHECK_ARG = "BUILDKIT_DOCKERFILE_CHECK"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """What a plan says of a stage that the file alone does not."""

    base: int | None = None
    """The stage it is FROM; None: an image, a named context or nothing."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Of its base, if that is no stage."""
    triggers: tuple[StageInstruction, ...] = ()
    """ONBUILD instructions that it takes over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a check knows besides the file."""

    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    all_stages: bool = False
    """Check stages that the target does not need, too."""
    automatic: Mapping[str, str] = field(default_factory=dict)
    """TARGETPLATFORM and its like."""
    planned: Mapping[int, PlannedStage] | None = None
    """The stages that are built, by index: only those are checked. Without a plan only PATH is
    known of base images."""
    ignored: PatternMatcher | None = None
    """The context's .dockerignore."""


@dataclass(frozen=True, slots=True)
class LintReport:
    """Warnings by line, and the error that ended the check, if one did."""

    warnings: tuple[Warning, ...]
    error: DockerfileError | None = None

    def rules(self) -> str:
        return ", ".join(sorted({warning.rule for warning in self.warnings}))

    def lines(self) -> str:
        numbers = sorted({warning.span.first for warning in self.warnings})
        shown = ", ".join(str(number) for number in numbers[:_MOST_LINES])
        return f"line{'s' if len(numbers) > 1 else ''} {shown}" + (
            ", ..." if len(numbers) > _MOST_LINES else ""
        )


def check(
    content: bytes, *, name: str = "Dockerfile", surroundings: Surroundings | None = None
) -> LintReport:
    """Parse and lint. A file with an error is checked as far as it can be read."""
    dockerfile, error = parse_until_error(content, name=name)
    surroundings = surroundings or Surroundings()
    if error is None:
        return lint(dockerfile, surroundings)
    try:
        findings = Findings(_options(dockerfile, surroundings))
    except DockerfileError as wrong_options:
        return LintReport((), wrong_options)
    check_instructions(dockerfile, findings)
    return LintReport(findings.in_order(), error)


def lint(
    dockerfile: Dockerfile, surroundings: Surroundings, *, more: Iterable[Warning] = ()
) -> LintReport:
    """Check a parsed file. `error` is set if `# check=error=true` makes a failure of warnings.

    `more` are warnings from elsewhere that the file's options hold for, too.
    """
    findings = Findings(LintOptions())
    error: DockerfileError | None = None
    try:
        options = _options(dockerfile, surroundings)
        findings = Findings(options)
        _Check(dockerfile, surroundings, findings).run()
        for warning in more:
            findings.add(warning.rule, warning.message, warning.span)
    except DockerfileError as found:
        error = found
    report = LintReport(findings.in_order(), error)
    if error is None and options.error and report.warnings:
        message = f"lint violation found for rules: {report.rules()} ({report.lines()})"
        span = report.warnings[0].span
        return LintReport(report.warnings, DockerfileError(message, span=span))
    return report


def base_platform_warning(image: str, *, expected: str, actual: str, base: From) -> Warning | None:
    """Make the warning for a base image that is for another platform than was asked for."""
    if expected.split("/")[:2] == actual.split("/")[:2]:
        return None
    return Warning(
        "InvalidBaseImagePlatform",
        f'Base image {image} was pulled with platform "{actual}", expected "{expected}" for'
        " current build",
        base.span,
    )


def _options(dockerfile: Dockerfile, surroundings: Surroundings) -> LintOptions:
    given = surroundings.build_args.get(_CHECK_ARG)
    if given is not None:
        return LintOptions.parse(given)
    directives = dockerfile.directives
    try:
        return LintOptions.parse(directives.check.partition(" ")[0])
    except DockerfileError as error:
        line = directives.check_line
        raise error.at(SourceSpan(dockerfile.name, line, line), dockerfile.text) from None


class _Check:
    """One check of one file."""

    def __init__(
        self, dockerfile: Dockerfile, surroundings: Surroundings, findings: Findings
    ) -> None:
        self._dockerfile = dockerfile
        self._surroundings = surroundings
        self._findings = findings
        self._images: dict[int, str] = {}
        self._states: dict[int, StageState] = {}
        self._triggered: dict[int, list[StageInstruction]] = {}
        self._growth = Growth()

    def run(self) -> None:
        dockerfile, given = self._dockerfile, self._surroundings
        check_instructions(dockerfile, self._findings)
        check_stage_names(dockerfile, self._findings)
        check_keyword_case(dockerfile, self._findings)
        automatic = {"TARGETSTAGE": _target_name(dockerfile, given.target), **given.automatic}
        check_defaults(dockerfile, automatic, self._findings)
        arguments = GlobalArgs.of(dockerfile, automatic, given.build_args)
        for stage in dockerfile.stages:
            try:
                self._images[stage.index] = check_from(stage.base, arguments, self._findings)
            except DockerfileError as error:
                raise error.at(stage.base.span, dockerfile.text) from None
        for stage in self._stages():
            self._check_stage(stage, arguments)

    def _stages(self) -> list[Stage]:
        if self._surroundings.planned is not None:
            return [self._dockerfile.stages[index] for index in sorted(self._surroundings.planned)]
        if self._surroundings.all_stages:
            return list(self._dockerfile.stages)
        target = find_target(self._dockerfile, self._surroundings.target)
        return needed_stages(
            self._dockerfile,
            target,
            lambda stage: self._images[stage.index],
            triggers=self._triggers,
        )

    def _base(self, stage: Stage) -> Stage | None:
        if self._surroundings.planned is not None:
            index = self._surroundings.planned[stage.index].base
            return None if index is None else self._dockerfile.stages[index]
        return find_base(self._dockerfile, stage, self._images[stage.index])

    def _triggers(self, stage: Stage) -> Sequence[StageInstruction]:
        if self._surroundings.planned is not None:
            return self._surroundings.planned[stage.index].triggers
        known = self._triggered.get(stage.index)
        if known is None:
            base, span = self._base(stage), stage.base.span
            inherited = base.instructions if base else ()
            texts = [line.trigger for line in inherited if isinstance(line, OnBuild)]
            # Every stage may take over every trigger: what is short in the file need not be short.
            if len(texts) + sum(map(len, self._triggered.values())) > MOST_INSTRUCTIONS:
                raise DockerfileError(f"more than {MOST_INSTRUCTIONS} ONBUILD triggers", span=span)
            known = self._triggered[stage.index] = [parse_trigger(text, span) for text in texts]
        return known

    def _check_stage(self, stage: Stage, arguments: GlobalArgs) -> None:
        base = self._base(stage)
        if base is not None and base.index in self._states:
            state = self._states[base.index].fork()
        else:
            planned = (self._surroundings.planned or {}).get(stage.index, PlannedStage())
            state = StageState({"PATH": _PATH, **planned.env})
        try:
            self._growth.inherit(len(state.env) + state.entries)
        except DockerfileError as error:
            raise error.at(stage.base.span, self._dockerfile.text) from None
        follower = StageLint(
            state,
            arguments=arguments,
            build_args=self._surroundings.build_args,
            ignored=self._surroundings.ignored,
            findings=self._findings,
            growth=self._growth,
        )
        for instruction in (*self._triggers(stage), *stage.instructions):
            try:
                follower.check(instruction)
            except DockerfileError as error:
                raise error.at(instruction.span, self._dockerfile.text) from None
        self._states[stage.index] = state


def _target_name(dockerfile: Dockerfile, target: str) -> str:
    return target or dockerfile.stages[-1].base.name or "default"
