"""A layer's blob on its way to the tar reader: kept, decompressed and hashed as it passes.

Reading with decompression has a thread: it takes about as long as hashing the content and the
reader's own work together, which share the other, where a piece is in the core's cache for both.
All but Python's part of the reader runs outside its lock.
"""

import hashlib
import os
from queue import SimpleQueue
from threading import Thread
from typing import Self

from asynckaniko.errors import IntegrityError
from asynckaniko.rootfs.decompress import decompressed
from asynckaniko.rootfs.layer_sink import write_all

_CHUNK_SIZE = 512 * 1024
"""Half of what the pipe from the event loop holds: each read wakes its writer."""
_MOST_WAITING = 16
"""Pieces that may be ready before they are wanted: 4 MiB, or 8 if nothing is compressed."""


class LayerStream:
    """Reads a blob from `source`, and writes it as it is to `spool` if there is one.

    Use as a context manager: the thread lives in it. Leaving early waits for a read in progress.
    """

    def __init__(self, source: int, *, digest: str, size: int, spool: int | None = None) -> None:
        self._source = source
        self._spool = spool
        self._expected_digest = digest
        self._expected_size = size
        self._size = 0
        self._digest = hashlib.sha256()
        self._diff_id = hashlib.sha256()
        self._pieces: SimpleQueue[bytes | Exception] = SimpleQueue()
        # A semaphore: that of `threading` is slow Python.
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(_MOST_WAITING):
            self._room.put(None)
        self._is_stopped = False
        self._is_ended = False
        self._thread = Thread(target=self._decompress)
        self.uncompressed_size = 0
        """Bytes read so far."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def read_chunk(self) -> bytes:
        """Return the next piece of the content; empty at its end. Raises what reading it raised."""
        if self._is_ended:
            return b""
        piece = self._pieces.get()
        self._room.put(None)
        if isinstance(piece, Exception):
            self._is_ended = True
            raise piece
        self._is_ended = not piece
        self._diff_id.update(piece)
        self.uncompressed_size += len(piece)
        return piece

    def verify_blob(self) -> None:
        """Read the blob to its end and compare it with its descriptor; the content ends here.

        Raises:
            IntegrityError: another size or digest.
        """
        self._stop()
        while self._read_blob():
            pass
        if self._size != self._expected_size:
            raise self._wrong_size()
        digest = f"sha256:{self._digest.hexdigest()}"
        if digest != self._expected_digest:
            raise IntegrityError(
                f"layer {self._expected_digest}: the {self._size} bytes received have the digest"
                f" {digest}; they were altered on the way or where they are stored"
            )

    def verify_content(self, diff_id: str) -> None:
        """Compare what was read, which must be all, with the diffID in the image's config.

        Raises:
            IntegrityError: it is another.
        """
        self._stop()
        actual = f"sha256:{self._diff_id.hexdigest()}"
        if actual != diff_id:
            raise IntegrityError(
                f"layer {self._expected_digest}: its content has the diffID {actual}, but the"
                f" image's config says {diff_id}; the image is wrong"
            )

    def _decompress(self) -> None:
        end: bytes | Exception = b""
        try:
            read = decompressed(self._read_blob)
            while piece := read():
                self._room.get()
                if self._is_stopped:
                    break
                self._pieces.put(piece)
        except Exception as error:
            # It is the reader's to raise: this thread has nobody to tell.
            end = error
        self._pieces.put(end)

    def _stop(self) -> None:
        self._is_stopped = True
        self._room.put(None)
        self._thread.join()

    def _read_blob(self) -> bytes:
        chunk = os.read(self._source, _CHUNK_SIZE)
        self._size += len(chunk)
        if self._size > self._expected_size:
            raise self._wrong_size()
        self._digest.update(chunk)
        if self._spool is not None:
            write_all(self._spool, chunk)
        return chunk

    def _wrong_size(self) -> IntegrityError:
        more = " or more" if self._size > self._expected_size else ""
        return IntegrityError(
            f"layer {self._expected_digest}: received {self._size} bytes{more}, its descriptor"
            f" says {self._expected_size}"
        )
