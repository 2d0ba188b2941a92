"""Answer a registry's challenges: Basic, and Bearer tokens (distribution's token specification).

Nothing is sent to a host before it has asked. Tokens are kept by what they are for, fetched once
for all who wait, and renewed before they expire: an upload may last longer than a token.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

import orjson
from anyio.abc import TaskGroup
from yarl import URL

from asynckaniko.concurrency import SingleFlight
from asynckaniko.errors import RegistryError, Unauthorized
from asynckaniko.events import EventSink
from asynckaniko.records import dataclass
from asynckaniko.registry.bodies import Body
from asynckaniko.registry.credentials import Credential, Credentials, Secret
from asynckaniko.registry.endpoints import Endpoint, is_link_local, is_loopback
from asynckaniko.registry.rejection import ErrorBody, printable, rejection
from asynckaniko.registry.retry import Attempts, Clock, parse_retry_after
from asynckaniko.registry.wire import Call, Wire
from asynckaniko.settings import Retry

_LARGEST_ANSWER = 1 << 20
_SHORTEST_LIFE_SECONDS = 60.0
"""What a token server that names no time means."""
_RENEW_AT = 0.8
_CLIENT_ID = "asynckaniko"
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's `token`
_PARAMETER = re.compile(
    rf"\s*({_TOKEN})\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]*))(?:\s*,|\s*$|\s+)"
)
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?:\s+|\s*(?=,)|$)")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to sign in that a server offers. `scheme` is in lower case."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Access:
    """Who wants to do what where."""

    origin: URL
    endpoint: Endpoint
    name: str
    """Repository at the endpoint, for credentials of a path."""
    scopes: frozenset[str]
    patience: Retry


@dataclass(frozen=True, slots=True)
class _Way:
    """How an origin wants to be spoken to, learnt from its challenge."""

    challenge: Challenge
    realm: URL | None = None


@dataclass(frozen=True, slots=True)
class _TokenKey:
    realm: URL
    service: str
    scopes: tuple[str, ...]
    credential: Credential | None


@dataclass(frozen=True, slots=True)
class _Token:
    header: Secret
    renew_at: float


class Authenticator:
    """Gives the Authorization header for each access."""

    def __init__(
        self, credentials: Credentials, wire: Wire, *, tasks: TaskGroup, clock: Clock
    ) -> None:
        self._credentials = credentials
        self._wire = wire
        self._clock = clock
        self._ways: dict[tuple[URL, str], _Way] = {}
        self._scopes: dict[tuple[URL, frozenset[str]], tuple[str, ...]] = {}
        self._tokens: dict[_TokenKey, _Token] = {}
        self._fetching: SingleFlight[_TokenKey, _Token] = SingleFlight(tasks)

    async def header(self, access: Access, *, emit: EventSink) -> str | None:
        """Return the header to start with; None as long as the origin has not asked for one."""
        way = self._ways.get((access.origin, access.endpoint.account))
        if way is None:
            return None
        return await self._sign_in(access, way, None, emit)

    async def answer(
        self,
        access: Access,
        challenges: Iterable[Challenge],
        *,
        refused: str | None,
        emit: EventSink,
    ) -> str | None:
        """Return another header after `refused` got a 401; None where there is nothing better.

        Raises:
            Unauthorized: the token server says no.
            RegistryError: the token server must not be asked, or answers nonsense.
        """
        challenge = _choose(challenges)
        if challenge is None:
            return None
        realm = token_realm(challenge, access) if challenge.scheme == "bearer" else None
        way = _Way(challenge, realm)
        self._ways[access.origin, access.endpoint.account] = way
        asked = merge_scopes((*access.scopes, challenge.scope))
        self._scopes[access.origin, access.scopes] = asked
        if refused:
            self._drop(refused)
        header = await self._sign_in(access, way, refused, emit)
        return None if header == refused else header

    async def explain(self, access: Access) -> str:
        """Say with what the access was tried, for the error."""
        credential = await self._credentials.find(access.endpoint.account, access.name)
        if credential is None:
            return f"no credentials found for {access.endpoint.account}"
        return f"with the credentials from {credential.source}"

    async def secrets(self, access: Access, header: str | None) -> tuple[str, ...]:
        """List what must be blacked out where the other side echoes it."""
        credential = await self._credentials.find(access.endpoint.account, access.name)
        sent = (header, header.partition(" ")[2]) if header else ()
        return (*sent, *(credential.secrets if credential else ()))

    async def _sign_in(
        self, access: Access, way: _Way, refused: str | None, emit: EventSink
    ) -> str | None:
        account, name = access.endpoint.account, access.name
        credential = await self._credentials.find(account, name)
        refusal = None
        try:
            header = await self._header(access, way, credential, emit)
            if header is None or header != refused:
                return header
        except Unauthorized as error:
            refusal = error
        # Long-lived processes outlive passwords: the file or helper may have a new one.
        self._credentials.forget()
        newer = await self._credentials.find(account, name)
        if newer != credential:
            return await self._header(access, way, newer, emit)
        if refusal is not None:
            raise refusal
        return refused

    async def _header(
        self, access: Access, way: _Way, credential: Credential | None, emit: EventSink
    ) -> str | None:
        if way.realm is None:
            return credential.basic if credential and credential.password else None
        if credential and credential.registry_token:
            return f"Bearer {credential.registry_token.reveal()}"
        scopes = self._scopes.get((access.origin, access.scopes)) or merge_scopes(access.scopes)
        key = _TokenKey(way.realm, way.challenge.service, scopes, credential)
        token = self._tokens.get(key)
        if token is None or self._clock.monotonic() >= token.renew_at:
            token = await self._fetching.do(key, lambda: self._fetch(key, access, emit))
        return token.header.reveal()

    def _drop(self, header: str) -> None:
        secret = Secret(header)
        self._tokens = {k: token for k, token in self._tokens.items() if token.header != secret}

    async def _fetch(self, key: _TokenKey, access: Access, emit: EventSink) -> _Token:
        attempts = Attempts(access.patience, clock=self._clock, emit=emit)
        call = _token_call(key, access)
        while True:
            asked_at = self._clock.monotonic()
            try:
                content = await self._ask(call, key)
                break
            except RegistryError as error:
                await attempts.after(error)
        header, life_seconds = _read_token(content, printable(key.realm))
        token = _Token(header, asked_at + life_seconds * _RENEW_AT)
        self._tokens = {k: t for k, t in self._tokens.items() if t.renew_at > asked_at}
        self._tokens[key] = token
        return token

    async def _ask(self, call: Call, key: _TokenKey) -> bytes:
        async with self._wire.exchange(call) as incoming:
            if incoming.status == 200:
                return await incoming.read(_LARGEST_ANSWER)
            content = await incoming.beginning(64 * 1024, 5.0)
            secrets = key.credential.secrets if key.credential else ()
            wait = parse_retry_after(incoming.headers.get("Retry-After", ""), now=self._clock.now())
            raise rejection(
                call.method,
                incoming.url,
                incoming.status,
                ErrorBody.read(content, secrets=secrets),
                retry_after_seconds=wait,
            )


def parse_challenges(values: Iterable[str]) -> tuple[Challenge, ...]:
    """Read WWW-Authenticate headers; what is malformed is left out, nothing raises."""
    found = []
    for value in values:
        rest = value[:8192]
        while match := _SCHEME.match(rest):
            scheme, rest = match[1].lower(), rest[match.end() :]
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(rest):
                name, quoted, bare = parameter.groups()
                text = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare
                parameters.setdefault(name.lower(), text)
                rest = rest[parameter.end() :]
            found.append(
                Challenge(scheme, *(parameters.get(n, "") for n in ("realm", "service", "scope")))
            )
    return tuple(found)


def merge_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """Write scopes in one canonical form: one entry for each resource, actions sorted."""
    actions: dict[str, set[str]] = {}
    for text in scopes:
        for scope in text.split():
            resource, _, wanted = scope.rpartition(":")
            actions.setdefault(resource, set()).update(filter(None, wanted.split(",")))
    merged = ((resource, ",".join(sorted(wanted))) for resource, wanted in sorted(actions.items()))
    return tuple(f"{resource}:{wanted}" if resource else wanted for resource, wanted in merged)


def token_realm(challenge: Challenge, access: Access) -> URL:
    """Check that a token server may be asked, and sent the password.

    It may be another host (auth.docker.io), but then it proves itself by TLS; over plain http it
    must be the registry's own host, which would see the password anyway.

    Raises:
        RegistryError: neither.
    """
    registry = access.origin.host or ""
    try:
        realm = access.origin.join(URL(challenge.realm)).with_user(None).with_fragment(None)
        host = realm.host or ""
    except ValueError:
        realm, host = access.origin, ""
    if challenge.realm and host and not (is_link_local(host) and host != registry):
        if realm.scheme == "https":
            return realm
        same_host = host == registry or (_is_here(host) and _is_here(registry))
        if realm.scheme == "http" and access.origin.scheme == "http" and same_host:
            return realm
    shown = printable(realm) if host else repr(challenge.realm[:80])
    raise RegistryError(
        f"{access.endpoint.host} sends sign-ins to {shown}, which is neither https nor the "
        "registry's own host: refused"
    )


def _is_here(host: str) -> bool:
    """Tell whether this is the usual name of this machine; 127.0.0.2 may be somebody else's."""
    return is_loopback(host) and host in ("localhost", "127.0.0.1", "::1")


def _choose(challenges: Iterable[Challenge]) -> Challenge | None:
    by_scheme = {challenge.scheme: challenge for challenge in reversed(tuple(challenges))}
    return by_scheme.get("bearer") or by_scheme.get("basic")


def _token_call(key: _TokenKey, access: Access) -> Call:
    pairs = [("service", key.service)] if key.service else []
    pairs += [("scope", scope) for scope in key.scopes]
    credential = key.credential
    if credential and credential.identity_token:
        form = {
            "grant_type": "refresh_token",
            "service": key.service,
            "client_id": _CLIENT_ID,
            "scope": " ".join(key.scopes),
            "refresh_token": credential.identity_token.reveal(),
        }
        return Call(
            "POST",
            key.realm,
            access.endpoint.direction,
            access.patience,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=Body.of(urlencode(form).encode()),
            redirects=0,  # the body is a secret
        )
    return Call(
        "GET",
        key.realm.extend_query(pairs),
        access.endpoint.direction,
        access.patience,
        authorization=credential.basic if credential and credential.password else None,
    )


def _read_token(content: bytes, where: str) -> tuple[Secret, float]:
    try:
        document: Any = orjson.loads(content)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, Mapping):
        raise RegistryError(f"token server {where}: the answer is not a JSON object")
    token = document.get("token") or document.get("access_token")
    if not isinstance(token, str) or not _PRINTABLE.fullmatch(token):
        raise RegistryError(f"token server {where}: the answer holds no token")
    life = document.get("expires_in")
    if not isinstance(life, int | float) or not 0 < life < 1e9:
        life = _SHORTEST_LIFE_SECONDS
    return Secret(f"Bearer {token}"), max(float(life), 1.0)
