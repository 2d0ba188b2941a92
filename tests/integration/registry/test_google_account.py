"""Credentials files of Google, against a server that checks signatures as Google's would."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from yarl import URL

from asynckaniko.oci.reference import Repository
from asynckaniko.registry.clouds import Google
from asynckaniko.registry.credentials import Credential, Lease, Secret
from asynckaniko.registry.endpoints import Endpoints
from asynckaniko.registry.wire import Wire
from asynckaniko.settings import CredentialOptions, RegistryOptions
from tests.integration.registry.clients import connect
from tests.integration.registry.servers import Answer, Connection, Seen, listen

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
EMAIL = "builder@project.iam.gserviceaccount.com"
AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CANARY = "canary-77aa"


def pem(key: Any) -> str:
    kind, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    content: bytes = key.private_bytes(kind, form, serialization.NoEncryption())
    return content.decode()


def json_answer(status: int, **document: Any) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, orjson.dumps(document))


class GoogleServers:
    """The token server, the security token service and the service account credentials API.

    https://developers.google.com/identity/protocols/oauth2/service-account and
    https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token say what they take.
    """

    def __init__(self) -> None:
        self.address = ""
        self.requests: list[Seen] = []
        self.complaints: list[str] = []

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["GoogleServers"]:
        async with listen(self._serve) as self.address:
            yield self

    async def _serve(self, connection: Connection) -> None:
        while request := await connection.request():
            self.requests.append(request)
            body = b"".join([piece async for piece in connection.body(request.size)])
            try:
                answer = self._answer(request, body)
            except Exception as error:
                self.complaints.append(repr(error))
                answer = json_answer(400, error="invalid_grant", error_description=CANARY)
            await connection.send(answer.encode())

    def _answer(self, request: Seen, body: bytes) -> Answer:
        match request.method, request.path:
            case "POST", "/token":
                return self._token({k: v[0] for k, v in parse_qs(body.decode()).items()})
            case "POST", "/v1/token":
                return self._exchange(
                    request, {k: v[0] for k, v in parse_qs(body.decode()).items()}
                )
            case "POST", "/v1/projects/-/serviceAccounts/sa:generateAccessToken":
                assert request.headers["authorization"] == "Bearer federated"
                assert orjson.loads(body)["scope"] == [SCOPE]
                assert orjson.loads(body)["lifetime"] == "1200s"
                ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1200))
                return json_answer(200, accessToken="impersonated", expireTime=ends)
            case "GET", "/subject":
                assert request.headers["x-source"] == "runner"
                return json_answer(200, value="subject")
            case "GET", "/computeMetadata/instance/service-accounts/default/token":
                return json_answer(200, access_token="machine", expires_in=100)
        return Answer(404)

    def _token(self, form: dict[str, str]) -> Answer:
        if form["grant_type"] == "refresh_token":
            assert form["client_id"] == "id"
            assert form["client_secret"] == "secret"
            assert form["refresh_token"] == "refresh"
            return json_answer(200, access_token="user's", expires_in=1800)
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        claims = jwt.decode(
            form["assertion"],
            KEY.public_key(),
            algorithms=["RS256"],
            audience=f"{self.url}/token",
            issuer=EMAIL,
            options={"require": ["exp", "iat", "aud", "iss"]},
        )
        assert claims["scope"] == SCOPE
        assert 0 < claims["exp"] - claims["iat"] <= 3600
        assert jwt.get_unverified_header(form["assertion"])["kid"] == "key-1"
        return json_answer(200, access_token="account's", expires_in=3599)

    def _exchange(self, request: Seen, form: dict[str, str]) -> Answer:
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange"
        assert form["audience"] == AUDIENCE
        assert form["scope"] == SCOPE
        assert form["requested_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
        assert form["subject_token_type"] == "urn:ietf:params:oauth:token-type:jwt"
        assert form["subject_token"] == "subject"
        assert request.user in (None, "id:secret")
        return json_answer(200, access_token="federated", expires_in=900, token_type="Bearer")


@pytest.fixture
async def google() -> AsyncIterator[GoogleServers]:
    async with GoogleServers().serve() as servers:
        yield servers
    assert servers.complaints == []


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with Wire(Endpoints(RegistryOptions()).tls, user_agent="test") as wire:
        yield wire


async def ask(
    wire: Wire, google: GoogleServers, directory: Path, account: dict[str, Any] | bytes
) -> Lease | None:
    file = directory / "account.json"
    file.write_bytes(account if isinstance(account, bytes) else orjson.dumps(account))
    metadata = URL(f"{google.url}/computeMetadata")
    source = Google(wire, {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}, metadata=metadata)
    return await source.ask("europe-docker.pkg.dev")


def service_account(google: GoogleServers, **changes: Any) -> dict[str, Any]:
    return {
        "type": "service_account",
        "private_key_id": "key-1",
        "private_key": pem(KEY),
        "client_email": EMAIL,
        "token_uri": f"{google.url}/token",
    } | changes


def federation(google: GoogleServers, source: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "external_account",
        "audience": AUDIENCE,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{google.url}/v1/token",
        "credential_source": source,
    } | more


def lease(token: str, seconds: float) -> Lease:
    return Lease(Credential("oauth2accesstoken", Secret(token)), seconds)


async def test_key_file_signs_and_gets_the_accounts_token(
    wire: Wire, google: GoogleServers, tmp_path: Path
) -> None:
    found = await ask(wire, google, tmp_path, service_account(google))

    assert found == lease("account's", 3599.0)


async def test_users_file_gives_the_users_token(
    wire: Wire, google: GoogleServers, tmp_path: Path
) -> None:
    user = {
        "type": "authorized_user",
        "client_id": "id",
        "client_secret": "secret",
        "refresh_token": "refresh",
        "token_uri": f"{google.url}/token",
    }

    assert await ask(wire, google, tmp_path, user) == lease("user's", 1800.0)


@pytest.mark.parametrize("as_json", [False, True])
async def test_token_in_a_file_is_exchanged(
    wire: Wire, google: GoogleServers, tmp_path: Path, *, as_json: bool
) -> None:
    source: dict[str, Any] = {"file": str(tmp_path / "subject")}
    if as_json:
        source["format"] = {"type": "json", "subject_token_field_name": "access_token"}
    (tmp_path / "subject").write_text('{"access_token": "subject"}' if as_json else "subject\n")

    found = await ask(wire, google, tmp_path, federation(google, source))

    assert found == lease("federated", 900.0)


async def test_token_of_an_address_is_exchanged_and_becomes_the_service_accounts(
    wire: Wire, google: GoogleServers, tmp_path: Path
) -> None:
    source = {
        "url": f"{google.url}/subject",
        "headers": {"X-Source": "runner"},
        "format": {"type": "json", "subject_token_field_name": "value"},
    }
    account = federation(
        google,
        source,
        service_account_impersonation_url=(
            f"{google.url}/v1/projects/-/serviceAccounts/sa:generateAccessToken"
        ),
        service_account_impersonation={"token_lifetime_seconds": 1200},
        client_id="id",
        client_secret="secret",
    )

    found = await ask(wire, google, tmp_path, account)

    assert found is not None
    assert found.credential.password == Secret("impersonated")
    assert 1000 < found.life_seconds <= 1200


async def test_file_is_read_again_for_each_token(
    wire: Wire, google: GoogleServers, tmp_path: Path
) -> None:
    account = federation(google, {"file": str(tmp_path / "subject")})
    (tmp_path / "subject").write_text("subject")
    file = tmp_path / "account.json"
    file.write_bytes(orjson.dumps(account))
    source = Google(wire, {"GOOGLE_APPLICATION_CREDENTIALS": str(file)})
    assert await source.ask("gcr.io") == lease("federated", 900.0)

    (tmp_path / "subject").unlink()

    assert await source.ask("gcr.io") is None


@pytest.mark.parametrize(
    ("account", "why"),
    [
        (b"{", "it is not JSON"),
        (b"[]", "it is no JSON object"),
        ({"type": "gdch"}, "its type is 'gdch'"),
        ({"private_key": CANARY}, "private_key is no PEM"),
        ({"private_key": pem(ec.generate_private_key(ec.SECP256R1()))}, "private_key is no RSA"),
        ({"client_email": ""}, "client_email is missing"),
        ({"token_uri": "http://token.example/"}, "token_uri must be an https address"),
        ({"token_uri": "file:///etc/passwd"}, "token_uri must be an https address"),
        ({"type": "external_account"}, "audience is missing"),
    ],
)
async def test_file_that_cannot_be_used_is_named_and_not_shown(
    wire: Wire,
    google: GoogleServers,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    account: dict[str, Any] | bytes,
    why: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    whole = account if isinstance(account, bytes) else service_account(google) | account

    # And the machine's own account is not taken in its place.
    assert await ask(wire, google, tmp_path, whole) is None

    assert f"{tmp_path}/account.json: {why}" in caplog.text
    assert CANARY not in caplog.text
    assert pem(KEY)[40:80] not in caplog.text
    assert google.requests == []


@pytest.mark.parametrize(
    "source",
    [{"executable": {"command": "/bin/true"}}, {"environment_id": "aws1", "url": "http://x/"}, {}],
)
async def test_sources_of_other_kinds_are_refused_by_name(
    wire: Wire,
    google: GoogleServers,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    source: dict[str, Any],
) -> None:
    assert await ask(wire, google, tmp_path, federation(google, source)) is None

    assert "neither a file nor a url" in caplog.text


async def test_key_that_google_does_not_know_is_a_warning_without_its_words(
    wire: Wire, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    async with GoogleServers().serve() as google:
        account = service_account(google, private_key=pem(stranger))

        assert await ask(wire, google, tmp_path, account) is None

    assert google.complaints == ["InvalidSignatureError('Signature verification failed')"]
    assert f"{google.url}/token gave no token" in caplog.text
    assert CANARY not in caplog.text


async def test_registry_gets_the_token_of_the_file_and_nobody_sees_it(
    google: GoogleServers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Through the whole client: a registry of Google's name, behind a proxy that knows it."""
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "account.json"
    file.write_bytes(orjson.dumps(service_account(google)))
    seen: list[Seen] = []

    async def registry(connection: Connection) -> None:
        while request := await connection.request():
            seen.append(request)
            challenge = {"WWW-Authenticate": 'Basic realm="x"'}
            if request.user != "oauth2accesstoken:account's":
                await connection.send(Answer(401, challenge).encode())
            elif request.method == "POST":
                await connection.send(Answer(202, {"Location": "/v2/p/u/1"}).encode())
            else:
                await connection.send(Answer(204).encode())

    async with listen(registry) as address:
        credentials = CredentialOptions(
            helpers=("google",), variables={"GOOGLE_APPLICATION_CREDENTIALS": str(file)}
        )
        async with connect(
            credentials=credentials,
            insecure_registries=frozenset({"eu.gcr.io"}),
            http_proxy=f"http://{address}",
        ) as client:
            await client.check_push(Repository("eu.gcr.io", "p"))

    assert any(request.user for request in seen)
    assert "account's" not in caplog.text
