"""Take a plan through a cluster, wave after wave, and tell what became of each image."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from anyio import create_task_group

from asynckaniko.batch.cluster import Cluster, PodResult, read_indexes
from asynckaniko.batch.kubernetes import CONTAINER, INDEX_ANNOTATION, render_job, render_plan
from asynckaniko.batch.manifest import KubernetesOptions
from asynckaniko.batch.outcome import GOOD, Built, Outcome, Status
from asynckaniko.batch.pod import find_tasks
from asynckaniko.batch.pod_logs import PodLogs
from asynckaniko.batch.tasks import ClusterPlan, JobPlan, Task
from asynckaniko.concurrency import single_error
from asynckaniko.errors import (
    AsynckanikoError,
    HostError,
    IntegrityError,
    InvalidInput,
    RegistryError,
    StepFailed,
    UsageError,
)
from asynckaniko.records import dataclass

_KINDS: Mapping[int, type[AsynckanikoError]] = {
    2: InvalidInput,
    3: StepFailed,
    4: RegistryError,
    5: IntegrityError,
}
_LOG_LINES = 30


@dataclass(frozen=True, slots=True)
class _Ended:
    task: Task
    outcome: Outcome


class ClusterRun:
    """One batch on a cluster. The Jobs are the cluster's: they go on if this process does not."""

    def __init__(
        self,
        plan: ClusterPlan,
        options: KubernetesOptions,
        cluster: Cluster,
        *,
        afresh: bool,
        tell: Callable[[str], None],
        tell_log: Callable[[str, str], None] | None = None,
    ) -> None:
        """`afresh` runs Jobs again that ended before; without it their results are taken.

        `tell_log` gets what Pods print, by image; without it the ends of the logs of failed Pods
        are told.
        """
        self._plan = plan
        self._options = options
        self._cluster = cluster
        self._afresh = afresh
        self._tell = tell
        self._tell_log = tell_log
        self._logs = PodLogs(cluster.api, plan.name, tell=self._tell_line)
        self._ended: list[_Ended] = []
        self._shown: dict[str, str] = {}

    async def submit(self) -> None:
        """Create the plan and the first wave. Raises HostError."""
        await self._cluster.submit_plan(render_plan(self._plan, self._options))
        for job in self._plan.waves()[0]:
            await self._submit(job, range(len(job.tasks)))

    async def run(self) -> list[Outcome]:
        """Bring the batch to its end and return the outcomes, image by image.

        Raises:
            HostError: the API server refuses, or is away for too long; the Jobs go on.
        """
        await self._cluster.submit_plan(render_plan(self._plan, self._options))
        with single_error():
            async with create_task_group() as tasks:
                if self._tell_log:
                    tasks.start_soon(self._logs.run)
                    await self._logs.watching()
                await self._run_waves()
                tasks.cancel_scope.cancel()
        return self._outcomes()

    async def _run_waves(self) -> None:
        stopped = False
        for wave in self._plan.waves():
            chosen = {} if stopped else {job.name: self._chosen(job) for job in wave}
            running = [job for job in wave if chosen.get(job.name)]
            for job in wave:
                self._leave_out(job, set(chosen.get(job.name, ())), stopped=stopped)
            for job in running:
                await self._submit(job, chosen[job.name])
            await self._wait(running, chosen)
            failed = any(not ended.outcome.is_good for ended in self._ended)
            stopped = stopped or (failed and any(job.fail_fast for job in wave))

    def _chosen(self, job: JobPlan) -> list[int]:
        bad = {ended.task.image for ended in self._ended if not ended.outcome.is_good}
        return [n for n, task in enumerate(job.tasks) if not bad & set(task.needs)]

    def _leave_out(self, job: JobPlan, chosen: set[int], *, stopped: bool) -> None:
        bad = {ended.task.image for ended in self._ended if not ended.outcome.is_good}
        for number, task in enumerate(job.tasks):
            if number not in chosen:
                missing = ", ".join(sorted(bad & set(task.needs)))
                outcome = Outcome(
                    name=task.image,
                    status=Status.CANCELLED if stopped else Status.SKIPPED,
                    reason="" if stopped else f"needs {missing}",
                )
                self._ended.append(_Ended(task, outcome))

    async def _submit(self, job: JobPlan, tasks: Sequence[int]) -> None:
        document = render_job(self._plan, job, self._options, tasks=tasks)
        await self._cluster.submit_job(document, afresh=self._afresh)

    async def _wait(self, jobs: Sequence[JobPlan], chosen: Mapping[str, Sequence[int]]) -> None:
        if not jobs:
            return
        names = {job.name for job in jobs}
        ended = await self._cluster.wait_for(self._plan.name, names, on_change=self._progress)
        for job in jobs:
            results = await self._cluster.results(job.name)
            # A Job of which one index failed is Failed, whatever the others did: ask for each.
            done = read_indexes(ended[job.name].status.completedIndexes)
            for index, share in enumerate(job.shares(chosen[job.name])):
                tasks = [job.tasks[number] for number in share]
                result = results.get(index)
                ended_here = [
                    _Ended(task, _outcome(task, part, is_done=index in done))
                    for task, part in zip(tasks, _parts(result, len(tasks)), strict=True)
                ]
                self._ended += ended_here
                if result is not None:
                    is_good = all(end.outcome.is_good for end in ended_here)
                    await self._finish_log(_title(tasks), result.pod, is_good=is_good)

    async def _finish_log(self, title: str, pod: str, *, is_good: bool) -> None:
        is_told = self._tell_log is not None and await self._logs.wait_for(pod)
        if self._logs.problem:
            self._tell(f"logs are not followed: {self._logs.problem}")
            self._logs.problem = ""
        if not is_good and not is_told:
            await self._tell_end(title, pod)

    async def _tell_end(self, title: str, pod: str) -> None:
        try:
            lines = await self._cluster.log_tail(pod, _LOG_LINES)
        except HostError as error:
            lines = [f"(no log: {error})"]
        self._tell("\n".join((f"{title}: the end of the log of pod {pod}", *lines)))

    def _tell_line(self, pod: Any, line: str) -> None:
        assert self._tell_log is not None, "else nothing is followed"
        self._tell_log(self._image_of(pod), line)

    def _image_of(self, pod: Any) -> str:
        """Name what a Pod builds, with the platform if there are several."""
        environment = {
            entry.name: entry.value or ""
            for container in pod.spec.containers
            if container.name == CONTAINER
            for entry in container.env or ()
        }
        index = (pod.metadata.annotations or {}).get(INDEX_ANNOTATION, "")
        try:
            tasks = find_tasks(self._plan, {**environment, "JOB_COMPLETION_INDEX": index})
        except UsageError:
            return str(pod.metadata.name)
        platforms = {t.platform for job in self._plan.jobs for t in job.tasks if t.platform}
        title = _title(tasks)
        return f"{title} {tasks[0].platform}".rstrip() if len(platforms) > 1 else title

    def _progress(self, jobs: Sequence[Any]) -> None:
        for job in jobs:
            status = job.status
            active, good, bad = (
                (status.active or 0, status.succeeded or 0, status.failed or 0)
                if status
                else (0, 0, 0)
            )
            text = f"{job.metadata.name}: {active} running, {good} done, {bad} failed Pods"
            if self._shown.get(job.metadata.name) != text:
                self._shown[job.metadata.name] = text
                self._tell(text)

    def _outcomes(self) -> list[Outcome]:
        by_image: dict[str, list[_Ended]] = {}
        for ended in self._ended:
            by_image.setdefault(ended.task.image, []).append(ended)
        return [_combined(group) for group in by_image.values()]


def _combined(group: Sequence[_Ended]) -> Outcome:
    """Take the first that is not good; else the index, which comes last, or the only one."""
    bad = [ended.outcome for ended in group if not ended.outcome.is_good]
    failed = [outcome for outcome in bad if outcome.status is Status.FAILED]
    return (failed or bad or [group[-1].outcome])[0]


def _title(tasks: Sequence[Task]) -> str:
    """Name what a Pod does: its image, or the first of several and how many others."""
    more = f" +{len(tasks) - 1}" if len(tasks) > 1 else ""
    return f"{tasks[0].image}{more}"


def _parts(result: PodResult | None, count: int) -> list[PodResult | None]:
    """Give each task of a Pod its part of the result."""
    messages = result.message.get("results") if result else None
    if result is None or not isinstance(messages, list) or len(messages) != count:
        return [result] * count
    return [
        replace(result, message=message, exit_code=message.get("code", 0)) for message in messages
    ]


def _outcome(task: Task, result: PodResult | None, *, is_done: bool) -> Outcome:
    message = result.message if result else {}
    seconds = float(message.get("seconds", 0.0))
    if is_done or (result is not None and message.get("status") in GOOD):
        built = Built(
            digest=message.get("digest", ""),
            references=tuple(message.get("references", task.entry.get("tags", ()))),
            media_type=message.get("mediaType", ""),
            size=message.get("size", 0),
            config_digest=message.get("config", ""),
        )
        return Outcome(
            name=task.image, status=Status.BUILT, built=built, seconds=seconds, attempts=1
        )
    if result is None:
        # No Pod of it has ended: stopped by --fail-fast, or never started.
        return Outcome(name=task.image, status=Status.CANCELLED)
    text = message.get("error") or f"its Pod ended with {result.exit_code} {result.reason}".strip()
    where = f" ({task.platform})" if task.platform else ""
    kind = _KINDS.get(result.exit_code, HostError)
    error = kind(f"{text}{where}; pod {result.pod}")
    return Outcome(name=task.image, status=Status.FAILED, error=error, seconds=seconds, attempts=1)
