"""Requests to an endpoint: scheme, sign-in, retries, and refusals as errors."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import field, replace
from math import inf

import anyio
from multidict import CIMultiDictProxy
from yarl import URL

from asynckaniko.errors import RegistryError, RegistryUnavailable
from asynckaniko.events import EventSink
from asynckaniko.records import dataclass
from asynckaniko.registry.auth import Access, Authenticator, parse_challenges
from asynckaniko.registry.bodies import Body
from asynckaniko.registry.endpoints import Endpoint
from asynckaniko.registry.failures import UntrustedCertificate
from asynckaniko.registry.rejection import ErrorBody, printable, rejection
from asynckaniko.registry.retry import Attempts, Clock, Interrupted, parse_retry_after
from asynckaniko.registry.wire import Call, Incoming, Wire
from asynckaniko.settings import Retry

_ERROR_BODY = 64 * 1024
_ERROR_SECONDS = 5.0
_PROBE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask an endpoint, and which statuses mean yes."""

    method: str
    endpoint: Endpoint
    target: str | URL
    """A path below /v2/, or the absolute URL that the registry gave."""
    name: str
    """Repository at the endpoint."""
    actions: str = "pull"
    success: frozenset[int] = frozenset({200})
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    scopes: frozenset[str] = frozenset()
    """Needed beside `actions` on the repository itself."""
    may_sign_in: bool = True
    """Whether a 401 is worth a sign-in for this request alone."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete response."""

    status: int
    url: URL
    headers: CIMultiDictProxy[str]
    content: bytes


class Transport:
    """Sends requests for one client."""

    def __init__(self, wire: Wire, auth: Authenticator, *, retry: Retry, clock: Clock) -> None:
        self._wire = wire
        self._auth = auth
        self._retry = retry
        self._brief = brief(retry)
        self._clock = clock
        self._bases: dict[tuple[str, tuple[str, ...]], URL] = {}
        self._finding: dict[tuple[str, tuple[str, ...]], anyio.Lock] = {}
        self._closed_until: dict[URL, float] = {}
        """Origins that asked for a pause, which holds for every request."""

    def patience(self, endpoint: Endpoint) -> Retry:
        return self._brief if endpoint.is_mirror else self._retry

    def attempts(self, endpoint: Endpoint, *, most: int | None = None, emit: EventSink) -> Attempts:
        policy = self.patience(endpoint)
        if most is not None:
            policy = replace(policy, attempts=min(most, policy.attempts))
        return Attempts(policy, clock=self._clock, emit=emit)

    async def fetch(
        self,
        request: Request,
        *,
        limit: int = _ERROR_BODY,
        most_attempts: int | None = None,
        emit: EventSink,
    ) -> Reply:
        """Send `request` until it succeeds; read a body of at most `limit` bytes.

        Raises:
            RegistryRejected: another status than those of success.
            RegistryUnavailable: the retry policy gave up.
        """
        attempts = self.attempts(request.endpoint, most=most_attempts, emit=emit)
        while True:
            try:
                return await self.fetch_once(request, limit=limit, emit=emit)
            except RegistryError as error:
                await attempts.after(error)

    async def fetch_once(
        self, request: Request, *, limit: int = _ERROR_BODY, emit: EventSink
    ) -> Reply:
        async with self.open(request, emit=emit) as incoming:
            content = await incoming.read(limit)
            return Reply(incoming.status, incoming.url, incoming.headers, content)

    @asynccontextmanager
    async def open(self, request: Request, *, emit: EventSink) -> AsyncIterator[Incoming]:
        """Send `request` once, signing in where asked to, and give the successful response."""
        base = await self.base(request.endpoint)
        target = request.target
        url = target if isinstance(target, URL) else base.join(URL(target, encoded=True))
        access = self._access(request, base)
        await self._wait_for_opening(base)
        header = await self._auth.header(access, emit=emit)
        for may_sign_in in (request.may_sign_in, False):
            call = self._call(request, url, authorization=header if url.origin() == base else None)
            async with self._wire.exchange(call) as incoming:
                if incoming.status in request.success:
                    yield incoming
                    return
                status, at, headers = incoming.status, incoming.url, incoming.headers
                content = await incoming.beginning(_ERROR_BODY, _ERROR_SECONDS)
            if status == 401 and may_sign_in and at.origin() == base == url.origin():
                challenges = parse_challenges(headers.getall("WWW-Authenticate", ()))
                better = await self._auth.answer(access, challenges, refused=header, emit=emit)
                if better is not None:
                    header = better
                    continue
            body = ErrorBody.read(content, secrets=await self._auth.secrets(access, header))
            if status in (401, 403):
                body = body.with_hint(await self._auth.explain(access))
            wait = parse_retry_after(headers.get("Retry-After", ""), now=self._clock.now())
            if wait is not None and status in (429, 503):
                self._close(base, wait, request.endpoint)
            raise rejection(request.method, at, status, body, retry_after_seconds=wait)

    async def base(self, endpoint: Endpoint) -> URL:
        """Return scheme and host, finding out once which scheme the host speaks."""
        key = (endpoint.host, endpoint.schemes)
        if key not in self._bases:
            async with self._finding.setdefault(key, anyio.Lock()):
                if key not in self._bases:
                    self._bases[key] = await self._find_base(endpoint)
        return self._bases[key]

    async def _find_base(self, endpoint: Endpoint) -> URL:
        if len(endpoint.schemes) == 1:
            return URL(f"{endpoint.schemes[0]}://{endpoint.host}")
        return await self._probe(endpoint)

    async def _probe(self, endpoint: Endpoint) -> URL:
        problems: list[RegistryError] = []
        for scheme in endpoint.schemes:
            base = URL(f"{scheme}://{endpoint.host}")
            try:
                status = await self._ping(endpoint, base)
            except RegistryError as error:
                problems.append(error)
                continue
            # 400 is what servers say to plain http on their https port.
            if scheme == "https" or status != 400:
                return base
            problems.append(RegistryUnavailable(f"GET {base}: HTTP 400"))
        raise min(problems, key=_significance)

    async def _ping(self, endpoint: Endpoint, base: URL) -> int:
        patience = self.patience(endpoint)
        call = Call("GET", base / "v2" / "", endpoint.direction, patience, redirects=0)
        try:
            with anyio.fail_after(min(_PROBE_SECONDS, patience.response_seconds)):
                async with self._wire.exchange(call) as incoming:
                    return incoming.status
        except TimeoutError:
            raise Interrupted("GET", printable(call.url), "no answer in time") from None

    def _access(self, request: Request, base: URL) -> Access:
        own = f"repository:{request.name}:{request.actions}"
        return Access(
            base,
            request.endpoint,
            request.name,
            request.scopes | {own},
            self.patience(request.endpoint),
        )

    def _call(self, request: Request, url: URL, *, authorization: str | None) -> Call:
        return Call(
            request.method,
            url,
            request.endpoint.direction,
            self.patience(request.endpoint),
            headers=request.headers,
            authorization=authorization,
            body=request.body,
        )

    def _close(self, base: URL, seconds: float, endpoint: Endpoint) -> None:
        if seconds <= self.patience(endpoint).total_seconds:
            until = self._clock.monotonic() + seconds
            self._closed_until[base] = max(until, self._closed_until.get(base, -inf))

    async def _wait_for_opening(self, base: URL) -> None:
        while (wait := self._closed_until.get(base, -inf) - self._clock.monotonic()) > 0:
            await self._clock.sleep(wait)
        self._closed_until.pop(base, None)


def brief(policy: Retry) -> Retry:
    """Shorten a policy for mirrors: one that makes trouble costs seconds, not the build."""
    return replace(
        policy,
        attempts=min(policy.attempts, 2),
        total_seconds=min(policy.total_seconds, 5.0),
        connect_seconds=min(policy.connect_seconds, 3.0),
        response_seconds=min(policy.response_seconds, 5.0),
        stall_seconds=min(policy.stall_seconds, 5.0),
    )


def _significance(problem: RegistryError) -> int:
    """Order what went wrong with several schemes: what decides, what may pass, the rest."""
    if isinstance(problem, UntrustedCertificate):
        return 0
    return 1 if isinstance(problem, Interrupted) else 2
