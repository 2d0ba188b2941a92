"""A batch on a cluster: its plan, its Jobs, and how their Pods ended."""

import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Any

import orjson
from anyio import sleep
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.types import CascadeType

from asynckaniko.batch.api import Api
from asynckaniko.batch.kubernetes import BATCH_LABEL, CONTAINER, INDEX_ANNOTATION, PLAN_KEY
from asynckaniko.batch.tasks import ClusterPlan
from asynckaniko.errors import HostError
from asynckaniko.records import dataclass

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodResult:
    """How the last Pod of an index ended."""

    pod: str
    exit_code: int
    reason: str
    message: Mapping[str, Any]
    """What the Pod wrote; empty if it could not."""


class Cluster:
    """The batches of one namespace."""

    def __init__(self, api: Api) -> None:
        self.api = api

    async def submit_plan(self, document: dict[str, Any]) -> None:
        """Create the ConfigMap; one of the same name has the same content. Raises HostError."""
        await self.api.create(ConfigMap.from_dict(document))

    async def submit_job(self, document: dict[str, Any], *, afresh: bool) -> None:
        """Create a Job, or go on with the one that is there.

        With `afresh`, one that has ended is replaced: whoever starts a batch again means it.

        Raises:
            HostError: the API server refuses.
        """
        job = Job.from_dict(document)
        name = document["metadata"]["name"]
        if await self.api.create(job):
            return
        existing = await self.api.get(Job, name)
        if existing is not None and not (afresh and is_finished(existing)):
            _LOG.info("job %s is there already", name)
            return
        if existing is not None:
            await self.api.delete(Job, name, cascade=CascadeType.FOREGROUND)
        for attempt in range(1, self.api.patience.attempts + 1):
            # Its Pods go first.
            await sleep(self.api.patience.wait_seconds(attempt))
            if await self.api.create(job):
                return
        raise HostError(f"job {name} ended, was deleted, and does not go away")

    async def read_plan(self, name: str) -> ClusterPlan:
        """Read the plan of a batch that was submitted. Raises HostError."""
        found = await self.api.get(ConfigMap, name)
        if found is None or not found.data:
            raise HostError(f"there is no batch {name} in namespace {self.api.namespace}")
        return ClusterPlan.parse(found.data[PLAN_KEY].encode())

    async def delete(self, batch: str) -> int:
        """Delete a batch's Jobs, with their Pods, and its plan; return how many Jobs there were.

        Raises:
            HostError: the API server refuses.
        """
        jobs, _ = await self.api.list(Job, {BATCH_LABEL: batch})
        for job in jobs:
            await self.api.delete(Job, job.metadata.name, cascade=CascadeType.BACKGROUND)
        await self.api.delete(ConfigMap, batch, cascade=CascadeType.BACKGROUND)
        return len(jobs)

    async def wait_for(
        self, batch: str, names: set[str], *, on_change: Callable[[list[Any]], None]
    ) -> dict[str, Any]:
        """Wait until the named Jobs have ended.

        Raises:
            HostError: a Job was deleted, or the API server is away for too long.
        """
        async with aclosing(self.api.follow(Job, {BATCH_LABEL: batch})) as states:
            async for jobs in states:
                mine = {name: job for name, job in jobs.items() if name in names}
                on_change(list(mine.values()))
                if len(mine) < len(names):
                    break
                if all(is_finished(job) for job in mine.values()):
                    return mine
        gone = ", ".join(sorted(names - mine.keys()))
        raise HostError(f"deleted while it ran: job {gone}")

    async def results(self, job: str) -> dict[int, PodResult]:
        """Read how the Pods of a Job ended, the last one of each index. Raises HostError."""
        pods, _ = await self.api.list(Pod, {"job-name": job})
        pods.sort(key=_created)
        found: dict[int, PodResult] = {}
        for pod in pods:
            index = (pod.metadata.annotations or {}).get(INDEX_ANNOTATION)
            result = _pod_result(pod)
            if index is not None and result is not None:
                found[int(index)] = result
        return found

    async def log_tail(self, pod: str, lines: int) -> list[str]:
        """Return the last lines that a Pod's build printed. Raises HostError."""

        async def read() -> list[str]:
            log = self.api.log(pod, container=CONTAINER, tail_lines=lines)
            async with aclosing(log):
                content = b"".join([piece async for piece in log])
            return content.decode(errors="replace").splitlines()

        return await self.api.retry(read)


def is_finished(job: Any) -> bool:
    """Tell whether a Job has ended, well or not."""
    conditions = (job.status.conditions if job.status else None) or []
    return any(c.type in {"Complete", "Failed"} and c.status == "True" for c in conditions)


def read_indexes(text: str | None) -> set[int]:
    """Read `0,2-4` as a Job's status has it."""
    found: set[int] = set()
    for part in filter(None, (text or "").split(",")):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def _pod_result(pod: Any) -> PodResult | None:
    statuses = (pod.status.containerStatuses if pod.status else None) or []
    for status in statuses:
        ended = status.state.terminated if status.state else None
        if status.name == CONTAINER and ended is not None:
            return PodResult(
                pod=pod.metadata.name,
                exit_code=ended.exitCode,
                reason=ended.reason or "",
                message=_message(ended.message or ""),
            )
    return None


def _message(text: str) -> Mapping[str, Any]:
    """Read what a Pod wrote; where it could not, the message is the end of its log."""
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"error": text.strip().splitlines()[-1]} if text.strip() else {}
    return document if isinstance(document, dict) else {}


def _created(pod: Any) -> Any:
    return str(pod.metadata.creationTimestamp or "")
