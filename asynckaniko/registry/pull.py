"""Download manifests and blobs, verified, from a registry or its mirrors."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager

from anyio import CapacityLimiter, create_task_group
from anyio.abc import TaskGroup

from asynckaniko.concurrency import single_error
from asynckaniko.errors import (
    IntegrityError,
    InvalidReference,
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
from asynckaniko.records import dataclass
from asynckaniko.registry.download import Downloads, Hasher, Stretch
from asynckaniko.registry.endpoints import Endpoint, Endpoints
from asynckaniko.registry.retry import Clock
from asynckaniko.registry.transport import Request, Transport
from asynckaniko.settings import Limits

_DEEPEST_INDEX = 3
_OUT_OF_USE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """An image of one platform, by digest. `repository` is as asked, whoever served it."""

    reference: Reference
    descriptor: Descriptor
    manifest: Manifest
    config: bytes
    repository: Repository
    indexes: tuple[Index, ...] = ()
    """The indexes that led to the manifest, outermost first."""


_AHEAD = 3
"""Connections that read ahead in one big blob, as long as it is the only one."""


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
        self._reading = Downloads(transport, connections=min(limits.downloads, _AHEAD))
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
        document, indexes = await self._manifest_at(endpoint, reference, platform, emit)
        if len(document.layers) > self._limits.layers:
            raise IntegrityError(
                f"{reference}: {len(document.layers)} layers, the limit is {self._limits.layers}"
            )
        config = await self._config(endpoint, reference, document.config, emit)
        return ResolvedImage(
            reference, document.descriptor, document, config, reference.repository, indexes
        )

    async def manifest(
        self, reference: Reference, platform: Platform, *, emit: EventSink
    ) -> Manifest:
        """Find the manifest for `platform`, and leave its config where it is."""
        *mirrors, last = self._candidates(reference.repository)
        for endpoint in mirrors:
            try:
                return (await self._manifest_at(endpoint, reference, platform, emit))[0]
            except (RegistryError, IntegrityError) as error:
                self._set_aside(endpoint, error)
        return (await self._manifest_at(last, reference, platform, emit))[0]

    async def document(
        self, reference: Reference, expected: Descriptor | None, *, emit: EventSink
    ) -> Manifest | Index:
        """Fetch what the reference names, be it an index; see RegistryClient.document."""
        *mirrors, last = self._candidates(reference.repository)
        for endpoint in mirrors:
            try:
                return await self._document(endpoint, reference, reference.target, expected, emit)
            except (RegistryError, IntegrityError) as error:
                self._set_aside(endpoint, error)
        return await self._document(last, reference, reference.target, expected, emit)

    async def _manifest_at(
        self, endpoint: Endpoint, reference: Reference, platform: Platform, emit: EventSink
    ) -> tuple[Manifest, tuple[Index, ...]]:
        document = await self._document(endpoint, reference, reference.target, None, emit)
        indexes: list[Index] = []
        while isinstance(document, Index):
            if len(indexes) == _DEEPEST_INDEX:
                raise IntegrityError(f"{reference}: indexes nested deeper than {_DEEPEST_INDEX}")
            indexes.append(document)
            child = document.choose(platform, name=str(reference))
            document = await self._document(endpoint, reference, child.digest, child, emit)
        return document, tuple(indexes)

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
            "GET",
            endpoint,
            f"/v2/{name}/manifests/{target}",
            name,
            headers={"Accept": media_types.ACCEPT},
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
        stretch = Stretch(reference.repository, config, emit=emit)
        # Not among the downloads: a stage that begins must not wait for the layers of others.
        async with aclosing(self._from([endpoint], stretch, Hasher(self._hashing))) as stream:
            return b"".join([chunk async for chunk in stream])

    @asynccontextmanager
    async def read_blob(
        self,
        repository: Repository,
        blob: Descriptor,
        *,
        start: int,
        verify: bool,
        use_mirrors: bool,
        emit: EventSink,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give the blob's bytes as they come; see RegistryClient.read_blob."""
        endpoints = self._candidates(repository)
        if not use_mirrors:
            endpoints = [e for e in endpoints if not e.is_mirror] or endpoints
        stretch = Stretch(repository, blob, emit=emit, start=start)
        verify = verify and start == 0  # the digest is that of the whole
        hasher = Hasher(self._hashing) if verify else None
        async with self._stream(endpoints, stretch, hasher) as stream:
            yield stream

    async def save_blob(
        self,
        repository: Repository,
        blob: Descriptor,
        write: Callable[[Sequence[bytes]], object],
        *,
        emit: EventSink,
    ) -> None:
        """Give the blob's bytes to `write`; see RegistryClient.save_blob."""
        stretch = Stretch(repository, blob, emit=emit)
        hasher = Hasher(self._hashing, write)
        async with self._stream(self._candidates(repository), stretch, hasher) as stream:
            async for _ in stream:
                pass

    @asynccontextmanager
    async def _stream(
        self, endpoints: list[Endpoint], stretch: Stretch, hasher: Hasher | None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        # A reader that begins in the middle may want little, and would waste the rest.
        may_read_ahead = stretch.offset == 0
        with single_error(), self._reading.announce(stretch.blob):
            async with self._slot(), create_task_group() as tasks:
                ahead = tasks if may_read_ahead else None
                stream = self._from(endpoints, stretch, hasher, tasks=ahead)
                async with aclosing(stream):
                    yield stream
                tasks.cancel_scope.cancel()

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
        self,
        endpoints: list[Endpoint],
        stretch: Stretch,
        hasher: Hasher | None,
        *,
        tasks: TaskGroup | None = None,
    ) -> AsyncGenerator[bytes, None]:
        for endpoint in endpoints:
            is_last = endpoint is endpoints[-1]
            try:
                reading = self._reading.read(endpoint, stretch, tasks=tasks)
                async with aclosing(reading) as chunks:
                    async for chunk in chunks:
                        if hasher:
                            await hasher.update(chunk)
                        yield chunk
                if hasher:
                    self._verify(await hasher.digest(), endpoint, stretch)
                return
            except (RegistryError, IntegrityError) as error:
                self._set_aside(endpoint, error)
                # Wrong bytes have been given away already, so no other endpoint can help.
                if is_last or stretch.is_complete:
                    raise

    def _verify(self, actual: Digest, endpoint: Endpoint, stretch: Stretch) -> None:
        if actual != stretch.blob.digest:
            raise IntegrityError(
                f"blob {stretch.blob.digest} of {stretch.repository} from {endpoint.host}: "
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
