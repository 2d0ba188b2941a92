"""No credential is in any error, event, representation or log line, whatever goes wrong."""

import base64
import logging
import os
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from asynckaniko.errors import AsynckanikoError
from asynckaniko.events import Event
from asynckaniko.oci.reference import Reference, Repository
from asynckaniko.registry.client import RegistryClient
from tests.integration.registry.clients import IMPATIENT, PLATFORM, MemoryBlob, connect, noise, read
from tests.integration.registry.servers import Answer, Connection, Script, Seen

CANARY = "canary-9f8e7d6c"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


AUTHS: Mapping[str, Mapping[str, str]] = {
    "basic": {"auth": encoded(f"user:{CANARY}")},
    "identity": {"identitytoken": CANARY},
    "registry": {"registrytoken": CANARY},
    "helper": {},
}


class Witness:
    """Writes down everything that anybody could see."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def event(self, event: Event) -> None:
        self.texts += [repr(event), str(event)]

    def error(self, error: BaseException) -> None:
        self.texts += [str(error), repr(error), *traceback.format_exception(error)]
        self.texts += [repr(vars(error))]

    def check(self) -> None:
        seen = "\n".join(self.texts)
        assert seen
        for secret in (CANARY, encoded(f"user:{CANARY}"), encoded(CANARY).rstrip("=")):
            assert secret not in seen


@pytest.fixture
def witness(caplog: pytest.LogCaptureFixture) -> Iterator[Witness]:
    caplog.set_level(logging.DEBUG)
    witness = Witness()
    yield witness
    witness.texts += [record.getMessage() for record in caplog.records]
    witness.texts += [caplog.text]
    witness.check()


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker-credential-canary"
    program.write_text(
        f"#!/bin/sh\ncat >/dev/null; echo warning: {CANARY} >&2\n"
        f'echo \'{{"Username": "user", "Secret": "{CANARY}"}}\'\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


@asynccontextmanager
async def client_for(kind: str, host: str, directory: Path) -> AsyncIterator[RegistryClient]:
    document: dict[str, Any] = {host: AUTHS[kind]}
    async with connect(
        auths=document,
        helpers={host: "canary"} if kind == "helper" else {},
        directory=directory,
        retry=IMPATIENT,
    ) as client:
        yield client


async def try_everything(client: RegistryClient, host: str, witness: Witness) -> int:
    """Make every kind of request; returns how many failed."""
    blob, repository = MemoryBlob(noise(100_000)), Repository(host, "app")
    tag = Reference.parse(f"{host}/app:1")
    failures = 0
    for attempt in (
        lambda: client.resolve(tag, PLATFORM, emit=witness.event),
        lambda: read(client, repository, blob.descriptor),
        lambda: client.push_blob(
            repository, blob, mount_from=[Repository(host, "base")], emit=witness.event
        ),
        lambda: client.push_manifest(tag, b"{}", "text/plain", emit=witness.event),
        lambda: client.check_push(repository, emit=witness.event),
    ):
        try:
            await attempt()
        except AsynckanikoError as error:
            failures += 1
            witness.error(error)
    witness.texts += [repr(client), repr(vars(client))]
    return failures


def echo(request: Seen, status: int) -> Answer:
    """Say back what was said, as some servers' error pages do."""
    text = f'{{"errors": [{{"code": "E", "message": "{request.headers} {request.target}"}}]}}'
    return Answer(status, body=text.encode())


@pytest.mark.usefixtures("helper")
@pytest.mark.parametrize("kind", AUTHS)
@pytest.mark.parametrize("status", [400, 403, 404, 500, 429])
async def test_server_that_echoes_the_request_in_its_errors(
    kind: str, status: int, witness: Witness, tmp_path: Path
) -> None:
    class Echoing(Script):
        def _answer(self, request: Seen) -> Answer:
            if request.target == "/v2/":
                return Answer(200)
            if "/token" in request.target:
                return Answer(200, body=f'{{"token": "{CANARY}"}}'.encode())
            if "authorization" not in request.headers:
                realm = f'Bearer realm="http://{request.headers["host"]}/token"'
                challenge = 'Basic realm="x"' if kind in ("basic", "helper") else realm
                return Answer(401, {"WWW-Authenticate": challenge})
            return echo(request, status)

    server = Echoing()
    async with server.serve() as host, client_for(kind, host, tmp_path) as client:
        failures = await try_everything(client, host, witness)

    assert failures == 5
    assert any("authorization" in r.headers for r in server.requests)


@pytest.mark.usefixtures("helper")
@pytest.mark.parametrize("kind", AUTHS)
async def test_token_server_that_echoes_and_refuses(
    kind: str, witness: Witness, tmp_path: Path
) -> None:
    class Echoing(Script):
        def _answer(self, request: Seen) -> Answer:
            if request.target == "/v2/":
                return Answer(200)
            if "/token" in request.target:
                body = f"{request.headers} {CANARY} {self.bodies}"
                return Answer(403, body=body.encode())
            realm = f'Bearer realm="http://{request.headers["host"]}/token"'
            return Answer(401, {"WWW-Authenticate": realm})

    server = Echoing()
    async with server.serve() as host, client_for(kind, host, tmp_path) as client:
        failures = await try_everything(client, host, witness)

    assert failures == 5
    assert server.requests


async def test_signed_addresses_of_storage_and_uploads_are_not_shown(
    witness: Witness, tmp_path: Path
) -> None:
    async def cut(connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")

    server = Script().on("GET /v2/$", Answer(200)).on("HEAD", Answer(404))
    server.on("POST", Answer(202, {"Location": f"http://user:{CANARY}@127.0.0.1:1/?s={CANARY}"}))
    server.on("manifests", Answer(307, {"Location": f"/x?X-Amz-Signature={CANARY}#{CANARY}"}))
    server.on("blobs", Answer(307, {"Location": f"/cut?X-Amz-Signature={CANARY}"}))
    server.on("/cut", cut).on("/x", Answer(404, body=CANARY.encode()[:6]))
    async with server.serve() as host, client_for("basic", host, tmp_path) as client:
        failures = await try_everything(client, host, witness)

    assert failures == 4  # an upload may be begun, and nothing more
    assert server.seen(CANARY)


async def test_realm_with_a_password_is_not_shown(witness: Witness, tmp_path: Path) -> None:
    realm = f"ftp://user:{CANARY}@elsewhere.example/?x={CANARY}"
    server = Script().on("GET /v2/$", Answer(200))
    server.on(".*", Answer(401, {"WWW-Authenticate": f'Bearer realm="{realm}"'}))

    async with server.serve() as host, client_for("basic", host, tmp_path) as client:
        assert await try_everything(client, host, witness) == 5
