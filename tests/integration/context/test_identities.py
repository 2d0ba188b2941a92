"""Object stores reached by an identity: tokens from servers that stand in for the clouds."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.integration.context.conftest import Builds, archive
from tests.integration.context.servers import serving
from tests.integration.context.stores import ObjectStore

AZURE = "https://account.blob.core.windows.net/container/c.tgz"
CLIENT = {"AZURE_CLIENT_ID": "client", "AZURE_TENANT_ID": "tenant"}
SECRET = "canary-client-secret"
TOKEN = "canary-token"
ASSERTION = "canary-assertion"
AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x"


@dataclass
class Cloud(ObjectStore):
    """Gives TOKEN at its token endpoints, and objects to those who bring it."""

    asked: list[tuple[str, dict[str, str], Mapping[str, str]]] = field(default_factory=list)
    """Path, query or form, and headers of the requests for tokens."""
    life_seconds: float = 3600

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "token" not in request.path:
            return await super().answer(request)
        values = {**request.query, **dict(await request.post())}
        self.asked.append((request.path, {k: str(v) for k, v in values.items()}, request.headers))
        return web.json_response(
            {"access_token": TOKEN, "token_type": "Bearer"}
            # Microsoft's login says seconds as a number, its metadata service a date as text.
            | (
                {"expires_in": self.life_seconds}
                if request.method == "POST"
                else {"expires_on": "4102444800"}
            )
            | ({"expires_in": 3600} if "computeMetadata" in request.path else {})
        )

    def refusal(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") == f"Bearer {TOKEN}":
            return None
        return web.Response(status=403, text="<Error><Code>AuthenticationFailed</Code></Error>")


@pytest.fixture
def cloud() -> Cloud:
    content = archive({"a": "x"})
    return Cloud({"container/c.tgz": content, "bucket/c.tgz": content})


@pytest.fixture
def url(cloud: Cloud) -> Iterator[str]:
    with serving(cloud.answer) as host:
        yield f"http://{host}"


def azure(url: str) -> dict[str, str]:
    return {"AZURE_STORAGE_ENDPOINT": url, "AZURE_AUTHORITY_HOST": url}


def test_client_secret_signs_in_to_azure(builds: Builds, cloud: Cloud, url: str) -> None:
    environment = {**azure(url), **CLIENT, "AZURE_CLIENT_SECRET": SECRET}

    image = builds.read("--context", AZURE, environment=environment)

    assert image.tree["a"].content == b"x"
    path, form, _ = cloud.asked[0]
    assert path == "/tenant/oauth2/v2.0/token"
    assert form == {
        "client_id": "client",
        "client_secret": SECRET,
        "scope": "https://storage.azure.com/.default",
        "grant_type": "client_credentials",
    }


def test_workload_identity_signs_in_to_azure(
    builds: Builds, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    token = tmp_path / "azure-identity-token"
    token.write_text(ASSERTION)
    environment = {**azure(url), **CLIENT, "AZURE_FEDERATED_TOKEN_FILE": str(token)}

    image = builds.read("--context", AZURE, environment=environment)

    assert image.tree["a"].content == b"x"
    _, form, _ = cloud.asked[0]
    assert form["client_assertion"] == ASSERTION
    assert form["client_assertion_type"].endswith(":jwt-bearer")


@pytest.mark.parametrize(
    ("around", "client", "header"),
    [
        ({"AZURE_MSI_ENDPOINT": "{url}/metadata/identity/oauth2/token"}, None, None),
        (
            {
                "AZURE_MSI_ENDPOINT": "{url}/metadata/identity/oauth2/token",
                "AZURE_CLIENT_ID": "client",
            },
            "client",
            None,
        ),
        ({"IDENTITY_ENDPOINT": "{url}/msi/token", "IDENTITY_HEADER": "proof"}, None, "proof"),
    ],
    ids=["system", "user-assigned", "app-service"],
)
def test_managed_identity_signs_in_to_azure(
    builds: Builds,
    cloud: Cloud,
    url: str,
    around: dict[str, str],
    client: str | None,
    header: str | None,
) -> None:
    environment = {name: value.format(url=url) for name, value in around.items()}

    image = builds.read("--context", AZURE, environment={**azure(url), **environment})

    assert image.tree["a"].content == b"x"
    _, query, headers = cloud.asked[0]
    assert query["resource"] == "https://storage.azure.com"
    assert query.get("client_id") == client
    assert headers.get("x-identity-header") == header
    assert headers["Metadata"] == "true"


def test_azure_without_credentials_says_what_to_set(builds: Builds, url: str) -> None:
    done = builds.refuse("--context", AZURE, environment=azure(url))

    assert done.exit_code == 2
    assert "azure://container/c.tgz" in done.stderr
    assert "nobody signed in: set AZURE_STORAGE_ACCESS_KEY" in done.stderr


def test_refused_client_secret_is_said_without_it(builds: Builds, cloud: Cloud) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": "invalid_client"}, status=401)

    with serving(refuse) as host:
        environment = {**azure(f"http://{host}"), **CLIENT, "AZURE_CLIENT_SECRET": SECRET}
        done = builds.refuse("--context", AZURE, environment=environment)

    assert done.exit_code == 2
    assert "401" in done.stderr
    assert "canary" not in done.said


def service_account(directory: Path, **changes: Any) -> tuple[Path, rsa.RSAPublicKey]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = directory / "key.json"
    content = {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "canary-key-id",
        "private_key": pem.decode(),
        "client_email": "builder@project.iam.gserviceaccount.com",
    }
    path.write_text(json.dumps({**content, **changes}))
    return path, key.public_key()


@dataclass
class Google(ObjectStore):
    """Lets those in who sign a token with the service account's key."""

    key: rsa.RSAPublicKey | None = None
    claims: list[dict[str, Any]] = field(default_factory=list)

    def refusal(self, request: web.Request) -> web.Response | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        assert self.key is not None
        try:
            options: Any = {"verify_aud": False}
            self.claims.append(jwt.decode(token, self.key, algorithms=["RS256"], options=options))
        except jwt.InvalidTokenError:
            return web.Response(status=401)
        return None


def test_service_account_signs_in_to_google(builds: Builds, tmp_path: Path) -> None:
    path, key = service_account(tmp_path)
    store = Google({"bucket/c.tgz": archive({"a": "x"})}, key=key)
    with serving(store.answer) as host:
        image = builds.read(
            *("--context", "gs://bucket/c.tgz"),
            environment={
                "GOOGLE_BASE_URL": f"http://{host}",
                "GOOGLE_APPLICATION_CREDENTIALS": str(path),
            },
        )

    assert image.tree["a"].content == b"x"
    claims = store.claims[0]
    assert claims["iss"] == "builder@project.iam.gserviceaccount.com"
    assert "devstorage" in claims["scope"] or "cloud-platform" in claims["scope"]
    assert claims["exp"] > time.time()


def test_metadata_server_signs_in_to_google(builds: Builds, cloud: Cloud, url: str) -> None:
    image = builds.read(
        *("--context", "gs://bucket/c.tgz"),
        environment={"GOOGLE_BASE_URL": url, "GCE_METADATA_HOST": url.removeprefix("http://")},
    )

    assert image.tree["a"].content == b"x"
    path, _, headers = cloud.asked[0]
    assert path == "/computeMetadata/v1/instance/service-accounts/default/token"
    assert headers["Metadata-Flavor"] == "Google"


def federation(directory: Path, url: str) -> Path:
    """Write what `gcloud iam workload-identity-pools create-cred-config` does (AIP-4117)."""
    subject = directory / "subject"
    subject.write_text(ASSERTION)
    path = directory / "federation.json"
    content = {
        "type": "external_account",
        "audience": AUDIENCE,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{url}/v1/token",
        "credential_source": {"file": str(subject)},
    }
    path.write_text(json.dumps(content))
    return path


def test_workload_identity_federation_signs_in_to_google(
    builds: Builds, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    environment = {
        "GOOGLE_BASE_URL": url,
        "GOOGLE_APPLICATION_CREDENTIALS": str(federation(tmp_path, url)),
    }

    image = builds.read("--context", "gs://bucket/c.tgz", environment=environment)

    assert image.tree["a"].content == b"x"
    path, form, _ = cloud.asked[0]
    assert path == "/v1/token"
    # RFC 8693, section 2.1.
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange"
    assert form["subject_token"] == ASSERTION
    assert form["audience"] == AUDIENCE


def test_federated_token_that_ends_is_asked_for_again(
    builds: Builds, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    cloud.life_seconds = 1e-6  # over before the next request
    environment = {
        "GOOGLE_BASE_URL": url,
        "GOOGLE_APPLICATION_CREDENTIALS": str(federation(tmp_path, url)),
    }

    image = builds.read("--context", "gs://bucket/c.tgz", environment=environment)

    assert image.tree["a"].content == b"x"
    assert len(cloud.asked) > 1


def test_refused_federation_is_said_without_its_tokens(builds: Builds, tmp_path: Path) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error_description": ASSERTION}, status=400)

    with serving(refuse) as host:
        path = federation(tmp_path, f"http://{host}")
        done = builds.refuse(
            *("--context", "gs://bucket/c.tgz"),
            environment={
                "GOOGLE_BASE_URL": f"http://{host}",
                "GOOGLE_APPLICATION_CREDENTIALS": str(path),
            },
        )

    assert done.exit_code == 2
    assert f"GOOGLE_APPLICATION_CREDENTIALS={path}" in done.stderr
    assert f"http://{host}/v1/token gave no token: HTTP 400" in done.stderr
    assert "canary" not in done.said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"type": "gdch_service_account", "private_key": "canary"}',
            "it is of the type 'gdch_service_account'",
        ),
        ('{"type": "external_account", "client_secret": "canary"}', "audience is missing"),
        ('["canary"]', "it is of the type None"),
        ('{"private_key": "canary', "not JSON"),
        (None, "No such file or directory"),
    ],
)
def test_google_credentials_that_cannot_be_used_are_named(
    builds: Builds, tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "key.json"
    if content is not None:
        path.write_text(content)

    done = builds.refuse(
        *("--context", "gs://bucket/c.tgz"),
        environment={"GOOGLE_APPLICATION_CREDENTIALS": str(path)},
    )

    assert done.exit_code == 2
    assert f"GOOGLE_APPLICATION_CREDENTIALS={path}" in done.stderr
    assert message in done.stderr
    assert "canary" not in done.said
