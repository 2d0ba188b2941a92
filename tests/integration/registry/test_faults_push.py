"""Uploads on a bad day: a real registry behind a proxy that plays faults, or none at all."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import orjson
import pytest

from asynckaniko.errors import (
    BlobUnknown,
    IntegrityError,
    RegistryError,
    RegistryRejected,
    RegistryUnavailable,
    Unauthorized,
)
from asynckaniko.events import BlobRoute, Event, RequestRetried
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.reference import Reference, Repository
from asynckaniko.settings import Retry
from tests.integration.registry.clients import (
    IMPATIENT,
    Image,
    MemoryBlob,
    SkippedTime,
    connect,
    noise,
)
from tests.integration.registry.servers import (
    Answer,
    ChangeAnswer,
    ChangeRequest,
    CutAnswer,
    CutRequest,
    Fault,
    FaultProxy,
    LoseAnswer,
    Refuse,
    Rule,
    Script,
    Seen,
    SlowRequest,
    StallAnswer,
    StallRequest,
)
from tests.support.registry import Registry

CHUNK = 1 << 20
SIZE = 3 * CHUNK
UPLOADS = "/blobs/uploads/"
STREAMED, CHUNKED = 0, CHUNK


@pytest.fixture
def blob() -> MemoryBlob:
    return MemoryBlob(noise(SIZE))


async def push(
    registry: Registry,
    blob: MemoryBlob,
    *rules: Rule,
    time: SkippedTime | None = None,
    **options: object,
) -> FaultProxy:
    """Push through the rules and see that the registry has the right bytes."""
    proxy = FaultProxy(registry.host, *rules)
    async with proxy.serve() as host, connect(time=time, **options) as client:  # type: ignore[arg-type]
        await client.push_blob(Repository(host, "app"), blob)
    assert registry.blob("app", blob.descriptor.digest) == blob.content
    assert [rule.fault for rule in proxy.played] == [r.fault for r in rules for _ in range(r.times)]
    return proxy


def sent(proxy: FaultProxy) -> list[str]:
    """List the requests, without those that only look around."""
    return [r.method for r in proxy.requests if r.method not in ("HEAD", "GET")]


@pytest.mark.parametrize("chunk_size", [STREAMED, CHUNKED])
@pytest.mark.parametrize("at", [0, 1, CHUNK - 1, CHUNK, SIZE - 1, SIZE])
async def test_cut_upload_begins_anew_where_the_registry_forgets_it(
    registry: Registry, blob: MemoryBlob, chunk_size: int, at: int
) -> None:
    method = "PATCH" if chunk_size else "PUT"

    proxy = await push(
        registry, blob, Rule(f"{method} .*{UPLOADS}", CutRequest(at)), chunk_size=chunk_size
    )

    assert sent(proxy).count("POST") <= 2


@pytest.mark.parametrize("skip", [0, 1, 2])
async def test_cut_between_chunks_loses_at_most_what_the_registry_forgets(
    registry: Registry, blob: MemoryBlob, skip: int
) -> None:
    cut = Rule(f"PATCH .*{UPLOADS}", CutRequest(1000), skip=skip)

    proxy = await push(registry, blob, cut, chunk_size=CHUNK)

    assert sent(proxy).count("POST") <= 2


async def test_lost_answer_to_the_last_request_is_no_second_upload(
    registry: Registry, blob: MemoryBlob
) -> None:
    proxy = await push(registry, blob, Rule(f"PUT .*{UPLOADS}", LoseAnswer()))

    assert sent(proxy) == ["POST", "PUT"]
    assert proxy.requests[-1].method == "HEAD"


@pytest.mark.parametrize("skip", [0, 1, 2])
async def test_lost_answer_to_a_chunk_is_followed_by_a_question_not_by_a_repetition(
    registry: Registry, blob: MemoryBlob, skip: int
) -> None:
    proxy = await push(
        registry, blob, Rule(f"PATCH .*{UPLOADS}", LoseAnswer(), skip=skip), chunk_size=CHUNK
    )

    methods = [r.method for r in proxy.requests if UPLOADS in r.target]
    assert methods[methods.index("PATCH") + skip + 1] == "GET"


@pytest.mark.parametrize("fault", [LoseAnswer(), CutRequest(0), Refuse(Answer(503))])
async def test_session_that_was_not_announced_is_begun_again(
    registry: Registry, blob: MemoryBlob, fault: Fault
) -> None:
    proxy = await push(registry, blob, Rule(f"POST .*{UPLOADS}", fault))

    assert sent(proxy) == ["POST", "POST", "PUT"]


@pytest.mark.parametrize("chunk_size", [STREAMED, CHUNKED])
@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, body=b'{"errors": [{"code": "BLOB_UPLOAD_UNKNOWN"}]}'),
        Answer(400, body=b'{"errors": [{"code": "BLOB_UPLOAD_INVALID"}]}'),
        Answer(400),
        Answer(410),
        Answer(409),
    ],
)
async def test_session_that_is_gone_is_replaced(
    registry: Registry, blob: MemoryBlob, chunk_size: int, answer: Answer
) -> None:
    method = "PATCH" if chunk_size else "PUT"

    proxy = await push(
        registry, blob, Rule(f"{method} .*{UPLOADS}", Refuse(answer)), chunk_size=chunk_size
    )

    assert sent(proxy).count("POST") == 2


@pytest.mark.parametrize("chunk_size", [STREAMED, CHUNKED])
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_upload_goes_on_after_trouble_that_passes(
    registry: Registry, blob: MemoryBlob, chunk_size: int, status: int
) -> None:
    method = "PATCH" if chunk_size else "PUT"
    trouble = Rule(f"{method} .*{UPLOADS}", Refuse(Answer(status)))

    proxy = await push(registry, blob, trouble, chunk_size=chunk_size)

    # The session had not seen the bytes, and is asked how far it is.
    assert sent(proxy).count("POST") == 1


async def test_refused_range_is_answered_by_asking_how_far_the_session_is(
    registry: Registry, blob: MemoryBlob
) -> None:
    proxy = await push(
        registry,
        blob,
        Rule(f"PATCH .*{UPLOADS}", Refuse(Answer(416)), skip=1),
        chunk_size=CHUNK,
    )

    assert sent(proxy) == ["POST", "PATCH", "PATCH", "PATCH", "PATCH", "PUT"]


async def test_range_that_lags_behind_is_believed_once(
    registry: Registry, blob: MemoryBlob
) -> None:
    """docker-registry kept the whole chunk, whatever it is made to say."""
    stale = ChangeAnswer({"Range": f"0-{CHUNK // 2 - 1}"})

    proxy = await push(registry, blob, Rule(f"PATCH .*{UPLOADS}", stale, times=1), chunk_size=CHUNK)

    assert sent(proxy).count("POST") == 2


async def test_range_that_always_lags_behind_is_not_believed_any_more(
    registry: Registry, blob: MemoryBlob
) -> None:
    stale = ChangeAnswer({"Range": f"0-{CHUNK // 2 - 1}"})
    proxy = FaultProxy(registry.host, Rule(f"PATCH .*{UPLOADS}", stale, times=99))

    async with proxy.serve() as host, connect(chunk_size=CHUNK) as client:
        await client.push_blob(Repository(host, "app"), blob)

    assert registry.blob("app", blob.descriptor.digest) == blob.content


async def test_registry_that_keeps_nothing_is_an_error(blob: MemoryBlob) -> None:
    wrong = Answer(400, body=b'{"errors": [{"code": "DIGEST_INVALID"}]}')
    server = Script().on("GET /v2/$", Answer(200)).on("HEAD", Answer(404)).on("PUT", wrong)
    server.on("POST|PATCH", Answer(202, {"Location": "/upload", "Range": "0-0"}))

    async with server.serve() as host, connect(chunk_size=CHUNK) as client:
        with pytest.raises(RegistryRejected, match="DIGEST_INVALID"):
            await client.push_blob(Repository(host, "app"), blob)


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        (f"PATCH .*{UPLOADS}", ChangeAnswer(status=201)),
        (f"PATCH .*{UPLOADS}", ChangeAnswer(status=204)),
        (f"PATCH .*{UPLOADS}", ChangeAnswer({"Range": None})),
        (f"PUT .*{UPLOADS}", ChangeAnswer(status=204)),
        (f"PUT .*{UPLOADS}", ChangeAnswer(status=202)),
        (f"PUT .*{UPLOADS}", ChangeAnswer({"Docker-Content-Digest": None})),
        (f"POST .*{UPLOADS}", ChangeAnswer({"Range": None})),
    ],
)
async def test_answers_of_other_registries_are_understood(
    registry: Registry, blob: MemoryBlob, pattern: str, fault: Fault
) -> None:
    proxy = await push(registry, blob, Rule(pattern, fault), chunk_size=CHUNK)

    assert sent(proxy) == ["POST", "PATCH", "PATCH", "PATCH", "PUT"]


async def test_blob_that_was_stored_as_another_is_an_integrity_error(
    registry: Registry, blob: MemoryBlob
) -> None:
    other = ChangeAnswer({"Docker-Content-Digest": Digest.of(b"other")})

    with pytest.raises(IntegrityError, match="the registry stored"):
        await push(registry, blob, Rule(f"PUT .*{UPLOADS}", other))


async def test_promise_to_store_that_is_not_kept_is_found_out(
    registry: Registry, blob: MemoryBlob
) -> None:
    promise = Rule(f"PUT .*{UPLOADS}", Refuse(Answer(202)))

    proxy = await push(registry, blob, promise)

    assert sent(proxy).count("PUT") == 2


@pytest.mark.parametrize("status", [405, 501, 400])
async def test_registry_without_head_is_asked_by_get(
    registry: Registry, blob: MemoryBlob, status: int
) -> None:
    none = Rule("HEAD ", Refuse(Answer(status)), times=99)
    proxy = FaultProxy(registry.host, none)

    async with proxy.serve() as host, connect() as client:
        routes = [await client.push_blob(Repository(host, "app"), blob) for _ in range(2)]

    assert routes == [BlobRoute.UPLOADED, BlobRoute.EXISTED]
    assert {r.headers["range"] for r in proxy.seen("GET .*/blobs/sha256")} == {"bytes=0-0"}


async def test_head_that_says_nothing_of_the_size_is_believed(
    registry: Registry, blob: MemoryBlob
) -> None:
    proxy = FaultProxy(
        registry.host, Rule("HEAD ", ChangeAnswer({"Content-Length": "0"}), times=99)
    )

    async with proxy.serve() as host, connect() as client:
        routes = [await client.push_blob(Repository(host, "app"), blob) for _ in range(2)]

    assert routes == [BlobRoute.UPLOADED, BlobRoute.EXISTED]


async def test_long_upload_may_be_cut_though_it_took_longer_than_all_waits_may(
    registry: Registry,
) -> None:
    time = SkippedTime()

    class Long(MemoryBlob):
        async def chunks(self, offset: int) -> AsyncIterator[bytes]:
            for start in range(offset, len(self.content), CHUNK):
                time.skipped += 3600
                yield self.content[start : start + CHUNK]

    cut = Rule(f"PUT .*{UPLOADS}", CutRequest(2 * CHUNK), times=3)
    proxy = await push(registry, Long(noise(SIZE)), cut, time=time)

    assert sent(proxy).count("PUT") == cut.times + 1


async def test_registry_that_hides_what_is_missing_gets_the_upload(
    registry: Registry, blob: MemoryBlob
) -> None:
    proxy = await push(registry, blob, Rule("HEAD ", Refuse(Answer(403))))

    assert sent(proxy) == ["POST", "PUT"]


async def test_refused_push_names_the_registrys_reason(blob: MemoryBlob) -> None:
    denied = Answer(403, body=b'{"errors": [{"code": "DENIED", "message": "read only"}]}')
    server = Script().on("GET /v2/$", Answer(200)).on("HEAD", Answer(404)).on("POST", denied)

    async with server.serve() as host, connect() as client:
        with pytest.raises(Unauthorized, match=rf"{host}/v2/app.* HTTP 403 .DENIED: read only"):
            await client.push_blob(Repository(host, "app"), blob)

    assert len(server.seen("POST")) == 1


MOUNT = r"POST .*\?mount="


@pytest.mark.parametrize(
    "fault",
    [
        Refuse(Answer(401)),
        Refuse(Answer(403)),
        Refuse(Answer(404)),
        Refuse(Answer(405)),
        Refuse(Answer(500)),
        Refuse(Answer(202)),
        LoseAnswer(),
        CutRequest(0),
        CutAnswer(0),
        StallAnswer(-1),
        ChangeRequest(target="/v2/app/blobs/uploads/"),
    ],
)
async def test_mount_that_fails_in_any_way_becomes_an_upload(
    registry: Registry, blob: MemoryBlob, fault: Fault
) -> None:
    proxy = FaultProxy(registry.host, Rule(MOUNT, fault))
    async with proxy.serve() as host, connect(retry=IMPATIENT) as client:
        await client.push_blob(Repository(host, "base"), blob)
        route = await client.push_blob(
            Repository(host, "app"), blob, mount_from=[Repository(host, "base")]
        )

    assert registry.blob("app", blob.descriptor.digest) == blob.content
    assert route in (BlobRoute.UPLOADED, BlobRoute.MOUNTED)
    assert len(proxy.seen(MOUNT)) == 1


async def test_session_that_came_instead_of_a_mount_is_used(
    registry: Registry, blob: MemoryBlob
) -> None:
    proxy = FaultProxy(registry.host)
    async with proxy.serve() as host, connect() as client:
        await client.push_blob(Repository(host, "app"), blob, mount_from=[Repository(host, "base")])

    assert sent(proxy) == ["POST", "PUT"]


async def test_server_that_finds_the_blob_too_large_gets_it_in_chunks(
    registry: Registry,
) -> None:
    blob = MemoryBlob(noise(10 << 20))

    proxy = await push(registry, blob, Rule(f"PUT .*{UPLOADS}", Refuse(Answer(413), early=True)))

    assert sent(proxy) == ["POST", "PUT", "POST", "PATCH", "PATCH", "PUT"]


async def test_server_that_finds_chunks_too_large_refuses(
    registry: Registry, blob: MemoryBlob
) -> None:
    with pytest.raises(RegistryRejected, match="HTTP 413"):
        await push(
            registry, blob, Rule(f"PATCH .*{UPLOADS}", Refuse(Answer(413))), chunk_size=CHUNK
        )


async def test_chunks_are_as_large_as_the_registry_wants(
    registry: Registry, blob: MemoryBlob
) -> None:
    wants = ChangeAnswer({"OCI-Chunk-Min-Length": str(2 * CHUNK)})

    proxy = await push(registry, blob, Rule(f"POST .*{UPLOADS}", wants), chunk_size=CHUNK)

    sizes = [r.size for r in proxy.seen("PATCH")]
    assert sizes == [2 * CHUNK, CHUNK]


async def test_stalled_upload_is_tried_again(registry: Registry) -> None:
    blob = MemoryBlob(noise(24 << 20))  # more than the buffers on the way hold

    stall = Rule(f"PUT .*{UPLOADS}", StallRequest(CHUNK))

    proxy = await push(registry, blob, stall, retry=IMPATIENT)

    assert sent(proxy).count("PUT") == 2


async def test_line_that_becomes_slow_after_quick_pieces_is_no_stall(registry: Registry) -> None:
    """160 KiB in a second are more than 32 KiB in two, however much is written at a time."""
    blob = MemoryBlob(noise(24 << 20))
    slow = SlowRequest(at=8 << 20, size=1 << 20, seconds=0.4)
    retry = Retry(stall_seconds=2.0, stall_size=32 * 1024)

    proxy = await push(registry, blob, Rule(f"PUT .*{UPLOADS}", slow), retry=retry)

    assert sent(proxy) == ["POST", "PUT"]


async def test_drip_is_a_stall(registry: Registry) -> None:
    blob = MemoryBlob(noise(24 << 20))
    drip = SlowRequest(at=8 << 20, size=16 << 20, seconds=0.4)
    retry = Retry(stall_seconds=1.0, stall_size=4 << 20, attempts=1)

    with pytest.raises(
        RegistryUnavailable, match="the upload stalled: less than 4194304 bytes in 1 s"
    ):
        await push(registry, blob, Rule(f"PUT .*{UPLOADS}", drip, times=9), retry=retry)


async def test_upload_that_is_never_answered_is_tried_again(
    registry: Registry, blob: MemoryBlob
) -> None:
    proxy = await push(registry, blob, Rule(f"PUT .*{UPLOADS}", StallAnswer(-1)), retry=IMPATIENT)

    # The registry had taken it.
    assert sent(proxy) == ["POST", "PUT"]


class SlowBlob(MemoryBlob):
    async def chunks(self, offset: int) -> AsyncIterator[bytes]:
        for start in range(offset, len(self.content), CHUNK):
            await anyio.sleep(0.7)
            yield self.content[start : start + CHUNK]


async def test_slow_source_is_no_stall(registry: Registry) -> None:
    proxy = await push(registry, SlowBlob(noise(SIZE)), retry=IMPATIENT)

    assert sent(proxy) == ["POST", "PUT"]


async def test_cancelled_upload_closes_its_source(registry: Registry) -> None:
    opened = anyio.Event()
    closed = False

    class Endless(MemoryBlob):
        async def chunks(self, offset: int) -> AsyncIterator[bytes]:
            nonlocal closed
            try:
                yield self.content[:10]
                opened.set()
                await anyio.sleep_forever()
            finally:
                closed = True

    async with connect() as client, anyio.create_task_group() as tasks:
        blob = Endless(noise(SIZE))
        tasks.start_soon(client.push_blob, Repository(registry.host, "app"), blob)
        await opened.wait()
        tasks.cancel_scope.cancel()

    assert closed


async def test_refusals_do_not_go_on_for_ever(blob: MemoryBlob) -> None:
    gone = Answer(404, body=b'{"errors": [{"code": "BLOB_UPLOAD_UNKNOWN"}]}')
    server = Script().on("GET /v2/$", Answer(200)).on("HEAD", Answer(404))
    server.on("POST", Answer(202, {"Location": "/upload"})).on("PUT", gone)

    async with server.serve() as host, connect() as client:
        with pytest.raises(RegistryRejected, match="BLOB_UPLOAD_UNKNOWN"):
            await client.push_blob(Repository(host, "app"), blob)

    assert len(server.seen("PUT")) == 4


async def test_outage_ends_with_the_number_of_attempts(blob: MemoryBlob) -> None:
    server = Script().on("GET /v2/$", Answer(200)).on("HEAD", Answer(404))
    server.on("POST", Answer(202, {"Location": "/upload"})).on(".*", Answer(503))

    async with server.serve() as host, connect() as client:
        with pytest.raises(RegistryUnavailable, match=r"HTTP 503.*; gave up after 8 attempts"):
            await client.push_blob(Repository(host, "app"), blob)

    assert len(server.seen("PUT")) == 8


async def test_retries_of_uploads_are_visible(registry: Registry, blob: MemoryBlob) -> None:
    proxy = FaultProxy(registry.host, Rule(f"PUT .*{UPLOADS}", Refuse(Answer(503)), times=2))
    events: list[Event] = []

    async with proxy.serve() as host, connect() as client:
        await client.push_blob(Repository(host, "app"), blob, emit=events.append)

    retries = [event for event in events if isinstance(event, RequestRetried)]
    assert [(r.method, r.reason, r.attempt) for r in retries] == [
        ("PUT", "HTTP 503", 1),
        ("PUT", "HTTP 503", 2),
    ]
    assert all("?" not in r.url for r in retries)


# Where uploads go


def server_with_storage(location: str) -> Script:
    wanted = Answer(401, {"WWW-Authenticate": 'Basic realm="x"'})
    return (
        Script()
        .on("GET /v2/$", Answer(200))
        .on("HEAD", wanted, Answer(404), Answer(200))
        .on("POST", Answer(202, {"Location": location}))
        .on("PUT /here", Answer(201))
    )


async def upload_to(registry: Script, host: str, directory: Path, blob: MemoryBlob) -> None:
    auths = {host: {"auth": base64.b64encode(b"u:canary").decode()}}
    async with connect(auths=auths, directory=directory) as client:
        await client.push_blob(Repository(host, "app"), blob)


async def test_upload_to_another_host_goes_without_the_credentials(
    blob: MemoryBlob, tmp_path: Path
) -> None:
    storage = Script().on("PUT", Answer(201))

    async with storage.serve() as elsewhere:
        registry = server_with_storage(f"http://{elsewhere}/there?_state=a%2Bb")
        async with registry.serve() as host:
            await upload_to(registry, host, tmp_path, blob)

    [request] = storage.requests
    assert request.target == f"/there?_state=a%2Bb&digest={blob.descriptor.digest}"
    assert "authorization" not in request.headers
    assert storage.bodies == [blob.content]
    assert registry.requests[-1].user == "u:canary"


async def test_upload_to_a_relative_location_keeps_the_credentials(
    blob: MemoryBlob, tmp_path: Path
) -> None:
    registry = server_with_storage("/here?_state=x")

    async with registry.serve() as host:
        await upload_to(registry, host, tmp_path, blob)

    [request] = registry.seen("PUT")
    assert request.user == "u:canary"
    assert request.query == {"_state": ["x"], "digest": [blob.descriptor.digest]}


@pytest.mark.parametrize("location", ["", "file:///x", "http://169.254.169.254/x"])
async def test_upload_to_nowhere_is_refused(
    blob: MemoryBlob, tmp_path: Path, location: str
) -> None:
    registry = server_with_storage(location)

    async with registry.serve() as host:
        with pytest.raises(RegistryError, match=r"Location|refused"):
            await upload_to(registry, host, tmp_path, blob)


async def test_redirected_upload_is_sent_again_to_where_it_points(
    blob: MemoryBlob, tmp_path: Path
) -> None:
    storage = Script().on("PUT", Answer(201))

    async with storage.serve() as elsewhere:
        registry = server_with_storage("/moved")
        registry.on("PUT /moved", Answer(307, {"Location": f"http://{elsewhere}/there"}))
        async with registry.serve() as host:
            await upload_to(registry, host, tmp_path, blob)

    assert storage.bodies == [blob.content]
    assert "authorization" not in storage.requests[0].headers


# Manifests

MANIFESTS = "PUT .*/manifests/"


async def push_image(registry: Registry, *rules: Rule, **options: object) -> list[Seen]:
    image = Image.make(1000)
    proxy = FaultProxy(registry.host, *rules)
    async with proxy.serve() as host, connect(**options) as client:  # type: ignore[arg-type]
        await image.push(client, Reference.parse(f"{host}/app:1"))
    assert registry.has("app", "1")
    return proxy.seen(MANIFESTS)


@pytest.mark.parametrize(
    "fault",
    [
        Refuse(Answer(503)),
        Refuse(Answer(429, {"Retry-After": "3"})),
        Refuse(Answer(400, body=b'{"errors": [{"code": "MANIFEST_BLOB_UNKNOWN"}]}')),
        LoseAnswer(),
        CutRequest(10),
        StallAnswer(-1),
        StallRequest(10),
    ],
)
async def test_manifest_is_put_again_after_a_fault(registry: Registry, fault: Fault) -> None:
    assert len(await push_image(registry, Rule(MANIFESTS, fault), retry=IMPATIENT)) == 2


async def test_manifest_whose_blobs_stay_unknown_is_an_error_of_its_own(
    registry: Registry,
) -> None:
    image, tag = Image.make(1000), Reference.parse(f"{registry.host}/app:1")

    async with connect() as client:
        with pytest.raises(BlobUnknown, match=f"{image.config.descriptor.digest}"):
            await client.push_manifest(tag, image.manifest.content, image.manifest.media_type)

    assert not registry.has("app", "1")
    assert len([r for r in registry.requests() if r.method == "PUT"]) == 3


async def test_refused_manifest_is_not_repeated(registry: Registry) -> None:
    tag = Reference.parse(f"{registry.host}/app:1")

    async with connect() as client:
        with pytest.raises(RegistryRejected, match="MANIFEST_INVALID") as caught:
            await client.push_manifest(tag, b"[]", "application/vnd.oci.image.manifest.v1+json")

    assert caught.value.status == 400
    assert len([r for r in registry.requests() if r.method == "PUT"]) == 1


LONG = "a" * 128
IMMUTABLE = {
    # aws/containers-roadmap#862 and GoogleContainerTools/kaniko#3481
    "ecr-repository": (
        400,
        "TAG_INVALID",
        (
            f"The image tag '{LONG}' already exists in the '{LONG}/{LONG}' repository and cannot "
            "be overwritten because the repository is immutable."
        ),
    ),
    "ecr-tag": (
        400,
        "TAG_INVALID",
        (
            "The image tag '1' already exists in the 'app' repository and cannot be overwritten "
            "because the tag is immutable."
        ),
    ),
    # cloud.google.com/artifact-registry/docs/docker/troubleshoot
    "artifact-registry": (
        400,
        "MANIFEST_INVALID",
        "cannot update tag 1. The repository has enabled tag immutability",
    ),
    # goharbor/harbor src/server/middleware/immutable
    "harbor": (
        412,
        "PRECONDITION",
        "Failed to process request due to 'app:1' configured as immutable.",
    ),
    # docs.gitlab.com, immutable_container_tags: "Push denied: Tag is immutable"
    "gitlab": (403, "DENIED", "Push denied: Tag is immutable"),
}


@pytest.mark.parametrize("form", IMMUTABLE)
async def test_immutable_tag_is_an_error_unless_it_is_to_be_ignored(
    registry: Registry, form: str
) -> None:
    """The registry takes the tag once; then what is before it says what the others say."""
    status, code, said = IMMUTABLE[form]
    body = orjson.dumps({"errors": [{"code": code, "message": said}]})
    refusal = Rule("PUT .*/manifests/1$", Refuse(Answer(status, body=body)), times=2, skip=1)
    proxy = FaultProxy(registry.host, refusal)
    first, second = Image.make(10), Image.make(20)

    async with proxy.serve() as host:
        tag = Reference.parse(f"{host}/app:1")
        async with connect() as client:
            for image in (first, second):
                for blob in (*image.layers, image.config):
                    await client.push_blob(tag.repository, blob)
            await client.push_manifest(tag, first.manifest.content, first.manifest.media_type)
            with pytest.raises(RegistryRejected) as refused:
                await client.push_manifest(tag, second.manifest.content, second.manifest.media_type)
        async with connect(ignore_immutable_tags=True) as client:
            await client.push_manifest(tag, second.manifest.content, second.manifest.media_type)

    assert refused.value.status == status
    assert said in str(refused.value)
    assert proxy.played == [refusal, refusal]  # and nothing was tried again
    assert registry.manifest("app", "1")["layers"][0]["size"] == 10


@pytest.mark.parametrize(
    ("name", "target", "said"),
    [
        ("immutable-tags", "1", "quota exceeded"),
        ("app", "sha256:" + "0" * 64, "the tag is immutable"),
    ],
)
async def test_other_refusals_are_errors_whatever_is_to_be_ignored(
    name: str, target: str, said: str
) -> None:
    body = orjson.dumps({"errors": [{"code": "DENIED", "message": said}]})
    server = Script().on("GET /v2/$", Answer(200)).on("PUT", Answer(400, body=body))
    manifest = Image.make(10).manifest

    async with server.serve() as host, connect(ignore_immutable_tags=True) as client:
        mark = "@" if ":" in target else ":"
        reference = Reference.parse(f"{host}/{name}{mark}{target}")
        with pytest.raises(RegistryRejected, match=said):
            await client.push_manifest(reference, manifest.content, manifest.media_type)


async def test_manifest_that_was_stored_as_another_is_an_integrity_error(
    registry: Registry,
) -> None:
    other = ChangeAnswer({"Docker-Content-Digest": Digest.of(b"other")})

    with pytest.raises(IntegrityError, match="the registry stored"):
        await push_image(registry, Rule(MANIFESTS, other))
