"""Sign-ins from variables and clouds: stand-ins that speak the clouds' protocols, moto for AWS."""

import base64
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import orjson
import pytest
from yarl import URL

from asynckaniko.errors import Unauthorized, UsageError
from asynckaniko.oci.reference import Repository
from asynckaniko.registry import ecr
from asynckaniko.registry.clouds import AZURE_HOSTS, GOOGLE_HOSTS, Azure, Google
from asynckaniko.registry.credential_helpers import (
    CloudCredentials,
    GitlabCredentials,
    VariableCredentials,
    credential_sources,
)
from asynckaniko.registry.credentials import Credential, Lease, Secret
from asynckaniko.registry.endpoints import Endpoints
from asynckaniko.registry.wire import Wire
from asynckaniko.settings import CredentialOptions, RegistryOptions
from tests.integration.registry.clients import SkippedTime, connect
from tests.integration.registry.servers import Answer, Script
from tests.support.daemons import moto
from tests.support.registry import Registry, run_registry


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with Wire(Endpoints(RegistryOptions()).tls, user_agent="test") as wire:
        yield wire


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Registry]:
    with run_registry(tmp_path / "guarded", users={"u": "p"}) as server:
        yield server


def auth_text(host: str, user: str, password: str) -> str:
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    return orjson.dumps({"auths": {host: {"auth": auth}}}).decode()


# Values


async def test_text_is_asked_before_the_files(guarded: Registry, tmp_path: Path) -> None:
    options = CredentialOptions(auth_text=auth_text(guarded.host, "u", "p"))
    wrong = {guarded.host: {"username": "u", "password": "wrong"}}

    async with connect(credentials=options, auths=wrong, directory=tmp_path) as client:
        await client.check_push(Repository(guarded.host, "app"))


async def test_text_that_is_no_auth_file_is_named_and_not_shown(guarded: Registry) -> None:
    options = CredentialOptions(auth_text='{"auths": canary}')

    async with connect(credentials=options) as client:
        with pytest.raises(UsageError, match="auth file DOCKER_AUTH_CONFIG: not JSON") as caught:
            await client.check_push(Repository(guarded.host, "app"))

    assert "canary" not in repr(caught.value) + repr(options)


async def test_variables_of_the_host_sign_in(guarded: Registry) -> None:
    host = guarded.host.replace(".", "_").replace(":", "_")
    variables = {f"KANIKO_{host}_USER": "u", f"KANIKO_{host}_PASSWORD": "p"}

    async with connect(credentials=CredentialOptions(variables=variables)) as client:
        await client.check_push(Repository(guarded.host, "app"))


async def test_gitlabs_variables_sign_in(guarded: Registry) -> None:
    variables = {
        "CI_REGISTRY": guarded.host,
        "CI_REGISTRY_USER": "u",
        "CI_REGISTRY_PASSWORD": "p",
    }

    async with connect(credentials=CredentialOptions(variables=variables)) as client:
        await client.check_push(Repository(guarded.host, "app"))


async def test_helpers_that_are_not_named_are_not_asked(guarded: Registry) -> None:
    variables = {
        "CI_REGISTRY": guarded.host,
        "CI_REGISTRY_USER": "u",
        "CI_REGISTRY_PASSWORD": "p",
    }

    async with connect(credentials=CredentialOptions(helpers=(), variables=variables)) as client:
        with pytest.raises(Unauthorized, match="no credentials found"):
            await client.check_push(Repository(guarded.host, "app"))


@pytest.mark.parametrize(
    ("host", "variable"),
    [
        ("registry.example.com", "REGISTRY_EXAMPLE_COM"),
        ("registry.example.com", "EXAMPLE_COM"),
        ("registry.example.com", "COM"),
        ("my-registry:5000", "MY_REGISTRY_5000"),
        ("docker.io", "DOCKER_IO"),
    ],
)
async def test_host_or_what_it_is_below_names_the_variables(host: str, variable: str) -> None:
    variables = {f"KANIKO_{variable}_USER": "u", f"KANIKO_{variable}_PASSWORD": "p"}

    found = await VariableCredentials(variables).find(host, "app")

    assert found == Credential("u", Secret("p"))
    assert await VariableCredentials(variables).find("other.example.org", "app") is None


async def test_user_without_a_password_is_nothing() -> None:
    assert await VariableCredentials({"KANIKO_R_USER": "u"}).find("r", "") is None
    assert (
        await GitlabCredentials({"CI_REGISTRY": "r", "CI_REGISTRY_USER": "u"}).find("r", "") is None
    )
    assert await GitlabCredentials({}).find("", "") is None


async def test_unknown_helper_is_a_warning_that_lists_the_known(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    options = CredentialOptions(helpers=("env", "quay"))

    sources = credential_sources(options, [], wire=wire, clock=SkippedTime().clock)

    assert len(sources) == 1
    assert "'quay'; there are env, google, ecr, acr, gitlab" in caplog.text


# Clouds in general


class Cloud:
    def __init__(self) -> None:
        self.asked = 0
        self.lease: Lease | None = None

    async def ask(self, registry: str) -> Lease | None:
        self.asked += 1
        return self.lease


async def test_lease_is_renewed_before_it_ends() -> None:
    time, cloud = SkippedTime(), Cloud()
    cloud.lease = Lease(Credential("u", Secret("first")), 1000.0)
    source = CloudCredentials(r".*\.cloud", cloud.ask, clock=time.clock)

    first = await source.find("r.cloud", "a")
    time.skipped += 890
    kept = await source.find("r.cloud", "b")
    cloud.lease = Lease(Credential("u", Secret("second")), 1000.0)
    time.skipped += 20
    renewed = await source.find("r.cloud", "a")

    assert first == kept == Credential("u", Secret("first"))
    assert renewed == Credential("u", Secret("second"))
    assert cloud.asked == 2


async def test_cloud_that_has_nothing_is_left_alone_for_a_while() -> None:
    time, cloud = SkippedTime(), Cloud()
    source = CloudCredentials(".*", cloud.ask, clock=time.clock)

    for _ in range(3):
        assert await source.find("r", "a") is None
        source.forget()
    asked_early = cloud.asked
    time.skipped += 601
    await source.find("r", "a")

    assert (asked_early, cloud.asked) == (1, 2)


async def test_refused_credential_is_asked_for_again() -> None:
    cloud = Cloud()
    cloud.lease = Lease(Credential("u", Secret("p")), 1000.0)
    source = CloudCredentials(".*", cloud.ask, clock=SkippedTime().clock)

    await source.find("r", "a")
    source.forget()
    await source.find("r", "a")

    assert cloud.asked == 2


async def test_cloud_is_not_asked_about_the_registries_of_others() -> None:
    cloud = Cloud()
    source = CloudCredentials(GOOGLE_HOSTS, cloud.ask, clock=SkippedTime().clock)

    for host in ("docker.io", "gcr.io.evil.example", "xgcr.io", "pkg.dev", "a.azurecr.io"):
        await source.find(host, "a")

    assert cloud.asked == 0


# Google


async def test_metadata_servers_token_is_the_password(wire: Wire) -> None:
    token = Answer(200, body=b'{"access_token": "token", "expires_in": 3599}')
    server = Script().on("GET /m/instance/service-accounts/default/token$", token)

    async with server.serve() as host:
        lease = await Google(wire, {}, metadata=URL(f"http://{host}/m")).ask("gcr.io")

    assert lease == Lease(Credential("oauth2accesstoken", Secret("token")), 3599.0)
    assert server.requests[0].headers["metadata-flavor"] == "Google"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404),
        Answer(500),
        Answer(200, body=b"<html>captive portal</html>"),
        Answer(200, body=b"[]"),
        Answer(200, body=b'{"access_token": 5}'),
        Answer(307, {"Location": "/elsewhere"}),
    ],
)
async def test_metadata_server_without_a_token_has_nothing(wire: Wire, answer: Answer) -> None:
    server = Script().on(".*", answer)

    async with server.serve() as host:
        assert await Google(wire, {}, metadata=URL(f"http://{host}")).ask("gcr.io") is None

    assert len(server.requests) == 1


async def test_machine_outside_of_google_has_nothing(wire: Wire) -> None:
    assert await Google(wire, {}, metadata=URL("http://127.0.0.1:1")).ask("gcr.io") is None


# Azure


def azure_server() -> Script:
    entra = Answer(200, body=b'{"access_token": "entra", "expires_in": 3600}')
    return (
        Script()
        .on("POST /tenant/oauth2/v2.0/token$", entra)
        .on("GET /metadata", entra)
        .on("POST /oauth2/exchange$", Answer(200, body=b'{"refresh_token": "refresh"}'))
    )


async def ask_azure(
    wire: Wire, server: Script, variables: Mapping[str, str]
) -> tuple[Lease | None, str]:
    async with server.serve() as host:
        url = URL(f"http://{host}")
        azure = Azure(
            wire,
            {"AZURE_AUTHORITY_HOST": f"{url}", **variables},
            metadata=url / "metadata",
            scheme="http",
        )
        return await azure.ask(host), host


IDENTITY = {"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client"}


async def test_client_secret_becomes_a_refresh_token_of_the_registry(wire: Wire) -> None:
    server = azure_server()

    lease, host = await ask_azure(wire, server, {**IDENTITY, "AZURE_CLIENT_SECRET": "s&cret"})

    assert lease
    assert lease.credential == Credential(identity_token=Secret("refresh"))
    login, exchange = server.bodies
    assert b"client_secret=s%26cret" in login
    assert b"grant_type=client_credentials" in login
    assert (
        exchange
        == (
            f"grant_type=access_token&service={host.replace(':', '%3A')}"
            "&tenant=tenant&access_token=entra"
        ).encode()
    )


@pytest.mark.parametrize("from_file", [True, False])
async def test_workload_identity_is_proved_by_its_token(
    wire: Wire, tmp_path: Path, *, from_file: bool
) -> None:
    server = azure_server()
    (tmp_path / "token").write_text("federated\n")
    proof = (
        {"AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token")}
        if from_file
        else {"AZURE_FEDERATED_TOKEN": "federated"}
    )

    lease, _ = await ask_azure(wire, server, {**IDENTITY, **proof})

    assert lease
    assert b"client_assertion=federated&" in server.bodies[0]


async def test_managed_identity_is_asked_where_nothing_else_is_given(wire: Wire) -> None:
    server = azure_server()

    lease, _ = await ask_azure(wire, server, {"AZURE_CLIENT_ID": "client"})

    assert lease
    [request] = server.seen("GET /metadata")
    assert request.headers["metadata"] == "true"
    assert request.query["client_id"] == ["client"]
    assert request.query["resource"] == ["https://management.azure.com/"]


@pytest.mark.parametrize("pattern", ["POST /tenant", "POST /oauth2/exchange"])
async def test_azure_that_refuses_has_nothing(wire: Wire, pattern: str) -> None:
    refusal = Answer(400, body=b'{"error": "invalid_client"}')
    server = Script().on(pattern, refusal)
    server.on("POST /tenant", Answer(200, body=b'{"access_token": "entra"}'))

    lease, _ = await ask_azure(wire, server, {**IDENTITY, "AZURE_CLIENT_SECRET": "secret"})

    assert lease is None


@pytest.mark.parametrize(
    ("host", "is_azure"),
    [
        ("my-registry.azurecr.io", True),
        ("my.azurecr.cn", True),
        ("my.azurecr.io.evil.example", False),
        ("a.b.azurecr.io", False),
    ],
)
async def test_azures_registries_are_known_by_their_whole_name(
    host: str, *, is_azure: bool
) -> None:
    cloud = Cloud()

    await CloudCredentials(AZURE_HOSTS, cloud.ask, clock=SkippedTime().clock).find(host, "a")

    assert cloud.asked == is_azure


# Amazon


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    with moto() as url:
        yield url


@pytest.fixture
def in_aws(aws: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.mark.usefixtures("in_aws")
async def test_ecr_gives_a_password_for_its_registry() -> None:
    lease = await ecr.Amazon().ask("123456789012.dkr.ecr.eu-central-1.amazonaws.com")

    assert lease
    assert lease.credential.username == "AWS"
    assert lease.credential.password.reveal() == "123456789012-auth-token"
    assert lease.life_seconds == 60.0  # moto's tokens expired long ago


@pytest.mark.usefixtures("in_aws")
async def test_aws_without_credentials_has_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))

    with caplog.at_level(logging.WARNING):
        lease = await ecr.Amazon().ask("123456789012.dkr.ecr.eu-central-1.amazonaws.com")

    assert lease is None
    assert "AWS gives no credentials" in caplog.text


@pytest.mark.usefixtures("in_aws")
async def test_aws_that_is_out_of_reach_has_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    assert await ecr.Amazon().ask("123456789012.dkr.ecr.eu-central-1.amazonaws.com") is None


@pytest.mark.parametrize(
    "host",
    [
        "123456789012.dkr.ecr.us-east-1.amazonaws.com",
        "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
        "123456789012.dkr-ecr.us-west-2.on.aws",
        "public.ecr.aws",
    ],
)
async def test_ecrs_hosts_are_known(host: str) -> None:
    cloud = Cloud()

    await CloudCredentials(ecr.HOSTS, cloud.ask, clock=SkippedTime().clock).find(host, "a")

    assert cloud.asked == 1


@pytest.mark.parametrize(
    "host",
    ["12.dkr.ecr.us-east-1.amazonaws.com", "123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.io"],
)
async def test_hosts_that_only_look_like_ecr_are_not(host: str) -> None:
    cloud = Cloud()

    await CloudCredentials(ecr.HOSTS, cloud.ask, clock=SkippedTime().clock).find(host, "a")

    assert cloud.asked == 0
