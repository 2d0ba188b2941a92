"""Where archive bytes go: into a finished layer, or as they are into a file.

A layer is made in one pass: tar -> sha256 (diffID) -> compress -> sha256 (digest) -> file.
"""

import hashlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from errno import EDQUOT, ENOSPC
from typing import Any, Self

from asynckaniko.errors import HostError, OutOfSpace
from asynckaniko.linux import memory
from asynckaniko.rootfs.compression import open_compressor

_THREAD_FROM = 8 << 20
"""Bytes of archive after which a second thread compresses; small layers are done by then."""
_MOST_WAITING = 4
"""Pieces that may wait for the second thread."""
_TRIM_AFTER = 64 << 20
"""Bytes of archive whose compressed pieces, of changing sizes, leave a few MiB of free memory."""


class ReaderGone(Exception):
    """The process at the other end of the pipe has stopped reading."""


class FileSink:
    """Writes an archive as it is, to a file or into a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def write(self, piece: bytes | bytearray) -> None:
        """Raises ReaderGone, and what `write_all` does."""
        write_all(self._descriptor, piece)

    def finish(self) -> dict[str, Any]:
        return {}


class DigestSink:
    """Keeps nothing of an archive but its digest."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def write(self, piece: bytes | bytearray) -> None:
        self._digest.update(piece)

    def finish(self) -> dict[str, Any]:
        return {"digest": self._digest.hexdigest()}


class LayerSink:
    """Writes a layer blob to `descriptor` and knows its digests when it is finished.

    Use as a context manager: leaving it early waits for the second thread and gives up the rest.
    """

    def __init__(
        self, descriptor: int, *, compression: str = "gzip", level: int | None = None
    ) -> None:
        self._descriptor = descriptor
        self._compressor = open_compressor(compression, level)
        self._diff_id = hashlib.sha256()
        self._digest = hashlib.sha256()
        self._uncompressed_size = 0
        self._size = 0
        self._since_trim = 0
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    def write(self, piece: bytes | bytearray) -> None:
        """Take the next piece of the archive, and own it. Raises what `write_all` does, late."""
        self._uncompressed_size += len(piece)
        if self._compressor is None:
            self._diff_id.update(piece)
            write_all(self._descriptor, piece)
            return
        if self._uncompressed_size <= _THREAD_FROM:
            self._compress(piece)
        else:
            self._hand_over(piece)
        self._diff_id.update(piece)

    def finish(self) -> dict[str, Any]:
        """Write what the compressor holds back; return what is known of the layer."""
        while self._waiting:
            self._waiting.popleft().result()
        diff_id = self._diff_id.hexdigest()
        digest, size = diff_id, self._uncompressed_size
        if self._compressor is not None:
            self._store(self._compressor.flush())
            digest, size = self._digest.hexdigest(), self._size
        return {
            "digest": f"sha256:{digest}",
            "size": size,
            "diff_id": f"sha256:{diff_id}",
            "uncompressed_size": self._uncompressed_size,
        }

    def _hand_over(self, piece: bytes | bytearray) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1)
        if len(self._waiting) == _MOST_WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._compress, piece))

    def _compress(self, piece: bytes | bytearray) -> None:
        assert self._compressor is not None, "pieces of plain archives are not compressed"
        self._store(self._compressor.compress(piece))
        self._since_trim += len(piece)
        if self._since_trim >= _TRIM_AFTER:
            self._since_trim = 0
            memory.give_back_free()

    def _store(self, data: bytes) -> None:
        if data:
            self._digest.update(data)
            self._size += len(data)
            write_all(self._descriptor, data)


class BothSink:
    """Makes a layer of an archive, and passes the archive on as it is."""

    def __init__(self, layer: LayerSink, stream: FileSink) -> None:
        self._layer = layer
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._layer.__exit__(*error)

    def write(self, piece: bytes | bytearray) -> None:
        """Raises ReaderGone, and what `write_all` does."""
        self._stream.write(piece)
        self._layer.write(piece)

    def finish(self) -> dict[str, Any]:
        return self._layer.finish()


def write_all(descriptor: int, data: bytes | bytearray) -> None:
    """Write every byte: write(2) may take fewer, and does into pipes.

    Raises:
        HostError: OutOfSpace, or whatever else is wrong with the output; not OSError, which here
            is about files that are read.
    """
    try:
        written = os.write(descriptor, data)
        if written < len(data):
            with memoryview(data) as view:
                while written < len(view):
                    written += os.write(descriptor, view[written:])
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        if error.errno in {ENOSPC, EDQUOT}:
            raise OutOfSpace(
                f"cannot write the layer: {error.strerror}; free space on the volume of the state"
                " directory, or give it a larger one"
            ) from error
        raise HostError(f"cannot write the layer: {error.strerror}") from error
