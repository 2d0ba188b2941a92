"""`asynckaniko batch` with a cluster: render, submit, attach."""

import io
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from asynckaniko.batch.kubernetes import render_job, render_plan
from asynckaniko.batch.manifest import KubernetesOptions
from asynckaniko.batch.outcome import Outcome
from asynckaniko.batch.plan import Batch
from asynckaniko.batch.report import exit_code
from asynckaniko.batch.tasks import ClusterPlan, plan_cluster
from asynckaniko.cli.batch_flags import BatchFlags
from asynckaniko.cli.batch_log import BatchLog
from asynckaniko.cli.batch_table import terminal_table
from asynckaniko.cli.labels import count_text
from asynckaniko.cli.options import resolve
from asynckaniko.cli.pod_arguments import pod_arguments
from asynckaniko.cli.report import Interrupted
from asynckaniko.cli.session import Session
from asynckaniko.cli.surroundings import Surroundings
from asynckaniko.errors import UsageError
from asynckaniko.events import EventSink

if TYPE_CHECKING:
    from asynckaniko.batch.cluster import Cluster


def run_on_cluster(batch: Batch, flags: BatchFlags, around: Surroundings) -> int:
    """Print the objects, or submit them and see the batch through."""
    told = pod_arguments(flags.build, around)
    plan = plan_cluster(
        batch,
        around.environment,
        fail_fast=bool(flags.fail_fast),
        pack=1 if flags.pack is None else flags.pack,
        arguments=told.words,
        files=told.files,
    )
    options = batch.kubernetes
    if flags.render:
        sys.stdout.write(render_yaml(plan, options))
        return 0
    return _Run(batch, options, flags, around).submit(plan)


def attach(name: str, batch: Batch, flags: BatchFlags, around: Surroundings) -> int:
    """Come back to a batch that goes on without us."""
    return _Run(batch, batch.kubernetes, flags, around).attach(name)


def render_yaml(plan: ClusterPlan, options: KubernetesOptions) -> str:
    """Write the plan and all Jobs as YAML documents, in the order in which they may start.

    Raises:
        UsageError: the manifest does not say which image the Pods run.
    """
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 1 << 20
    text = io.StringIO()
    documents = [render_plan(plan, options)]
    documents += [render_job(plan, job, options) for job in plan.jobs]
    yaml.dump_all(documents, text)
    return text.getvalue()


class _Run:
    def __init__(
        self,
        batch: Batch,
        options: KubernetesOptions,
        flags: BatchFlags,
        around: Surroundings,
    ) -> None:
        self._batch = batch
        self._options = options
        self._flags = flags
        self._around = around
        # The files of client certificates are in the Pods, not here.
        self._build = resolve(replace(flags.build, registry_client_cert=()), around)
        display = self._build.display
        self._is_followed = display.mode in {"plain", "tty"}
        # Lines scroll by: there is nothing for a live display to show in place.
        self._display = replace(display, mode="plain") if display.mode == "tty" else display
        self._session = Session(self._display, stdout=sys.stdout, stderr=sys.stderr)
        self._outcomes: list[Outcome] = []
        self._started = time.monotonic()
        self._name = ""

    def submit(self, plan: ClusterPlan) -> int:
        """Submit the batch, and unless it is to be left alone, see it through."""
        self._name = plan.name
        if self._flags.detach:
            return self._session.run(partial(self._send, plan), then=self._tell_name)
        return self._see_through(plan)

    def attach(self, name: str) -> int:
        """See a batch through that was submitted before."""
        self._name = name
        return self._see_through(None)

    def _see_through(self, plan: ClusterPlan | None) -> int:
        try:
            status = self._session.run(partial(self._work, plan), then=self._tell)
        except Interrupted as interruption:
            if interruption.exit_code == 128 + signal.SIGINT and self._wants_deletion():
                self._session.run(self._delete, then=self._tell_deleted)
            else:
                sys.stderr.write(
                    f"hint: what runs on the cluster goes on; come back with\n"
                    f"  asynckaniko batch attach {self._name} {self._batch.file}\n"
                )
            raise
        return status or exit_code(self._outcomes)

    def _wants_deletion(self) -> bool:
        """Ask once, where there is someone to ask; no answer leaves everything as it is."""
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            return False
        sys.stderr.write(f"\nDelete the Jobs of {self._name}? Else they go on. [y/N] ")
        sys.stderr.flush()
        try:
            return sys.stdin.readline().strip().lower() in {"y", "yes"}
        except KeyboardInterrupt:
            sys.stderr.write("\n")
            return False

    async def _delete(self, _: EventSink) -> int:
        return await self._cluster().delete(self._name)

    def _tell_deleted(self, count: int) -> None:
        sys.stderr.write(f"deleted {count_text(count, 'Job')} of {self._name}\n")

    async def _send(self, plan: ClusterPlan, _: EventSink) -> str:
        from asynckaniko.batch.cluster_run import ClusterRun

        run = ClusterRun(plan, self._options, self._cluster(), afresh=True, tell=_say)
        await run.submit()
        return plan.name

    async def _work(self, plan: ClusterPlan | None, _: EventSink) -> list[Outcome]:
        from asynckaniko.batch.cluster_run import ClusterRun

        cluster = self._cluster()
        afresh = plan is not None
        if plan is None:
            plan = await cluster.read_plan(self._name)
        log = BatchLog(sys.stderr.write, color=self._display.color)
        run = ClusterRun(
            plan,
            self._options,
            cluster,
            afresh=afresh,
            tell=_say,
            tell_log=log.add if self._is_followed else None,
        )
        return await run.run()

    def _cluster(self) -> "Cluster":
        try:
            from asynckaniko.batch.api import Api, connect
            from asynckaniko.batch.cluster import Cluster
        except ImportError as error:
            raise UsageError(
                "--engine kubernetes needs lightkube: pip install 'asynckaniko[kubernetes]'"
            ) from error
        return Cluster(Api(connect(), self._options.namespace))

    def _tell_name(self, name: str) -> None:
        self._session.print(name)

    def _tell(self, outcomes: list[Outcome]) -> None:
        from asynckaniko.cli.batch_reports import write_reports

        self._outcomes = outcomes
        seconds = time.monotonic() - self._started
        write_reports(self._flags, self._batch.file, outcomes, seconds)
        if self._display.mode != "none":
            sys.stdout.write(terminal_table(outcomes, seconds, self._around))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
