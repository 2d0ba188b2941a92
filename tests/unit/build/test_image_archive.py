"""Images in tars: the archive of `docker save`, new and old, and an OCI layout in one."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from asynckaniko.build.image_archive import ArchivedImage, Members, unpack
from asynckaniko.errors import ArchiveError, IntegrityError, InvalidInput
from asynckaniko.oci import media_types
from tests.support.images import Files, digest, hardlink, make_tar, symlink

LAYERS = [make_tar({"a": "a" * 5000}), make_tar({"b": "b"})]


def config(*layers: bytes) -> bytes:
    rootfs = {"type": "layers", "diff_ids": [digest(layer) for layer in layers]}
    document = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}
    return json.dumps(document).encode()


def listing(*names: str, **more: Any) -> bytes:
    return json.dumps(
        [{"Config": "config.json", "RepoTags": None, "Layers": names} | more]
    ).encode()


def members(tmp_path: Path, files: Files, *, pack: Any = bytes) -> Members:
    archive, scratch = tmp_path / "image.tar", tmp_path / "scratch"
    archive.write_bytes(pack(make_tar(files)))
    scratch.mkdir()
    return unpack(archive, scratch, checkpoint=lambda: None)


def image(tmp_path: Path, files: Files, *, pack: Any = bytes) -> ArchivedImage:
    found = members(tmp_path, files, pack=pack).docker_image(checkpoint=lambda: None)
    assert found is not None
    return found


def content(found: ArchivedImage) -> list[bytes]:
    """Return the layers as tars, after checking that files have their digests."""
    blobs = {name: path.read_bytes() for name, path in found.files.items()}
    assert {name: digest(blob) for name, blob in blobs.items()} == {name: name for name in blobs}
    return [gzip.decompress(blobs[layer.digest]) for layer in found.manifest.layers]


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_plain_layers_are_compressed(tmp_path: Path, pack: Any) -> None:
    found = image(
        tmp_path,
        {
            "config.json": config(*LAYERS),
            "1/layer.tar": LAYERS[0],
            "2/layer.tar": LAYERS[1],
            "manifest.json": listing("1/layer.tar", "2/layer.tar"),
        },
        pack=pack,
    )

    assert content(found) == LAYERS
    assert found.manifest.media_type == media_types.DOCKER_MANIFEST
    assert found.manifest.config.digest == digest(config(*LAYERS))
    assert {layer.media_type for layer in found.manifest.layers} == {media_types.DOCKER_LAYER_GZIP}
    assert found.manifest.layers[0].size < 5000


def test_compressed_layers_are_kept_as_they_are(tmp_path: Path) -> None:
    packed = [gzip.compress(layer, 9, mtime=7) for layer in LAYERS]

    found = image(
        tmp_path,
        {
            "manifest.json": listing("a.tar.gz", "b.tar.gz"),
            "config.json": config(*LAYERS),
            "a.tar.gz": packed[0],
            "b.tar.gz": packed[1],
        },
    )

    assert [layer.digest for layer in found.manifest.layers] == [digest(each) for each in packed]


def test_zstd_layer_makes_an_oci_image(tmp_path: Path) -> None:
    found = image(
        tmp_path,
        {
            "manifest.json": listing("a", "b"),
            "config.json": config(*LAYERS),
            "a": zstd.compress(LAYERS[0]),
            "b": LAYERS[1],
        },
    )

    assert found.manifest.media_type == media_types.OCI_MANIFEST
    assert [layer.media_type for layer in found.manifest.layers] == [
        media_types.OCI_LAYER_ZSTD,
        media_types.OCI_LAYER_GZIP,
    ]


def test_repeated_layer_may_be_a_link(tmp_path: Path) -> None:
    found = image(
        tmp_path,
        {
            "config.json": config(*[LAYERS[0]] * 3),
            "1/layer.tar": LAYERS[0],
            "2/layer.tar": symlink("../1/layer.tar"),
            "3/layer.tar": hardlink("1/layer.tar"),
            "manifest.json": listing("1/layer.tar", "2/layer.tar", "3/layer.tar"),
        },
    )

    assert content(found) == [LAYERS[0]] * 3


def test_member_names_stay_inside_the_archive(tmp_path: Path) -> None:
    found = members(tmp_path, {"../escape": "x", "/etc/escape": "y", "ok": "z"})

    written = sorted(path.name for path in (tmp_path / "scratch").iterdir())
    assert written == ["0", "1", "2"]
    assert not (tmp_path / "escape").exists()
    assert found.find("ok") is not None


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({"manifest.json": b"{"}, IntegrityError, "is not JSON"),
        ({"manifest.json": b"{}"}, IntegrityError, "is not a list of images"),
        ({"manifest.json": b"[]"}, InvalidInput, "holds 0 images; it must hold one"),
        ({"manifest.json": b"[{}, {}]"}, InvalidInput, "holds 2 images; it must hold one"),
        ({"manifest.json": listing("a")}, IntegrityError, "names 'config.json', which is missing"),
        (
            {"manifest.json": listing("a", Config="/etc/passwd"), "a": "a"},
            IntegrityError,
            "names '/etc/passwd', which is missing",
        ),
        (
            {"manifest.json": listing("a"), "config.json": config(LAYERS[0])},
            IntegrityError,
            "names 'a', which is missing",
        ),
        (
            {"manifest.json": listing("a"), "config.json": config(*LAYERS), "a": LAYERS[0]},
            IntegrityError,
            "1 layers, but the config names 2",
        ),
        (
            {"manifest.json": listing("a"), "config.json": config(LAYERS[0]), "a": LAYERS[1]},
            IntegrityError,
            "has the diffID",
        ),
        (
            {"manifest.json": listing("a"), "config.json": config(LAYERS[0]), "a": b"BZh9" * 9},
            IntegrityError,
            "a layer is compressed with bzip2",
        ),
        (
            {
                "manifest.json": listing("a"),
                "config.json": config(LAYERS[0]),
                "a": symlink("b"),
                "b": symlink("a"),
            },
            IntegrityError,
            "names 'a', which is missing",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_archive_that_is_wrong_is_a_typed_error(
    tmp_path: Path, files: Files, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        image(tmp_path, files)


def test_file_that_is_no_archive_is_an_archive_error(tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    archive.write_bytes(b"not a tar at all" * 100)

    with pytest.raises(ArchiveError):
        unpack(archive, tmp_path, checkpoint=lambda: None)


def test_archive_without_manifest_is_no_docker_image(tmp_path: Path) -> None:
    found = members(tmp_path, {"some": "file"})

    assert found.docker_image(checkpoint=lambda: None) is None
    assert found.layout() is None


def test_layout_in_a_tar_becomes_a_directory(tmp_path: Path) -> None:
    blob = f"blobs/sha256/{'0' * 64}"
    found = members(
        tmp_path,
        {"oci-layout": "{}", "index.json": "{}", blob: "x", "blobs/sha256/../../../evil": "e"},
    )

    layout = found.layout()

    assert layout is not None
    names = {str(path.relative_to(layout)) for path in layout.rglob("*") if path.is_file()}
    assert names == {"oci-layout", "index.json", blob}
