"""OCI image layout directories: bases are read from them, images are written to them.

image-spec v1.1 image-layout.md.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from asynckaniko.errors import HostError, IntegrityError, InvalidInput, OutOfSpace
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.digest import Digest
from asynckaniko.oci.documents import read_object
from asynckaniko.oci.manifest import Index, Manifest, parse
from asynckaniko.oci.platform import Platform

REF_NAME = "org.opencontainers.image.ref.name"
MARKER = b'{"imageLayoutVersion":"1.0.0"}'
_DEEPEST_INDEX = 3
_OUT_OF_SPACE = frozenset({28, 122})  # ENOSPC, EDQUOT


class LayoutReader:
    """One image of a layout directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, tag: str, platform: Platform) -> Manifest:
        """Find the image named `tag` (empty: the only or first one) for `platform`.

        Raises:
            InvalidInput: no layout there, or no such tag in it.
            IntegrityError: a document is malformed or does not have its digest.
            NoMatchingPlatform: the tag names an index without the platform.
        """
        found = self._named(tag)
        chosen = found[0]
        if len(found) > 1:
            chosen = Index("", tuple(found), b"").choose(platform, name=str(self.path))
        return self._manifest(chosen, platform)

    def images(self, tag: str) -> list[tuple[Descriptor, Manifest]]:
        """List every image named `tag` (empty: all), each once, also those in indexes.

        Raises what `open` does, but NoMatchingPlatform.
        """
        found: list[tuple[Descriptor, Manifest]] = []
        seen: set[Digest] = set()
        waiting = [(descriptor, 0) for descriptor in reversed(self._named(tag))]
        while waiting:
            descriptor, depth = waiting.pop()
            if descriptor.digest in seen:
                # Indexes that name one another many times must not cost as much.
                continue
            seen.add(descriptor.digest)
            document = self._document(descriptor)
            if isinstance(document, Manifest):
                found.append((descriptor, document))
            elif depth == _DEEPEST_INDEX:
                raise IntegrityError(f"{self.path}: indexes nested deeper than {_DEEPEST_INDEX}")
            else:
                waiting += [(child, depth + 1) for child in reversed(document.manifests)]
        return found

    def _named(self, tag: str) -> list[Descriptor]:
        index_file = self.path / "index.json"
        if not index_file.is_file() or not (self.path / "oci-layout").is_file():
            raise InvalidInput(f"{self.path} is not an OCI image layout: no oci-layout/index.json")
        where = str(index_file)
        index = read_object(_read(index_file, limit=4 << 20), where=where, limit=4 << 20)
        entries = [Descriptor.from_json(m, where=where) for m in index.get("manifests") or []]
        found = _by_tag(entries, tag) if tag else entries
        if not found:
            tags = sorted(name for m in entries if (name := m.annotations.get(REF_NAME)))
            there = f"there is {', '.join(tags)}" if tags else "no image in it has a tag"
            raise InvalidInput(f"OCI layout {self.path} has no image {tag!r}; {there}")
        return found

    def _manifest(self, descriptor: Descriptor, platform: Platform) -> Manifest:
        for _ in range(_DEEPEST_INDEX):
            document = self._document(descriptor)
            if isinstance(document, Manifest):
                return document
            descriptor = document.choose(platform, name=str(self.path))
        raise IntegrityError(f"{self.path}: indexes nested deeper than {_DEEPEST_INDEX}")

    def _document(self, descriptor: Descriptor) -> Manifest | Index:
        content = self.read(descriptor)
        where = f"{self.path}: {descriptor.digest}"
        return parse(content, media_type=descriptor.media_type, where=where)

    def blob_path(self, digest: Digest) -> Path:
        return self.path / "blobs" / "sha256" / digest.hex

    def read(self, descriptor: Descriptor, *, limit: int = 8 << 20) -> bytes:
        """Read a small blob and verify it."""
        content = _read(self.blob_path(descriptor.digest), limit=limit)
        actual = Digest.of(content)
        if actual != descriptor.digest or len(content) != descriptor.size:
            raise IntegrityError(
                f"{self.path}: blob {descriptor.digest} ({descriptor.size} bytes) has digest"
                f" {actual} ({len(content)} bytes)"
            )
        return content


def _by_tag(entries: Sequence[Descriptor], tag: str) -> list[Descriptor]:
    exact = [m for m in entries if m.annotations.get(REF_NAME) == tag]
    # Tools differ: some write the tag, some the whole reference.
    return exact or [m for m in entries if m.annotations.get(REF_NAME, "").endswith(f":{tag}")]


def _read(path: Path, *, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise IntegrityError(f"{path}: {error.strerror}") from error
    if len(content) > limit:
        raise IntegrityError(f"{path}: larger than {limit} bytes")
    return content


class LayoutWriter:
    """Write an image into a new directory beside `path`, then put it in place whole.

    Synchronous; `build` calls it in a thread.
    """

    def __init__(self, path: Path) -> None:
        """Prepare the draft directory.

        Raises:
            InvalidInput: something that is no image layout is at `path`.
            HostError: the directory cannot be written.
        """
        self._path = path.absolute()
        if self._path.exists() and not self._replaceable():
            raise InvalidInput(f"{path} exists and is not an OCI image layout; it is left alone")
        self._draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}")
        try:
            (self._draft / "blobs" / "sha256").mkdir(parents=True)
        except OSError as error:
            raise HostError(f"OCI layout {path}: {error.strerror}") from error

    def _replaceable(self) -> bool:
        is_layout = (self._path / "oci-layout").is_file()
        return self._path.is_dir() and (is_layout or not any(self._path.iterdir()))

    def add_file(self, digest: Digest, source: Path) -> None:
        """Add a blob by hard link where the filesystem allows, by copy where not."""
        target = self._draft / "blobs" / "sha256" / digest.hex
        if target.exists():
            return
        try:
            os.link(source, target)
        except OSError:
            self._guarded(lambda: shutil.copyfile(source, target))
        os.chmod(target, 0o644)

    def add(self, digest: Digest, content: bytes) -> None:
        target = self._draft / "blobs" / "sha256" / digest.hex
        self._guarded(lambda: target.write_bytes(content))

    def finish(self, manifest: Descriptor, tags: Sequence[str]) -> None:
        """Write the index and move the layout to its place."""
        entries = [manifest.to_json()]
        if tags:
            entries = [{**entries[0], "annotations": {REF_NAME: tag}} for tag in tags]
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": entries,
        }
        self._guarded(lambda: (self._draft / "oci-layout").write_bytes(MARKER))
        self._guarded(lambda: (self._draft / "index.json").write_bytes(orjson.dumps(index)))
        if not self._path.exists():
            os.rename(self._draft, self._path)
            return
        old = self._draft.with_name(f"{self._draft.name}.old")
        try:
            os.rename(self._path, old)
            os.rename(self._draft, self._path)
            shutil.rmtree(old)
        except OSError:
            # A mount point cannot be renamed: fill it instead.
            self._fill_in_place()

    def _fill_in_place(self) -> None:
        for child in self._path.iterdir():
            shutil.rmtree(child) if child.is_dir() else child.unlink()
        for name in ("blobs", "oci-layout", "index.json"):
            shutil.move(self._draft / name, self._path / name)
        self._draft.rmdir()

    def discard(self) -> None:
        """Remove the draft, if it is still there."""
        shutil.rmtree(self._draft, ignore_errors=True)

    def _guarded(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            kind = OutOfSpace if error.errno in _OUT_OF_SPACE else HostError
            raise kind(f"OCI layout {self._path}: {error.strerror}") from error
