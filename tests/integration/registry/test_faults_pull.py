"""Downloads on a bad day: a real registry behind a proxy that plays faults, or none at all."""

import base64
import itertools
from pathlib import Path

import anyio
import pytest

from asynckaniko.errors import (
    IntegrityError,
    RegistryError,
    RegistryRejected,
    RegistryUnavailable,
    Unauthorized,
)
from asynckaniko.events import Event, RequestRetried
from asynckaniko.oci import media_types
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.reference import Reference, Repository
from tests.integration.registry.clients import (
    IMPATIENT,
    PLATFORM,
    Image,
    MemoryBlob,
    SkippedTime,
    connect,
    noise,
    read,
)
from tests.integration.registry.servers import (
    Answer,
    ChangeAnswer,
    ChangeRequest,
    Connection,
    CutAnswer,
    Fault,
    FaultProxy,
    LoseAnswer,
    Refuse,
    Rule,
    Script,
    StallAnswer,
)
from tests.support.registry import Registry

SIZE = 3 << 20
BLOBS = "GET .*/blobs/"


@pytest.fixture
async def blob(registry: Registry) -> MemoryBlob:
    """A blob in the repository `app`."""
    blob = MemoryBlob(noise(SIZE))
    async with connect() as client:
        await client.push_blob(Repository(registry.host, "app"), blob)
    return blob


async def pull(proxy: FaultProxy, blob: MemoryBlob, **options: object) -> bytes:
    async with proxy.serve() as host, connect(**options) as client:  # type: ignore[arg-type]
        return await read(client, Repository(host, "app"), blob.descriptor)


@pytest.mark.parametrize("at", [0, 1, 65536, SIZE - 1])
@pytest.mark.parametrize("cleanly", [True, False])
async def test_cut_download_goes_on_where_it_was(
    registry: Registry, blob: MemoryBlob, at: int, *, cleanly: bool
) -> None:
    proxy = FaultProxy(registry.host, Rule(BLOBS, CutAnswer(at, cleanly=cleanly)))

    content = await pull(proxy, blob)

    assert content == blob.content
    ranges = [request.headers.get("range") for request in proxy.seen(BLOBS)]
    assert ranges == [None, f"bytes={at}-" if at else None]


async def test_download_may_be_cut_more_often_than_there_are_attempts(
    registry: Registry, blob: MemoryBlob
) -> None:
    proxy = FaultProxy(registry.host, Rule(BLOBS, CutAnswer(100_000), times=20))

    content = await pull(proxy, blob)

    assert content == blob.content
    assert len(proxy.played) == 20


async def test_download_that_does_not_get_on_is_given_up(
    registry: Registry, blob: MemoryBlob
) -> None:
    proxy = FaultProxy(registry.host, Rule(BLOBS, CutAnswer(100), times=99))

    with pytest.raises(RegistryUnavailable, match="gave up after 8 attempts"):
        await pull(proxy, blob)

    assert len(proxy.played) == 8


@pytest.mark.parametrize(
    "fault",
    [
        ChangeRequest({"range": None}),
        ChangeRequest({"range": f"bytes={SIZE - 10}-"}),
        ChangeAnswer({"Content-Range": None}),
        ChangeAnswer({"Content-Range": "bytes x-y/z"}),
        Refuse(Answer(416, {"Content-Range": f"bytes */{SIZE}"})),
    ],
    ids=["ignored", "another", "unnamed", "malformed", "refused"],
)
async def test_range_that_is_not_served_as_asked_costs_a_second_download_only(
    registry: Registry, blob: MemoryBlob, fault: Fault
) -> None:
    proxy = FaultProxy(registry.host, Rule(BLOBS, CutAnswer(1 << 20)), Rule(BLOBS, fault, skip=0))

    content = await pull(proxy, blob)

    assert content == blob.content
    assert len(proxy.seen(BLOBS)) <= 3


@pytest.mark.parametrize("status", [408, 429, 499, 500, 502, 503, 504, 522])
async def test_trouble_that_passes_is_waited_for(
    registry: Registry, blob: MemoryBlob, status: int
) -> None:
    proxy = FaultProxy(registry.host, Rule(BLOBS, Refuse(Answer(status)), times=7))
    events: list[Event] = []

    async with proxy.serve() as host, connect() as client:
        content = await read(client, Repository(host, "app"), blob.descriptor, events=events)

    assert content == blob.content
    retries = [event for event in events if isinstance(event, RequestRetried)]
    assert [retry.attempt for retry in retries] == [1, 2, 3, 4, 5, 6, 7]
    assert {retry.reason for retry in retries} == {f"HTTP {status}"}
    assert retries[0].url == f"http://{host}/v2/app/blobs/{blob.descriptor.digest}"


@pytest.mark.parametrize("status", [400, 402, 405, 410, 418, 501])
async def test_refusal_is_not_repeated(registry: Registry, blob: MemoryBlob, status: int) -> None:
    said = b'{"errors": [{"code": "NO", "message": "because"}]}'
    proxy = FaultProxy(registry.host, Rule(BLOBS, Refuse(Answer(status, body=said)), times=99))

    with pytest.raises(RegistryRejected, match=rf"HTTP {status} .NO: because") as caught:
        await pull(proxy, blob)

    assert caught.value.status == status
    assert caught.value.codes == ("NO",)
    assert len(proxy.played) == 1


async def test_trouble_that_stays_ends_with_the_registrys_own_words(
    registry: Registry, blob: MemoryBlob
) -> None:
    said = Answer(503, body=b"<html>maintenance until noon</html>")
    proxy = FaultProxy(registry.host, Rule(BLOBS, Refuse(said), times=99))

    with pytest.raises(RegistryUnavailable, match=r"maintenance until noon.; gave up after 8"):
        await pull(proxy, blob)


@pytest.mark.parametrize("value", ["7", "Wed, 01 Jan 2200 00:00:00 GMT", "-1", "soon"])
async def test_retry_after_is_kept_or_the_wait_is_ours(
    registry: Registry, blob: MemoryBlob, value: str
) -> None:
    late = Answer(429, {"Retry-After": value})
    proxy = FaultProxy(registry.host, Rule(BLOBS, Refuse(late)))
    time = SkippedTime()

    if "2200" in value:
        with pytest.raises(RegistryUnavailable, match="asks to wait"):
            await pull(proxy, blob, time=time)
        assert time.skipped == 0
    else:
        assert await pull(proxy, blob, time=time) == blob.content
        assert (time.skipped >= 7) == (value == "7")


async def test_pause_that_one_request_was_told_holds_for_the_others(
    registry: Registry, blob: MemoryBlob
) -> None:
    late = Refuse(Answer(429, {"Retry-After": "60"}))
    proxy = FaultProxy(registry.host, Rule(BLOBS, late))
    sleeping = anyio.Event()
    other_may_go = anyio.Event()
    time = SkippedTime()

    async def sleep(seconds: float) -> None:
        sleeping.set()
        await other_may_go.wait()
        time.skipped += seconds

    clock = time.clock
    async with proxy.serve() as host, connect(time=time) as client:
        object.__setattr__(clock, "sleep", sleep)
        repository = Repository(host, "app")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, client, repository, blob.descriptor)
            await sleeping.wait()
            tasks.start_soon(read, client, repository, blob.descriptor)
            for _ in range(100):
                await anyio.lowlevel.checkpoint()
            before = len(proxy.seen(BLOBS))
            other_may_go.set()

    assert before == 1
    assert len(proxy.seen(BLOBS)) == 3


async def test_stalled_download_goes_on(registry: Registry, blob: MemoryBlob) -> None:
    proxy = FaultProxy(registry.host, Rule(BLOBS, StallAnswer(1 << 20)))

    content = await pull(proxy, blob, retry=IMPATIENT)

    assert content == blob.content
    assert proxy.seen(BLOBS)[1].headers["range"] == f"bytes={1 << 20}-"


async def test_registry_that_says_nothing_is_given_up() -> None:
    server = Script().on(".*", lambda connection: connection.until_gone())

    async with server.serve() as host:
        insecure = frozenset({host})
        async with connect(retry=IMPATIENT, insecure_registries=insecure) as client:
            with pytest.raises(RegistryUnavailable, match="gave up after 4 attempts"):
                await client.resolve(Reference.parse(f"{host}/app:1"), PLATFORM)


async def test_drip_is_a_stall() -> None:
    blob = MemoryBlob(noise(100_000))

    async def drip(connection: Connection) -> None:
        await connection.send(Answer(200, {"Content-Length": "100000"}).encode())
        for byte in itertools.count():
            await connection.send(blob.content[byte : byte + 1])
            await anyio.sleep(0.005)

    server = Script().on("blobs", drip).on(".*", Answer(200))
    async with server.serve() as host, connect(retry=IMPATIENT) as client:
        with pytest.raises(RegistryUnavailable, match=r"stalled: less than 32768 bytes in 0\.5 s"):
            await read(client, Repository(host, "app"), blob.descriptor)


async def test_slow_reader_is_no_stall(registry: Registry, blob: MemoryBlob) -> None:
    received = b""

    async with (
        connect(retry=IMPATIENT) as client,
        client.read_blob(Repository(registry.host, "app"), blob.descriptor) as stream,
    ):
        async for chunk in stream:
            received += chunk
            if len(received) < 200_000:
                await anyio.sleep(0.7)

    assert received == blob.content
    assert len([r for r in registry.requests() if r.is_blob_download]) == 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (ChangeAnswer(keep=SIZE - 1), f"{SIZE - 1} bytes, the manifest says {SIZE}"),
        (ChangeAnswer(extra=1), f"{SIZE + 1} bytes, the manifest says {SIZE}"),
        (
            ChangeAnswer({"Content-Length": None}, extra=1),
            f"more than the {SIZE} bytes",
        ),
        (ChangeAnswer(flip=SIZE // 2), "altered it"),
        (ChangeAnswer(flip=0), "altered it"),
        (ChangeAnswer(flip=SIZE - 1), "altered it"),
    ],
)
async def test_wrong_bytes_are_an_integrity_error(
    registry: Registry, blob: MemoryBlob, fault: Fault, message: str
) -> None:
    proxy = FaultProxy(registry.host, Rule(BLOBS, fault, times=99))

    with pytest.raises(IntegrityError, match=message):
        await pull(proxy, blob)


async def test_short_body_without_a_length_is_not_taken_for_the_whole(
    registry: Registry, blob: MemoryBlob
) -> None:
    short = ChangeAnswer({"Content-Length": None}, keep=1 << 20)
    proxy = FaultProxy(registry.host, Rule(BLOBS, short))

    content = await pull(proxy, blob)

    assert content == blob.content
    assert proxy.seen(BLOBS)[1].headers["range"] == f"bytes={1 << 20}-"


async def test_content_encoding_changes_nothing_about_the_bytes(
    registry: Registry, blob: MemoryBlob
) -> None:
    label = ChangeAnswer({"Content-Encoding": "gzip"})
    proxy = FaultProxy(registry.host, Rule(BLOBS, label))

    assert await pull(proxy, blob) == blob.content
    assert proxy.requests[-1].headers["accept-encoding"] == "identity"


async def test_answer_that_is_not_http_is_an_error_that_says_so() -> None:
    async def babble(connection: Connection) -> None:
        await connection.send(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

    server = Script().on("GET /v2/$", Answer(200)).on(".*", babble)
    async with server.serve() as host, connect() as client:
        with pytest.raises(RegistryUnavailable, match="the answer was not HTTP"):
            await client.resolve(Reference.parse(f"{host}/app:1"), PLATFORM)


# Manifests


async def resolve(proxy: FaultProxy, image: Image, **options: object) -> None:
    async with proxy.serve() as host, connect(**options) as client:  # type: ignore[arg-type]
        resolved = await client.resolve(Reference.parse(f"{host}/app:1"), PLATFORM)
        assert resolved.manifest == image.manifest


@pytest.fixture
async def image(registry: Registry) -> Image:
    image = Image.make(1000)
    async with connect() as client:
        await image.push(client, Reference.parse(f"{registry.host}/app:1"))
    return image


MANIFESTS = "GET .*/manifests/"


@pytest.mark.parametrize(
    "fault",
    [
        CutAnswer(0),
        CutAnswer(10),
        CutAnswer(10, cleanly=True),
        LoseAnswer(),
        Refuse(Answer(502)),
        ChangeAnswer({"Content-Length": "1000"}),
    ],
)
async def test_manifest_is_fetched_again_after_a_fault(
    registry: Registry, image: Image, fault: Fault
) -> None:
    proxy = FaultProxy(registry.host, Rule(MANIFESTS, fault))

    await resolve(proxy, image, retry=IMPATIENT)

    assert len(proxy.seen(MANIFESTS)) == 2


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (ChangeAnswer(flip=20), "registry calls it"),
        (ChangeAnswer({"Docker-Content-Digest": Digest.of(b"x")}), "registry calls it"),
        (ChangeAnswer({"Docker-Content-Digest": None}, keep=50), "not usable JSON"),
        (ChangeAnswer({"Docker-Content-Digest": None}, extra=5 << 20), "is larger than"),
        (ChangeAnswer({"Content-Type": media_types.DOCKER_LIST}), "announced as"),
    ],
)
async def test_wrong_manifest_is_an_integrity_error(
    registry: Registry, image: Image, fault: Fault, message: str
) -> None:
    proxy = FaultProxy(registry.host, Rule(MANIFESTS, fault, times=99))

    with pytest.raises(IntegrityError, match=message):
        await resolve(proxy, image)


async def test_manifest_of_another_digest_than_asked_for_is_refused(
    registry: Registry, image: Image
) -> None:
    proxy = FaultProxy(registry.host, Rule(MANIFESTS, ChangeRequest(target="/v2/app/manifests/1")))

    async with proxy.serve() as host, connect() as client:
        wanted = Reference.parse(f"{host}/app@{Digest.of(b'other')}")
        with pytest.raises(IntegrityError, match=f"expected {Digest.of(b'other')}"):
            await client.resolve(wanted, PLATFORM)


@pytest.mark.parametrize(
    "content",
    [
        b'{"schemaVersion": 2, "schemaVersion": 2, "config": {}, "layers": []}',
        b'{"schemaVersion": 1, "name": "app", "fsLayers": []}',
        b'{"schemaVersion": 2, "manifests": [], "layers": [], "config": {}}',
        b"[" * 100_000,
        b"{}",
    ],
    ids=["repeated", "schema1", "confused", "deep", "empty"],
)
async def test_hostile_manifest_is_an_integrity_error(content: bytes) -> None:
    server = Script().on("manifests", Answer(200, body=content)).on(".*", Answer(200))

    async with server.serve() as host, connect() as client:
        with pytest.raises(IntegrityError, match=f"manifest 1 from {host}"):
            await client.resolve(Reference.parse(f"{host}/app:1"), PLATFORM)


async def test_index_that_never_ends_is_refused() -> None:
    server = Script().on("GET /v2/$", Answer(200))
    document = b'{"schemaVersion": 2, "manifests": []}'
    for depth in range(6):
        target = "manifests/1$" if depth == 5 else f"manifests/{Digest.of(document)}"
        server.on(target, Answer(200, body=document))
        entry = Descriptor(media_types.OCI_INDEX, Digest.of(document), len(document)).to_json()
        platform = '{"os": "linux", "architecture": "amd64"}'
        document = (
            f'{{"schemaVersion": 2, "manifests": [{{"mediaType": "{entry["mediaType"]}", '
            f'"digest": "{entry["digest"]}", "size": {entry["size"]}, "platform": {platform}}}]}}'
        ).encode()

    async with server.serve() as host, connect() as client:
        with pytest.raises(IntegrityError, match="nested deeper than 3"):
            await client.resolve(Reference.parse(f"{host}/app:1"), PLATFORM)


# Redirects


@pytest.fixture
async def storage(blob: MemoryBlob) -> Script:
    """Another host that has the blob: the storage behind a registry."""
    return Script().on("GET /blob", Answer(200, body=blob.content))


def guarded(*answers: Answer) -> Script:
    wanted = Answer(401, {"WWW-Authenticate": 'Basic realm="x"'})
    return Script().on("GET /v2/$", Answer(200)).on("blobs", wanted, *answers)


async def follow(registry: Script, host: str, directory: Path, blob: MemoryBlob) -> bytes:
    auths = {host: {"auth": base64.b64encode(b"u:canary").decode()}}
    async with connect(auths=auths, directory=directory) as client:
        return await read(client, Repository(host, "app"), blob.descriptor)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_to_the_storage_is_followed_without_the_credentials(
    blob: MemoryBlob, storage: Script, tmp_path: Path, status: int
) -> None:
    async with storage.serve() as elsewhere:
        location = f"http://{elsewhere}/blob?X-Signature=a%2Bb%3D"
        registry = guarded(Answer(status, {"Location": location, "Set-Cookie": "session=1"}))
        async with registry.serve() as host:
            content = await follow(registry, host, tmp_path, blob)

    assert content == blob.content
    assert registry.requests[-1].user == "u:canary"
    [request] = storage.requests
    assert request.target == "/blob?X-Signature=a%2Bb%3D"
    assert {"authorization", "cookie", "referer"}.isdisjoint(request.headers)


async def test_redirect_within_the_registry_keeps_the_credentials(
    blob: MemoryBlob, tmp_path: Path
) -> None:
    registry = guarded(Answer(307, {"Location": "/data"}))
    registry.on("GET /data", Answer(200, body=blob.content))

    async with registry.serve() as host:
        content = await follow(registry, host, tmp_path, blob)

    assert content == blob.content
    assert registry.seen("/data")[0].user == "u:canary"


async def test_storage_that_asks_for_credentials_gets_none(
    blob: MemoryBlob, tmp_path: Path
) -> None:
    wants = Script().on(".*", Answer(401, {"WWW-Authenticate": 'Basic realm="give me"'}))

    async with wants.serve() as elsewhere:
        registry = guarded(Answer(307, {"Location": f"http://{elsewhere}/blob"}))
        async with registry.serve() as host:
            with pytest.raises(Unauthorized, match=elsewhere):
                await follow(registry, host, tmp_path, blob)

    assert ["authorization" in request.headers for request in wants.requests] == [False]


async def test_redirects_without_end_are_ended(blob: MemoryBlob, tmp_path: Path) -> None:
    registry = guarded(Answer(307, {"Location": "/again"}))
    registry.on("/again", Answer(307, {"Location": "/again"}))

    async with registry.serve() as host:
        with pytest.raises(RegistryError, match="more than 5 redirects"):
            await follow(registry, host, tmp_path, blob)

    assert len(registry.seen("/again")) == 5


@pytest.mark.parametrize("location", ["file:///etc/passwd", "http://169.254.169.254/", "http://["])
async def test_redirect_to_where_nobody_should_go_is_refused(
    blob: MemoryBlob, tmp_path: Path, location: str
) -> None:
    registry = guarded(Answer(307, {"Location": location}))

    async with registry.serve() as host:
        with pytest.raises(RegistryError, match=r"Location|refused"):
            await follow(registry, host, tmp_path, blob)


async def test_storage_is_asked_by_a_fresh_redirect_after_a_cut(
    blob: MemoryBlob, tmp_path: Path
) -> None:
    async def cut(connection: Connection) -> None:
        whole = Answer(200, {"Content-Length": str(SIZE)}).encode()
        await connection.send(whole + blob.content[:100_000])

    rest = Answer(206, {"Content-Range": f"bytes 100000-{SIZE - 1}/{SIZE}"}, blob.content[100_000:])
    storage = Script().on("/first", cut).on("/second", rest)
    async with storage.serve() as elsewhere:
        registry = guarded(
            Answer(307, {"Location": f"http://{elsewhere}/first"}),
            Answer(307, {"Location": f"http://{elsewhere}/second"}),
        )
        async with registry.serve() as host:
            content = await follow(registry, host, tmp_path, blob)

    assert content == blob.content
    assert storage.requests[1].headers["range"] == "bytes=100000-"
