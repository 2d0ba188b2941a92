"""Download one file over http or https, for ADD and for remote Dockerfiles.

Bytes are counted and verified here; compression is never undone on the way, since a checksum is
that of the bytes as served.
"""

import hashlib
import os
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlsplit

import aiohttp
from anyio import CapacityLimiter, fail_after, to_thread

from asynckaniko.errors import ContextError, IntegrityError
from asynckaniko.settings import Retry

_MOST_REDIRECTS = 10
_LARGEST = 64 << 30


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What a download brought. `modified` is POSIX seconds, if the server said."""

    name: str
    """The last part of the URL's path after redirects are left aside; may be empty."""
    size: int
    modified: int | None


async def download(
    url: str, file: int, *, checksum: str, retry: Retry, disk: CapacityLimiter
) -> Downloaded:
    """Write what `url` serves to the descriptor `file`.

    Raises:
        ContextError: not reachable, an error status, too large.
        IntegrityError: not the checksum (`sha256:...`), or cut short.
    """
    shown = _without_secrets(url)
    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=retry.connect_seconds, sock_read=retry.response_seconds
    )
    try:
        async with (
            aiohttp.ClientSession(
                timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            ) as session,
            session.get(url, max_redirects=_MOST_REDIRECTS) as response,
        ):
            if response.status >= 400:
                raise ContextError(f"{shown}: HTTP {response.status} {response.reason}")
            size, digest = await _receive(response, file, shown, retry, disk)
            modified = _modified(response.headers.get("Last-Modified", ""))
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise ContextError(f"{shown}: {str(error) or type(error).__name__}") from error
    if checksum and digest != checksum:
        raise IntegrityError(f"{shown}: digest {digest}, expected {checksum}")
    return Downloaded(unquote(urlsplit(url).path.rpartition("/")[2]), size, modified)


async def _receive(
    response: aiohttp.ClientResponse, file: int, shown: str, retry: Retry, disk: CapacityLimiter
) -> tuple[int, str]:
    size, hashed = 0, hashlib.sha256()
    body = response.content.iter_any()
    while True:
        # A server that drips must not hold the build for ever.
        with fail_after(retry.response_seconds):
            data = await anext(body, b"")
        if not data:
            break
        size += len(data)
        if size > _LARGEST:
            raise ContextError(f"{shown}: larger than {_LARGEST} bytes")
        hashed.update(data)
        await to_thread.run_sync(os.write, file, data, limiter=disk)
    expected = response.content_length
    if expected is not None and size != expected:
        raise IntegrityError(f"{shown}: {size} bytes of {expected} arrived")
    return size, f"sha256:{hashed.hexdigest()}"


def _modified(text: str) -> int | None:
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except ValueError:
        return None


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()
