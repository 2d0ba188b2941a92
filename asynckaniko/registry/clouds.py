"""Sign in where the cloud that runs us vouches for us: Google and Azure, by plain HTTP.

Google: the account of a file, else the metadata server's access token. Azure: a Microsoft Entra
token (client secret, workload identity or managed identity) exchanged at the registry for a refresh
token.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import anyio
from yarl import URL

from asynckaniko.registry.credentials import Credential, Lease, Secret
from asynckaniko.registry.endpoints import Direction
from asynckaniko.registry.google_account import GoogleAccount
from asynckaniko.registry.token_requests import FAR, NEAR, ask_json, life_seconds, post
from asynckaniko.registry.wire import Call, Wire

GOOGLE_HOSTS = r"(?:.*\.)?gcr\.io|.*\.pkg\.dev"
AZURE_HOSTS = r"[a-z0-9-]+\.azurecr\.(?:io|cn|de|us)"

_METADATA = URL("http://metadata.google.internal/computeMetadata/v1/")
_AZURE_METADATA = URL("http://169.254.169.254/metadata/identity/oauth2/token")
_AZURE_LOGIN = "https://login.microsoftonline.com/"
_AZURE_SCOPE = "https://management.azure.com/"
_AZURE_LIFE_SECONDS = 3 * 3600.0
"""Of the registry's refresh token, which does not say."""
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_log = logging.getLogger(__name__)


class Google:
    """GOOGLE_APPLICATION_CREDENTIALS; else the metadata server of a machine, cluster or build."""

    def __init__(
        self, wire: Wire, variables: Mapping[str, str], *, metadata: URL = _METADATA
    ) -> None:
        self._wire = wire
        self._url = metadata / "instance/service-accounts/default/token"
        file = variables.get("GOOGLE_APPLICATION_CREDENTIALS", "")
        self._account = GoogleAccount(wire, Path(file)) if file else None

    async def ask(self, registry: str) -> Lease | None:
        if self._account is not None:
            # Whoever names an account does not mean the machine's.
            return await self._account.lease()
        call = Call(
            "GET", self._url, Direction.PULL, NEAR, {"Metadata-Flavor": "Google"}, redirects=0
        )
        answer = await ask_json(self._wire, call)
        token = answer.get("access_token")
        if not isinstance(token, str):
            return None
        credential = Credential(
            "oauth2accesstoken", Secret(token), source="the Google metadata server"
        )
        return Lease(credential, life_seconds(answer.get("expires_in"), default=300.0))


class Azure:
    """AZURE_TENANT_ID, AZURE_CLIENT_ID and a secret or token file; else the managed identity."""

    def __init__(
        self,
        wire: Wire,
        variables: Mapping[str, str],
        *,
        metadata: URL = _AZURE_METADATA,
        scheme: str = "https",
    ) -> None:
        self._wire = wire
        self._variables = variables
        self._metadata = metadata
        self._scheme = scheme

    async def ask(self, registry: str) -> Lease | None:
        token = await self._entra_token()
        if token is None:
            return None
        form = {
            "grant_type": "access_token",
            "service": registry,
            "tenant": self._variables.get("AZURE_TENANT_ID", ""),
            "access_token": token,
        }
        url = URL(f"{self._scheme}://{registry}/oauth2/exchange")
        answer = await ask_json(self._wire, post(url, form, FAR))
        refresh_token = answer.get("refresh_token")
        if not isinstance(refresh_token, str):
            return None
        credential = Credential(identity_token=Secret(refresh_token), source="Azure")
        return Lease(credential, _AZURE_LIFE_SECONDS)

    async def _entra_token(self) -> str | None:
        client = self._variables.get("AZURE_CLIENT_ID", "")
        tenant = self._variables.get("AZURE_TENANT_ID", "")
        proof = await self._proof()
        if client and tenant and proof:
            authority = self._variables.get("AZURE_AUTHORITY_HOST") or _AZURE_LOGIN
            form = {
                "grant_type": "client_credentials",
                "client_id": client,
                "scope": f"{_AZURE_SCOPE}.default",
                **proof,
            }
            url = URL(authority) / tenant / "oauth2/v2.0/token"
            answer = await ask_json(self._wire, post(url, form, FAR))
        else:
            query = {"api-version": "2018-02-01", "resource": _AZURE_SCOPE}
            url = self._metadata.with_query(query | ({"client_id": client} if client else {}))
            call = Call("GET", url, Direction.PULL, NEAR, {"Metadata": "true"}, redirects=0)
            answer = await ask_json(self._wire, call)
        token = answer.get("access_token")
        return token if isinstance(token, str) else None

    async def _proof(self) -> dict[str, str]:
        if secret := self._variables.get("AZURE_CLIENT_SECRET"):
            return {"client_secret": secret}
        token = self._variables.get("AZURE_FEDERATED_TOKEN", "")
        if file := self._variables.get("AZURE_FEDERATED_TOKEN_FILE"):
            token = await _read(Path(file))
        return {"client_assertion": token, "client_assertion_type": _ASSERTION} if token else {}


async def _read(path: Path) -> str:
    try:
        return (await anyio.Path(path).read_text()).strip()
    except OSError as error:
        _log.warning("AZURE_FEDERATED_TOKEN_FILE %s: %s", path, error.strerror)
        return ""
