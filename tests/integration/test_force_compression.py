"""--force-compression: layers of the base are compressed as new ones are."""

import gzip
import json
import subprocess

import pytest

from tests.integration.conftest import Workbench
from tests.support.images import (
    CONFIG,
    LAYER,
    MANIFEST,
    Image,
    decompress,
    digest,
    make_tar,
    read_layout,
)
from tests.support.registry import Registry

ZSTD = LAYER.replace("gzip", "zstd")
PLAIN = LAYER.removesuffix("+gzip")
TARS = [make_tar({f"file{n}": bytes([65 + n]) * 300_000}) for n in range(3)]
BLOBS = {
    LAYER: gzip.compress(TARS[0], 6, mtime=0),
    ZSTD: subprocess.run(["zstd", "-qc"], input=TARS[1], capture_output=True, check=True).stdout,
    PLAIN: TARS[2],
}


@pytest.fixture
def base(registry: Registry) -> str:
    """An image with a layer of each compression."""
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest(tar) for tar in TARS]},
        }
    ).encode()

    def describe(kind: str, content: bytes) -> dict[str, object]:
        return {"mediaType": kind, "digest": digest(content), "size": len(content)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": describe(CONFIG, config),
        "layers": [describe(kind, blob) for kind, blob in BLOBS.items()],
    }
    blobs = {digest(blob): blob for blob in (config, *BLOBS.values())}
    return Image(json.dumps(manifest).encode(), blobs).push(registry, "base")


@pytest.mark.parametrize(
    ("compression", "kind", "magic"),
    [("gzip", LAYER, b"\x1f\x8b"), ("zstd", ZSTD, b"\x28\xb5\x2f\xfd"), ("none", PLAIN, b"file")],
)
@pytest.mark.parametrize("step", ["COPY new /new", "LABEL a=b"])
def test_all_layers_get_the_compression_and_keep_their_content(
    bench: Workbench,
    registry: Registry,
    base: str,
    compression: str,
    kind: str,
    magic: bytes,
    step: str,
) -> None:
    bench.write(f"FROM {base}\n{step}\n", {"new": "n" * 10_000})

    done = bench.run(
        bench.command(
            *("-d", f"{registry.host}/app:1", "--oci-layout-path", str(bench.layout)),
            *(f"--compression={compression}", "--force-compression"),
        )
    )

    assert done.exit_code == 0, done.said
    image = read_layout(bench.layout)  # checks every digest and diffID
    assert registry.manifest("app", "1") == image.manifest
    assert {layer["mediaType"] for layer in image.manifest["layers"]} == {kind}
    assert image.config["rootfs"]["diff_ids"][:3] == [digest(tar) for tar in TARS]
    pushed = [registry.blob("app", layer["digest"]) for layer in image.manifest["layers"]]
    assert [decompress(blob) for blob in pushed[:3]] == TARS
    assert all(blob.startswith(magic) for blob in pushed[:3])
    # What had the compression already is the blob that it was.
    assert digest(BLOBS[kind]) in [layer["digest"] for layer in image.manifest["layers"]]


def test_docker_image_gets_layers_that_docker_has_a_name_for(
    bench: Workbench, registry: Registry, base: str
) -> None:
    bench.write(f"FROM {base}\nCOPY new /new\n", {"new": "n"})

    done = bench.run(
        bench.command(
            *("-d", f"{registry.host}/app:1", "--image-format=docker", "--force-compression")
        )
    )

    assert done.exit_code == 0, done.said
    layers = registry.manifest("app", "1")["layers"]
    name = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    assert [layer["mediaType"] for layer in layers] == [name] * 4
    assert [decompress(registry.blob("app", layer["digest"])) for layer in layers[:3]] == TARS


def test_layer_whose_content_is_another_than_the_config_says_ends_the_build(
    bench: Workbench, registry: Registry
) -> None:
    tar = make_tar({"a": b"a"})
    layer = gzip.compress(tar, mtime=0)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest(b"something else")]},
    }
    base = Image.of_blobs(config, [layer]).push(registry, "base")
    bench.write(f"FROM {base}\nLABEL a=b\n")
    command = bench.command("-d", f"{registry.host}/app:1", "--compression=zstd")

    done = bench.run([*command, "--force-compression"])

    assert done.exit_code == 5, done.said
    assert digest(layer) in done.stderr
    assert not registry.has("app", "1")
