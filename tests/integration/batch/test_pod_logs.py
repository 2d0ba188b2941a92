"""Logs of Pods over HTTP from a server that hangs up, throttles and forgets."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import kmock
import pytest
from anyio import create_task_group, fail_after, sleep
from lightkube import AsyncClient, KubeConfig

from asynckaniko.batch.api import Api, Patience
from asynckaniko.batch.kubernetes import BATCH_LABEL
from asynckaniko.batch.pod_logs import PodLogs

PODS = "/api/v1/namespaces/ci/pods"
PATIENCE = Patience(attempts=6, first_wait_seconds=0.01, longest_wait_seconds=0.05)
LINES = [f"2026-01-02T03:04:{5 + n // 3:02}.{n:09}Z line {n}" for n in range(9)]
"""As the kubelet writes them, three a second."""
TEXTS = [f"line {n}" for n in range(9)]
HANG_UP = object()


def pod(name: str, state: str) -> dict[str, Any]:
    ended = {"exitCode": 0, "reason": "Completed"}
    status = {
        "name": "build",
        "image": "x",
        "imageID": "x",
        "ready": False,
        "restartCount": 0,
        "state": {state: ended if state == "terminated" else {}},
    }
    return {
        "metadata": {"name": name, "namespace": "ci", "labels": {BATCH_LABEL: "b"}},
        "spec": {"containers": [{"name": "build"}]},
        "status": {"containerStatuses": [status]},
    }


@dataclass
class Kubelet:
    """Keeps the log of one Pod, and serves it in parts, one for each request."""

    parts: Sequence[Sequence[Any]]
    """For each request what becomes of it: a status, or lines to serve, and then HANG_UP."""
    asked: list[dict[str, str]] = field(default_factory=list)

    def __call__(self, request: kmock.Request) -> Any:
        part = self.parts[min(len(self.asked), len(self.parts) - 1)]
        self.asked.append(dict(request.params))
        if isinstance(part[0], int):
            return kmock.Response(status=part[0], payload={"kind": "Status", "code": part[0]})  # type: ignore[attr-defined]
        since = request.params.get("sinceTime", "")
        lines = [p for p in part if p is HANG_UP or p[:19] >= since[:19]]
        return kmock.Response(status=200, payload=self._serve(request, lines))  # type: ignore[attr-defined]

    def _serve(self, request: kmock.Request, part: Sequence[Any]) -> Iterator[Any]:
        yield b""
        for line in part:
            if line is HANG_UP:
                yield lambda: request._raw_request.transport.abort()  # type: ignore[union-attr]
                return
            yield f"{line}\n".encode()


@pytest.fixture
async def server() -> AsyncIterator[kmock.KubernetesEmulator]:
    async with kmock.KubernetesEmulator() as emulator, kmock.Server(emulator):
        emulator.resources["v1/pods"].kind = "Pod"
        yield emulator


@pytest.fixture
async def api(server: kmock.KubernetesEmulator) -> AsyncIterator[Api]:
    config = KubeConfig.from_dict(
        {
            "clusters": [{"name": "c", "cluster": {"server": str(server.url).rstrip("/")}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
    )
    client = AsyncClient(config, namespace="ci")
    yield Api(client, "ci", patience=PATIENCE)
    await client.close()


@asynccontextmanager
async def following(
    api: Api, **choices: float
) -> AsyncIterator[tuple[PodLogs, list[tuple[str, str]]]]:
    """Follow logs for the length of the block; give what was told, as Pod and line."""
    told: list[tuple[str, str]] = []
    logs = PodLogs(
        api, "b", tell=lambda pod, line: told.append((pod.metadata.name, line)), **choices
    )
    with fail_after(60):
        async with create_task_group() as tasks:
            tasks.start_soon(logs.run)
            await logs.watching()
            yield logs, told
            tasks.cancel_scope.cancel()


async def change(server: kmock.KubernetesEmulator, document: dict[str, Any]) -> None:
    """Bring a Pod into a state over HTTP, as watches tell of that."""
    name = document["metadata"]["name"]
    async with httpx2.AsyncClient(base_url=str(server.url).rstrip("/")) as client:
        if (await client.get(f"{PODS}/{name}")).status_code == 404:
            await client.post(PODS, json=document)
        else:
            await client.patch(f"{PODS}/{name}", json={"status": document["status"]})


async def told_of(
    server: kmock.KubernetesEmulator, api: Api, *parts: Sequence[Any]
) -> tuple[list[str], Kubelet]:
    """Let a Pod run and end; return what was told of its log."""
    kubelet = Kubelet(parts)
    server[f"get {PODS}/one/log"] << kubelet
    async with following(api) as (logs, told):
        await change(server, pod("one", "running"))
        await change(server, pod("one", "terminated"))
        assert await logs.wait_for("one"), logs.problem
    return [line for _, line in told], kubelet


async def test_every_line_is_told_once(server: kmock.KubernetesEmulator, api: Api) -> None:
    told, kubelet = await told_of(server, api, LINES)

    assert told == TEXTS
    assert kubelet.asked[0]["follow"] == "true"


@pytest.mark.parametrize("cut", range(len(LINES) + 1))
async def test_log_goes_on_with_the_next_line_after_a_dropped_connection(
    cut: int, server: kmock.KubernetesEmulator, api: Api
) -> None:
    told, _ = await told_of(server, api, [*LINES[:cut], HANG_UP], LINES)

    assert told == TEXTS


async def test_only_what_is_about_as_new_is_asked_for_again(
    server: kmock.KubernetesEmulator, api: Api
) -> None:
    _, kubelet = await told_of(server, api, [*LINES[:7], HANG_UP], LINES)

    assert "sinceTime" not in kubelet.asked[0]
    assert kubelet.asked[1]["sinceTime"] == "2026-01-02T03:04:06Z"


async def test_lines_of_two_streams_that_are_out_of_order_are_all_told(
    server: kmock.KubernetesEmulator, api: Api
) -> None:
    lines = [LINES[n] for n in (0, 1, 3, 2, 4, 6, 5, 7, 8)]

    told, _ = await told_of(server, api, [*lines[:3], HANG_UP], [*lines[:6], HANG_UP], lines)

    assert told == [line.split(" ", 1)[1] for line in lines]


async def test_equal_lines_are_told_as_often_as_they_were_printed(
    server: kmock.KubernetesEmulator, api: Api
) -> None:
    lines = [LINES[0]] * 3

    told, _ = await told_of(server, api, [*lines[:2], HANG_UP], lines)

    assert told == ["line 0"] * 3


@pytest.mark.parametrize("status", [400, 429, 500, 503])
async def test_refusal_that_may_pass_is_asked_again(
    status: int, server: kmock.KubernetesEmulator, api: Api
) -> None:
    told, _ = await told_of(server, api, [status], [*LINES[:4], HANG_UP], [status], LINES)

    assert told == TEXTS


async def test_stream_that_ends_before_its_pod_is_opened_again(
    server: kmock.KubernetesEmulator, api: Api
) -> None:
    told, _ = await told_of(server, api, LINES[:4], LINES[:4], LINES)

    assert told[:4] == TEXTS[:4]
    assert len(told) == len(set(told))


async def test_log_that_stays_away_is_told_as_lost_and_is_not_waited_for(
    server: kmock.KubernetesEmulator, api: Api
) -> None:
    told, _ = await told_of(server, api, [*LINES[:2], HANG_UP], [503])

    assert told[:2] == TEXTS[:2]
    assert told[2].startswith("(the rest of the log of pod one is lost: ")
    assert "HTTP 503" in told[2]


async def test_log_of_a_node_that_hangs_is_not_waited_for(
    server: kmock.KubernetesEmulator, api: Api
) -> None:
    for name in ("one", "two", "three"):
        server[f"get {PODS}/{name}/log"] << (b"2026-01-02T03:04:05Z first\n", ...)
    async with following(api, last_words_seconds=0.3) as (logs, told):
        for name in ("one", "two", "three"):
            await change(server, pod(name, "terminated"))
        while ("one", "first") not in told:  # noqa: ASYNC110  the test's time limit ends it
            await sleep(0.01)
        assert [await logs.wait_for(name) for name in ("one", "two", "three")] == [False] * 3


async def test_watch_that_is_gone_or_cut_loses_no_pod(
    server: kmock.KubernetesEmulator, api: Api
) -> None:
    kubelet = Kubelet([LINES])
    server[f"get {PODS}/one/log"] << kubelet
    server[f"get {PODS}/two/log"] << kubelet
    server[kmock.action.WATCH][:2] << 410
    async with following(api) as (logs, told):
        await change(server, pod("one", "running"))
        await change(server, pod("one", "terminated"))
        assert await logs.wait_for("one"), logs.problem
        await change(server, pod("two", "terminated"))
        assert await logs.wait_for("two")

    assert told == [(name, text) for name in ("one", "two") for text in TEXTS]


async def test_pod_that_had_ended_before_is_old_news(
    server: kmock.KubernetesEmulator, api: Api
) -> None:
    await change(server, pod("one", "terminated"))

    async with following(api) as (logs, told):
        assert not await logs.wait_for("one")

    assert told == []


async def test_account_that_may_not_watch_pods_is_told(
    server: kmock.KubernetesEmulator, api: Api
) -> None:
    server[f"get {PODS}"] << 403

    async with following(api) as (logs, _):
        assert not await logs.wait_for("one")

    assert "HTTP 403" in logs.problem
