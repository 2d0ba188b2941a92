"""Whether a build has commands to run, and may."""

from asynckaniko.build.context import BuildRun
from asynckaniko.build.plan import Plan
from asynckaniko.dockerfile.instructions import Run
from asynckaniko.errors import StepFailed


def first_command(plan: Plan, needed: set[int]) -> Run | None:
    """Return the first RUN, in the order of the stages, that no cache makes needless."""
    for planned in plan.in_order():
        command = planned.first_command() if planned.index in needed else None
        if command is not None:
            return command
    return None


def refuse_without_commands(run: BuildRun, command: Run) -> None:
    """Refuse a RUN where none can be run, before anything is done.

    Raises:
        StepFailed: the mode is `none`.
    """
    if run.resources.settings.isolation.mode == "none":
        raise StepFailed(
            "RUN cannot be run with --isolation=none, which has nothing to keep a command from"
            " this machine; leave the flag out, and ask `asynckaniko doctor` what else is needed"
        ).at(command.span, run.dockerfile.text)
