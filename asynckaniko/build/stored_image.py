"""Images that lie on this disk: an OCI layout directory, a tar of one, an archive of `docker save`.

Synchronous; called in a thread.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from asynckaniko.build.image_archive import ArchivedImage, unpack
from asynckaniko.concurrency import Checkpoint
from asynckaniko.errors import InvalidInput, host_error
from asynckaniko.oci import media_types
from asynckaniko.oci.descriptor import Descriptor
from asynckaniko.oci.manifest import Manifest
from asynckaniko.oci.platform import Platform
from asynckaniko.store.layout import LayoutReader


def read_image(source: Path, scratch: Path, *, checkpoint: Checkpoint) -> ArchivedImage:
    """Read the one image at `source`; what is in an archive is written into `scratch`.

    Raises:
        InvalidInput: there is nothing, or nothing of a known form, or more than one image.
        IntegrityError: the image is damaged.
    """
    with _host_errors():
        found = _open(source, scratch, checkpoint)
        if isinstance(found, ArchivedImage):
            return found
        return _stored(found, found.open("", Platform.host()))


def read_images(
    source: Path, tag: str, scratch: Path, *, checkpoint: Checkpoint
) -> list[tuple[Descriptor, ArchivedImage]]:
    """Read every image at `source`, or those of a layout named `tag`, with their descriptors.

    Raises what `read_image` does.
    """
    with _host_errors():
        found = _open(source, scratch, checkpoint)
        if isinstance(found, ArchivedImage):
            if tag:
                raise InvalidInput(f"{source} is no OCI layout: there is no {tag} to choose in it")
            return [(found.manifest.descriptor, found)]
        return [
            (descriptor, _stored(found, manifest)) for descriptor, manifest in found.images(tag)
        ]


def _open(source: Path, scratch: Path, checkpoint: Checkpoint) -> ArchivedImage | LayoutReader:
    if source.is_dir():
        return LayoutReader(source)
    if not source.is_file():
        raise InvalidInput(f"there is nothing to push at {source}")
    members = unpack(source, scratch, checkpoint=checkpoint)
    image = members.docker_image(checkpoint=checkpoint)
    if image is not None:
        return image
    layout = members.layout()
    if layout is None:
        raise InvalidInput(
            f"{source} is no archive of an image: it has neither manifest.json "
            "(docker save) nor index.json (OCI layout)"
        )
    return LayoutReader(layout)


def _stored(reader: LayoutReader, manifest: Manifest) -> ArchivedImage:
    files = {
        descriptor.digest: reader.blob_path(descriptor.digest)
        for descriptor in (manifest.config, *manifest.layers)
    }
    missing = [
        layer.digest
        for layer in (manifest.config, *manifest.layers)
        if not files[layer.digest].is_file() and not media_types.is_foreign(layer.media_type)
    ]
    if missing:
        raise InvalidInput(f"OCI layout {reader.path}: blob {missing[0]} is missing")
    return ArchivedImage(manifest, files)


@contextmanager
def _host_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise host_error(error) from error
