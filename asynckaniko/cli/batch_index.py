"""`asynckaniko batch run-index`: what a Pod of a batch runs."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asynckaniko.batch.kubernetes import NEVER_AGAIN, SECRETS_DIRECTORY
from asynckaniko.batch.local import LocalOptions, build_batch
from asynckaniko.batch.outcome import Outcome, Status
from asynckaniko.batch.pod import batch_of, find_tasks, index_task, result_message
from asynckaniko.batch.report import exit_code
from asynckaniko.batch.requests import Surroundings as BuildSurroundings
from asynckaniko.batch.state_file import StateFile
from asynckaniko.batch.tasks import ClusterPlan, Task
from asynckaniko.build.result_files import write_result
from asynckaniko.cli.batch_flags import BatchFlags
from asynckaniko.cli.batch_progress import BatchProgress
from asynckaniko.cli.batch_rules import cores, read_rules
from asynckaniko.cli.options import resolve
from asynckaniko.cli.report import error_report
from asynckaniko.cli.session import Session
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import AsynckanikoError, UsageError
from asynckaniko.events import EventSink


def run_index(flags: BatchFlags, around: Surroundings) -> int:
    """Do the tasks with this Pod's number; write its result; return the exit status."""
    if not flags.plan:
        raise UsageError("run-index needs --plan: it is what a Pod of a batch runs")
    try:
        plan = ClusterPlan.parse(Path(flags.plan).read_bytes())
    except OSError as error:
        raise UsageError(f"--plan {flags.plan}: {error.strerror}") from error
    tasks = find_tasks(plan, around.environment)
    run = _TaskRun(tasks, flags, around)
    return run.run()


class _TaskRun:
    def __init__(self, tasks: tuple[Task, ...], flags: BatchFlags, around: Surroundings) -> None:
        options = resolve(flags.build, around)
        self._tasks = tasks
        self._options = options
        self._around = around
        self._rules = read_rules(flags, cores=cores())
        self._outcomes: list[Outcome] = []
        self._session = Session(
            options.display, stdout=sys.stdout, stderr=sys.stderr, timings=options.timings
        )

    def run(self) -> int:
        """Build or index.

        Raises:
            Interrupted: by a signal, after everything was cleaned up; the cluster tries again.
        """
        status = self._session.run(self._work, then=self._tell)
        return status or _pod_code(self._outcomes)

    async def _work(self, sink: EventSink) -> list[Outcome]:
        try:
            return await self._build(self._tasks, sink)
        except AsynckanikoError as error:
            if len(self._tasks) == 1:
                return [_failed(self._tasks[0], error)]
        # What keeps one from starting must not keep the others.
        outcomes = []
        for task in self._tasks:
            try:
                outcomes += await self._build((task,), sink)
            except AsynckanikoError as error:
                outcomes.append(_failed(task, error))
        return outcomes

    async def _build(self, tasks: Sequence[Task], sink: EventSink) -> list[Outcome]:
        if not tasks[0].platform:
            return [await self._index(task) for task in tasks]
        from asynckaniko.build.builder import Builder

        settings = self._options.settings
        request = self._options.request
        # The session's sink takes what displays show, of which events are a part.
        shown: Any = sink
        progress = BatchProgress(shown, settings.state_dir / "builds")
        state = StateFile(settings.state_dir / "batch" / "task.json", {})
        options = LocalOptions(
            settings=settings,
            around=BuildSurroundings(
                environment=self._around.environment,
                context_options=request.context_options,
                source_date_epoch=request.source_date_epoch,
                check_push=request.check_push,
                secrets_directory=Path(SECRETS_DIRECTORY),
            ),
            rules=self._rules,
            state=state,
        )
        batch = batch_of(tasks, Path.cwd())
        return await build_batch(batch, options, Builder, emit=progress.event)

    async def _index(self, task: Task) -> Outcome:
        try:
            built = await index_task(task, self._options.settings)
        except AsynckanikoError as error:
            return _failed(task, error)
        return Outcome(name=task.image, status=Status.BUILT, built=built, attempts=1)

    def _tell(self, outcomes: list[Outcome]) -> None:
        self._outcomes = outcomes
        message = result_message(self._tasks, outcomes)
        path = self._around.get("ASYNCKANIKO_BATCH_RESULT")
        if path:
            write_result(Path(path), message)
        for outcome in outcomes:
            if outcome.error is not None:
                sys.stderr.write(error_report(outcome.error, label=f"error: {outcome.name}:"))
        self._session.print(message)


def _failed(task: Task, error: AsynckanikoError) -> Outcome:
    return Outcome(name=task.image, status=Status.FAILED, error=error, attempts=1)


def _pod_code(outcomes: Sequence[Outcome]) -> int:
    """Return the status of the whole: one that the Job tries again, if any failure may pass."""
    codes = [exit_code([outcome]) for outcome in outcomes if not outcome.is_good]
    return next((code for code in codes if code not in NEVER_AGAIN), codes[0] if codes else 0)
