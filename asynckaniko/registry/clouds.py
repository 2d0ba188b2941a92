"""Sign in where the cloud that runs us vouches for us: Google and Azure, by plain HTTP.

Google: the metadata server's access token. Azure: a Microsoft Entra token (client secret, workload
identity or managed identity) exchanged at the registry for a refresh token.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import orjson
from yarl import URL

from asynckaniko.errors import RegistryError
from asynckaniko.registry.bodies import Body
from asynckaniko.registry.credentials import Credential, Lease, Secret
from asynckaniko.registry.endpoints import Direction
from asynckaniko.registry.rejection import printable
from asynckaniko.registry.wire import Call, Wire
from asynckaniko.settings import Retry

GOOGLE_HOSTS = r"(?:.*\.)?gcr\.io|.*\.pkg\.dev"
AZURE_HOSTS = r"[a-z0-9-]+\.azurecr\.(?:io|cn|de|us)"

_METADATA = URL("http://metadata.google.internal/computeMetadata/v1/")
_AZURE_METADATA = URL("http://169.254.169.254/metadata/identity/oauth2/token")
_AZURE_LOGIN = "https://login.microsoftonline.com/"
_AZURE_SCOPE = "https://management.azure.com/"
_AZURE_LIFE_SECONDS = 3 * 3600.0
"""Of the registry's refresh token, which does not say."""
_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_NEAR = Retry(connect_seconds=1.0, response_seconds=3.0)
"""For servers that are on this machine's own network, or not there at all."""
_FAR = Retry(connect_seconds=10.0, response_seconds=30.0)
_LARGEST_ANSWER = 1 << 20
_log = logging.getLogger(__name__)


class Google:
    """The metadata server of a Google machine, cluster or build."""

    def __init__(self, wire: Wire, *, metadata: URL = _METADATA) -> None:
        self._wire = wire
        self._url = metadata / "instance/service-accounts/default/token"

    async def ask(self, registry: str) -> Lease | None:
        call = Call(
            "GET", self._url, Direction.PULL, _NEAR, {"Metadata-Flavor": "Google"}, redirects=0
        )
        answer = await _json(self._wire, call)
        token = answer.get("access_token")
        if not isinstance(token, str):
            return None
        credential = Credential(
            "oauth2accesstoken", Secret(token), source="the Google metadata server"
        )
        return Lease(credential, _seconds(answer.get("expires_in"), default=300.0))


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
        answer = await _json(self._wire, _post(url, form, _FAR))
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
            answer = await _json(self._wire, _post(url, form, _FAR))
        else:
            query = {"api-version": "2018-02-01", "resource": _AZURE_SCOPE}
            url = self._metadata.with_query(query | ({"client_id": client} if client else {}))
            call = Call("GET", url, Direction.PULL, _NEAR, {"Metadata": "true"}, redirects=0)
            answer = await _json(self._wire, call)
        token = answer.get("access_token")
        return token if isinstance(token, str) else None

    async def _proof(self) -> dict[str, str]:
        if secret := self._variables.get("AZURE_CLIENT_SECRET"):
            return {"client_secret": secret}
        token = self._variables.get("AZURE_FEDERATED_TOKEN", "")
        if file := self._variables.get("AZURE_FEDERATED_TOKEN_FILE"):
            token = await _read(Path(file))
        return {"client_assertion": token, "client_assertion_type": _ASSERTION} if token else {}


def _post(url: URL, form: Mapping[str, str], patience: Retry) -> Call:
    return Call(
        "POST",
        url,
        Direction.PULL,
        patience,
        {"Content-Type": "application/x-www-form-urlencoded"},
        body=Body.of(urlencode(form).encode()),
        redirects=0,  # the body is a secret
    )


async def _json(wire: Wire, call: Call) -> Mapping[str, Any]:
    """Return the JSON object of a 200; nothing at all in any other case.

    A cloud that does not answer is no error: mostly we do not run there.
    """
    try:
        with anyio.fail_after(call.patience.response_seconds):
            async with wire.exchange(call) as incoming:
                content = await incoming.read(_LARGEST_ANSWER)
                if incoming.status == 200 and isinstance(answer := orjson.loads(content), dict):
                    return answer
                problem = f"HTTP {incoming.status}"
    except (RegistryError, TimeoutError) as error:
        problem = str(error) or "timed out"
    except orjson.JSONDecodeError:
        problem = "not JSON"
    _log.info("no credentials from %s: %s", printable(call.url), problem)
    return {}


async def _read(path: Path) -> str:
    try:
        return (await anyio.Path(path).read_text()).strip()
    except OSError as error:
        _log.warning("AZURE_FEDERATED_TOKEN_FILE %s: %s", path, error.strerror)
        return ""


def _seconds(value: object, *, default: float) -> float:
    return float(value) if isinstance(value, int | float) and value > 0 else default
