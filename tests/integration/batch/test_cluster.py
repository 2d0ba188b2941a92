"""The client against an API server over HTTP that throttles, conflicts, forgets and hangs up."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx2
import kmock
import orjson
import pytest
from anyio import create_task_group, fail_after, sleep
from lightkube import AsyncClient, KubeConfig
from lightkube.resources.batch_v1 import Job
from lightkube.types import CascadeType

from asynckaniko.batch.api import Api, Patience
from asynckaniko.batch.cluster import Cluster
from asynckaniko.batch.cluster_run import ClusterRun
from asynckaniko.batch.kubernetes import INDEX_ANNOTATION, render_job, render_plan
from asynckaniko.batch.manifest import KubernetesOptions
from asynckaniko.batch.outcome import Outcome
from asynckaniko.batch.plan import Batch
from asynckaniko.batch.tasks import ClusterPlan, plan_cluster
from asynckaniko.errors import HostError, InvalidInput
from tests.unit.batch.manifests import read

PODS = "/api/v1/namespaces/ci/pods"
JOBS = "/apis/batch/v1/namespaces/ci/jobs"
LOGS = re.compile(rf"{PODS}/[^/]+/log")
PATIENCE = Patience(attempts=6, first_wait_seconds=0.01, longest_wait_seconds=0.05)
MANIFEST = """
images:
  base: {tags: [r.io/base:1], platforms: [linux/amd64]}
  good: {tags: [r.io/good:1], platforms: [linux/amd64], contexts: {base: "target:base"}}
  bad: {tags: [r.io/bad:1], platforms: [linux/amd64], contexts: {base: "target:base"}}
  child: {tags: [r.io/child:1], platforms: [linux/amd64], contexts: {bad: "target:bad"}}
engine: {kubernetes: {namespace: ci, image: "r.io/asynckaniko:1"}}
"""

End = Callable[[str], tuple[int, str]]
"""From an image to its Pod's exit code and termination message."""


def well(image: str) -> tuple[int, str]:
    message = {"image": image, "digest": f"sha256:{image}", "references": [f"r.io/{image}:1"]}
    return 0, orjson.dumps(message).decode()


def but_bad_fails(image: str) -> tuple[int, str]:
    if image == "bad":
        return 2, orjson.dumps({"image": "bad", "error": "Dockerfile:1: unknown"}).decode()
    return well(image)


class Controller:
    """Plays the Job controller: a moment after a Job appears, its Pods have ended as scripted."""

    def __init__(self, api: kmock.KubernetesEmulator, plan: ClusterPlan, end: End) -> None:
        self._api = api
        self._jobs = {job.name: job for job in plan.jobs}
        self._end = end
        self.ran: list[str] = []
        """Images, in the order of their Pods' ends."""

    async def run(self) -> None:
        while True:
            await sleep(0.02)
            for (resource, _, name), found in list(self._api.objects.items()):
                is_job = resource.plural == "jobs" and name in self._jobs
                if is_job and not found.deleted and "status" not in found.raw:
                    await self._finish(found)

    async def _finish(self, job: Any) -> None:
        name = job.raw["metadata"]["name"]
        container = job.raw["spec"]["template"]["spec"]["containers"][0]
        variables = {entry["name"]: entry["value"] for entry in container["env"]}
        shares = [word.split("+") for word in variables["ASYNCKANIKO_BATCH_TASKS"].split(",")]
        done, pods = [], []
        for index, share in enumerate(shares):
            images = [self._jobs[name].tasks[int(number)].image for number in share]
            code, message = self._end_of(images)
            self.ran += images
            done += [str(index)] if code == 0 else []
            pod = _pod(f"{name}-{index}", job.raw, index, code, message)
            pods.append(pod)
        failed = len(done) < len(shares)
        conditions = [{"type": "Failed" if failed else "Complete", "status": "True"}]
        status = {"completedIndexes": ",".join(done), "conditions": conditions}
        # Over HTTP: that is what watches tell of.
        async with httpx2.AsyncClient(base_url=str(self._api.url).rstrip("/")) as client:
            for pod in pods:
                await client.delete(f"{PODS}/{pod['metadata']['name']}")
                await client.post(PODS, json=pod)
            await client.patch(f"{JOBS}/{name}", json={"status": status})

    def _end_of(self, images: list[str]) -> tuple[int, str]:
        """Put the ends of images that share a Pod together, as run-index does."""
        ends = [self._end(image) for image in images]
        if len(ends) == 1:
            return ends[0]
        results = [
            {**orjson.loads(message), "code": code, "status": "failed" if code else "built"}
            for code, message in ends
        ]
        code = next((code for code, _ in ends if code), 0)
        return code, orjson.dumps({"results": results}).decode()


def _pod(name: str, job: dict[str, Any], index: int, code: int, message: str) -> dict[str, Any]:
    template = job["spec"]["template"]
    ended = {"exitCode": code, "reason": "Error" if code else "Completed", "message": message}
    return {
        "metadata": {
            "name": name,
            "namespace": "ci",
            "labels": {**template["metadata"]["labels"], "job-name": job["metadata"]["name"]},
            "annotations": {INDEX_ANNOTATION: str(index)},
        },
        "spec": template["spec"],
        "status": {
            "containerStatuses": [
                {
                    "name": "build",
                    "image": "x",
                    "imageID": "x",
                    "ready": False,
                    "restartCount": 0,
                    "state": {"terminated": ended},
                }
            ]
        },
    }


@pytest.fixture
async def api() -> AsyncIterator[kmock.KubernetesEmulator]:
    async with kmock.KubernetesEmulator() as emulator, kmock.Server(emulator):
        emulator.resources["v1/pods"].kind = "Pod"
        yield emulator


@pytest.fixture
async def cluster(api: kmock.KubernetesEmulator) -> AsyncIterator[Cluster]:
    config = KubeConfig.from_dict(
        {
            "clusters": [{"name": "c", "cluster": {"server": str(api.url).rstrip("/")}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
    )
    client = AsyncClient(config, namespace="ci")
    yield Cluster(Api(client, "ci", patience=PATIENCE))
    await client.close()


@pytest.fixture
def batch() -> Batch:
    return read(MANIFEST)


@pytest.fixture
def plan(batch: Batch) -> ClusterPlan:
    return plan_cluster(batch, {})


async def see_through(
    plan: ClusterPlan,
    options: KubernetesOptions,
    cluster: Cluster,
    controller: Controller,
    *,
    afresh: bool = True,
    log: list[tuple[str, str]] | None = None,
) -> tuple[dict[str, Outcome], list[str]]:
    told: list[str] = []
    run = ClusterRun(
        plan,
        options,
        cluster,
        afresh=afresh,
        tell=told.append,
        tell_log=None if log is None else lambda image, line: log.append((image, line)),
    )
    with fail_after(60):
        async with create_task_group() as tasks:
            tasks.start_soon(controller.run)
            outcomes = await run.run()
            tasks.cancel_scope.cancel()
    return {outcome.name: outcome for outcome in outcomes}, told


def statuses(outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    return {name: outcome.status.value for name, outcome in outcomes.items()}


async def test_waves_run_one_after_another_and_a_failure_costs_what_needs_it(
    api: kmock.KubernetesEmulator, cluster: Cluster, batch: Batch, plan: ClusterPlan
) -> None:
    controller = Controller(api, plan, but_bad_fails)
    api[LOGS] << b"the last words\n"

    outcomes, told = await see_through(plan, batch.kubernetes, cluster, controller)

    assert statuses(outcomes) == {
        "base": "built",
        "good": "built",
        "bad": "failed",
        "child": "skipped",
    }
    assert controller.ran == ["base", "good", "bad"]
    built = outcomes["good"].built
    assert built is not None
    assert (built.digest, built.references) == ("sha256:good", ("r.io/good:1",))
    assert isinstance(outcomes["bad"].error, InvalidInput)
    assert "Dockerfile:1: unknown (linux/amd64); pod " in str(outcomes["bad"].error)
    (end,) = [text for text in told if text.startswith("bad: the end of the log of pod")]
    assert end.endswith("\nthe last words")


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("method", ["post", "get"])
async def test_server_that_wants_to_be_left_alone_is_asked_again(
    status: int,
    method: str,
    api: kmock.KubernetesEmulator,
    cluster: Cluster,
    batch: Batch,
    plan: ClusterPlan,
) -> None:
    api[f"{method} {JOBS}"][:2] << status
    controller = Controller(api, plan, well)

    outcomes, _ = await see_through(plan, batch.kubernetes, cluster, controller)

    assert set(statuses(outcomes).values()) == {"built"}


async def test_watch_whose_version_is_gone_begins_again(
    api: kmock.KubernetesEmulator, cluster: Cluster, batch: Batch, plan: ClusterPlan
) -> None:
    api[kmock.action.WATCH][:2] << 410
    controller = Controller(api, plan, well)

    outcomes, _ = await see_through(plan, batch.kubernetes, cluster, controller)

    assert set(statuses(outcomes).values()) == {"built"}


async def test_watch_that_ends_at_once_is_begun_again(
    api: kmock.KubernetesEmulator, cluster: Cluster, batch: Batch, plan: ClusterPlan
) -> None:
    api[kmock.action.WATCH][:3] << b""
    controller = Controller(api, plan, well)

    outcomes, _ = await see_through(plan, batch.kubernetes, cluster, controller)

    assert set(statuses(outcomes).values()) == {"built"}


async def test_server_that_stays_away_is_given_up_with_its_words(
    api: kmock.KubernetesEmulator, cluster: Cluster, batch: Batch, plan: ClusterPlan
) -> None:
    api[f"get {JOBS}"] << 503
    run = ClusterRun(plan, batch.kubernetes, cluster, afresh=True, tell=lambda _: None)

    with pytest.raises(HostError, match="HTTP 503"):
        await run.run()


async def test_refusal_is_told_at_once(
    api: kmock.KubernetesEmulator, cluster: Cluster, batch: Batch, plan: ClusterPlan
) -> None:
    api["post /api/v1/namespaces/ci/configmaps"] << 403

    with pytest.raises(HostError, match="HTTP 403"):
        await cluster.submit_plan(render_plan(plan, batch.kubernetes))

    assert len(api["post /api/v1/namespaces/ci/configmaps"]) == 1


async def test_whoever_comes_back_takes_what_has_ended_and_goes_on(
    api: kmock.KubernetesEmulator, cluster: Cluster, batch: Batch, plan: ClusterPlan
) -> None:
    first = ClusterRun(plan, batch.kubernetes, cluster, afresh=True, tell=lambda _: None)
    await first.submit()
    read_back = await cluster.read_plan(plan.name)
    controller = Controller(api, plan, well)

    outcomes, _ = await see_through(read_back, batch.kubernetes, cluster, controller, afresh=False)

    assert set(statuses(outcomes).values()) == {"built"}
    assert controller.ran == ["base", "good", "bad", "child"]
    again, _ = await see_through(read_back, batch.kubernetes, cluster, controller, afresh=False)
    assert statuses(again) == statuses(outcomes)
    assert controller.ran == ["base", "good", "bad", "child"]


async def test_batch_that_is_submitted_again_runs_again(
    api: kmock.KubernetesEmulator, cluster: Cluster, batch: Batch, plan: ClusterPlan
) -> None:
    controller = Controller(api, plan, well)
    await see_through(plan, batch.kubernetes, cluster, controller)

    await see_through(plan, batch.kubernetes, cluster, controller)

    assert controller.ran == ["base", "good", "bad", "child"] * 2


async def test_job_that_someone_deletes_ends_the_wait(
    api: kmock.KubernetesEmulator, cluster: Cluster, batch: Batch, plan: ClusterPlan
) -> None:
    job = plan.jobs[0]
    await cluster.submit_job(render_job(plan, job, batch.kubernetes), afresh=True)

    async def delete() -> None:
        await sleep(0.1)
        await cluster.api.delete(Job, job.name, cascade=CascadeType.BACKGROUND)

    async with create_task_group() as tasks:
        tasks.start_soon(delete)
        with pytest.raises(HostError, match="deleted while it ran"), fail_after(60):
            await cluster.wait_for(plan.name, {job.name}, on_change=lambda _: None)


async def test_what_pods_print_is_told_by_image_and_no_end_of_a_log_is_told_twice(
    api: kmock.KubernetesEmulator, cluster: Cluster, batch: Batch, plan: ClusterPlan
) -> None:
    api[LOGS] << b"2026-01-02T03:04:05.1Z first\n2026-01-02T03:04:05.2Z last\n"
    log: list[tuple[str, str]] = []
    controller = Controller(api, plan, but_bad_fails)

    _, told = await see_through(plan, batch.kubernetes, cluster, controller, log=log)

    assert sorted(log) == [(n, w) for n in ("bad", "base", "good") for w in ("first", "last")]
    assert not any("the end of the log" in text for text in told)


async def test_images_that_share_a_pod_have_ends_of_their_own(
    api: kmock.KubernetesEmulator, cluster: Cluster, batch: Batch
) -> None:
    plan = plan_cluster(batch, {}, pack=2)
    api[LOGS] << b"2026-01-02T03:04:05.1Z both\n"
    log: list[tuple[str, str]] = []
    controller = Controller(api, plan, but_bad_fails)

    outcomes, _ = await see_through(plan, batch.kubernetes, cluster, controller, log=log)

    assert statuses(outcomes) == {
        "base": "built",
        "good": "built",
        "bad": "failed",
        "child": "skipped",
    }
    built = outcomes["good"].built
    assert built is not None
    assert built.digest == "sha256:good"
    assert isinstance(outcomes["bad"].error, InvalidInput)
    assert log == [("base", "both"), ("good +1", "both")]


async def test_deleted_batch_leaves_no_job_and_no_plan(
    api: kmock.KubernetesEmulator, cluster: Cluster, batch: Batch, plan: ClusterPlan
) -> None:
    await ClusterRun(plan, batch.kubernetes, cluster, afresh=True, tell=lambda _: None).submit()

    assert await cluster.delete(plan.name) == 1

    assert [key for key, found in api.objects.items() if not found.deleted] == []


async def test_unknown_batch_is_told(cluster: Cluster, api: kmock.KubernetesEmulator) -> None:
    with pytest.raises(HostError, match="there is no batch nope in namespace ci"):
        await cluster.read_plan("nope")
