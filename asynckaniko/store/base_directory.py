"""BaseDirectory: base images on a volume that builds share, put there by a warmer.

```
<directory>/
  sha256:<hex>/               an OCI layout with the image of that manifest digest
  .indexes/sha256:<hex>       an index, which leads to the manifests of its platforms
  .warmer-locks/<digest>.lock held by the warmer that writes the image
  .warming/<digest>/          an image that is being written; under its lock
```
The layouts are those of kaniko's warmer, and its layouts are understood. An image expires by the
time of its directory. Everything here may have been written by others, on another machine: what
does not have its digest is not there.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson

from asynckaniko.errors import AsynckanikoError, HostError, OutOfSpace
from asynckaniko.oci import manifest as manifests
from asynckaniko.oci import media_types
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.manifest import Index, Manifest
from asynckaniko.oci.platform import Platform
from asynckaniko.records import dataclass
from asynckaniko.store.layout import MARKER, REF_NAME, LayoutReader

_DEEPEST_INDEX = 3
_INDEX_SIZE = 4 << 20
_OUT_OF_SPACE = frozenset({28, 122})  # ENOSPC, EDQUOT


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image of the directory: its documents are verified, its layers have the right sizes."""

    manifest: Manifest
    config: bytes
    layout: LayoutReader


class BaseDirectory:
    """Images by manifest digest. Synchronous; any number of processes may share it."""

    def __init__(self, path: Path, *, ttl_seconds: float) -> None:
        self._path = path
        self._ttl_seconds = ttl_seconds

    def find(self, digest: Digest, platform: Platform) -> StoredImage | None:
        """Return the image, by the digest of its manifest or of an index it is in.

        None if it is not there, expired or damaged.
        """
        for _ in range(_DEEPEST_INDEX + 1):
            found = self.read(digest, platform)
            if found is not None:
                return None if self.is_expired(digest) else found
            index = self._index(digest)
            if index is None:
                return None
            try:
                digest = index.choose(platform, name=digest).digest
            except AsynckanikoError:
                return None
        return None

    def read(self, digest: Digest, platform: Platform) -> StoredImage | None:
        """Return the image of a manifest digest, expired or not; None if it is not all there."""
        reader = LayoutReader(self.path(digest))
        try:
            manifest = reader.open("", platform)
            if manifest.descriptor.digest != digest:
                return None
            config = reader.read(manifest.config)
            whole = all(
                media_types.is_foreign(layer.media_type)
                or reader.blob_path(layer.digest).stat().st_size == layer.size
                for layer in manifest.layers
            )
        except (OSError, AsynckanikoError):
            return None
        return StoredImage(manifest, config, reader) if whole else None

    def is_expired(self, digest: Digest) -> bool:
        try:
            age = time.time() - self.path(digest).stat().st_mtime
        except OSError:
            return True
        return age > self._ttl_seconds

    def path(self, digest: Digest) -> Path:
        return self._path / digest

    def lock_path(self, digest: Digest) -> Path:
        """Name the file whose lock the writer of an image holds. Raises HostError."""
        with self._host_errors():
            locks = self._path / ".warmer-locks"
            locks.mkdir(parents=True, exist_ok=True)
        return locks / f"{digest}.lock"

    def _index(self, digest: Digest) -> Index | None:
        path = self._path / ".indexes" / digest
        try:
            with path.open("rb") as file:
                content = file.read(_INDEX_SIZE + 1)
            if Digest.of(content) != digest:
                return None
            document = manifests.parse(content, media_type="", where=str(path))
        except (OSError, AsynckanikoError):
            return None
        return document if isinstance(document, Index) else None

    def add_index(self, index: Index) -> None:
        """Keep an index, so that its digest leads to the images. Raises HostError."""
        digest = Digest.of(index.content)
        if self._index(digest) is not None:
            return
        with self._host_errors():
            directory = self._path / ".indexes"
            directory.mkdir(parents=True, exist_ok=True)
            draft = directory / f".{digest}.{os.getpid()}"
            draft.write_bytes(index.content)
            os.rename(draft, directory / digest)

    def draft(self, digest: Digest) -> Path:
        """Make an empty directory for the blobs of an image. The caller holds the lock."""
        with self._host_errors():
            draft = self._path / ".warming" / digest
            # Of a warmer that was killed.
            shutil.rmtree(draft, ignore_errors=True)
            blobs = draft / "blobs" / "sha256"
            blobs.mkdir(parents=True)
        return blobs

    def add(self, manifest: Manifest, config: bytes, *, name: str) -> None:
        """Put the image of a draft, which holds its layers, in its place.

        Readers of an image that is there already see each of its files whole all the time.
        """
        descriptor = manifest.descriptor
        draft = self._path / ".warming" / descriptor.digest
        final = self.path(descriptor.digest)
        with self._host_errors():
            blobs = draft / "blobs" / "sha256"
            (blobs / manifest.config.digest.hex).write_bytes(config)
            (blobs / descriptor.digest.hex).write_bytes(manifest.content)
            for blob in blobs.iterdir():
                blob.chmod(0o644)
            (draft / "index.json").write_bytes(_index_of(descriptor, name))
            (draft / "oci-layout").write_bytes(MARKER)
            if final.is_file():
                # kaniko's older form, one tar.
                final.unlink()
            if not final.exists():
                os.rename(draft, final)
            else:
                (final / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
                for file in (*blobs.iterdir(), draft / "oci-layout", draft / "index.json"):
                    os.replace(file, final / file.relative_to(draft))
                shutil.rmtree(draft)
            os.utime(final)

    def renew(self, digest: Digest) -> None:
        """Let the time of an image, which is still what its name means, begin again."""
        with self._host_errors():
            os.utime(self.path(digest))

    def discard(self, digest: Digest) -> None:
        """Remove a draft, if it is still there, and the directory of drafts if that is empty."""
        shutil.rmtree(self._path / ".warming" / digest, ignore_errors=True)
        with suppress(OSError):
            (self._path / ".warming").rmdir()

    @contextmanager
    def _host_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            kind = OutOfSpace if error.errno in _OUT_OF_SPACE else HostError
            raise kind(f"base image directory {self._path}: {error.strerror}") from error


def _index_of(manifest: Descriptor, name: str) -> bytes:
    entry = {**manifest.to_json(), "annotations": {REF_NAME: name}}
    return orjson.dumps(
        {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": [entry]}
    )
