"""Basic and Bearer against docker-registry, with a token server whose signatures it checks."""

import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from asynckaniko.errors import RegistryError, RegistryUnavailable, Unauthorized
from asynckaniko.events import BlobRoute
from asynckaniko.oci.reference import Reference, Repository
from asynckaniko.registry.client import RegistryClient
from tests.integration.registry.clients import (
    PLATFORM,
    Image,
    MemoryBlob,
    SkippedTime,
    connect,
    noise,
)
from tests.integration.registry.servers import Answer, FaultProxy, Refuse, Rule, Script, TokenServer
from tests.support.registry import Registry, run_registry


def basic(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Registry]:
    """A registry that wants Basic credentials: u and p."""
    with run_registry(tmp_path / "guarded", users={"u": "p"}) as server:
        yield server


async def test_basic_credentials_are_sent_once_they_are_asked_for(
    guarded: Registry, tmp_path: Path
) -> None:
    image, tag = Image.make(1000), Reference.parse(f"{guarded.host}/app:1")

    async with connect(auths={guarded.host: basic("u", "p")}, directory=tmp_path) as client:
        await image.push(client, tag)
        resolved = await client.resolve(tag, PLATFORM)

    assert resolved.manifest == image.manifest
    refused = [r for r in guarded.requests() if r.status == 401 and r.path != "/v2/"]
    assert len(refused) == 1


async def test_without_credentials_the_error_says_that_there_are_none(guarded: Registry) -> None:
    async with connect() as client:
        with pytest.raises(Unauthorized, match=f"no credentials found for {guarded.host}"):
            await client.check_push(Repository(guarded.host, "app"))


async def test_wrong_credentials_are_tried_once_and_their_place_is_named(
    guarded: Registry, tmp_path: Path
) -> None:
    async with connect(auths={guarded.host: basic("u", "x")}, directory=tmp_path) as client:
        with pytest.raises(Unauthorized, match=r"with the credentials from .*config\.json"):
            await client.check_push(Repository(guarded.host, "app"))

    assert [r.status for r in guarded.requests() if "/uploads/" in r.path] == [401, 401]


async def test_password_that_was_changed_meanwhile_is_read_again(
    guarded: Registry, tmp_path: Path
) -> None:
    async with connect(auths={guarded.host: basic("u", "old")}, directory=tmp_path) as client:
        with pytest.raises(Unauthorized):
            await client.check_push(Repository(guarded.host, "app"))
        connect(auths={guarded.host: basic("u", "p")}, directory=tmp_path)

        await client.check_push(Repository(guarded.host, "app"))


async def test_credentials_of_a_path_are_used_below_it(guarded: Registry, tmp_path: Path) -> None:
    auths = {
        guarded.host: basic("nobody", "x"),
        f"{guarded.host}/team": basic("u", "p"),
    }

    async with connect(auths=auths, directory=tmp_path) as client:
        await client.check_push(Repository(guarded.host, "team/app"))
        with pytest.raises(Unauthorized):
            await client.check_push(Repository(guarded.host, "other/app"))


@pytest.fixture
async def tokens(tmp_path: Path) -> AsyncIterator[TokenServer]:
    async with TokenServer(tmp_path).serve() as server:
        yield server


@pytest.fixture
def registry_with_tokens(tokens: TokenServer, tmp_path: Path) -> Iterator[Registry]:
    with run_registry(tmp_path / "tokens", token=tokens.registry_options) as server:
        yield server


def signed_in(registry: Registry, directory: Path, **options: Any) -> RegistryClient:
    return connect(auths={registry.host: basic("u", "p")}, directory=directory, **options)


async def test_token_is_fetched_once_for_many_requests(
    registry_with_tokens: Registry, tokens: TokenServer, tmp_path: Path
) -> None:
    registry = registry_with_tokens
    image, tag = Image.make(1000, 2000, 3000), Reference.parse(f"{registry.host}/team/app:1")

    async with signed_in(registry, tmp_path) as client:
        async with anyio.create_task_group() as pushes:
            for blob in (*image.layers, image.config):
                pushes.start_soon(client.push_blob, tag.repository, blob)
        await client.push_manifest(tag, image.manifest.content, image.manifest.media_type)
        pushed = len(tokens.requests)
        resolved = await client.resolve(tag, PLATFORM)

    assert resolved.manifest == image.manifest
    assert pushed == 1
    assert tokens.requests[0].query["scope"] == ["repository:team/app:pull,push"]
    assert tokens.requests[0].query["service"] == ["registry.test"]
    assert tokens.requests[0].user == "u:p"
    assert [r.query["scope"] for r in tokens.requests[1:]] == [["repository:team/app:pull"]]


async def test_anonymous_token_is_enough_to_pull(
    registry_with_tokens: Registry, tokens: TokenServer, tmp_path: Path
) -> None:
    registry = registry_with_tokens
    image, tag = Image.make(1000), Reference.parse(f"{registry.host}/app:1")
    async with signed_in(registry, tmp_path) as client:
        await image.push(client, tag)

    async with connect() as anonymous:
        resolved = await anonymous.resolve(tag, PLATFORM)
        with pytest.raises(Unauthorized, match="no credentials found"):
            await anonymous.check_push(tag.repository)

    assert resolved.manifest == image.manifest
    assert tokens.requests[-1].user is None


async def test_token_server_that_knows_no_such_password_is_quoted(
    registry_with_tokens: Registry, tokens: TokenServer, tmp_path: Path
) -> None:
    registry = registry_with_tokens
    auths = {registry.host: basic("u", "wrong")}

    async with connect(auths=auths, directory=tmp_path) as client:
        with pytest.raises(Unauthorized, match=r"/token: HTTP 401 .incorrect username or password"):
            await client.check_push(Repository(registry.host, "app"))

    assert len(tokens.requests) == 1


async def test_identity_token_is_exchanged_by_post(
    registry_with_tokens: Registry, tokens: TokenServer, tmp_path: Path
) -> None:
    registry = registry_with_tokens
    tokens.identity_token = "identity"
    auths = {registry.host: {"identitytoken": "identity"}}

    async with connect(auths=auths, directory=tmp_path) as client:
        await client.check_push(Repository(registry.host, "app"))

    assert [r.method for r in tokens.requests] == ["POST"]
    assert tokens.forms[0]["grant_type"] == ["refresh_token"]
    assert tokens.forms[0]["scope"] == ["repository:app:pull,push"]


async def test_registry_token_is_used_as_it_is(
    registry_with_tokens: Registry, tokens: TokenServer, tmp_path: Path
) -> None:
    registry = registry_with_tokens
    token = tokens.sign(["repository:app:pull,push"], may_push=True)

    async with connect(
        auths={registry.host: {"registrytoken": token}}, directory=tmp_path
    ) as client:
        await client.check_push(Repository(registry.host, "app"))

    assert tokens.requests == []


async def test_blob_is_mounted_with_a_token_for_both_repositories(
    registry_with_tokens: Registry, tokens: TokenServer, tmp_path: Path
) -> None:
    registry, blob = registry_with_tokens, MemoryBlob(noise(1000))
    base, app = Repository(registry.host, "base"), Repository(registry.host, "app")

    async with signed_in(registry, tmp_path) as client:
        await client.push_blob(base, blob)
        route = await client.push_blob(app, blob, mount_from=[base])

    assert route == BlobRoute.MOUNTED
    assert tokens.requests[-1].query["scope"] == [
        "repository:app:pull,push",
        "repository:base:pull",
    ]


async def test_refused_token_for_a_mount_leads_to_an_upload(
    registry_with_tokens: Registry, tokens: TokenServer, tmp_path: Path
) -> None:
    registry, blob = registry_with_tokens, MemoryBlob(noise(1000))
    base, app = Repository(registry.host, "base"), Repository(registry.host, "app")

    async with signed_in(registry, tmp_path) as client:
        await client.push_blob(base, blob)
        await client.check_push(app)
        tokens.refusals = [Answer(403, body=b'{"details": "no scope for base"}')] * 2
        route = await client.push_blob(app, blob, mount_from=[base])

    assert route == BlobRoute.UPLOADED
    assert registry_blob(registry, tokens, "app", blob) == blob.content


def registry_blob(registry: Registry, tokens: TokenServer, name: str, blob: MemoryBlob) -> bytes:
    token = tokens.sign([f"repository:{name}:pull"], may_push=True)
    registry.headers = {"Authorization": f"Bearer {token}"}
    return registry.blob(name, blob.descriptor.digest)


async def test_token_is_renewed_before_it_expires(
    registry_with_tokens: Registry, tokens: TokenServer, tmp_path: Path
) -> None:
    registry, time = registry_with_tokens, SkippedTime()
    repository = Repository(registry.host, "app")
    tokens.life_seconds = 100

    async with signed_in(registry, tmp_path, time=time) as client:
        await client.push_blob(repository, MemoryBlob(noise(10)))
        time.skipped += 79
        await client.push_blob(repository, MemoryBlob(noise(11)))
        within = len(tokens.issued)
        time.skipped += 2
        await client.push_blob(repository, MemoryBlob(noise(12)))

    assert within == 1
    assert len(tokens.issued) == 2
    refusals = [r for r in registry.requests() if r.status == 401 and r.path != "/v2/"]
    assert len(refusals) == 1  # the very first


async def test_token_without_a_time_lives_a_minute(
    registry_with_tokens: Registry, tokens: TokenServer, tmp_path: Path
) -> None:
    time, repository = SkippedTime(), Repository(registry_with_tokens.host, "app")
    tokens.life_seconds = None

    async with signed_in(registry_with_tokens, tmp_path, time=time) as client:
        await client.push_blob(repository, MemoryBlob(noise(10)))
        time.skipped += 50
        await client.push_blob(repository, MemoryBlob(noise(11)))

    assert len(tokens.issued) == 2


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_token_refused_in_mid_upload_is_replaced_and_the_request_sent_again(
    registry_with_tokens: Registry, tokens: TokenServer, tmp_path: Path, method: str
) -> None:
    registry, blob = registry_with_tokens, MemoryBlob(noise(3 << 20))
    challenge = {"WWW-Authenticate": f'Bearer realm="{tokens.realm}",service="registry.test"'}
    refuse = Rule(f"{method} .*/uploads/", Refuse(Answer(401, challenge)))
    proxy = FaultProxy(registry.host, refuse)

    async with proxy.serve() as host:
        auths = {host: basic("u", "p")}
        async with connect(auths=auths, directory=tmp_path, chunk_size=1 << 20) as client:
            await client.push_blob(Repository(host, "app"), blob)

    assert proxy.played == [refuse]
    assert len(tokens.issued) == 2
    assert registry_blob(registry, tokens, "app", blob) == blob.content
    assert len(proxy.seen("POST .*/uploads/")) == 1


async def test_token_server_in_trouble_is_asked_again(
    registry_with_tokens: Registry, tokens: TokenServer, tmp_path: Path
) -> None:
    tokens.refusals = [Answer(503), Answer(429, {"Retry-After": "7"}), Answer(500)]
    time = SkippedTime()

    async with signed_in(registry_with_tokens, tmp_path, time=time) as client:
        await client.check_push(Repository(registry_with_tokens.host, "app"))

    assert len(tokens.requests) == 4
    assert sum(time.sleeps) >= 7


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, body=b"not json"),
        Answer(200, body=b"[]"),
        Answer(200, body=b"{}"),
        Answer(200, body=b'{"token": 5}'),
        Answer(200, body=b'{"token": "a b"}'),
        Answer(200, body=b'{"token": "a\\r\\nX-Injected: 1"}'),
    ],
)
async def test_answer_without_a_token_is_an_error(
    registry_with_tokens: Registry, tokens: TokenServer, tmp_path: Path, answer: Answer
) -> None:
    tokens.refusals = [answer]

    async with signed_in(registry_with_tokens, tmp_path) as client:
        with pytest.raises(RegistryError, match=r"token server http://127.0.0.1:\d+/token"):
            await client.check_push(Repository(registry_with_tokens.host, "app"))


async def test_password_is_not_sent_to_a_realm_that_could_be_anybody(tmp_path: Path) -> None:
    registry, trap = Script(), Script()
    async with trap.serve(host="127.0.0.2") as elsewhere, registry.serve() as host:
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{elsewhere}/token",service="s"'}
        registry.on(".*", Answer(401, challenge))
        async with connect(auths={host: basic("u", "canary")}, directory=tmp_path) as client:
            with pytest.raises(RegistryError, match="refused"):
                await client.check_push(Repository(host, "app"))

    assert trap.requests == []


async def test_password_does_not_follow_a_redirect_of_the_token_server(tmp_path: Path) -> None:
    registry, trap, realm = Script(), Script(), Script()
    trap.on(".*", Answer(200, body=b'{"token": "t"}'))
    async with (
        trap.serve() as elsewhere,
        realm.serve() as token_host,
        registry.serve() as host,
    ):
        realm.on(".*", Answer(307, {"Location": f"http://{elsewhere}/token"}))
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{token_host}/token",service="s"'}
        registry.on("GET /v2/$", Answer(200)).on(".*", Answer(401, challenge), Answer(404))
        async with connect(auths={host: basic("u", "canary")}, directory=tmp_path) as client:
            with pytest.raises(RegistryError):
                await client.check_push(Repository(host, "app"))

    assert realm.requests[0].user == "u:canary"
    assert len(trap.requests) == 1
    assert "authorization" not in trap.requests[0].headers


async def test_refresh_token_does_not_follow_a_redirect_at_all(tmp_path: Path) -> None:
    registry, trap, realm = Script(), Script(), Script()
    async with trap.serve() as elsewhere, realm.serve() as token_host, registry.serve() as host:
        realm.on(".*", Answer(307, {"Location": f"http://{elsewhere}/token"}))
        challenge = {"WWW-Authenticate": f'Bearer realm="http://{token_host}/token",service="s"'}
        registry.on(".*", Answer(401, challenge))
        auths = {host: {"identitytoken": "canary"}}
        async with connect(auths=auths, directory=tmp_path) as client:
            with pytest.raises(RegistryError):
                await client.check_push(Repository(host, "app"))

    assert trap.requests == []


async def test_unreachable_token_server_is_named(tmp_path: Path) -> None:
    registry = Script()
    registry.on(".*", Answer(401, {"WWW-Authenticate": 'Bearer realm="http://localhost:1/t"'}))

    async with registry.serve() as host, connect() as client:
        with pytest.raises(RegistryUnavailable, match="http://localhost:1/t: cannot connect"):
            await client.check_push(Repository(host, "app"))
