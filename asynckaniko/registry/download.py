"""Read the bytes of one blob from one endpoint, whatever happens on the way."""

import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext

from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskGroup

from asynckaniko.errors import IntegrityError, NotFound, RegistryError
from asynckaniko.events import EventSink
from asynckaniko.oci import media_types
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.reference import Repository
from asynckaniko.registry.endpoints import Endpoint
from asynckaniko.registry.progress import Progress
from asynckaniko.registry.ranges import SEGMENT_SIZE, ReadAhead, Spare
from asynckaniko.registry.rejection import printable
from asynckaniko.registry.retry import Interrupted
from asynckaniko.registry.transport import Request, Transport
from asynckaniko.registry.wire import Incoming

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_WORTH_RANGES = 8 * SEGMENT_SIZE
_HASH_BATCH = 1 << 20


class NoRanges(RegistryError):
    """The server gives something else than the range that was asked for."""


class Stretch:
    """The bytes of a blob from `offset` to `end` that are still to come.

    A `part` of a blob is of no use when the server gives the whole; else what is before `offset`
    is skipped.
    """

    def __init__(
        self,
        repository: Repository,
        blob: Descriptor,
        *,
        emit: EventSink,
        start: int = 0,
        part: tuple[int, int] | None = None,
    ) -> None:
        self.repository = repository
        self.blob = blob
        self.emit = emit
        self.offset, self.end = part or (start, blob.size)
        self._is_part = part is not None
        self._may_ask_for_ranges = True
        self._progress = None if part else Progress("pull", blob, emit)

    @property
    def is_complete(self) -> bool:
        return self.offset == self.end

    def part(self, start: int, end: int) -> "Stretch":
        return Stretch(self.repository, self.blob, emit=self.emit, part=(start, end))

    def request(self, endpoint: Endpoint, *, until: int) -> Request:
        """Ask for what is still to come before `until`."""
        name = endpoint.name(self.repository)
        last = "" if until == self.blob.size else str(until - 1)
        is_range = bool(self.offset or last) and self._may_ask_for_ranges
        return Request(
            "GET",
            endpoint,
            f"/v2/{name}/blobs/{self.blob.digest}",
            name,
            success=frozenset({200, 206, 416} if is_range else {200}),
            headers={"Range": f"bytes={self.offset}-{last}"} if is_range else {},
        )

    async def receive(self, incoming: Incoming, *, until: int) -> AsyncIterator[bytes]:
        """Give what is new of one response to `request`.

        Raises:
            IntegrityError: the response is of another size than the blob.
            Interrupted: it ended early.
            NoRanges: it is useless for a part.
        """
        where = f"blob {self.blob.digest} of {self.repository} from {incoming.url.host}"
        skip = self._skip(incoming, where)
        end = until if incoming.status == 206 else self.end
        while chunk := await incoming.chunk():
            if skip:
                chunk, skip = chunk[skip:], max(0, skip - len(chunk))
                if not chunk:
                    continue
            if self.offset + len(chunk) > end:
                raise IntegrityError(f"{where}: more than the {self.blob.size} bytes it should be")
            self.advance(len(chunk))
            yield chunk
        if self.offset < end:
            reason = f"the body ended after {self.offset} of {self.blob.size} bytes"
            raise Interrupted("GET", printable(incoming.url), reason)

    def advance(self, size: int) -> None:
        self.offset += size
        if self._progress:
            self._progress.at(self.offset)

    def _skip(self, incoming: Incoming, where: str) -> int:
        """Return how many bytes of the response were received before."""
        start = first_byte(incoming.status, incoming.headers, self.blob.size, where)
        if start == self.offset:
            return 0
        reason = f"not the range asked for (from byte {self.offset})"
        if self._is_part:
            raise NoRanges(f"{where}: {reason}")
        if incoming.status != 200:
            self._may_ask_for_ranges = False
            raise Interrupted("GET", printable(incoming.url), reason)
        return self.offset

    def explain(self, error: NotFound) -> RegistryError:
        if not self.blob.urls and not media_types.is_foreign(self.blob.media_type):
            return error
        return RegistryError(
            f"{error}: a foreign layer; fetching it from the URLs in the manifest is refused"
        )


class Downloads:
    """Reads stretches of blobs, resuming after each cut."""

    def __init__(self, transport: Transport, *, connections: int) -> None:
        """`connections` may be opened beside the one of a big blob, while it is the only one."""
        self._transport = transport
        self._spare = Spare(connections)

    def announce(self, blob: Descriptor) -> AbstractContextManager[None]:
        """Let those who read ahead know that this blob needs a connection, if it is big."""
        return self._spare.blob() if blob.size >= _WORTH_RANGES else nullcontext()

    async def read(
        self, endpoint: Endpoint, stretch: Stretch, *, tasks: TaskGroup | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Give the stretch; where it is worth it, read ahead in `tasks`."""
        attempts = self._transport.attempts(endpoint, emit=stretch.emit)
        enough = self._transport.patience(endpoint).stall_size
        ahead = self._read_ahead(endpoint, stretch, tasks)
        try:
            while not stretch.is_complete:
                began_at = stretch.offset
                try:
                    async with aclosing(self._next(endpoint, stretch, ahead)) as chunks:
                        async for chunk in chunks:
                            yield chunk
                    ahead = ahead if ahead and ahead.connections else None
                except NoRanges:
                    if ahead is None:
                        raise
                    ahead.close()
                    ahead = None
                except NotFound as error:
                    raise stretch.explain(error) from error
                except RegistryError as error:
                    # A mirror that gets on by fits and starts is still slower than no mirror.
                    if stretch.offset - began_at >= enough and not endpoint.is_mirror:
                        attempts.progressed()
                    await attempts.after(error)
        finally:
            if ahead:
                ahead.close()

    async def _next(
        self, endpoint: Endpoint, stretch: Stretch, ahead: ReadAhead | None
    ) -> AsyncGenerator[bytes, None]:
        """Give what one response brings, or everything that was read ahead."""
        if ahead and stretch.offset == ahead.start:
            async with aclosing(ahead.chunks()) as chunks:
                async for chunk in chunks:
                    stretch.advance(len(chunk))
                    yield chunk
            return
        until = ahead.start if ahead else stretch.end
        request = stretch.request(endpoint, until=until)
        async with self._transport.open(request, emit=stretch.emit) as incoming:
            if ahead:
                # A server may answer with everything; then that is read to its end.
                ahead.decide(begin=incoming.status == 206)
            async for chunk in stretch.receive(incoming, until=until):
                yield chunk

    def _read_ahead(
        self, endpoint: Endpoint, stretch: Stretch, tasks: TaskGroup | None
    ) -> ReadAhead | None:
        if tasks is None or stretch.end - stretch.offset < _WORTH_RANGES or not self._spare.share:
            return None
        return ReadAhead(
            stretch.offset + SEGMENT_SIZE,
            stretch.end,
            lambda start, end: self.read(endpoint, stretch.part(start, end)),
            tasks=tasks,
            spare=self._spare,
        )


class Hasher:
    """sha256 over a stream, off the event loop, where its bytes are also given to `write`.

    `write` gets pieces of about a mebibyte together: each trip to a thread has its price.
    """

    def __init__(
        self, limiter: CapacityLimiter, write: Callable[[Sequence[bytes]], object] | None = None
    ) -> None:
        self._limiter = limiter
        self._write = write
        self._sha256 = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._size = 0

    async def update(self, chunk: bytes) -> None:
        self._waiting.append(chunk)
        self._size += len(chunk)
        if self._size >= _HASH_BATCH:
            await to_thread.run_sync(self._hash, limiter=self._limiter)

    async def digest(self) -> Digest:
        """Return the digest of everything, once all of it is written."""
        if self._write:
            await to_thread.run_sync(self._hash, limiter=self._limiter)
        else:
            self._hash()
        return Digest(f"sha256:{self._sha256.hexdigest()}")

    def _hash(self) -> None:
        for chunk in self._waiting:
            self._sha256.update(chunk)
        if self._write and self._waiting:
            self._write(self._waiting)
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
