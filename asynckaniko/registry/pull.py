"""Download manifests and blobs, verified, from a registry or its mirrors."""

import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from anyio import CapacityLimiter, to_thread

from asynckaniko.errors import (
    IntegrityError,
    InvalidReference,
    NotFound,
    RegistryError,
    RegistryUnavailable,
)
from asynckaniko.events import EventSink
from asynckaniko.oci import manifest as manifests
from asynckaniko.oci import media_types
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.manifest import Index, Manifest
from asynckaniko.oci.platform import Platform
from asynckaniko.oci.reference import Reference, Repository
from asynckaniko.registry.endpoints import Endpoint, Endpoints
from asynckaniko.registry.progress import Progress
from asynckaniko.registry.rejection import printable
from asynckaniko.registry.retry import Clock, Interrupted
from asynckaniko.registry.transport import Request, Transport
from asynckaniko.registry.wire import Incoming
from asynckaniko.settings import Limits

_ACCEPT = ", ".join(
    (
        media_types.OCI_INDEX,
        media_types.DOCKER_LIST,
        media_types.OCI_MANIFEST,
        media_types.DOCKER_MANIFEST,
    )
)
_DEEPEST_INDEX = 3
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_OUT_OF_USE_SECONDS = 60.0
_HASH_BATCH = 1 << 20


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """An image of one platform, by digest. `repository` is as asked, whoever served it."""

    reference: Reference
    descriptor: Descriptor
    manifest: Manifest
    config: bytes
    repository: Repository


class Puller:
    """Reads from the endpoints of each repository, mirrors first."""

    def __init__(
        self, transport: Transport, endpoints: Endpoints, *, limits: Limits, clock: Clock
    ) -> None:
        self._transport = transport
        self._endpoints = endpoints
        self._limits = limits
        self._clock = clock
        self._downloads = CapacityLimiter(limits.downloads)
        self._hashing = CapacityLimiter(limits.disk_threads)
        self._out_of_use: dict[Endpoint, float] = {}
        """Mirrors that failed, and until when they are left alone."""

    async def resolve(
        self, reference: Reference, platform: Platform, *, emit: EventSink
    ) -> ResolvedImage:
        """Find the image for `platform`."""
        *mirrors, last = self._candidates(reference.repository)
        for endpoint in mirrors:
            try:
                return await self._resolve_at(endpoint, reference, platform, emit)
            except (RegistryError, IntegrityError) as error:
                self._set_aside(endpoint, error)
        return await self._resolve_at(last, reference, platform, emit)

    async def _resolve_at(
        self, endpoint: Endpoint, reference: Reference, platform: Platform, emit: EventSink
    ) -> ResolvedImage:
        document = await self._document(endpoint, reference, reference.target, None, emit)
        for _ in range(_DEEPEST_INDEX):
            if isinstance(document, Manifest):
                break
            child = document.choose(platform, name=str(reference))
            document = await self._document(endpoint, reference, child.digest, child, emit)
        if isinstance(document, Index):
            raise IntegrityError(f"{reference}: indexes nested deeper than {_DEEPEST_INDEX}")
        if len(document.layers) > self._limits.layers:
            raise IntegrityError(
                f"{reference}: {len(document.layers)} layers, the limit is {self._limits.layers}"
            )
        config = await self._config(endpoint, reference, document.config, emit)
        return ResolvedImage(reference, document.descriptor, document, config, reference.repository)

    async def _document(
        self,
        endpoint: Endpoint,
        reference: Reference,
        target: str,
        expected: Descriptor | None,
        emit: EventSink,
    ) -> Manifest | Index:
        name = endpoint.name(reference.repository)
        request = Request(
            "GET", endpoint, f"/v2/{name}/manifests/{target}", name, headers={"Accept": _ACCEPT}
        )
        reply = await self._transport.fetch(request, limit=self._limits.manifest_size, emit=emit)
        where = f"{reference.repository} manifest {target} from {endpoint.host}"
        wanted = expected.digest if expected else reference.digest
        check_digest(reply.content, wanted=wanted, headers=reply.headers, where=where)
        if expected and expected.size != len(reply.content):
            raise IntegrityError(
                f"{where}: {len(reply.content)} bytes, the index says {expected.size}"
            )
        announced = reply.headers.get("Content-Type", "")
        return manifests.parse(reply.content, media_type=announced, where=where)

    async def _config(
        self, endpoint: Endpoint, reference: Reference, config: Descriptor, emit: EventSink
    ) -> bytes:
        if config.size > self._limits.config_size:
            raise IntegrityError(
                f"{reference}: config of {config.size} bytes, the limit is "
                f"{self._limits.config_size}"
            )
        transfer = _Transfer(reference.repository, config, verify=True, emit=emit)
        async with self._slot(), aclosing(self._from([endpoint], transfer)) as stream:
            return b"".join([chunk async for chunk in stream])

    @asynccontextmanager
    async def read_blob(
        self,
        repository: Repository,
        blob: Descriptor,
        *,
        verify: bool,
        use_mirrors: bool,
        emit: EventSink,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give the blob's bytes as they come; see RegistryClient.read_blob."""
        endpoints = self._candidates(repository)
        if not use_mirrors:
            endpoints = [e for e in endpoints if not e.is_mirror] or endpoints
        transfer = _Transfer(repository, blob, verify=verify, emit=emit)
        async with self._slot(), aclosing(self._from(endpoints, transfer)) as stream:
            yield stream

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        # One task may read several blobs at a time, so the task is not the borrower.
        borrower = object()
        await self._downloads.acquire_on_behalf_of(borrower)
        try:
            yield
        finally:
            self._downloads.release_on_behalf_of(borrower)

    async def _from(
        self, endpoints: list[Endpoint], transfer: "_Transfer"
    ) -> AsyncGenerator[bytes, None]:
        hasher = _Hasher(self._hashing) if transfer.verify else None
        for endpoint in endpoints:
            is_last = endpoint is endpoints[-1]
            try:
                async with aclosing(self._at(endpoint, transfer)) as stream:
                    async for chunk in stream:
                        if hasher:
                            await hasher.update(chunk)
                        yield chunk
                if hasher:
                    self._verify(await hasher.digest(), endpoint, transfer)
                return
            except (RegistryError, IntegrityError) as error:
                self._set_aside(endpoint, error)
                # Wrong bytes have been given away already, so no other endpoint can help.
                if is_last or transfer.is_complete:
                    raise

    async def _at(self, endpoint: Endpoint, transfer: "_Transfer") -> AsyncGenerator[bytes, None]:
        """Read the rest of the blob from one endpoint, resuming after each cut."""
        attempts = self._transport.attempts(endpoint, emit=transfer.emit)
        enough = self._transport.patience(endpoint).stall_size
        while not transfer.is_complete:
            began_at = transfer.offset
            try:
                async with self._transport.open(
                    transfer.request(endpoint), emit=transfer.emit
                ) as incoming:
                    async for chunk in transfer.receive(incoming):
                        yield chunk
            except NotFound as error:
                raise transfer.explain(error) from error
            except RegistryError as error:
                # A mirror that gets on by fits and starts is still slower than no mirror.
                if transfer.offset - began_at >= enough and not endpoint.is_mirror:
                    attempts.progressed()
                await attempts.after(error)

    def _verify(self, actual: Digest, endpoint: Endpoint, transfer: "_Transfer") -> None:
        if actual != transfer.blob.digest:
            raise IntegrityError(
                f"blob {transfer.blob.digest} of {transfer.repository} from {endpoint.host}: "
                f"received {actual}; the registry or a proxy altered it"
            )

    def _candidates(self, repository: Repository) -> list[Endpoint]:
        endpoints = self._endpoints.pull(repository)
        now = self._clock.monotonic()
        usable = [e for e in endpoints if self._out_of_use.get(e, now) <= now]
        return usable or list(endpoints)

    def _set_aside(self, endpoint: Endpoint, error: Exception) -> None:
        """Leave a mirror alone for a while when it does not work, for good when it lies."""
        if not endpoint.is_mirror:
            return
        if isinstance(error, IntegrityError):
            self._out_of_use[endpoint] = float("inf")
        elif isinstance(error, RegistryUnavailable):
            self._out_of_use[endpoint] = self._clock.monotonic() + _OUT_OF_USE_SECONDS


class _Transfer:
    """One blob on its way; `offset` bytes have been given to the reader."""

    def __init__(
        self, repository: Repository, blob: Descriptor, *, verify: bool, emit: EventSink
    ) -> None:
        self.repository = repository
        self.blob = blob
        self.verify = verify
        self.emit = emit
        self.offset = 0
        self._progress = Progress("pull", blob, emit)
        self._may_ask_for_ranges = True

    @property
    def is_complete(self) -> bool:
        return self.offset == self.blob.size

    def request(self, endpoint: Endpoint) -> Request:
        name = endpoint.name(self.repository)
        is_range = self.offset > 0 and self._may_ask_for_ranges
        return Request(
            "GET",
            endpoint,
            f"/v2/{name}/blobs/{self.blob.digest}",
            name,
            success=frozenset({200, 206, 416} if is_range else {200}),
            headers={"Range": f"bytes={self.offset}-"} if is_range else {},
        )

    async def receive(self, incoming: Incoming) -> AsyncIterator[bytes]:
        """Give what is new of one response.

        Raises:
            IntegrityError: the response is of another size than the blob.
            Interrupted: it ended early.
        """
        where = f"blob {self.blob.digest} of {self.repository} from {incoming.url.host}"
        start = first_byte(incoming.status, incoming.headers, self.blob.size, where)
        if start is None or start > self.offset:
            self._may_ask_for_ranges = False
            raise self._cut(incoming, f"not the range asked for (from byte {self.offset})")
        skip = self.offset - start
        while chunk := await incoming.chunk():
            if skip:
                chunk, skip = chunk[skip:], max(0, skip - len(chunk))
                if not chunk:
                    continue
            if self.offset + len(chunk) > self.blob.size:
                raise IntegrityError(f"{where}: more than the {self.blob.size} bytes it should be")
            self.offset += len(chunk)
            self._progress.at(self.offset)
            yield chunk
        if not self.is_complete:
            raise self._cut(
                incoming, f"the body ended after {self.offset} of {self.blob.size} bytes"
            )

    def _cut(self, incoming: Incoming, reason: str) -> Interrupted:
        return Interrupted("GET", printable(incoming.url), reason)

    def explain(self, error: NotFound) -> RegistryError:
        if not self.blob.urls and not media_types.is_foreign(self.blob.media_type):
            return error
        return RegistryError(
            f"{error}: a foreign layer; fetching it from the URLs in the manifest is refused"
        )


class _Hasher:
    """sha256 over a stream, off the event loop where it takes long."""

    def __init__(self, limiter: CapacityLimiter) -> None:
        self._limiter = limiter
        self._sha256 = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._size = 0

    async def update(self, chunk: bytes) -> None:
        self._waiting.append(chunk)
        self._size += len(chunk)
        if self._size >= _HASH_BATCH:
            await to_thread.run_sync(self._hash, limiter=self._limiter)

    async def digest(self) -> Digest:
        self._hash()
        return Digest(f"sha256:{self._sha256.hexdigest()}")

    def _hash(self) -> None:
        for chunk in self._waiting:
            self._sha256.update(chunk)
        self._waiting.clear()
        self._size = 0


def first_byte(status: int, headers: Mapping[str, str], size: int, where: str) -> int | None:
    """Return the offset in the blob at which a response's body starts; None if it is unusable.

    A server may answer a range request with everything.

    Raises:
        IntegrityError: the response speaks of a blob of another size.
    """
    length = headers.get("Content-Length", "")
    if status == 206:
        match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
        if match is None:
            return None
        if match[3] != "*" and int(match[3]) != size:
            raise IntegrityError(f"{where}: {match[3]} bytes, the manifest says {size}")
        return int(match[1])
    if status == 416:
        return None
    if length.isdigit() and int(length) != size:
        raise IntegrityError(f"{where}: {length} bytes, the manifest says {size}")
    return 0


def check_digest(
    content: bytes, *, wanted: Digest | None, headers: Mapping[str, str], where: str
) -> None:
    """Compare a document with the digest that asked for it, and with the registry's own claim.

    Raises:
        IntegrityError: one of them differs.
    """
    actual = Digest.of(content)
    if wanted and actual != wanted:
        raise IntegrityError(f"{where}: received {actual}, expected {wanted}")
    try:
        claimed = Digest.parse(headers.get("Docker-Content-Digest", ""))
    except InvalidReference:
        return  # absent, or an algorithm that says nothing to us
    if actual != claimed:
        raise IntegrityError(f"{where}: received {actual}, but the registry calls it {claimed}")
