"""Upload a large blob while it is being made: its digest is only needed by the last request.

What has been sent becomes an upload session with an offset, which the ordinary upload goes on with.
Whatever goes wrong before that costs the bytes sent so far and nothing else: the blob is then
uploaded as any other.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol, Self

from anyio import (
    CancelScope,
    CapacityLimiter,
    Event,
    create_task_group,
    current_time,
    move_on_after,
)

from asynckaniko.concurrency import single_error
from asynckaniko.errors import IntegrityError, RegistryError, RegistryRejected
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.registry.bodies import Body, SourceFailed
from asynckaniko.registry.retry import is_transient
from asynckaniko.registry.uploads import (
    STORED,
    UploadSession,
    UploadTarget,
    next_location,
    request_size,
)
from asynckaniko.settings import RegistryOptions

_FAREWELL_SECONDS = 1.0
"""To end a request well, and then its session, though the build is being cancelled."""


class GrowingBlob(Protocol):
    """Bytes of which more may come."""

    async def reaches(self, size: int) -> bool:
        """Wait until there are `size` bytes; False if there never will be."""
        ...

    def chunks(self, offset: int) -> AsyncIterator[bytes]:
        """Give the bytes from `offset` on, to the end; nothing after having waited for a while."""
        ...


class EarlyPlaces:
    """The places of uploads that blobs in the making may have: free ones, and at most half of all.

    So what is complete never waits for nothing but packing, which may take any time.
    """

    def __init__(self, places: CapacityLimiter) -> None:
        """`places` are those of all uploads."""
        self._places = places
        self._left = int(places.total_tokens) // 2

    @contextmanager
    def take(self) -> Iterator[bool]:
        """Have a place within the block, if there is one: tells whether; never waits."""
        if not self._left or self._places.available_tokens < 1:
            yield False
            return
        holder = object()
        self._places.acquire_on_behalf_of_nowait(holder)
        self._left -= 1
        try:
            yield True
        finally:
            self._left += 1
            self._places.release_on_behalf_of(holder)


class EarlyUpload:
    """An upload to one repository that begins before the blob is complete.

    An async context manager: a session that was not used for the blob ends with the block.
    """

    def __init__(
        self,
        target: UploadTarget,
        *,
        places: EarlyPlaces,
        options: RegistryOptions,
        refusing: set[str],
    ) -> None:
        """`refusing` are hosts that would not have it."""
        self._target = target
        self._places = places
        self._chunk_size = options.chunk_size
        self._smallest = options.early_size
        self._refusing = refusing
        self._open: UploadSession | None = None
        """To be deleted if nothing comes of it."""
        self.session: UploadSession | None = None
        """The session, once it has taken what was sent and may get the rest."""
        self.began: float | None = None
        """When the first byte was about to be sent, by `time.monotonic`."""
        self._is_complete = False
        self._is_stopped = False
        # A session whose last request was cut cannot even be deleted at docker-registry.
        self._sending = CancelScope(shield=True)
        self._has_ended = Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.give_up()

    async def follow(
        self, growing: GrowingBlob, complete: Callable[[], Awaitable[Descriptor]]
    ) -> None:
        """Send what there is, as it comes, until all is sent, or found to be there already.

        Returns when `complete` has and the sending has ended, one way or another.
        """
        with single_error():
            async with create_task_group() as tasks:
                tasks.start_soon(self._send, growing)
                try:
                    blob = await complete()
                    self._is_complete = True
                    if self.began and not self.session and await self._is_there(blob):
                        self._stop()
                    # Here and not at the end of the group, where a cancellation would not be seen.
                    await self._has_ended.wait()
                except BaseException:
                    self._stop()
                    raise

    def was_used(self) -> None:
        """Leave the session alone: the registry has made a blob of it."""
        self._open = self.session = None

    async def give_up(self) -> None:
        """End the session, so that the registry need not keep what it was sent."""
        session, self._open, self.session = self._open, None, None
        if session:
            with move_on_after(_FAREWELL_SECONDS, shield=True):
                await self._target.cancel(session)

    def _stop(self) -> None:
        """End the request that is on its way where it is."""
        self._is_stopped = True
        self._sending.deadline = current_time() + _FAREWELL_SECONDS

    async def _is_there(self, blob: Descriptor) -> bool:
        try:
            return await self._target.has(blob)
        except (RegistryError, IntegrityError):
            return False  # who uploads the blob asks again, and says what is wrong

    async def _send(self, growing: GrowingBlob) -> None:
        try:
            await self._try_to_send(growing)
        finally:
            self._has_ended.set()

    async def _try_to_send(self, growing: GrowingBlob) -> None:
        host = self._target.endpoint.host
        if not self._smallest or not await growing.reaches(self._smallest):
            return
        if self._is_complete or host in self._refusing:
            return
        with self._places.take() as is_taken:
            if not is_taken:
                return
            self.began = time.monotonic()
            try:
                with self._sending:
                    self._open = await self._target.start(most_attempts=1)
                    self.session = self._open = await self._send_all(growing, self._open)
            except (RegistryError, IntegrityError, SourceFailed) as error:
                if isinstance(error, RegistryRejected) and not is_transient(error):
                    self._refusing.add(host)
                await self.give_up()

    async def _send_all(self, growing: GrowingBlob, session: UploadSession) -> UploadSession:
        size = request_size(self._chunk_size, smallest=session.smallest_chunk)
        if not size:
            # One PATCH and an empty PUT are what `docker push` sends.
            return await self._send_piece(growing, session, None)
        while not self._is_stopped and await growing.reaches(session.offset + size):
            self._open = session = await self._send_piece(growing, session, size)
        return session

    async def _send_piece(
        self, growing: GrowingBlob, session: UploadSession, size: int | None
    ) -> UploadSession:
        start = sent = session.offset

        async def chunks() -> AsyncGenerator[bytes, None]:
            nonlocal sent
            sent = start
            source = growing.chunks(start)
            try:
                async for chunk in source:
                    if size is None and self._is_stopped:
                        return
                    piece = chunk if size is None else chunk[: start + size - sent]
                    sent += len(piece)
                    if piece:
                        yield piece
                    if size is not None and sent == start + size:
                        return
            finally:
                if isinstance(source, AsyncGenerator):
                    await source.aclose()  # it holds a file open

        where = "" if size is None else f"{start}-{start + size - 1}"
        body = Body(size, chunks)
        reply = await self._target.send("PATCH", session.location, STORED, body, where)
        # Success means all of it, whatever `Range` says; if not, the digest is wrong in the end,
        # and the upload begins anew.
        return replace(session, location=next_location(reply, session.location), offset=sent)
