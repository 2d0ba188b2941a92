"""Lint of a build: the rules on the stages that will be built, with what is known of their bases.

Also where a Dockerfile ends whose words cannot be expanded, or would come to more than any image
needs: before anything of a base is fetched.
"""

from asynckaniko.build.plan import Plan, PlannedStage
from asynckaniko.build.scope import GlobalScope
from asynckaniko.build.sources import FromArrival, FromDirectory, FromImage, FromStage
from asynckaniko.dockerfile.instructions import Dockerfile, Warning
from asynckaniko.dockerfile.lint import LintReport, Surroundings, base_platform_warning, lint
from asynckaniko.dockerfile.lint import PlannedStage as KnownStage
from asynckaniko.dockerfile.patterns import PatternMatcher
from asynckaniko.errors import DockerfileError
from asynckaniko.events import BuildWarning, EventSink


def lint_plan(
    dockerfile: Dockerfile, plan: Plan, scope: GlobalScope, context: FromDirectory | FromArrival
) -> LintReport:
    """Apply the rules to a plan. No I/O; a large file takes seconds: run it in a thread."""
    # A context that is still on its way is not waited for.
    ignored = PatternMatcher(context.ignore) if isinstance(context, FromDirectory) else None
    surroundings = Surroundings(
        build_args=scope.build_args,
        automatic=scope.automatic,
        planned={index: _known(stage) for index, stage in plan.stages.items()},
        ignored=ignored,
    )
    platforms = (_platform_warning(stage) for stage in plan.in_order())
    return lint(dockerfile, surroundings, more=filter(None, platforms))


def announce(report: LintReport, emit: EventSink) -> None:
    """Tell what was found.

    Raises:
        DockerfileError: the file cannot be built, or says `# check=error=true` of what was found.
    """
    for warning in report.warnings:
        span = warning.span
        emit(BuildWarning(warning.message, warning.rule, span.file, span.first))
    error: DockerfileError | None = report.error
    if error is not None:
        raise error


def _known(stage: PlannedStage) -> KnownStage:
    base = stage.base
    env = base.image.config.env if isinstance(base, FromImage) else []
    return KnownStage(
        base=base.index if isinstance(base, FromStage) else None,
        env={name: value for name, _, value in (entry.partition("=") for entry in env)},
        triggers=stage.instructions[: stage.triggers],
    )


def _platform_warning(stage: PlannedStage) -> Warning | None:
    if not isinstance(stage.base, FromImage):
        return None
    image = stage.base.image
    return base_platform_warning(
        image.name,
        expected=str(stage.platform),
        actual=str(image.config.platform),
        base=stage.stage.base,
    )
