"""One big blob by several connections."""

from collections.abc import Sequence

import anyio
import pytest

from asynckaniko.errors import IntegrityError, RegistryUnavailable
from asynckaniko.oci.reference import Repository
from asynckaniko.registry.ranges import SEGMENT_SIZE
from asynckaniko.settings import Limits
from tests.integration.registry.clients import IMPATIENT, MemoryBlob, connect, noise, read
from tests.integration.registry.servers import (
    Answer,
    ChangeAnswer,
    ChangeRequest,
    CutAnswer,
    Fault,
    FaultProxy,
    Refuse,
    Rule,
    StallAnswer,
)
from tests.support.registry import Registry

COUNT = 20
SIZE = COUNT * SEGMENT_SIZE
BLOBS = "GET .*/blobs/"


@pytest.fixture(scope="module")
def content() -> bytes:
    return noise(SIZE)


@pytest.fixture
async def blob(registry: Registry, content: bytes) -> MemoryBlob:
    blob = MemoryBlob(content)
    async with connect() as client:
        await client.push_blob(Repository(registry.host, "app"), blob)
    return blob


def ranges(proxy: FaultProxy) -> list[str]:
    return [request.headers.get("range", "") for request in proxy.seen(BLOBS)]


def segment(number: int) -> str:
    start, end = number * SEGMENT_SIZE, (number + 1) * SEGMENT_SIZE
    return f"bytes={start}-{end - 1 if end < SIZE else ''}"


async def pull(proxy: FaultProxy, blob: MemoryBlob, **options: object) -> bytes:
    async with proxy.serve() as host, connect(**options) as client:  # type: ignore[arg-type]
        return await read(client, Repository(host, "app"), blob.descriptor)


async def test_big_blob_is_fetched_in_segments_each_once(
    registry: Registry, blob: MemoryBlob
) -> None:
    proxy = FaultProxy(registry.host)

    content = await pull(proxy, blob)

    assert content == blob.content
    assert sorted(ranges(proxy)) == sorted(segment(number) for number in range(COUNT))


async def test_server_that_gives_the_whole_instead_is_read_to_its_end(
    registry: Registry, blob: MemoryBlob
) -> None:
    proxy = FaultProxy(registry.host, Rule(BLOBS, ChangeRequest({"range": None}), times=99))

    content = await pull(proxy, blob)

    assert content == blob.content
    assert len(proxy.seen(BLOBS)) == 1


@pytest.mark.parametrize("times", [1, 99])
@pytest.mark.parametrize(
    "fault",
    [
        ChangeRequest({"range": None}),
        ChangeRequest({"range": "bytes=5-6"}),
        ChangeAnswer({"Content-Range": "bytes 5-6/*"}),
    ],
)
async def test_server_that_stops_to_do_ranges_is_asked_for_the_rest_at_once(
    registry: Registry, blob: MemoryBlob, fault: Fault, times: int
) -> None:
    proxy = FaultProxy(registry.host, Rule(BLOBS, fault, skip=2, times=times))

    content = await pull(proxy, blob)

    assert content == blob.content


@pytest.mark.parametrize("skip", [0, 1, 3, 5])
@pytest.mark.parametrize(
    "fault", [CutAnswer(500), CutAnswer(1 << 20), StallAnswer(1 << 20), Refuse(Answer(503))]
)
async def test_each_segment_resumes_by_itself(
    registry: Registry, blob: MemoryBlob, fault: Fault, skip: int
) -> None:
    proxy = FaultProxy(registry.host, Rule(BLOBS, fault, skip=skip))

    content = await pull(proxy, blob, retry=IMPATIENT)

    assert content == blob.content
    assert len(ranges(proxy)) == COUNT + 1


async def test_segment_that_cannot_be_had_ends_the_download(
    registry: Registry, blob: MemoryBlob
) -> None:
    proxy = FaultProxy(registry.host, Rule(BLOBS, Refuse(Answer(503)), skip=2, times=99))

    with pytest.raises(RegistryUnavailable, match="HTTP 503"):
        await pull(proxy, blob)


async def test_damage_in_any_segment_is_found(registry: Registry, blob: MemoryBlob) -> None:
    proxy = FaultProxy(registry.host, Rule(BLOBS, ChangeAnswer(flip=7), skip=4))

    with pytest.raises(IntegrityError, match="altered it"):
        await pull(proxy, blob)


async def test_slow_reader_keeps_the_read_ahead_within_bounds(
    registry: Registry, content: bytes
) -> None:
    blob = MemoryBlob(content * 3)
    proxy = FaultProxy(registry.host)

    async with proxy.serve() as host, connect() as client:
        await client.push_blob(Repository(host, "app"), blob)
        async with client.read_blob(Repository(host, "app"), blob.descriptor) as stream:
            await anext(stream)
            with anyio.move_on_after(1.0):
                await anyio.sleep_forever()
            ahead = len(ranges(proxy))
            received = await anext(stream)

    assert received
    # The one being read, three connections, and one finished segment in reserve.
    assert ahead <= 5


async def test_reader_that_leaves_takes_the_connections_with_it(
    registry: Registry, blob: MemoryBlob
) -> None:
    async with connect() as client:
        for _ in range(20):  # more often than there are connections to spare
            repository = Repository(registry.host, "app")
            async with client.read_blob(repository, blob.descriptor) as stream:
                await anext(stream)
        content = await read(client, Repository(registry.host, "app"), blob.descriptor)

    assert content == blob.content


async def test_error_of_the_reader_is_raised_as_it_is(registry: Registry, blob: MemoryBlob) -> None:
    async with connect() as client:
        with pytest.raises(ValueError, match="mine"):
            async with client.read_blob(
                Repository(registry.host, "app"), blob.descriptor
            ) as stream:
                await anext(stream)
                raise ValueError("mine")


async def test_four_big_blobs_are_read_whole_by_one_connection_each(
    registry: Registry, blob: MemoryBlob
) -> None:
    contents: list[bytes] = []
    proxy = FaultProxy(registry.host)

    async with proxy.serve() as host, connect() as client, anyio.create_task_group() as tasks:

        async def download() -> None:
            contents.append(await read(client, Repository(host, "app"), blob.descriptor))

        for _ in range(4):
            tasks.start_soon(download)

    assert contents == [blob.content] * 4
    assert ranges(proxy) == [""] * 4


async def test_small_blobs_do_not_keep_a_big_one_from_reading_ahead(
    registry: Registry, blob: MemoryBlob
) -> None:
    small = [MemoryBlob(noise(1 << 20)) for _ in range(4)]
    proxy = FaultProxy(registry.host)

    async with proxy.serve() as host, connect() as client:
        repository = Repository(host, "app")
        for other in small:
            await client.push_blob(repository, other)
        async with anyio.create_task_group() as tasks:
            for wanted in (*small, blob):
                tasks.start_soon(read, client, repository, wanted.descriptor)

    asked = [text for text in ranges(proxy) if text]
    assert sorted(asked) == sorted(segment(number) for number in range(COUNT))


async def test_saved_blob_is_written_in_order_before_it_is_done(
    registry: Registry, blob: MemoryBlob
) -> None:
    written: list[bytes] = []

    async with connect() as client:
        await client.save_blob(Repository(registry.host, "app"), blob.descriptor, written.extend)

    assert b"".join(written) == blob.content


async def test_saved_blob_is_verified(registry: Registry, blob: MemoryBlob) -> None:
    proxy = FaultProxy(registry.host, Rule(BLOBS, ChangeAnswer(flip=7)))

    async with proxy.serve() as host, connect() as client:
        with pytest.raises(IntegrityError, match="altered it"):
            await client.save_blob(Repository(host, "app"), blob.descriptor, len)


async def test_error_of_a_write_is_raised_as_it_is(registry: Registry, blob: MemoryBlob) -> None:
    def fail(_: Sequence[bytes]) -> None:
        raise OSError("disk full")

    async with connect() as client:
        with pytest.raises(OSError, match="disk full"):
            await client.save_blob(Repository(registry.host, "app"), blob.descriptor, fail)


async def test_many_big_blobs_share_the_spare_connections(
    registry: Registry, blob: MemoryBlob
) -> None:
    contents: list[bytes] = []
    repository = Repository(registry.host, "app")

    async with connect(limits=Limits(downloads=4)) as client, anyio.create_task_group() as tasks:

        async def download() -> None:
            contents.append(await read(client, repository, blob.descriptor))

        for _ in range(6):
            tasks.start_soon(download)

    assert len(contents) == 6
    assert all(content == blob.content for content in contents)
