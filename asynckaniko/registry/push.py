"""Upload blobs and manifests (distribution-spec v1.1, "Push").

Bytes of one upload session must arrive in order, so one blob is one sequence of requests and
concurrency is across blobs. What real registries do, and this module copes with: the session is
gone after a cut (docker-registry 2.8), the answer to the last request gets lost although the blob
was stored, `Range` lags behind what was kept or says 0-0 for nothing.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from enum import Enum
from typing import Protocol

from anyio import CapacityLimiter

from asynckaniko.errors import (
    BlobUnknown,
    NotFound,
    RegistryError,
    RegistryRejected,
    RegistryUnavailable,
    Unauthorized,
)
from asynckaniko.events import BlobRoute, EventSink
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.media_types import ACCEPT
from asynckaniko.oci.reference import Reference, Repository
from asynckaniko.registry.bodies import Body, SourceFailed
from asynckaniko.registry.early_upload import EarlyPlaces, EarlyUpload
from asynckaniko.registry.endpoints import Endpoints
from asynckaniko.registry.progress import Progress
from asynckaniko.registry.rejection import printable
from asynckaniko.registry.retry import Interrupted, is_transient
from asynckaniko.registry.transport import Request, Transport
from asynckaniko.registry.uploads import (
    STORED,
    UploadSession,
    UploadTarget,
    acknowledged,
    check_stored,
    next_location,
    request_size,
    with_digest,
)
from asynckaniko.settings import Limits, RegistryOptions

_QUESTIONS = 16
_MOST_MOUNT_SOURCES = 3
_MOST_REFUSALS = 3
"""How often an upload is begun anew after a refusal that is no outage."""
_SMALL_CHUNK = 8 << 20
"""For servers that find one request for everything too large (413)."""
_SESSION_LOST = frozenset({"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "DIGEST_INVALID"})


class Blob(Protocol):
    """Content that can be read again from any offset, so that an upload can resume."""

    @property
    def descriptor(self) -> Descriptor: ...

    def chunks(self, offset: int) -> AsyncIterator[bytes]:
        """Give the bytes from `offset` on; may wait for bytes that are still arriving."""
        ...


class Remedy(Enum):
    """What to do about a refused or broken upload request."""

    RESUME = "ask the session how far it got"
    RESTART = "begin a new session"
    NONE = "give up"


class Pusher:
    """Writes to registries, many blobs at a time."""

    def __init__(
        self,
        transport: Transport,
        endpoints: Endpoints,
        *,
        limits: Limits,
        options: RegistryOptions,
    ) -> None:
        self._transport = transport
        self._endpoints = endpoints
        self._uploads = CapacityLimiter(limits.uploads)
        # Whether a blob is there must not wait until others are uploaded.
        self._questions = CapacityLimiter(_QUESTIONS)
        self._options = options
        self._chunk_size = options.chunk_size
        self._ignore_immutable_tags = options.ignore_immutable_tags
        self._early_places = EarlyPlaces(self._uploads)
        self._refusing_early: set[str] = set()

    def upload_early(self, repository: Repository, *, emit: EventSink) -> EarlyUpload:
        """Prepare to send a blob that is still being made."""
        target = UploadTarget(self._transport, self._endpoints.push(repository), repository, emit)
        return EarlyUpload(
            target,
            places=self._early_places,
            options=self._options,
            refusing=self._refusing_early,
        )

    async def push_blob(
        self,
        repository: Repository,
        blob: Blob,
        *,
        mount_from: Sequence[Repository],
        early: EarlyUpload | None = None,
        emit: EventSink,
    ) -> str:
        """Bring the blob there by the cheapest way; returns a BlobRoute.

        `early` may have sent it, or the beginning of it.
        """
        target = UploadTarget(self._transport, self._endpoints.push(repository), repository, emit)
        async with self._questions:
            if await target.has(blob.descriptor):
                return BlobRoute.EXISTED
            sources = [s for s in dict.fromkeys(mount_from) if _is_near(s, repository)]
            session: UploadSession | None = None
            for source in sources[:_MOST_MOUNT_SOURCES]:
                if session:
                    await target.cancel(session)
                session, mounted = await target.mount(blob.descriptor, source)
                if mounted:
                    return BlobRoute.MOUNTED
        async with self._uploads:
            try:
                if early is None or not await self._finish(early, target, blob):
                    await _Upload(target, blob, self._chunk_size).run(session)
            except SourceFailed as failure:
                raise failure.error from failure.error.__cause__
        return BlobRoute.UPLOADED

    async def _finish(self, early: EarlyUpload, target: UploadTarget, blob: Blob) -> bool:
        """Make the blob of what was sent early; False if the registry will not have it so."""
        if early.session is None:
            return False
        try:
            await _Upload(target, blob, self._chunk_size).run(early.session)
        except RegistryRejected:
            self._refusing_early.add(target.endpoint.host)
            await early.give_up()
            return False
        early.was_used()
        return True

    async def push_manifest(
        self, reference: Reference, content: bytes, media_type: str, *, emit: EventSink
    ) -> None:
        """Store a manifest or index under the reference's tag or digest."""
        endpoint = self._endpoints.push(reference.repository)
        name = endpoint.name(reference.repository)
        request = Request(
            "PUT",
            endpoint,
            f"/v2/{name}/manifests/{reference.target}",
            name,
            actions="pull,push",
            success=STORED,
            headers={"Content-Type": media_type},
            body=Body.of(content),
        )
        attempts = self._transport.attempts(endpoint, emit=emit)
        is_tag = reference.digest is None
        refusals = 0
        while True:
            try:
                reply = await self._transport.fetch_once(request, emit=emit)
                break
            except BlobUnknown as error:
                # Registries that are eventually consistent need a moment after an upload.
                refusals += 1
                if refusals >= _MOST_REFUSALS:
                    raise
                await attempts.after(error, anyway=True)
            except RegistryError as error:
                if self._ignore_immutable_tags and is_tag and is_immutable_tag(error):
                    return
                await attempts.after(error)
        check_stored(reply, Digest.of(content), f"{reference}")

    async def has_manifest(
        self, repository: Repository, digest: Digest, *, emit: EventSink
    ) -> bool:
        """Ask whether a manifest or index is there; where the answer is no clear yes, it is not."""
        endpoint = self._endpoints.push(repository)
        name = endpoint.name(repository)
        request = Request(
            "HEAD",
            endpoint,
            f"/v2/{name}/manifests/{digest}",
            name,
            actions="pull,push",
            headers={"Accept": ACCEPT},
        )
        try:
            async with self._questions:
                await self._transport.fetch(request, emit=emit)
        except (NotFound, Unauthorized, RegistryRejected):
            return False
        return True

    async def check_push(self, repository: Repository, *, emit: EventSink) -> None:
        """Begin an upload and drop it, as kaniko does before it builds."""
        target = UploadTarget(self._transport, self._endpoints.push(repository), repository, emit)
        session = await target.start()
        await target.cancel(session)


class _Upload:
    """Sends one blob until it is stored."""

    def __init__(self, target: UploadTarget, blob: Blob, chunk_size: int) -> None:
        self._target = target
        self._blob = blob
        self._size = blob.descriptor.size
        self._digest = blob.descriptor.digest
        self._chunk_size = chunk_size
        self._progress = Progress("push", blob.descriptor, target.emit)
        self._trust_ranges = True
        """Until a digest was wrong: then `Range` may have lagged behind what had been kept."""
        self._session: UploadSession | None = None
        self._has_moved = False
        """The current attempt has sent bytes: whatever time it took, it was not lost in waiting."""

    async def run(self, session: UploadSession | None) -> None:
        attempts = self._target.transport.attempts(self._target.endpoint, emit=self._target.emit)
        self._session = session
        refusals = 0
        furthest = session.offset if session else 0
        while True:
            self._has_moved = False
            try:
                if self._session is None:
                    self._session = await self._target.start()
                await self._send_rest()
                return
            except RegistryError as error:
                remedy = self._remedy(error)
                if isinstance(error, Interrupted) and await self._is_stored():
                    return  # only the answer was lost
                if not is_transient(error):
                    refusals += 1
                if remedy is Remedy.NONE or refusals > _MOST_REFUSALS:
                    raise
                if self._has_moved:
                    attempts.moved()
                await attempts.after(error, anyway=True)
                if remedy is Remedy.RESTART and await self._is_stored():
                    return  # a session that is gone may have ended well
                self._session = await self._next_session(remedy)
                reached = self._session.offset if self._session else 0
                if reached > furthest:
                    attempts.progressed()
                    furthest = reached

    async def _is_stored(self) -> bool:
        return await self._target.has(self._blob.descriptor)

    def _remedy(self, error: RegistryError) -> Remedy:
        """Choose the remedy, and do differently what led to the error."""
        if isinstance(error, RegistryRejected):
            if "DIGEST_INVALID" in error.codes:
                if not self._trust_ranges:
                    return Remedy.NONE  # it was not our counting
                self._trust_ranges = False
            if error.status == 413:
                if self._chunk_size:
                    return Remedy.NONE
                self._chunk_size = _SMALL_CHUNK
        return choose_remedy(error)

    async def _next_session(self, remedy: Remedy) -> UploadSession | None:
        """Return the session to go on with; None to begin a new one."""
        if self._session is None or remedy is Remedy.RESTART:
            return None
        known = self._session.offset
        session = await self._target.status(self._session)
        if session is None or session.offset > self._size:
            return None
        if session.offset == 1 and known == 0:
            # "0-0" is one byte or, before the first, none. None: a byte too many shows at the end.
            return replace(session, offset=0)
        return session

    async def _send_rest(self) -> None:
        assert self._session is not None
        if size := request_size(self._chunk_size, smallest=self._session.smallest_chunk):
            while self._session.offset < self._size:
                self._session = await self._send_chunk(self._session, size)
        await self._commit(self._session)

    async def _send_chunk(self, session: UploadSession, size: int) -> UploadSession:
        end = min(session.offset + size, self._size)
        reply = await self._target.send(
            "PATCH",
            session.location,
            STORED,
            self._body(session.offset, end),
            f"{session.offset}-{end - 1}",
        )
        kept = acknowledged(reply.headers) if self._trust_ranges else None
        kept = end if kept is None or kept > end else kept
        if kept <= session.offset:
            # Either nothing was kept or Range says so wrongly: a new session shows which.
            self._session, self._trust_ranges = None, False
            raise Interrupted(
                "PATCH", printable(reply.url), f"the registry kept nothing beyond byte {kept}"
            )
        return replace(session, location=next_location(reply, session.location), offset=kept)

    async def _commit(self, session: UploadSession) -> None:
        """Send the rest, if any, with the request that closes the session."""
        rest = self._body(session.offset, self._size) if session.offset < self._size else None
        resumed = f"{session.offset}-{self._size - 1}" if rest and session.offset else ""
        location = with_digest(session.location, self._digest)
        reply = await self._target.send("PUT", location, STORED, rest, resumed)
        check_stored(reply, self._digest, f"blob {self._digest} of {self._target.repository}")
        if reply.status != 201 and not await self._target.has(self._blob.descriptor):
            raise Interrupted("PUT", printable(reply.url), f"HTTP {reply.status}, but not stored")

    def _body(self, start: int, end: int) -> Body:
        return Body(end - start, lambda: self._chunks(start, end))

    async def _chunks(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        source = self._blob.chunks(start)
        try:
            async for chunk in source:
                piece = chunk[: end - start] if len(chunk) > end - start else chunk
                start += len(piece)
                yield piece
                self._has_moved = True
                self._progress.at(start)
                if start >= end:
                    return
        finally:
            if isinstance(source, AsyncGenerator):
                await source.aclose()  # it may hold a file open


def choose_remedy(error: RegistryError) -> Remedy:
    """Decide what to do after an upload request failed.

    A repeated PATCH may be appended a second time, so a cut is never answered by repetition.
    """
    if is_transient(error):
        return Remedy.RESUME
    match error:
        case RegistryUnavailable() | Unauthorized():
            return Remedy.NONE
        case RegistryRejected(status=416):
            return Remedy.RESUME
        case RegistryRejected(status=404 | 409 | 410 | 413):
            return Remedy.RESTART
        case RegistryRejected(status=400, codes=codes) if not codes or _SESSION_LOST & set(codes):
            return Remedy.RESTART
        case _:
            return Remedy.NONE


def is_immutable_tag(error: RegistryError) -> bool:
    """Tell whether a manifest was refused because its tag exists and must not move.

    Registries share neither status nor code for it, but all use the word (docs/registries.md).
    """
    return isinstance(error, RegistryRejected) and "immutab" in error.detail.lower()


def _is_near(source: Repository, target: Repository) -> bool:
    return source != target and source.registry == target.registry
