"""Access tokens for the account that a Google credentials file describes.

The forms are those that gcloud and the console write (google.aip.dev/auth: 4112 service account,
4113 user account, 4117 external account). They are asked for over our own connections, so that
proxies and certificates count here as everywhere; only signing needs a library, an extra.
"""

import base64
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import orjson
from anyio import CapacityLimiter, to_thread
from yarl import URL

from asynckaniko.errors import RegistryError, UsageError
from asynckaniko.registry.bodies import Body
from asynckaniko.registry.credentials import Credential, Lease, Secret
from asynckaniko.registry.endpoints import Direction, is_loopback
from asynckaniko.registry.rejection import printable
from asynckaniko.registry.token_requests import (
    FAR,
    LARGEST_ANSWER,
    NEAR,
    NoAnswerError,
    life_seconds,
    post,
    request_json,
)
from asynckaniko.registry.wire import Call, Wire

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TOKEN_SERVER = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - the name of a kind
_LIFE_SECONDS = 3600
_log = logging.getLogger(__name__)


class _NoAccountError(Exception):
    """Why the file gives no token; without secrets."""


class GoogleAccount:
    """The account of one file, which is read anew each time: tokens in it are replaced."""

    def __init__(self, wire: Wire, file: Path) -> None:
        self._wire = wire
        self._file = file
        self._signing = CapacityLimiter(1)

    async def lease(self) -> Lease | None:
        """Get an access token; None, and a warning that says why, where there is none."""
        try:
            token, seconds = await self._token(await self._read())
        except _NoAccountError as error:
            _log.warning("GOOGLE_APPLICATION_CREDENTIALS %s: %s", self._file, error)
            return None
        source = f"GOOGLE_APPLICATION_CREDENTIALS {self._file}"
        return Lease(Credential("oauth2accesstoken", Secret(token), source=source), seconds)

    async def access_token(self) -> tuple[str, float]:
        """Get an access token and the seconds that it lives. Raises UsageError: there is none."""
        try:
            return await self._token(await self._read())
        except _NoAccountError as error:
            raise UsageError(f"GOOGLE_APPLICATION_CREDENTIALS={self._file}: {error}") from error

    async def _read(self) -> Mapping[str, Any]:
        content = await _read_file(self._file)
        try:
            document = orjson.loads(content)
        except orjson.JSONDecodeError:
            raise _NoAccountError("it is not JSON") from None
        if not isinstance(document, dict):
            raise _NoAccountError("it is no JSON object")
        return document

    async def _token(self, account: Mapping[str, Any]) -> tuple[str, float]:
        match account.get("type"):
            case "service_account":
                return await self._service_account(account)
            case "authorized_user":
                return await self._user(account)
            case "external_account":
                return await self._federated(account)
            case kind:
                raise _NoAccountError(
                    f"its type is {str(kind)[:40]!r}; it must be service_account, "
                    "authorized_user or external_account"
                )

    async def _service_account(self, account: Mapping[str, Any]) -> tuple[str, float]:
        url = _url(account, "token_uri", default=_TOKEN_SERVER)
        now = int(time.time())
        claims = {
            "iss": _text(account, "client_email"),
            "scope": _SCOPE,
            "aud": str(url),
            "iat": now,
            "exp": now + _LIFE_SECONDS,
        }
        header = {"alg": "RS256", "typ": "JWT", "kid": str(account.get("private_key_id", ""))}
        key = _text(account, "private_key")
        assertion = await to_thread.run_sync(_sign, header, claims, key, limiter=self._signing)
        form = {"grant_type": _JWT_BEARER, "assertion": assertion}
        return await self._answer(post(url, form, FAR))

    async def _user(self, account: Mapping[str, Any]) -> tuple[str, float]:
        form = {
            "grant_type": "refresh_token",
            **{
                name: _text(account, name)
                for name in ("client_id", "client_secret", "refresh_token")
            },
        }
        return await self._answer(
            post(_url(account, "token_uri", default=_TOKEN_SERVER), form, FAR)
        )

    async def _federated(self, account: Mapping[str, Any]) -> tuple[str, float]:
        """Exchange a token of somebody whom Google trusts (workload identity federation)."""
        form = {
            "grant_type": _EXCHANGE,
            "audience": _text(account, "audience"),
            "scope": _SCOPE,
            "requested_token_type": _ACCESS_TOKEN,
            "subject_token_type": _text(account, "subject_token_type"),
            "subject_token": await self._subject_token(account),
        }
        if account.get("workforce_pool_user_project") and not account.get("client_id"):
            project = {"userProject": _text(account, "workforce_pool_user_project")}
            form["options"] = orjson.dumps(project).decode()
        client = None
        if account.get("client_id") and account.get("client_secret"):
            secret = Secret(_text(account, "client_secret"))
            client = Credential(_text(account, "client_id"), secret).basic
        call = post(_url(account, "token_url"), form, FAR, authorization=client)
        token, seconds = await self._answer(call)
        if not account.get("service_account_impersonation_url"):
            return token, seconds
        return await self._impersonated(account, token)

    async def _impersonated(self, account: Mapping[str, Any], token: str) -> tuple[str, float]:
        options = account.get("service_account_impersonation")
        wanted = options.get("token_lifetime_seconds") if isinstance(options, dict) else None
        seconds = int(life_seconds(wanted, default=_LIFE_SECONDS))
        body = orjson.dumps({"scope": [_SCOPE], "lifetime": f"{seconds}s"})
        call = Call(
            "POST",
            _url(account, "service_account_impersonation_url"),
            Direction.PULL,
            FAR,
            {"Content-Type": "application/json"},
            authorization=f"Bearer {token}",
            body=Body.of(body),
            redirects=0,
        )
        answer = await self._ask(call)
        found = answer.get("accessToken")
        if not isinstance(found, str):
            raise _NoAccountError(f"{printable(call.url)} gave no token for the service account")
        try:
            expires = datetime.fromisoformat(str(answer.get("expireTime")))
            left = (expires - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            left = float(seconds)
        return found, max(left, 60.0)

    async def _subject_token(self, account: Mapping[str, Any]) -> str:
        source = account.get("credential_source")
        if not isinstance(source, dict):
            raise _NoAccountError("credential_source is missing")
        if "file" in source:
            content = await _read_file(Path(_text(source, "file")))
        elif "url" in source and "environment_id" not in source:
            content = await self._fetch(source)
        else:
            raise _NoAccountError(
                "its credential_source is neither a file nor a url; "
                "programs and AWS's own signatures are not supported"
            )
        form = source.get("format")
        if not isinstance(form, dict) or form.get("type", "text") == "text":
            return content.decode(errors="replace").strip()
        try:
            return _text(orjson.loads(content), _text(form, "subject_token_field_name"))
        except orjson.JSONDecodeError:
            raise _NoAccountError("the subject token is not in JSON, as its format says") from None

    async def _fetch(self, source: Mapping[str, Any]) -> bytes:
        try:
            url = URL(_text(source, "url"))
        except ValueError:
            raise _NoAccountError("the url of its credential_source is none") from None
        given = source.get("headers")
        headers = {str(k): str(v) for k, v in given.items()} if isinstance(given, dict) else {}
        call = Call("GET", url, Direction.PULL, NEAR, headers, redirects=0)
        try:
            with anyio.fail_after(NEAR.response_seconds):
                async with self._wire.exchange(call) as incoming:
                    if incoming.status == 200:
                        return await incoming.read(LARGEST_ANSWER)
                    problem = f"HTTP {incoming.status}"
        except (RegistryError, TimeoutError) as error:
            problem = str(error) or "timed out"
        raise _NoAccountError(f"no subject token from {printable(url)}: {problem}")

    async def _ask(self, call: Call) -> Mapping[str, Any]:
        try:
            return await request_json(self._wire, call)
        except NoAnswerError as error:
            raise _NoAccountError(f"{printable(call.url)} gave no token: {error}") from error

    async def _answer(self, call: Call) -> tuple[str, float]:
        answer = await self._ask(call)
        token = answer.get("access_token")
        if not isinstance(token, str):
            raise _NoAccountError(f"{printable(call.url)} gave no token")
        return token, life_seconds(answer.get("expires_in"), default=300.0)


def _text(document: object, name: str) -> str:
    value = document.get(name) if isinstance(document, dict) else None
    if not isinstance(value, str) or not value:
        raise _NoAccountError(f"{name} is missing")
    return value


def _url(account: Mapping[str, Any], name: str, *, default: str = "") -> URL:
    """Read where secrets are sent to: only over https, but for this machine."""
    text = _text(account, name) if name in account or not default else default
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    is_safe = url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host or ""))
    if not url.host or not is_safe:
        raise _NoAccountError(f"{name} must be an https address")
    return url


async def _read_file(path: Path) -> bytes:
    try:
        async with await anyio.open_file(path, "rb") as file:
            content = await file.read(LARGEST_ANSWER + 1)
    except OSError as error:
        raise _NoAccountError(f"{path}: {error.strerror}") from error
    if len(content) > LARGEST_ANSWER:
        raise _NoAccountError(f"{path}: larger than {LARGEST_ANSWER} bytes")
    return content


def _sign(header: Mapping[str, Any], claims: Mapping[str, Any], key: str) -> str:
    """Make a JWT (RFC 7519) with the account's RSA key. Called in a thread."""
    try:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import padding, rsa
    except ImportError:
        raise _NoAccountError(
            "to sign as a service account asynckaniko needs its extra `google`"
        ) from None
    try:
        private = serialization.load_pem_private_key(key.encode(), None)
    except (ValueError, TypeError):
        raise _NoAccountError("private_key is no PEM of a private key") from None
    if not isinstance(private, rsa.RSAPrivateKey):
        raise _NoAccountError("private_key is no RSA key")
    text = b".".join(_encoded(orjson.dumps(part)) for part in (header, claims))
    signature = private.sign(text, padding.PKCS1v15(), hashes.SHA256())
    return b".".join((text, _encoded(signature))).decode()


def _encoded(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
