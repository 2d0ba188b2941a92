"""Read an image from a tar: the archive of `docker save`, or an OCI layout in one.

Synchronous; called in a thread. Members are written out under numbers, never under their own names.
"""

import hashlib
import os
import posixpath
import re
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from asynckaniko.concurrency import Checkpoint
from asynckaniko.errors import IntegrityError, InvalidInput
from asynckaniko.oci import media_types
from asynckaniko.oci.config import ImageConfig
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import DiffID, Digest
from asynckaniko.oci.manifest import Manifest
from asynckaniko.records import dataclass
from asynckaniko.rootfs.compression import open_compressor
from asynckaniko.rootfs.decompress import decompressed, sniff
from asynckaniko.rootfs.tar_member import Kind
from asynckaniko.rootfs.tar_reader import TarReader

_CHUNK = 1 << 20
_DOCUMENT_LIMIT = 8 << 20
_LAYOUT_MEMBER = re.compile(r"oci-layout|index\.json|blobs/sha256/[0-9a-f]{64}")
_LAYER_TYPES = {
    "gzip": media_types.DOCKER_LAYER_GZIP,
    "zstd": media_types.OCI_LAYER_ZSTD,
}
_MOST_LINKS = 40


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """An image and where its config and layers are, by digest."""

    manifest: Manifest
    files: dict[Digest, Path]


def unpack(archive: Path, scratch: Path, *, checkpoint: Checkpoint) -> "Members":
    """Write the members of `archive`, compressed or not, into `scratch`.

    Raises:
        ArchiveError: damaged, or no tar at all.
    """
    members = Members(archive, scratch)
    with archive.open("rb") as file:
        reader = TarReader(decompressed(partial(file.read, _CHUNK)))
        for member in reader:
            checkpoint()
            members.take(
                member.name.decode(errors="surrogateescape"), member.kind, member.link, reader
            )
    return members


class Members:
    """The files of an archive by name, with links followed."""

    def __init__(self, archive: Path, scratch: Path) -> None:
        self.archive = archive
        self._scratch = scratch
        self._files: dict[str, Path] = {}
        self._links: dict[str, str] = {}

    def take(self, name: str, kind: Kind, link: bytes, reader: TarReader) -> None:
        """Write out the reader's latest member, or remember where it points."""
        name = posixpath.normpath(name)
        target = link.decode(errors="surrogateescape")
        if kind is Kind.FILE:
            path = self._scratch / f"{len(self._files)}"
            with path.open("xb") as file:
                reader.copy_to(file.fileno())
            self._files[name] = path
        elif kind is Kind.SYMLINK:
            self._links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        elif kind is Kind.HARD_LINK:
            self._links[name] = posixpath.normpath(target)

    def find(self, name: str) -> Path | None:
        """Return where a member's content is."""
        for _ in range(_MOST_LINKS):
            if name in self._files:
                return self._files[name]
            if name not in self._links:
                return None
            name = self._links[name]
        return None

    def layout(self) -> Path | None:
        """Arrange the members as an OCI layout directory, if they are one."""
        if "oci-layout" not in self._files or "index.json" not in self._files:
            return None
        directory = self._scratch / "layout"
        (directory / "blobs/sha256").mkdir(parents=True)
        for name, path in self._files.items():
            if _LAYOUT_MEMBER.fullmatch(name):
                os.link(path, directory / name)
        return directory

    def docker_image(self, *, checkpoint: Checkpoint) -> ArchivedImage | None:
        """Read the one image of a `docker save` archive; None if it is none.

        Layers that are stored uncompressed are compressed with gzip, as registries want them.

        Raises:
            InvalidInput: more than one image, or none.
            IntegrityError: what manifest.json names is missing, or is not what the config says.
        """
        listing = self.find("manifest.json")
        if listing is None:
            return None
        entry = self._entry(_read(listing))
        config_file = self._member(entry.get("Config"))
        content = _read(config_file)
        config = ImageConfig.parse(content, where=f"{self.archive}: config")
        names = entry.get("Layers") or []
        if not isinstance(names, list) or len(names) != len(config.diff_ids):
            raise IntegrityError(
                f"{self.archive}: {len(names)} layers, but the config names {len(config.diff_ids)}"
            )
        files = {Digest.of(content): config_file}
        layers = []
        for name, diff_id in zip(names, config.diff_ids, strict=True):
            descriptor, path = self._layer(self._member(name), diff_id, checkpoint=checkpoint)
            files[descriptor.digest] = path
            layers.append(descriptor)
        return ArchivedImage(_manifest(content, layers), files)

    def _entry(self, content: bytes) -> dict[str, Any]:
        try:
            entries = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise IntegrityError(f"{self.archive}: manifest.json is not JSON") from error
        if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
            raise IntegrityError(f"{self.archive}: manifest.json is not a list of images")
        if len(entries) != 1:
            raise InvalidInput(f"{self.archive} holds {len(entries)} images; it must hold one")
        found: dict[str, Any] = entries[0]
        return found

    def _member(self, name: Any) -> Path:
        found = self.find(posixpath.normpath(name)) if isinstance(name, str) else None
        if found is None:
            raise IntegrityError(f"{self.archive}: manifest.json names {name!r}, which is missing")
        return found

    def _layer(
        self, path: Path, diff_id: DiffID, *, checkpoint: Checkpoint
    ) -> tuple[Descriptor, Path]:
        with path.open("rb") as file:
            kind = sniff(file.read(6)).name
            file.seek(0)
            if kind == "none":
                return self._compressed(file, diff_id, checkpoint=checkpoint)
            if kind not in _LAYER_TYPES:
                raise IntegrityError(f"{self.archive}: a layer is compressed with {kind}")
            hashing, size = hashlib.sha256(), 0
            while chunk := file.read(_CHUNK):
                checkpoint()
                hashing.update(chunk)
                size += len(chunk)
        return Descriptor(_LAYER_TYPES[kind], _digest(hashing.hexdigest()), size), path

    def _compressed(
        self, file: BinaryIO, diff_id: DiffID, *, checkpoint: Checkpoint
    ) -> tuple[Descriptor, Path]:
        path = self._scratch / f"{diff_id.hex}.gz"
        plain, packed, size = hashlib.sha256(), hashlib.sha256(), 0
        compressor = open_compressor("gzip", None)
        assert compressor is not None
        with path.open("wb") as output:
            while chunk := file.read(_CHUNK):
                checkpoint()
                plain.update(chunk)
                piece = compressor.compress(chunk)
                packed.update(piece)
                size += output.write(piece)
            piece = compressor.flush()
            packed.update(piece)
            size += output.write(piece)
        if _digest(plain.hexdigest()) != diff_id:
            actual = _digest(plain.hexdigest())
            raise IntegrityError(f"{self.archive}: layer {diff_id} has the diffID {actual}")
        return Descriptor(_LAYER_TYPES["gzip"], _digest(packed.hexdigest()), size), path


def _manifest(config: bytes, layers: list[Descriptor]) -> Manifest:
    """Make a Docker manifest, or an OCI one where a layer has no type in Docker's."""
    is_oci = any(layer.media_type == media_types.OCI_LAYER_ZSTD for layer in layers)
    if is_oci:
        layers = [layer.as_type(media_types.to_oci(layer.media_type)) for layer in layers]
    config_type = media_types.OCI_CONFIG if is_oci else media_types.DOCKER_CONFIG
    return Manifest.make(
        Descriptor(config_type, Digest.of(config), len(config)),
        layers,
        media_type=media_types.OCI_MANIFEST if is_oci else media_types.DOCKER_MANIFEST,
    )


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_DOCUMENT_LIMIT + 1)
    if len(content) > _DOCUMENT_LIMIT:
        raise IntegrityError(f"a document in the archive is larger than {_DOCUMENT_LIMIT} bytes")
    return content


def _digest(hexdigest: str) -> Digest:
    return Digest(f"sha256:{hexdigest}")
