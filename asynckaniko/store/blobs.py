"""BlobStore: compressed layers and configs as files named by their digest.

A blob appears under its name by rename and is complete from then on, whoever else uses the
directory. Until then it is an `Ingest`, which readers may follow while it grows.
"""

import os
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

from anyio import CapacityLimiter, Event, to_thread

from asynckaniko.linux.locks import create_locked
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import Digest
from asynckaniko.store.growing import GrowingBlob
from asynckaniko.store.guard import shared

INGEST = "ingest-"
"""How names of blobs begin that are being written; `-` and what makes the name unique follow."""
DOWNLOAD = "download"
"""Stands in such a name where others have the build that they are kept by."""
_READ_SIZE = 1 << 20


class BlobFile:
    """A complete blob in a file; may be read from any offset, any number of times."""

    def __init__(self, descriptor: Descriptor, path: Path, *, disk: CapacityLimiter) -> None:
        self.descriptor = descriptor
        self.path = path
        self._disk = disk

    async def chunks(self, offset: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `offset` on, a mebibyte at a time."""
        file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while True:
                read = partial(os.pread, file, _READ_SIZE, offset)
                data = await to_thread.run_sync(read, limiter=self._disk)
                if not data:
                    return
                offset += len(data)
                yield data
        finally:
            os.close(file)


class MemoryBlob:
    """A small blob (a config) in memory."""

    def __init__(self, descriptor: Descriptor, content: bytes) -> None:
        self.descriptor = descriptor
        self.content = content

    async def chunks(self, offset: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `offset` on."""
        if offset < len(self.content):
            yield self.content[offset:]


def keeper_of(ingest: Path) -> str:
    """Read from the name of an ingest which build keeps it, or `DOWNLOAD`."""
    return ingest.name.removeprefix(INGEST).rpartition("-")[0]


class Ingest:
    """A blob that is being written. The file is unnamed to others until `commit`."""

    def __init__(self, directory: Path, final: Path | None, keeper: str) -> None:
        self.path = directory / f"{INGEST}{keeper}-{secrets.token_hex(8)}"
        self.file = create_locked(self.path)
        self._final = final
        self._committed = False

    def commit(self, final: Path | None = None) -> Path:
        """Give the complete blob its name; a file that is there already has the same bytes."""
        target = final or self._final
        assert target is not None, "an ingest without a known digest is committed with a name"
        os.rename(self.path, target)
        self.path = target
        self._committed = True
        return target

    def seal(self) -> None:
        """Close the file, keep it until `close`: it is complete and will be read by its path.

        From then on it is the lock of its build that keeps others from deleting it.
        """
        if self.file >= 0:
            os.close(self.file)
            self.file = -1

    def close(self) -> None:
        """Close the file; remove it unless it was committed."""
        self.seal()
        if not self._committed:
            with suppress(FileNotFoundError):
                os.unlink(self.path)


class BlobStore:
    """Blobs in a directory. Several processes may share it."""

    def __init__(self, directory: Path, *, disk: CapacityLimiter) -> None:
        self._directory = directory
        self._disk = disk

    def path(self, digest: Digest) -> Path:
        return self._directory / digest.hex

    def find(self, descriptor: Descriptor) -> BlobFile | None:
        """Return the blob if it is here, complete; marks it as used."""
        path = self.path(descriptor.digest)
        try:
            with shared(self._directory):
                status = path.stat()
                if status.st_size != descriptor.size:
                    return None
                # Only the time of access: a layout that was written may share the file.
                os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))
        except FileNotFoundError:
            return None
        return BlobFile(descriptor, path, disk=self._disk)

    def file(self, descriptor: Descriptor, path: Path) -> BlobFile:
        """Wrap a blob that lies elsewhere (an OCI layout, a build's own directory)."""
        return BlobFile(descriptor, path, disk=self._disk)

    def new(self, digest: Digest) -> Ingest:
        """Begin a download: fill `.file`, `.commit()`, and `.close()` in any case."""
        return Ingest(self._directory, self.path(digest), DOWNLOAD)

    def growing(self, ingest: Ingest) -> GrowingBlob:
        """Follow what another process writes into a blob's file."""
        return GrowingBlob(ingest.path, disk=self._disk)

    @contextmanager
    def ingest(self, digest: Digest) -> Iterator[Ingest]:
        """Download a blob for the length of a block; without a commit nothing is left."""
        with closing(self.new(digest)) as ingest:
            yield ingest

    @contextmanager
    def ingest_of_build(self, build: str) -> Iterator[Ingest]:
        """Write a blob for a build that holds its lock: it may be sealed. Else as `ingest`."""
        with closing(Ingest(self._directory, None, build)) as ingest:
            yield ingest


class ArrivingBlob:
    """A blob that one task writes and others send on at the same time.

    Readers start at any offset and wait for bytes that are not there yet; a failed arrival fails
    them too.
    """

    def __init__(self, descriptor: Descriptor, ingest: Ingest, *, disk: CapacityLimiter) -> None:
        self.descriptor = descriptor
        self._ingest = ingest
        self._disk = disk
        self._size = 0
        self._ended = False
        self._error: Exception | None = None
        self._grown = Event()

    async def append(self, data: bytes) -> None:
        """Write the next bytes and wake the readers."""
        await to_thread.run_sync(_write_all, self._ingest.file, data, limiter=self._disk)
        self._size += len(data)
        self._wake()

    def finish(self, error: Exception | None = None) -> None:
        """Tell readers that no more bytes come; with an error, that those there are no blob."""
        self._ended = True
        self._error = error
        self._wake()

    async def chunks(self, offset: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `offset` on, as they arrive. Raises what ended the arrival."""
        if self._error is not None:
            raise self._error
        file = os.open(self._ingest.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while True:
                grown = self._grown
                available = min(self._size - offset, _READ_SIZE)
                if available > 0:
                    read = partial(os.pread, file, available, offset)
                    data = await to_thread.run_sync(read, limiter=self._disk)
                    offset += len(data)
                    yield data
                elif self._error is not None:
                    raise self._error
                elif self._ended:
                    return
                else:
                    await grown.wait()
        finally:
            os.close(file)

    @property
    def final_path(self) -> Path:
        """Where the file is: under its final name once it has arrived."""
        return self._ingest.path

    async def arrived(self) -> None:
        """Wait for the last byte. Raises what ended the arrival."""
        while not self._ended:
            await self._grown.wait()
        if self._error is not None:
            raise self._error

    def _wake(self) -> None:
        self._grown.set()
        self._grown = Event()


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
