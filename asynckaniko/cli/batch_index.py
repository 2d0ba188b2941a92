"""`asynckaniko batch run-index`: what a Pod of a batch runs."""

import sys
from pathlib import Path
from typing import Any

from asynckaniko.batch.kubernetes import SECRETS_DIRECTORY
from asynckaniko.batch.local import LocalOptions, build_batch
from asynckaniko.batch.outcome import Outcome, Status
from asynckaniko.batch.pod import batch_of, find_task, index_task, result_message
from asynckaniko.batch.report import exit_code
from asynckaniko.batch.requests import Surroundings as BuildSurroundings
from asynckaniko.batch.schedule import Rules
from asynckaniko.batch.state_file import StateFile
from asynckaniko.batch.tasks import ClusterPlan, Task
from asynckaniko.build.result_files import write_result
from asynckaniko.cli.batch_flags import BatchFlags
from asynckaniko.cli.batch_progress import BatchProgress
from asynckaniko.cli.options import BuildOptions, resolve
from asynckaniko.cli.report import error_report
from asynckaniko.cli.session import Session
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import AsynckanikoError, UsageError
from asynckaniko.events import EventSink


def run_index(flags: BatchFlags, around: Surroundings) -> int:
    """Do the task with this Pod's number; write its result; return the exit status."""
    if not flags.plan:
        raise UsageError("run-index needs --plan: it is what a Pod of a batch runs")
    try:
        plan = ClusterPlan.parse(Path(flags.plan).read_bytes())
    except OSError as error:
        raise UsageError(f"--plan {flags.plan}: {error.strerror}") from error
    task = find_task(plan, around.environment)
    run = _TaskRun(task, resolve(flags.build, around), around)
    return run.run()


class _TaskRun:
    def __init__(self, task: Task, options: BuildOptions, around: Surroundings) -> None:
        self._task = task
        self._options = options
        self._around = around
        self._outcome: Outcome | None = None
        self._session = Session(
            options.display, stdout=sys.stdout, stderr=sys.stderr, timings=options.timings
        )

    def run(self) -> int:
        """Build or index.

        Raises:
            Interrupted: by a signal, after everything was cleaned up; the cluster tries again.
        """
        status = self._session.run(self._work, then=self._tell)
        if self._outcome is None:
            return status
        return status or exit_code([self._outcome])

    async def _work(self, sink: EventSink) -> Outcome:
        try:
            if not self._task.platform:
                built = await index_task(self._task, self._options.settings)
                return Outcome(name=self._task.image, status=Status.BUILT, built=built, attempts=1)
            return await self._build(sink)
        except AsynckanikoError as error:
            return Outcome(name=self._task.image, status=Status.FAILED, error=error, attempts=1)

    async def _build(self, sink: EventSink) -> Outcome:
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
            rules=Rules(jobs=1, memory=0),
            state=state,
        )
        batch = batch_of(self._task, Path.cwd())
        outcomes = await build_batch(batch, options, Builder, emit=progress.event)
        return outcomes[0]

    def _tell(self, outcome: Outcome) -> None:
        self._outcome = outcome
        message = result_message(self._task, outcome)
        path = self._around.get("ASYNCKANIKO_BATCH_RESULT")
        if path:
            write_result(Path(path), message)
        if outcome.error is not None:
            sys.stderr.write(error_report(outcome.error, label=f"error: {outcome.name}:"))
        self._session.print(message)
