"""RUN: one command on the stage's files, in the build's namespaces."""

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from anyio import create_task_group, current_time

from asynckaniko.build.steps.metadata import argv_of, shell_of
from asynckaniko.build.steps.mounts import SCRIPT, prepared_mounts
from asynckaniko.concurrency import single_error
from asynckaniko.dockerfile.instructions import Run
from asynckaniko.errors import CommandFailed, DockerfileError, StepFailed
from asynckaniko.events import Step, StepOutput
from asynckaniko.isolation.output import relay

if TYPE_CHECKING:
    from asynckaniko.build.stage import StageRun

_RUN = "asynckaniko.isolation.step:run"
_LAST_LINES = 50


async def run_command(stage: "StageRun", instruction: Run, step: Step) -> str:
    """Run the command; return its history text.

    Raises:
        CommandFailed: exit status other than 0.
        StepFailed: it could not be started: no such user, a mount without its source.
    """
    if instruction.security not in ("", "sandbox"):
        raise StepFailed(
            f"RUN --security={instruction.security} needs privileges that no build has here;"
            " only --security=sandbox exists"
        )
    run = stage.run
    argv, script = _argv(stage, instruction)
    lowers = await stage.files.lowers()
    upper, work, scratch = await run.workspace.directories("upper", "work", "scratch")
    async with prepared_mounts(stage, instruction, script) as prepared, run.steps:
        job = {
            "lowers": lowers,
            "upper": upper,
            "work": work,
            "scratch": scratch,
            "argv": argv,
            "env": [*stage.scope.run_environment(), *prepared.environment],
            "cwd": stage.config.runtime.get("WorkingDir") or "/",
            "user": stage.config.runtime.get("User") or "",
            "hostname": "buildkitsandbox",
            "files": run.network_files,
            "mounts": prepared.mounts,
            "network": "none" if instruction.network == "none" else "host",
        }
        async with run.resources.commands:
            result, last_lines = await _run(stage, job, prepared.fds, step)
    if result["exit_status"] != 0:
        raise CommandFailed(
            f'process "{" ".join(argv)}" did not complete successfully:'
            f" exit code: {result['exit_status']}",
            exit_status=result["exit_status"],
            output=tuple(last_lines),
        )
    stage.add_upper(upper, step)
    return _history_text(stage, instruction, argv)


async def _run(
    stage: "StageRun", job: dict[str, Any], secrets: list[int], step: Step
) -> tuple[dict[str, Any], list[str]]:
    run = stage.run
    started = current_time()
    last_lines: list[str] = []
    limit = run.resources.settings.limits.output_line_size

    def shown(stream: str, line: str) -> None:
        last_lines.append(line)
        del last_lines[:-_LAST_LINES]
        run.emit(StepOutput(step, line, stream, current_time() - started))

    with ExitStack() as open_pipes, single_error():
        ends = {}
        for stream in ("stdout", "stderr"):
            read_end, write_end = os.pipe2(os.O_CLOEXEC)
            open_pipes.callback(os.close, read_end)
            ends[stream] = (read_end, write_end)
        async with create_task_group() as reading:
            for stream, (read_end, _) in ends.items():
                reading.start_soon(
                    relay, read_end, lambda line, stream=stream: shown(stream, line), limit
                )
            try:
                result = await run.resources.inner.call(
                    _RUN, job, fds=[*(write_end for _, write_end in ends.values()), *secrets]
                )
            finally:
                for _, write_end in ends.values():
                    os.close(write_end)
    return result, last_lines


def _argv(stage: "StageRun", instruction: Run) -> tuple[list[str], str]:
    """Return the argument vector, and a script to be mounted where the vector names it."""
    heredocs, command = instruction.heredocs, instruction.command
    if not heredocs:
        return argv_of(command, stage.config), ""
    if command.is_exec:
        raise DockerfileError("a heredoc cannot be used with the JSON form of RUN")
    only = heredocs[0]
    is_script = len(heredocs) == 1 and command.shell.strip() == f"<<{only.name}"
    is_script = is_script or _is_bare(command.shell, only.name)
    if len(heredocs) == 1 and is_script:
        if only.content.startswith("#!"):
            return [SCRIPT], only.content
        return [*shell_of(stage.config), only.content], ""
    bodies = "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in heredocs)
    return [*shell_of(stage.config), command.shell + bodies], ""


def _is_bare(shell: str, name: str) -> bool:
    """Tell whether the line is nothing but `<<NAME`, in any of its spellings."""
    text = shell.strip()
    for opening in ("<<-", "<<"):
        if text.startswith(opening):
            return text[len(opening) :].strip().strip("\"'") == name
    return False


def _history_text(stage: "StageRun", instruction: Run, argv: list[str]) -> str:
    words = list(argv)
    if instruction.heredocs and words[:1] == [SCRIPT]:
        words = [*shell_of(stage.config), f"<<{instruction.heredocs[0].name}"]
    args = stage.scope.history_args()
    prefix = [f"|{len(args)}", *args] if args else []
    return " ".join(["RUN", *prefix, *words, "# buildkit"])
