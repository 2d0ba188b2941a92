"""Talk to a cluster's API: submit, wait through whatever happens to the connection, read results.

Only this module and those above it need lightkube (the extra `kubernetes`).
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2
import orjson
from anyio import sleep
from lightkube import AsyncClient
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.types import CascadeType

from asynckaniko.batch.kubernetes import BATCH_LABEL, CONTAINER, INDEX_ANNOTATION, PLAN_KEY
from asynckaniko.batch.tasks import ClusterPlan
from asynckaniko.errors import HostError, UsageError

_LOG = logging.getLogger(__name__)
_FAILURES = (httpx2.HTTPError, KeyError)
"""What a call raises where a server refuses or is not there; see _http_error."""
_CONFLICT, _GONE, _NOT_FOUND = 409, 410, 404
_WATCH_SECONDS = 240
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to go on with an API server that does not answer, or wants to be left alone."""

    attempts: int = 10
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PodResult:
    """How the last Pod of an index ended."""

    pod: str
    exit_code: int
    reason: str
    message: Mapping[str, Any]
    """What the Pod wrote; empty if it could not."""


class Cluster:
    """One namespace of a cluster."""

    def __init__(
        self, client: AsyncClient, namespace: str, *, patience: Patience | None = None
    ) -> None:
        # lightkube's signatures tell kinds of objects apart that are one thing here.
        self._client: Any = client
        self._namespace = namespace
        self._patience = patience or Patience()

    async def submit_plan(self, document: dict[str, Any]) -> None:
        """Create the ConfigMap; one of the same name has the same content. Raises HostError."""
        await self._create(ConfigMap.from_dict(document))

    async def submit_job(self, document: dict[str, Any], *, afresh: bool) -> None:
        """Create a Job, or go on with the one that is there.

        With `afresh`, one that has ended is replaced: whoever starts a batch again means it.

        Raises:
            HostError: the API server refuses.
        """
        job = Job.from_dict(document)
        name = document["metadata"]["name"]
        if await self._create(job):
            return
        existing = await self._get(Job, name)
        if existing is not None and not (afresh and is_finished(existing)):
            _LOG.info("job %s is there already", name)
            return
        if existing is not None:
            await self._delete(name)
        for attempt in range(1, self._patience.attempts + 1):
            # Its Pods go first.
            await sleep(self._wait_seconds(attempt))
            if await self._create(job):
                return
        raise HostError(f"job {name} ended, was deleted, and does not go away")

    async def read_plan(self, name: str) -> ClusterPlan:
        """Read the plan of a batch that was submitted. Raises HostError."""
        found = await self._get(ConfigMap, name)
        if found is None or not found.data:
            raise HostError(f"there is no batch {name} in namespace {self._namespace}")
        return ClusterPlan.parse(found.data[PLAN_KEY].encode())

    async def wait_for(
        self, batch: str, names: set[str], *, on_change: Callable[[list[Any]], None]
    ) -> dict[str, Any]:
        """Wait until the named Jobs have ended.

        Raises:
            HostError: a Job was deleted, or the API server is away for too long.
        """
        failures = 0
        while True:
            jobs, version = await self._list(batch)
            mine = {job.metadata.name: job for job in jobs if job.metadata.name in names}
            on_change(list(mine.values()))
            if len(mine) < len(names):
                gone = ", ".join(sorted(names - mine.keys()))
                raise HostError(f"deleted while it ran: job {gone}")
            if all(is_finished(job) for job in mine.values()):
                return mine
            try:
                await self._change(batch, version, {name: _state(mine[name]) for name in mine})
                failures = 0
            except _FAILURES as failure:
                error = _http_error(failure)
                failures += 1
                await self._pause(error, failures)

    async def results(self, job: str) -> dict[int, PodResult]:
        """Read how the Pods of a Job ended, the last one of each index."""
        pods = await self._retry(lambda: self._pods(job))
        pods.sort(key=lambda pod: _created(pod))
        found: dict[int, PodResult] = {}
        for pod in pods:
            index = (pod.metadata.annotations or {}).get(INDEX_ANNOTATION)
            result = _pod_result(pod)
            if index is not None and result is not None:
                found[int(index)] = result
        return found

    async def log_tail(self, pod: str, lines: int) -> list[str]:
        """Return the last lines that a Pod's build printed."""

        async def read() -> list[str]:
            log = self._client.log(
                pod, namespace=self._namespace, container=CONTAINER, tail_lines=lines
            )
            return [line.rstrip("\n") async for line in log]

        return await self._retry(read)

    async def _pods(self, job: str) -> list[Any]:
        listed = self._client.list(Pod, namespace=self._namespace, labels={"job-name": job})
        return [pod async for pod in listed]

    async def _create(self, item: Any) -> bool:
        """Create something; False if one of its name exists."""
        try:
            await self._retry(lambda: self._client.create(item, namespace=self._namespace))
        except HostError as error:
            if _code(error.__cause__) == _CONFLICT:
                return False
            raise
        return True

    async def _get(self, kind: Any, name: str) -> Any:
        try:
            return await self._retry(
                lambda: self._client.get(kind, name, namespace=self._namespace)
            )
        except HostError as error:
            if _code(error.__cause__) == _NOT_FOUND:
                return None
            raise

    async def _delete(self, name: str) -> None:
        try:
            await self._retry(
                lambda: self._client.delete(
                    Job, name, namespace=self._namespace, cascade=CascadeType.FOREGROUND
                )
            )
        except HostError as error:
            if _code(error.__cause__) != _NOT_FOUND:
                raise

    async def _list(self, batch: str) -> tuple[list[Any], str]:
        async def read() -> tuple[list[Any], str]:
            listed = self._client.list(Job, namespace=self._namespace, labels={BATCH_LABEL: batch})
            jobs = [job async for job in listed]
            return jobs, listed.resourceVersion or ""

        return await self._retry(read)

    async def _change(self, batch: str, version: str, known: Mapping[str, Any]) -> None:
        """Return when a Job is no longer as it is `known` since `version`, or after a while."""
        watch = self._client.watch(
            Job,
            namespace=self._namespace,
            labels={BATCH_LABEL: batch},
            resource_version=version or None,
            server_timeout=_WATCH_SECONDS,
        )
        try:
            async for kind, job in watch:
                # A server may begin with what there is already.
                name = job.metadata.name
                if name in known and (kind == "DELETED" or _state(job) != known[name]):
                    return
        except _FAILURES as failure:
            # Gone: the version is too old to watch from. List again.
            if _code(_http_error(failure)) != _GONE:
                raise
        finally:
            await watch.aclose()

    async def _retry(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """Call until it works or cannot work. Raises HostError, caused by the API's error."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await call()
            except _FAILURES as failure:
                error = _http_error(failure)
                code = _code(error)
                lasting = code is not None and code < 500 and code != 429
                if lasting or attempt >= self._patience.attempts:
                    raise HostError(f"Kubernetes API: {_said(error)}") from error
                await self._pause(error, attempt)

    async def _pause(self, error: Exception, attempt: int) -> None:
        if attempt >= self._patience.attempts:
            raise HostError(f"Kubernetes API: {_said(error)}") from error
        _LOG.info("kubernetes API: %s; attempt %d", _said(error), attempt)
        await sleep(max(self._wait_seconds(attempt), min(_retry_after(error), 300.0)))

    def _wait_seconds(self, attempt: int) -> float:
        wait = self._patience.first_wait_seconds * 2.0 ** (attempt - 1)
        return min(wait, self._patience.longest_wait_seconds)


def connect() -> AsyncClient:
    """Open the cluster that KUBECONFIG, ~/.kube/config or the Pod's own account names.

    Raises:
        UsageError: there is none.
    """
    try:
        # Watches are quiet for minutes.
        return AsyncClient(timeout=httpx2.Timeout(30, read=_WATCH_SECONDS + 30))
    except ConfigError as error:
        raise UsageError(f"no Kubernetes cluster is configured: {error}") from error


def is_finished(job: Any) -> bool:
    """Tell whether a Job has ended, well or not."""
    conditions = (job.status.conditions if job.status else None) or []
    return any(c.type in {"Complete", "Failed"} and c.status == "True" for c in conditions)


def _state(job: Any) -> tuple[Any, ...]:
    status = job.status
    if status is None:
        return (None, None, None, False)
    return (status.active, status.succeeded, status.failed, is_finished(job))


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


def _http_error(error: Exception) -> httpx2.HTTPError:
    """Find the HTTP error; lightkube trips over answers of proxies, which have no Content-Type."""
    if isinstance(error, httpx2.HTTPError):
        return error
    if isinstance(error.__context__, httpx2.HTTPError):
        return error.__context__
    raise error


def _code(error: BaseException | None) -> int | None:
    if isinstance(error, ApiError):
        code = error.status.code
        return code if isinstance(code, int) else error.response.status_code
    response = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def _retry_after(error: Exception) -> float:
    response = getattr(error, "response", None)
    text = response.headers.get("retry-after", "") if response is not None else ""
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _said(error: Exception) -> str:
    code = _code(error)
    text = str(error) or type(error).__name__
    return f"HTTP {code}: {text}" if code else text
