"""RUN: one command on the stage's files, in the build's namespaces."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from anyio import create_task_group, current_time

from asynckaniko.build.sides import RootfsSide
from asynckaniko.build.steps.metadata import argv_of, shell_of
from asynckaniko.build.steps.mounts import SCRIPT, PreparedMounts, prepared_mounts
from asynckaniko.build.steps.run_plain import run_in_plain_root
from asynckaniko.concurrency import single_error
from asynckaniko.dockerfile.heredoc import is_only_heredoc, with_bodies
from asynckaniko.dockerfile.instructions import Run
from asynckaniko.errors import CommandFailed, DockerfileError, StepFailed
from asynckaniko.events import BuildWarning, EventSink, Step, StepOutput
from asynckaniko.isolation.output import relay
from asynckaniko.records import dataclass

if TYPE_CHECKING:
    from asynckaniko.build.stage import StageRun
    from asynckaniko.build.state import StageState

_RUN = "asynckaniko.isolation.step:run"
_SETTLE_OWNERS = "asynckaniko.rootfs.step_owners:settle_owners"
_USER_OF_APT = "_apt"
"""It downloads as this one, and gives all it keeps to root."""
_LAST_LINES = 50


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A RUN with all that is known before it runs. `script` is mounted where argv names it."""

    instruction: Run
    argv: list[str]
    script: str
    history: str


def prepare_run(state: "StageState", instruction: Run) -> PreparedRun:
    """Evaluate a RUN where it stands.

    Raises:
        StepFailed: it asks for privileges that do not exist here.
        DockerfileError: forms that do not go together.
    """
    if instruction.security not in ("", "sandbox"):
        raise StepFailed(
            f"RUN --security={instruction.security} needs privileges that no build has here;"
            " only --security=sandbox exists"
        )
    for device in instruction.devices:
        name, *options = device.split(",")
        if "required" in options or "required=true" in options:
            raise StepFailed(f"RUN --device={name}: required, but no build has devices here")
    argv, script = _argv(state, instruction)
    return PreparedRun(instruction, argv, script, _history_text(state, instruction, argv))


async def run_command(stage: "StageRun", prepared: PreparedRun, step: Step, position: int) -> None:
    """Run the command.

    Raises:
        CommandFailed: exit status other than 0.
        StepFailed: it could not be started: no such user, a mount without its source, a limit
            that cannot be kept.
    """
    run, state, instruction = stage.run, stage.state, prepared.instruction
    limits = run.request.step_limits
    is_plain = (await run.workspace.side()).is_listed
    if is_plain and limits.shm_size is not None:
        raise StepFailed(
            "--shm-size: where nothing can be mounted (modes in-place and chroot), /dev/shm is no"
            " file system of the command's own; leave the flag out, or use a mode with namespaces"
        )
    command = CommandRun(stage, step, prepared.argv)
    async with prepared_mounts(stage, instruction, prepared.script) as mounts:
        job = {
            "argv": prepared.argv,
            "env": [*state.scope.run_environment(), *mounts.environment],
            "cwd": state.workdir,
            "user": state.user,
            "network": "none" if instruction.network == "none" else "host",
            "limits": dict(limits.ulimits),
        }
        if is_plain:
            await run_in_plain_root(stage, command, mounts, job, position)
        else:
            await _run_in_namespaces(stage, command, mounts, job, position)


async def _run_in_namespaces(
    stage: "StageRun",
    command: "CommandRun",
    mounts: PreparedMounts,
    job: dict[str, Any],
    position: int,
) -> None:
    run = stage.run
    lowers = await stage.files.lowers()
    upper, work, scratch = await run.workspace.directories("upper", "work", "scratch")
    job = {
        **job,
        "lowers": lowers,
        "upper": upper,
        "work": work,
        "scratch": scratch,
        "hostname": "buildkitsandbox",
        "shm_size": run.request.step_limits.shm_size,
        "files": run.network_files,
        "mounts": mounts.mounts,
    }
    async with run.steps:
        result = await command.call(run.resources.inner, _RUN, job, mounts.fds)
    command.check(result)
    if "links" in result:
        await run.resources.inner.work(
            _SETTLE_OWNERS,
            {"lowers": lowers, "upper": upper, "scratch": scratch, "links": result["links"]},
        )
        if users := [user for user in result["users"] if user != _USER_OF_APT]:
            run.emit(
                BuildWarning(
                    f"commands that became {', '.join(users)} stayed root, as in mode single-id"
                    " there is no other user: what they made belongs to root in the image"
                )
            )
    stage.add_upper(upper, command.step, position)


class CommandRun:
    """One command: runs its job and relays what it prints."""

    def __init__(self, stage: "StageRun", step: Step, argv: Sequence[str]) -> None:
        self.step = step
        self._argv = argv
        self._resources = stage.run.resources
        limit = self._resources.settings.limits.output_size
        self._output = _Output(stage.run.emit, step, limit)

    async def call(
        self, side: RootfsSide, function: str, job: dict[str, Any], files: Sequence[int]
    ) -> dict[str, Any]:
        """Run the job `function`, whose descriptors begin with stdout and stderr."""
        line_size = self._resources.settings.limits.output_line_size
        with ExitStack() as open_pipes, single_error():
            ends = {}
            for stream in ("stdout", "stderr"):
                read_end, write_end = os.pipe2(os.O_CLOEXEC)
                open_pipes.callback(os.close, read_end)
                ends[stream] = (read_end, write_end)
            async with self._resources.commands, create_task_group() as reading:
                for stream, (read_end, _) in ends.items():
                    show = partial(self._output.show, stream)
                    reading.start_soon(relay, read_end, show, line_size)
                try:
                    fds = [*(write_end for _, write_end in ends.values()), *files]
                    result: dict[str, Any] = await side.call(function, job, fds=fds)
                finally:
                    for _, write_end in ends.values():
                        os.close(write_end)
        return result

    def check(self, result: dict[str, Any]) -> None:
        """Raise CommandFailed if the command failed."""
        if result["exit_status"] != 0:
            raise CommandFailed(
                f'process "{" ".join(self._argv)}" did not complete successfully:'
                f" exit code: {result['exit_status']}",
                exit_status=result["exit_status"],
                output=tuple(self._output.last_lines),
            )


class _Output:
    """Passes lines of a command on, until there are too many of them."""

    def __init__(self, emit: EventSink, step: Step, limit: int) -> None:
        self.last_lines: list[str] = []
        self._emit = emit
        self._step = step
        self._left = limit
        self._started = current_time()

    def show(self, stream: str, line: str) -> None:
        self.last_lines.append(line)
        del self.last_lines[:-_LAST_LINES]
        if self._left < 0:
            return
        self._left -= len(line) + 1
        if self._left < 0:
            line = "[the command prints more than is shown; its last lines are kept]"
        self._emit(StepOutput(self._step, line, stream, current_time() - self._started))


def _argv(state: "StageState", instruction: Run) -> tuple[list[str], str]:
    """Return the argument vector, and a script to be mounted where the vector names it."""
    heredocs, command = instruction.heredocs, instruction.command
    if not heredocs:
        return argv_of(command, state.config), ""
    if command.is_exec:
        raise DockerfileError("a heredoc cannot be used with the JSON form of RUN")
    only = heredocs[0]
    if len(heredocs) == 1 and is_only_heredoc(command.shell):
        if only.content.startswith("#!"):
            return [SCRIPT], only.content
        return [*shell_of(state.config), only.content], ""
    return [*shell_of(state.config), with_bodies(command.shell, heredocs)], ""


def _history_text(state: "StageState", instruction: Run, argv: list[str]) -> str:
    words = list(argv)
    if instruction.heredocs and words[:1] == [SCRIPT]:
        words = [*shell_of(state.config), f"<<{instruction.heredocs[0].name}"]
    args = state.scope.history_args()
    prefix = [f"|{len(args)}", *args] if args else []
    return " ".join(["RUN", *prefix, *words, "# buildkit"])
