"""The requests of an upload, and what their answers say.

`Range` may lag behind what was kept, and says 0-0 for nothing as for one byte; `Location` may be
relative, on another host, or wrong about the scheme.
"""

import re
from dataclasses import replace

from anyio import move_on_after
from multidict import CIMultiDictProxy
from yarl import URL

from asynckaniko.errors import (
    IntegrityError,
    InvalidReference,
    NotFound,
    RegistryError,
    RegistryRejected,
    Unauthorized,
)
from asynckaniko.events import EventSink
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.reference import Repository
from asynckaniko.records import dataclass
from asynckaniko.registry.bodies import Body
from asynckaniko.registry.endpoints import Endpoint
from asynckaniko.registry.transport import Reply, Request, Transport
from asynckaniko.registry.wire import redirect_target

STORED = frozenset({200, 201, 202, 204})
_CANCEL_SECONDS = 5.0
_LARGEST_CHUNK = 64 << 20
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")
_OCTETS = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True, slots=True)
class UploadSession:
    """Where the next bytes go, and how many the registry already has."""

    location: URL
    offset: int = 0
    smallest_chunk: int = 0


class UploadTarget:
    """One repository at its endpoint: the requests of an upload."""

    def __init__(
        self, transport: Transport, endpoint: Endpoint, repository: Repository, emit: EventSink
    ) -> None:
        self.transport = transport
        self.endpoint = endpoint
        self.name = endpoint.name(repository)
        self.repository = repository
        self.emit = emit

    async def has(self, blob: Descriptor) -> bool:
        """Tell whether the blob is in the repository, as far as the registry lets us know."""
        path = f"/v2/{self.name}/blobs/{blob.digest}"
        try:
            reply = await self._ask("HEAD", path, {200})
            length = reply.headers.get("Content-Length", "")
            # Without a body some servers say 0, which means nothing.
            return not length.isdigit() or int(length) in (0, blob.size)
        except (NotFound, Unauthorized):
            # Some registries say 403 for what does not exist; the upload will tell.
            return False
        except RegistryRejected:
            return await self._has_without_head(path)

    async def _has_without_head(self, path: str) -> bool:
        request = self._request("GET", path, {200, 206}, headers={"Range": "bytes=0-0"})
        try:
            async with self.transport.open(request, emit=self.emit):
                return True
        except RegistryError:
            return False

    async def mount(
        self, blob: Descriptor, source: Repository
    ) -> tuple[UploadSession | None, bool]:
        """Ask for the blob from another repository of the registry.

        A registry that will not do it mostly begins an upload instead; whatever else it says or
        fails to say, the upload is the answer.
        """
        path = f"/v2/{self.name}/blobs/uploads/?mount={blob.digest}&from={source.name}"
        scopes = frozenset({f"repository:{source.name}:pull"})
        request = self._request("POST", path, {201, 202}, scopes=scopes)
        try:
            reply = await self.transport.fetch_once(request, emit=self.emit)
            if reply.status == 201:
                return None, True
            return _session(reply), False
        except (RegistryError, IntegrityError):
            return None, False

    async def start(self, *, most_attempts: int | None = None) -> UploadSession:
        request = self._request("POST", f"/v2/{self.name}/blobs/uploads/", {202})
        reply = await self.transport.fetch(request, most_attempts=most_attempts, emit=self.emit)
        return _session(reply)

    async def cancel(self, session: UploadSession) -> None:
        """Give up a session; registries forget it some day anyway.

        Where deleting takes more rights than pushing, it is not worth asking for them.
        """
        request = self._request("DELETE", session.location, {200, 202, 204})
        request = replace(request, may_sign_in=False)
        with move_on_after(_CANCEL_SECONDS):
            try:
                await self.transport.fetch_once(request, emit=self.emit)
            except (RegistryError, IntegrityError):
                return

    async def send(
        self,
        method: str,
        location: URL,
        success: frozenset[int] | set[int],
        body: Body | None = None,
        content_range: str = "",
    ) -> Reply:
        """Send bytes, once: only the session's state tells what a repetition would do."""
        headers = _OCTETS | ({"Content-Range": content_range} if content_range else {})
        request = self._request(method, location, success, headers=headers, body=body)
        return await self.transport.fetch_once(request, emit=self.emit)

    async def status(self, session: UploadSession) -> UploadSession | None:
        """Ask how much of an upload has arrived; None where the session is of no more use."""
        request = self._request("GET", session.location, {200, 202, 204})
        try:
            reply = await self.transport.fetch(request, most_attempts=3, emit=self.emit)
            offset = acknowledged(reply.headers)
            if offset is None:
                return None
            return replace(session, location=next_location(reply, session.location), offset=offset)
        except (RegistryError, IntegrityError):
            return None

    async def _ask(self, method: str, path: str, success: frozenset[int] | set[int]) -> Reply:
        return await self.transport.fetch(self._request(method, path, success), emit=self.emit)

    def _request(
        self,
        method: str,
        target: str | URL,
        success: frozenset[int] | set[int],
        *,
        headers: dict[str, str] | None = None,
        body: Body | None = None,
        scopes: frozenset[str] = frozenset(),
    ) -> Request:
        return Request(
            method,
            self.endpoint,
            target,
            self.name,
            actions="pull,push",
            success=frozenset(success),
            headers=headers or {},
            body=body,
            scopes=scopes,
        )


def acknowledged(headers: CIMultiDictProxy[str]) -> int | None:
    """Return how many bytes the registry says it holds; None where it does not say."""
    match = _RANGE.fullmatch(headers.get("Range", "").strip())
    return int(match[1]) + 1 if match else None


def upload_location(source: URL, text: str) -> URL:
    """Resolve an upload's Location header of `source`.

    A registry behind a proxy that ends TLS may think it is served over http; its own host is then
    still reached as before.
    """
    try:
        location = URL(text, encoded=True)
    except ValueError:
        location = URL()  # refused below, with the words for it
    if location.scheme == "http" and source.scheme == "https" and location.host == source.host:
        location = location.with_scheme("https").with_port(source.explicit_port)
    return redirect_target(source, str(location))


def request_size(configured: int, *, smallest: int) -> int:
    """Return how many bytes to send at a time; 0 is all in one request."""
    if not configured or smallest <= configured:
        return configured
    return smallest if smallest <= _LARGEST_CHUNK else 0


def with_digest(location: URL, digest: Digest) -> URL:
    # The registry's own parameters are signed, so they stay as they are written.
    joint = "&" if location.raw_query_string else "?"
    return URL(f"{location}{joint}digest={digest}", encoded=True)


def check_stored(reply: Reply, digest: Digest, where: str) -> None:
    try:
        stored = Digest.parse(reply.headers.get("Docker-Content-Digest", ""))
    except InvalidReference:
        return
    if stored != digest:
        raise IntegrityError(f"{where}: the registry stored {stored} instead of {digest}")


def _session(reply: Reply) -> UploadSession:
    location = next_location(reply, None)
    smallest = reply.headers.get("OCI-Chunk-Min-Length", "")
    return UploadSession(location, smallest_chunk=int(smallest[:15]) if smallest.isdigit() else 0)


def next_location(reply: Reply, default: URL | None) -> URL:
    """Resolve where the next request goes.

    Raises:
        RegistryError: there is no Location, or one that must not be followed.
    """
    text = reply.headers.get("Location", "")
    if not text and default is not None:
        return default
    return upload_location(reply.url, text)
