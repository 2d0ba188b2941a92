"""Blobs that begin to travel while they are being made, with faults and without."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest
from anyio import CapacityLimiter, Event, create_task_group, fail_after, to_thread

from asynckaniko.concurrency import single_error
from asynckaniko.errors import RegistryUnavailable
from asynckaniko.events import BlobRoute
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.reference import Repository
from asynckaniko.registry.client import RegistryClient
from asynckaniko.settings import Limits, Retry
from asynckaniko.store.growing import GrowingBlob
from tests.integration.registry.clients import IMPATIENT, MemoryBlob, connect, noise
from tests.integration.registry.servers import (
    Answer,
    CutRequest,
    Fault,
    FaultProxy,
    LoseAnswer,
    Refuse,
    Rule,
    StallRequest,
)
from tests.support.registry import Registry
from tests.support.waiting import wait_until

SMALLEST = 1 << 20
HALF = 2 << 20
UPLOADS = "/blobs/uploads/"
WRITE_BUFFER = 4096
"""docker-registry writes a session's file through a bufio.Writer of the default size."""


class Making:
    """A blob that somebody appends to a file, and the client that follows the file."""

    def __init__(self, path: Path, content: bytes) -> None:
        path.write_bytes(b"")
        self.blob = MemoryBlob(content)
        self.growing = GrowingBlob(path, disk=CapacityLimiter(2))
        self._path = path
        self._complete = Event()

    def append(self, content: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(content)

    def finish(self) -> None:
        self._complete.set()
        self.growing.finish()

    async def push(self, client: RegistryClient, repository: Repository) -> str:
        async def complete() -> Descriptor:
            await self._complete.wait()
            return self.blob.descriptor

        async with client.upload_early(repository) as early:
            await early.follow(self.growing, complete)
            return await client.push_blob(repository, self.blob, early=early)


@pytest.fixture
def making(tmp_path: Path) -> Making:
    return Making(tmp_path / "growing", noise(2 * HALF))


def has(registry: Registry, size: int) -> bool:
    """Tell whether `size` bytes have arrived, of which the last may still be in its buffers."""
    sizes = [size for path, size in registry.unfinished().items() if path.name == "data"]
    return size - len(sizes) * WRITE_BUFFER <= sum(sizes) <= size


async def until(fact: Callable[[], object]) -> None:
    await to_thread.run_sync(wait_until, fact, "the registry has not come that far")


async def make_halves(making: Making, middle: Callable[[], Awaitable[None]]) -> None:
    making.append(making.blob.content[:HALF])
    await middle()
    making.append(making.blob.content[HALF:])
    making.finish()


async def push_halves(
    making: Making,
    client: RegistryClient,
    host: str,
    middle: Callable[[], Awaitable[None]],
) -> str:
    """Push to `app` while the blob is made; its second half is made after `middle`."""
    route = ""

    async def push() -> None:
        nonlocal route
        route = await making.push(client, Repository(host, "app"))

    with single_error():
        async with create_task_group() as tasks:
            tasks.start_soon(push)
            await make_halves(making, middle)
    return route


async def test_first_half_arrives_before_the_second_is_made(
    registry: Registry, making: Making
) -> None:
    async def middle() -> None:
        await until(lambda: has(registry, HALF))

    async with connect(early_size=SMALLEST) as client:
        route = await push_halves(making, client, registry.host, middle)

    digest = making.blob.descriptor.digest
    assert route == BlobRoute.UPLOADED
    assert registry.blob("app", digest) == making.blob.content
    writes = [r.method for r in registry.requests() if r.method in ("POST", "PATCH", "PUT")]
    assert writes == ["POST", "PATCH", "PUT"]
    assert making.blob.opened == []
    assert registry.unfinished() == {}


async def test_chunks_have_the_size_that_was_asked_for(registry: Registry, making: Making) -> None:
    proxy = FaultProxy(registry.host)
    chunk = 3 << 19

    async def middle() -> None:
        await until(lambda: has(registry, chunk))

    async with proxy.serve() as host, connect(early_size=SMALLEST, chunk_size=chunk) as client:
        await push_halves(making, client, host, middle)

    size = 2 * HALF
    requests = proxy.seen(f"(PATCH|PUT) .*{UPLOADS}")
    sent = [(request.method, request.headers.get("content-range")) for request in requests]
    assert sent == [
        ("PATCH", f"0-{chunk - 1}"),
        ("PATCH", f"{chunk}-{2 * chunk - 1}"),
        ("PATCH", f"{2 * chunk}-{size - 1}"),
        ("PUT", None),
    ]
    assert registry.blob("app", making.blob.descriptor.digest) == making.blob.content


@pytest.mark.parametrize("early_size", [2 * HALF + 1, 1 << 40, 0])
async def test_smaller_blob_is_uploaded_when_it_is_complete(
    registry: Registry, making: Making, early_size: int
) -> None:
    async with connect(early_size=early_size) as client:
        await push_halves(making, client, registry.host, anyio.lowlevel.checkpoint)

    assert [r.method for r in registry.requests() if UPLOADS in r.path] == ["POST", "PUT"]
    assert registry.blob("app", making.blob.descriptor.digest) == making.blob.content


async def test_upload_of_what_turns_out_to_be_there_is_given_up(
    registry: Registry, making: Making
) -> None:
    digest = making.blob.descriptor.digest
    registry.put_blob("app", digest, making.blob.content)
    before = registry.mark()

    async def middle() -> None:
        await until(lambda: has(registry, HALF))

    async with connect(early_size=SMALLEST) as client:
        route = await push_halves(making, client, registry.host, middle)

    assert route == BlobRoute.EXISTED
    methods = [r.method for r in registry.requests(before)]
    assert "PUT" not in methods
    assert methods[-1] == "DELETE"
    await until(lambda: registry.received() == 0)


PATCH, PUT, POST = (f"{method} .*{UPLOADS}" for method in ("PATCH", "PUT", "POST"))


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        (POST, Refuse(Answer(405))),
        (POST, Refuse(Answer(503))),
        (POST, LoseAnswer()),
        (PATCH, Refuse(Answer(405))),
        (PATCH, Refuse(Answer(413), early=True)),
        (PATCH, Refuse(Answer(503))),
        (PATCH, CutRequest(0)),
        (PATCH, CutRequest(HALF)),
        (PATCH, StallRequest(SMALLEST)),
        (PATCH, LoseAnswer()),
        (PUT, Refuse(Answer(405))),
        (PUT, Refuse(Answer(400, body=b'{"errors": [{"code": "UNSUPPORTED"}]}'))),
        (PUT, Refuse(Answer(503))),
        (PUT, CutRequest(0)),
        (PUT, LoseAnswer()),
    ],
)
async def test_fault_of_an_early_upload_is_none_of_the_push(
    registry: Registry, making: Making, pattern: str, fault: Fault
) -> None:
    proxy = FaultProxy(registry.host, Rule(pattern, fault))

    async def middle() -> None:
        await until(lambda: proxy.played or has(registry, HALF))

    async with (
        proxy.serve() as host,
        connect(early_size=SMALLEST, retry=IMPATIENT) as client,
    ):
        route = await push_halves(making, client, host, middle)

    assert len(proxy.played) == 1
    assert route == BlobRoute.UPLOADED
    assert registry.blob("app", making.blob.descriptor.digest) == making.blob.content


async def test_registry_that_refuses_is_not_asked_again(registry: Registry, tmp_path: Path) -> None:
    proxy = FaultProxy(registry.host, Rule(PATCH, Refuse(Answer(405)), times=9))

    async def middle() -> None:
        await until(lambda: proxy.played)

    async with proxy.serve() as host, connect(early_size=SMALLEST) as client:
        for number in range(2):
            making = Making(tmp_path / f"{number}", noise(2 * HALF, seed=number))
            await push_halves(making, client, host, middle)

    assert len(proxy.seen(PATCH)) == 1
    assert len(proxy.seen(PUT)) == 2


async def test_registry_that_is_down_at_the_end_fails_the_push(
    registry: Registry, making: Making
) -> None:
    proxy = FaultProxy(registry.host, Rule(PUT, Refuse(Answer(503)), times=99))

    async def middle() -> None:
        await until(lambda: has(registry, HALF))

    async with proxy.serve() as host, connect(early_size=SMALLEST, retry=IMPATIENT) as client:
        with pytest.raises(RegistryUnavailable, match="gave up after 4 attempts"):
            await push_halves(making, client, host, middle)

    assert len(proxy.seen(PUT)) == IMPATIENT.attempts
    await until(lambda: registry.received() == 0)


@pytest.mark.parametrize("chunk_size", [0, SMALLEST])
async def test_cancelled_push_leaves_no_session(
    registry: Registry, making: Making, chunk_size: int
) -> None:
    async with (
        connect(early_size=SMALLEST, chunk_size=chunk_size) as client,
        create_task_group() as tasks,
    ):
        tasks.start_soon(making.push, client, Repository(registry.host, "app"))
        making.append(making.blob.content[:HALF])
        await until(lambda: has(registry, HALF))
        tasks.cancel_scope.cancel()

    assert "DELETE" in [r.method for r in registry.requests()]
    await until(lambda: registry.received() == 0)


async def test_push_can_be_cancelled_while_the_rest_of_a_complete_blob_travels(
    registry: Registry, making: Making
) -> None:
    proxy = FaultProxy(registry.host, Rule(PATCH, StallRequest(HALF)))
    patient = Retry(stall_seconds=600.0, response_seconds=600.0)

    with fail_after(60):
        async with (
            proxy.serve() as host,
            connect(early_size=SMALLEST, retry=patient) as client,
            create_task_group() as tasks,
        ):
            making.append(making.blob.content)
            making.finish()
            tasks.start_soon(making.push, client, Repository(host, "app"))
            await until(lambda: has(registry, HALF))
            tasks.cancel_scope.cancel()

    assert proxy.seen(PUT) == []
    assert len(proxy.seen(f"DELETE .*{UPLOADS}")) == 1


async def test_refusal_of_one_registry_changes_nothing_at_another(
    registry: Registry, making: Making
) -> None:
    refusing = FaultProxy(registry.host, Rule(PATCH, Refuse(Answer(405))))
    other = FaultProxy(registry.host)

    async with (
        refusing.serve() as first,
        other.serve() as second,
        connect(early_size=SMALLEST) as client,
        create_task_group() as tasks,
    ):
        tasks.start_soon(making.push, client, Repository(first, "a"))
        tasks.start_soon(making.push, client, Repository(second, "b"))

        async def middle() -> None:
            await until(lambda: refusing.played and has(registry, HALF))

        await make_halves(making, middle)

    digest = making.blob.descriptor.digest
    assert [registry.blob(name, digest) for name in "ab"] == [making.blob.content] * 2
    assert making.blob.opened == [0]


def makings(directory: Path, count: int) -> list[Making]:
    """Make blobs of which the first half is there."""
    found = [Making(directory / f"{n}", noise(2 * HALF, seed=n)) for n in range(count)]
    for making in found:
        making.append(making.blob.content[:HALF])
    return found


async def test_complete_blob_never_waits_for_those_that_are_being_made(
    registry: Registry, tmp_path: Path
) -> None:
    """More of them than places; none gets its second half before the complete one is there."""
    unfinished = makings(tmp_path, 3)
    complete = MemoryBlob(noise(1000))
    repository = Repository(registry.host, "app")

    with fail_after(60):
        async with (
            connect(early_size=SMALLEST, limits=Limits(uploads=2)) as client,
            create_task_group() as tasks,
        ):
            for making in unfinished:
                tasks.start_soon(making.push, client, repository)
            await until(lambda: registry.received() >= HALF - WRITE_BUFFER)
            await client.push_blob(repository, complete)
            for making in unfinished:
                making.append(making.blob.content[HALF:])
                making.finish()

    assert [r.method for r in registry.requests() if r.method == "PATCH"] == ["PATCH"]
    for blob in (complete, *(making.blob for making in unfinished)):
        assert registry.blob("app", blob.descriptor.digest) == blob.content


@pytest.mark.parametrize(("uploads", "early"), [(1, 0), (2, 1), (3, 1), (4, 2)])
async def test_at_most_half_of_the_places_are_for_blobs_in_the_making(
    registry: Registry, tmp_path: Path, uploads: int, early: int
) -> None:
    unfinished = makings(tmp_path, 4)
    repository = Repository(registry.host, "app")

    async with (
        connect(early_size=SMALLEST, limits=Limits(uploads=uploads)) as client,
        create_task_group() as tasks,
    ):
        for making in unfinished:
            tasks.start_soon(making.push, client, repository)
        await until(lambda: has(registry, early * HALF))
        await anyio.wait_all_tasks_blocked()
        for making in unfinished:
            making.append(making.blob.content[HALF:])
            making.finish()

    assert [r.method for r in registry.requests()].count("PATCH") == early
    for making in unfinished:
        assert registry.blob("app", making.blob.descriptor.digest) == making.blob.content
