"""One gigabyte in four layers from a registry and to one, beside skopeo and curl.

The layers are noise, stored by gzip without compression: nobody gains by compressing anew, and what
is measured is moving and checking bytes. curl only moves them: it checks no digest on a pull.
"""

import hashlib
import json
import random
import shlex
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from perf.contenders import Contender
from perf.inputs import TIME
from perf.scenarios.source import Place, Source
from tests.support.images import CONFIG, INDEX, LAYER, MANIFEST, REF_NAME

_LAYERS = 4
_MEBIBYTE = 1 << 20
_PULL = "warm {context} --cache-dir {state}/bases --insecure-registry {registry}"
_PUSH = "push {context} --destination {destination} --insecure-registry {registry}"
_UPLOAD = """\
upload() {
    location=$(curl -sf -X POST -D - -o /dev/null "$api/blobs/uploads/" \
        | tr -d '\\r' | sed -n 's/^[Ll]ocation: //p')
    curl -sf -T "$1" -H 'Expect:' -H 'Content-Type: application/octet-stream' \
        "$location&digest=$2"
}
"""


def pull(directory: Path, base: str) -> None:
    """Protects: layers arrive, checked and stored, at the rate of the wire."""


def push(directory: Path, base: str) -> None:
    """Protects: layers leave at the rate of the wire."""


@contextmanager
def pull_source(place: Place) -> Iterator[Source]:
    """Put the image into the registry; everybody brings it to a directory."""
    image = noise_image(place.megabytes, place.cache)
    reference = f"{place.registry}/perf/noise:1"
    copy = f"skopeo copy --quiet --dest-tls-verify=false oci:{image.layout}:1 docker://{reference}"
    subprocess.run(copy.split(), check=True)
    blobs = f"http://{place.registry}/v2/perf/noise/blobs"
    fetch = [f"curl -sf -o {{state}}/{n} {blobs}/{name} &" for n, name in enumerate(image.blobs)]
    skopeo = f"skopeo copy --quiet --src-tls-verify=false docker://{reference} oci:{{state}}/out:1"
    yield Source(
        reference,
        peers=(
            _script("skopeo", f"mkdir -p {{state}}; {_forgetful(skopeo)}"),
            _script("curl", " ".join(["mkdir -p {state};", *fetch, _wait(len(fetch))])),
        ),
        words=tuple(_PULL.split()),
    )


@contextmanager
def push_source(place: Place) -> Iterator[Source]:
    """Everybody sends the image from a layout to a repository that is new each time."""
    image = noise_image(place.megabytes, place.cache)
    target = "docker://{destination}"
    skopeo = f"skopeo copy --quiet --dest-tls-verify=false oci:{{context}}:1 {target}"
    files = [image.layout / "blobs/sha256" / name.removeprefix("sha256:") for name in image.blobs]
    send = [
        f"upload {shlex.quote(str(file))} {name} &"
        for name, file in zip(image.blobs, files, strict=True)
    ]
    manifest = image.layout / "blobs/sha256" / image.manifest.removeprefix("sha256:")
    tag = f"curl -sf -T {manifest} -H 'Content-Type: {MANIFEST}' $api/manifests/1"
    name = "name={destination}; name=${name#*/}; api=http://{registry}/v2/${name%:1};"
    curl = " ".join([name, _UPLOAD, *send, _wait(len(send)), tag])
    yield Source(
        str(image.layout),
        peers=(_script("skopeo", _forgetful(skopeo)), _script("curl", curl)),
        words=tuple(_PUSH.split()),
    )


@dataclass(frozen=True)
class NoiseImage:
    """Where an image is, and its digests."""

    layout: Path
    manifest: str
    blobs: tuple[str, ...]
    """Layers, then the config."""


def noise_image(megabytes: int, cache: Path) -> NoiseImage:
    """Make the image of so many MiB as an OCI layout; kept in `cache` for the next time."""
    layout = cache / f"noise-{megabytes}"
    if not layout.exists():
        unfinished = layout.with_suffix(".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        _write(unfinished, megabytes)
        unfinished.rename(layout)
    entry = json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"]
    content = (layout / "blobs" / entry.replace(":", "/")).read_bytes()
    manifest = json.loads(content)
    layers = [layer["digest"] for layer in manifest["layers"]]
    return NoiseImage(layout, entry, (*layers, manifest["config"]["digest"]))


def _write(layout: Path, megabytes: int) -> None:
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)
    layers = [_write_layer(blobs, seed, megabytes // _LAYERS) for seed in range(_LAYERS)]
    diff_ids = [diff_id for _, diff_id in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _store(blobs, CONFIG, config),
        "layers": [descriptor for descriptor, _ in layers],
    }
    entry = {**_store(blobs, MANIFEST, manifest), "annotations": {REF_NAME: "1"}}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _write_layer(blobs: Path, seed: int, megabytes: int) -> tuple[dict[str, object], str]:
    """Write a layer with one file of noise; return its descriptor and diffID."""
    generator = random.Random(seed)
    info = tarfile.TarInfo(f"noise{seed}")
    info.size, info.mtime = megabytes * _MEBIBYTE, TIME
    compressor = zlib.compressobj(0, zlib.DEFLATED, 31)
    plain, packed, size = hashlib.sha256(), hashlib.sha256(), 0
    path = blobs / f"layer-{seed}"
    with path.open("wb") as file:

        def put(content: bytes) -> None:
            nonlocal size
            packed.update(content)
            size += file.write(content)

        def add(content: bytes) -> None:
            plain.update(content)
            put(compressor.compress(content))

        add(info.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(megabytes):
            add(generator.randbytes(_MEBIBYTE))
        add(bytes(2 * tarfile.BLOCKSIZE))
        put(compressor.flush())
    path.rename(blobs / packed.hexdigest())
    descriptor = {"mediaType": LAYER, "digest": f"sha256:{packed.hexdigest()}", "size": size}
    return descriptor, f"sha256:{plain.hexdigest()}"


def _store(blobs: Path, kind: str, document: object) -> dict[str, object]:
    content = json.dumps(document).encode()
    name = hashlib.sha256(content).hexdigest()
    (blobs / name).write_bytes(content)
    return {"mediaType": kind, "digest": f"sha256:{name}", "size": len(content)}


def _forgetful(command: str) -> str:
    """Run skopeo without its notes (in /var/lib) of where it saw a blob: it would mount it."""
    inner = f"mount -t tmpfs none /var/lib && exec {command}"
    return f"unshare --map-root-user --mount sh -c {shlex.quote(inner)}"


def _script(name: str, text: str) -> Contender:
    return Contender(name, ("sh", "-c", f"set -e; {text}"))


def _wait(count: int) -> str:
    """Wait for each job: `wait` alone forgets how they ended."""
    return " ".join(f"wait %{number};" for number in range(1, count + 1))
