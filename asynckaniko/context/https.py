"""Read a file over http or https, and go on where a broken connection stopped.

For contexts, remote Dockerfiles and ADD. Compression is never undone on the way, since a checksum
is that of the bytes as served. Redirects are followed here rather than by the client: never from
https to http, and credentials stay with the host they were meant for.
"""

import hashlib
import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

import aiohttp
from anyio import CapacityLimiter, move_on_after, to_thread
from yarl import URL

from asynckaniko.context.attempts import Attempts, Transient
from asynckaniko.context.location import shown
from asynckaniko.errors import ContextError, IntegrityError, UsageError
from asynckaniko.events import EventSink
from asynckaniko.records import dataclass
from asynckaniko.settings import Retry

_MOST_REDIRECTS = 10
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_LATER = frozenset((408, 425, 429, 500, 502, 503, 504))
_HEADERS = {"Accept-Encoding": "identity"}
_MOST_DIGITS = 19


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """How patient to be, whom to trust, and how much to take."""

    retry: Retry
    limit: int
    """Bytes of one file."""
    ca_files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What a download brought. `modified` is POSIX seconds, if the server said."""

    name: str
    """The last part of the URL's path, redirects left aside; may be empty."""
    size: int
    modified: int | None


async def download(
    url: str,
    file: int,
    *,
    checksum: str,
    options: WebOptions,
    disk: CapacityLimiter,
    emit: EventSink,
) -> Downloaded:
    """Write what `url` serves to the descriptor `file`.

    Raises:
        ContextError: not reachable, an error status, too large.
        IntegrityError: not the checksum (`sha256:...`), or cut short.
    """
    size, hashed = 0, hashlib.sha256()
    async with open_url(url, options=options, emit=emit) as incoming:
        async for data in incoming.chunks():
            size += len(data)
            hashed.update(data)
            await to_thread.run_sync(_write, file, data, limiter=disk)
    digest = f"sha256:{hashed.hexdigest()}"
    if checksum and digest != checksum:
        raise IntegrityError(f"{shown(url)}: digest {digest}, expected {checksum}")
    return Downloaded(unquote(urlsplit(url).path.rpartition("/")[2]), size, incoming.modified)


async def read_url(url: str, *, options: WebOptions, emit: EventSink) -> bytes:
    """Return what `url` serves; raises as `download` does."""
    async with open_url(url, options=options, emit=emit) as incoming:
        return b"".join([data async for data in incoming.chunks()])


@asynccontextmanager
async def open_url(
    url: str, *, options: WebOptions, emit: EventSink
) -> AsyncIterator["IncomingFile"]:
    """Ask for a file, for the length of the block. Raises ContextError, UsageError."""
    retry = options.retry
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=retry.connect_seconds, sock_read=retry.response_seconds
    )
    tls = await to_thread.run_sync(_tls, options.ca_files)
    async with aiohttp.ClientSession(
        timeout=timeout,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(ssl=tls),
        # Proxies of the environment, as every program here follows them.
        trust_env=True,
    ) as session:
        incoming = IncomingFile(session, url, options, emit)
        try:
            await incoming.connect()
            yield incoming
        finally:
            incoming.close()


class IncomingFile:
    """A file on its way. `size` is None where the server does not say."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, options: WebOptions, emit: EventSink
    ) -> None:
        self._session = session
        self._url = url
        self._shown = shown(url)
        self._options = options
        self._attempts = Attempts(options.retry, method="GET", url=self._shown, emit=emit)
        self._response: aiohttp.ClientResponse | None = None
        self._received = 0
        self._skip = 0
        self._validator = ""
        self._since_connected = 0
        self._waited, self._brought = 0.0, 0
        """Seconds spent on waiting, and bytes that it brought, since the pace was last judged."""
        self.size: int | None = None
        self.modified: int | None = None

    def close(self) -> None:
        if self._response is not None:
            # Not release: what is left of the body is not worth reading.
            self._response.close()
            self._response = None

    async def connect(self) -> None:
        """Send the request; after a cut, for the rest. Raises ContextError, IntegrityError."""
        while True:
            try:
                self._response = await self._request()
                break
            except Transient as error:
                await self._attempts.after(error)
        self._since_connected = 0
        self._waited, self._brought = 0.0, 0
        if self._received:
            self._check_resumed(self._response)
        else:
            self._begin(self._response)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes in pieces.

        Raises:
            ContextError: larger than the limit, or not to be had any more.
            IntegrityError: cut short, and the server cannot go on from there.
        """
        while True:
            try:
                data = await self._receive()
            except Transient as error:
                self.close()
                await self._attempts.after(error)
                await self.connect()
                continue
            if not data:
                break
            if self._skip:
                passed = min(self._skip, len(data))
                self._skip -= passed
                data = data[passed:]
            if data:
                self._received += len(data)
                self._since_connected += len(data)
                # A drop from each connection is no progress.
                if self._since_connected >= self._options.retry.stall_size:
                    self._attempts.progressed()
                self._check_size(self._received)
                yield data
        if self.size is not None and self._received != self.size:
            raise IntegrityError(f"{self._shown}: {self._received} of {self.size} bytes arrived")

    async def _request(self) -> aiohttp.ClientResponse:
        url, headers = URL(self._url, encoded=False), dict(_HEADERS)
        if self._received:
            headers["Range"] = f"bytes={self._received}-"
            if self._validator:
                headers["If-Range"] = self._validator
        for _ in range(_MOST_REDIRECTS + 1):
            try:
                response = await self._session.get(url, headers=headers, allow_redirects=False)
            except aiohttp.InvalidURL as error:
                raise ContextError(f"{self._shown}: not a URL that can be asked for") from error
            except aiohttp.ClientConnectorCertificateError as error:
                raise ContextError(
                    f"{self._shown}: its certificate is not trusted"
                    f" ({error.certificate_error}); add its CA to SSL_CERT_FILE"
                ) from error
            except (aiohttp.ClientError, OSError) as error:
                raise Transient(self._shown, _reason(error)) from error
            if response.status not in _REDIRECTS:
                return self._accepted(response)
            url = self._redirected(response, url)
        raise ContextError(f"{self._shown}: more than {_MOST_REDIRECTS} redirects")

    def _redirected(self, response: aiohttp.ClientResponse, url: URL) -> URL:
        location = response.headers.get("Location", "")
        response.close()
        try:
            target = url.join(URL(location))
        except ValueError as error:
            raise ContextError(f"{self._shown}: redirects to no URL") from error
        if not location or target.scheme not in {"http", "https"} or not target.host:
            raise ContextError(f"{self._shown}: redirects to what is no http or https URL")
        if url.scheme == "https" and target.scheme == "http":
            raise ContextError(
                f"{self._shown}: redirects from https to http ({target.host}), where anybody may"
                " alter it"
            )
        return target

    def _accepted(self, response: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
        status = response.status
        if status in {200, 206}:
            return response
        response.close()
        if status in _LATER:
            wait = response.headers.get("Retry-After", "")
            seconds = float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 6 else None
            raise Transient(self._shown, f"HTTP {status}", wait_seconds=seconds)
        hint = "; it wants to be signed in to" if status in {401, 403} else ""
        raise ContextError(f"{self._shown}: HTTP {status} {response.reason}{hint}")

    def _begin(self, response: aiohttp.ClientResponse) -> None:
        if response.status != 200:
            raise ContextError(f"{self._shown}: HTTP {response.status} for a whole file")
        length = response.headers.get("Content-Length", "")
        if length.isascii() and length.isdigit() and len(length) <= _MOST_DIGITS:
            self.size = int(length)
            self._check_size(self.size)
        self.modified = _modified(response.headers.get("Last-Modified", ""))
        etag = response.headers.get("ETag", "")
        # RFC 9110, 13.1.5: only a strong validator says that the parts fit together.
        self._validator = etag if etag.startswith('"') else ""

    def _check_resumed(self, response: aiohttp.ClientResponse) -> None:
        self._skip = 0
        if response.status == 206:
            wanted = f"bytes {self._received}-"
            if not response.headers.get("Content-Range", "").startswith(wanted):
                raise self._cut("the server sends another part than was asked for")
            if self._validator or self._same_size(response):
                return
            raise self._cut("the server does not say whether it is the same file")
        if not self._validator or response.headers.get("ETag") != self._validator:
            raise self._cut("the server cannot go on from there")
        self._skip = self._received

    def _same_size(self, response: aiohttp.ClientResponse) -> bool:
        total = response.headers["Content-Range"].rpartition("/")[2]
        modified = _modified(response.headers.get("Last-Modified", ""))
        return self.size is not None and total == str(self.size) and modified == self.modified

    def _cut(self, why: str) -> IntegrityError:
        self.close()
        of = f" of {self.size}" if self.size is not None else ""
        return IntegrityError(
            f"{self._shown}: the connection broke after {self._received}{of} bytes, and {why}"
        )

    async def _receive(self) -> bytes:
        """Return the next piece, empty at the end. Raises Transient: cut, or too slow."""
        assert self._response is not None
        content, retry = self._response.content, self._options.retry
        while True:
            began = time.monotonic()
            data: bytes | None = None
            try:
                with move_on_after(max(retry.stall_seconds - self._waited, 0)):
                    data = await content.readany()
            except (aiohttp.ClientError, OSError) as error:
                # What arrived before the failure is kept by the reader, but not given.
                if data := content._read_nowait(-1):
                    return data
                raise Transient(self._shown, _reason(error)) from error
            self._waited += time.monotonic() - began
            self._brought += len(data or b"")
            # A server that drips must not hold the build for ever.
            if self._waited >= retry.stall_seconds:
                if self._brought < retry.stall_size and data != b"":
                    raise Transient(
                        self._shown,
                        f"{self._brought} bytes in {retry.stall_seconds:.0f} s is too slow",
                    )
                self._waited, self._brought = 0.0, 0
            if data is not None:
                return data

    def _check_size(self, size: int) -> None:
        if size > self._options.limit:
            raise ContextError(f"{self._shown}: larger than {self._options.limit} bytes")


def _write(file: int, data: bytes) -> None:
    with open(file, "wb", buffering=0, closefd=False) as writer:
        view = memoryview(data)
        while view:
            view = view[writer.write(view) :]


def _tls(ca_files: tuple[Path, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for path in ca_files:
        try:
            context.load_verify_locations(cafile=path)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"CA certificate file {path}: {error}") from error
    return context


def _modified(text: str) -> int | None:
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (ValueError, OverflowError):
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection was cut"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed before an answer"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"cannot resolve {error.host}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect to {error.host}:{error.port}: {_said(error.os_error)}"
    # aiohttp's own texts may have the whole URL in them.
    return _said(error) if isinstance(error, OSError) else type(error).__name__


def _said(error: OSError) -> str:
    number = error.errno or 0
    return os.strerror(number) if number > 0 else type(error).__name__
