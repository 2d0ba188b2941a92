"""One HTTP exchange: timeouts, redirects, bodies. The edge to aiohttp.

aiohttp's own redirects forward custom headers to other hosts, its decompression breaks digests, and
its read timeout never fires on a drip of single bytes, so none of the three is used.
"""

import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import field
from typing import Any, Self

import aiohttp
from anyio import CancelScope, current_time, move_on_after
from multidict import CIMultiDictProxy
from yarl import URL

from asynckaniko.errors import IntegrityError, RegistryError
from asynckaniko.records import dataclass
from asynckaniko.registry.bodies import Body, Outgoing, Pace, SourceFailed
from asynckaniko.registry.endpoints import Direction, TlsIdentity, is_link_local
from asynckaniko.registry.failures import translate
from asynckaniko.registry.rejection import printable
from asynckaniko.registry.retry import Interrupted
from asynckaniko.registry.tls import TlsContexts
from asynckaniko.settings import Retry

_READ_BUFFER = 512 * 1024
_LARGE = 64 * 1024
_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD = frozenset({307, 308})
_FOR_OTHERS = frozenset(
    {"accept", "accept-encoding", "content-length", "content-type", "range", "user-agent"}
)
"""Headers that another host may see."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it goes out. `authorization` reaches the origin of `url` only."""

    method: str
    url: URL
    direction: Direction
    patience: Retry
    """Of which only the time limits of one exchange count here."""
    headers: Mapping[str, str] = field(default_factory=dict)
    authorization: str | None = field(default=None, repr=False)
    body: Body | None = None
    redirects: int = _MOST_REDIRECTS


class Incoming:
    """A response whose body is still on its way. Belongs to the `exchange` block that gave it."""

    def __init__(self, call: Call, response: aiohttp.ClientResponse) -> None:
        self._call = call
        self._response = response
        self._pace = Pace(call.patience)
        self.status = response.status
        self.url = response.url

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        return self._response.headers

    async def chunk(self) -> bytes:
        """Return bytes as they come; nothing at the end of the body.

        Raises:
            Interrupted: cut, or slower than the policy allows.
        """
        content = self._response.content
        try:
            return _large_piece(content) or content.read_nowait(-1) or await self._wait()
        except (aiohttp.ClientError, OSError) as error:
            # What arrived before the failure is kept by the reader, but not given.
            if data := content._read_nowait(-1):
                return data
            raise translate(error, self._call.method, self.url) from error

    async def _wait(self) -> bytes:
        while True:
            began = time.monotonic()
            with move_on_after(self._pace.left_seconds) as waiting:
                data = await self._response.content.readany()
            waited = time.monotonic() - began
            if self._pace.is_stalled(waited, 0 if waiting.cancelled_caught else len(data)):
                raise self._interrupted(self._pace.complaint)
            if not waiting.cancelled_caught:
                return data

    async def read(self, limit: int) -> bytes:
        """Return the whole body.

        Raises:
            IntegrityError: it is longer than `limit` bytes.
            Interrupted: cut or stalled.
        """
        chunks: list[bytes] = []
        size = 0
        while data := await self.chunk():
            size += len(data)
            if size > limit:
                where = f"{self._call.method} {printable(self.url)}"
                raise IntegrityError(f"{where}: the answer is larger than {limit} bytes")
            chunks.append(data)
        length = self.headers.get("Content-Length", "")
        if self._call.method != "HEAD" and length.isdigit() and int(length) != size:
            raise self._interrupted(f"the body ended after {size} of {length} bytes")
        return b"".join(chunks)

    async def beginning(self, limit: int, seconds: float) -> bytes:
        """Return what comes of the body within limits; never fails."""
        content = b""
        with move_on_after(seconds):
            try:
                while len(content) < limit and (data := await self.chunk()):
                    content += data
            except RegistryError:
                pass  # what has arrived is all there is to say
        return content[:limit]

    def _interrupted(self, reason: str) -> Interrupted:
        return Interrupted(self._call.method, printable(self.url), reason)


def _large_piece(content: aiohttp.StreamReader) -> bytes:
    """Return the first piece that waits, if it is large.

    To join all that wait, as `read_nowait` does, is right for small ones. With large ones a pull
    took twice the system time (perf/README.md).
    """
    # A reader of no body at all has no buffer, either.
    if not content.total_bytes or content.exception() is not None:
        return b""
    if not content._buffer or len(content._buffer[0]) < _LARGE:
        return b""
    return content._read_nowait_chunk(-1)


class Wire:
    """Owns the connections of one client. An async context manager."""

    def __init__(
        self,
        identity: Callable[[URL, Direction], TlsIdentity],
        *,
        user_agent: str,
        proxy: Callable[[URL], URL | None] = lambda _: None,
    ) -> None:
        self._identity = identity
        self._user_agent = user_agent
        self._proxy = proxy
        self._contexts = TlsContexts()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # How many connections there are is decided by the client's limiters.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity"},
            auto_decompress=False,
            read_bufsize=_READ_BUFFER,
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        with CancelScope(shield=True):
            await self._session.close()

    @asynccontextmanager
    async def exchange(self, call: Call) -> AsyncIterator[Incoming]:
        """Send `call`, follow redirects, and give the response of any other status.

        Raises:
            Interrupted: no answer, or one that may differ next time.
            RegistryUnavailable: no such host, a certificate that is not trusted, and the like.
            RegistryError: a redirect that must not be followed.
            SourceFailed: the body could not be read.
        """
        url = call.url
        for hop in range(call.redirects + 1):
            async with self._answer(call, url) as response:
                if not _is_redirect(call, response):
                    yield Incoming(call, response)
                    return
                url = redirect_target(url, response.headers.get("Location", ""))
            if hop == call.redirects:
                raise RegistryError(
                    f"{call.method} {printable(call.url)}: more than {call.redirects} redirects"
                )

    @asynccontextmanager
    async def _answer(self, call: Call, url: URL) -> AsyncIterator[aiohttp.ClientResponse]:
        patience = call.patience
        scope = CancelScope(deadline=current_time() + patience.response_seconds)
        body = call.body or (Body.of(b"") if call.method == "PUT" else None)
        outgoing = Outgoing(body, scope, patience) if body else None
        try:
            response = await self._send(call, url, outgoing, scope)
            try:
                yield response
            finally:
                # Closes the connection too, unless the exchange is complete.
                response.release()
        finally:
            if outgoing:
                await outgoing.settle()

    async def _send(
        self, call: Call, url: URL, outgoing: Outgoing | None, scope: CancelScope
    ) -> aiohttp.ClientResponse:
        options: dict[str, Any] = {
            "headers": _headers(call, url),
            "data": outgoing,
            "ssl": await self._tls(url, call.direction),
            "proxy": self._proxy(url),
            "allow_redirects": False,
            "timeout": aiohttp.ClientTimeout(
                total=None, sock_connect=call.patience.connect_seconds
            ),
        }
        with scope:
            try:
                return await self._session.request(call.method, url, **options)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                if outgoing and outgoing.failure:
                    raise SourceFailed(outgoing.failure) from outgoing.failure
                raise translate(error, call.method, url) from error
        if outgoing and outgoing.complaint:
            reason = f"the upload {outgoing.complaint}"
        else:
            reason = f"no answer within {call.patience.response_seconds:g} s"
        raise Interrupted(call.method, printable(url), reason)

    async def _tls(self, url: URL, direction: Direction) -> ssl.SSLContext | bool:
        if url.scheme == "https":
            return await self._contexts.get(self._identity(url, direction))
        proxy = self._proxy(url)
        if proxy and proxy.scheme == "https":
            return await self._contexts.get(TlsIdentity())
        return True  # says nothing; contexts are dear to make


def _headers(call: Call, url: URL) -> dict[str, str]:
    if url.origin() != call.url.origin():
        return {name: value for name, value in call.headers.items() if name.lower() in _FOR_OTHERS}
    authorization = {"Authorization": call.authorization} if call.authorization else {}
    return {**call.headers, **authorization}


def redirect_target(source: URL, location: str) -> URL:
    """Resolve a Location header of `source`.

    Raises:
        RegistryError: empty or malformed, another scheme than http(s), from https down to http, or
            to a link-local address, where clouds keep their credentials.
    """
    try:
        target = source.join(URL(location, encoded=True)).with_user(None)
        host = target.host or ""
    except ValueError as error:
        raise RegistryError(f"{printable(source)}: malformed Location header") from error
    if not location or not host or target.scheme not in ("http", "https"):
        raise RegistryError(f"{printable(source)}: unusable Location header")
    if source.scheme == "https" and target.scheme == "http":
        raise RegistryError(f"{printable(source)}: refused to go from https to {printable(target)}")
    if is_link_local(host) and host != source.host:
        raise RegistryError(f"{printable(source)}: refused to go to {printable(target)}")
    return target


def _is_redirect(call: Call, response: aiohttp.ClientResponse) -> bool:
    if response.status not in _REDIRECTS or "Location" not in response.headers:
        return False
    return call.method in ("GET", "HEAD") or response.status in _SAME_METHOD
