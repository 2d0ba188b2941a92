#!/usr/bin/env python3
"""Make a Debian base image as an OCI layout, from nothing but a package mirror.

    make_base.py DIRECTORY [TAG]

mmdebstrap fetches the packages; this file adds the three JSON documents around its tar. The
machine's own choice of mirror, proxy and date checks goes into the image, so that apt-get in a
later RUN reaches what this machine reaches. Standard library only.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SUITE = "bookworm"
ARCHITECTURES = {
    "armhf": {"architecture": "arm", "variant": "v7"},
    "armel": {"architecture": "arm", "variant": "v5"},
    "i386": {"architecture": "386"},
    "ppc64el": {"architecture": "ppc64le"},
}
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TYPE = "application/vnd.oci.image."
CARRIED = ("Acquire::Check-", "Acquire::http", "Acquire::Retries", "Acquire::Force")


def main() -> int:
    layout, tag = Path(sys.argv[1]), (sys.argv[2:] or ["latest"])[0]
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=layout, prefix=".make-") as scratch:
        tar = Path(scratch, "debian.tar")
        bootstrap(tar)
        layer, diff_id = add_layer(tar, blobs)
    platform = {"os": "linux"} | architecture()
    config: dict[str, Any] = platform | {
        "config": {"Env": [PATH], "Cmd": ["bash"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created_by": f"mmdebstrap --variant=minbase {SUITE}"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": TYPE + "manifest.v1+json",
        "config": add_document(config, TYPE + "config.v1+json", blobs),
        "layers": [layer],
    }
    entry = add_document(manifest, TYPE + "manifest.v1+json", blobs)
    entry |= {"platform": platform, "annotations": {"org.opencontainers.image.ref.name": tag}}
    index = {"schemaVersion": 2, "mediaType": TYPE + "index.v1+json", "manifests": [entry]}
    Path(layout, "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    # The index comes last: while there is none, nobody takes the directory for a finished image.
    unfinished = layout / ".index.json"
    unfinished.write_text(json.dumps(index))
    unfinished.rename(layout / "index.json")
    return 0


def bootstrap(tar: Path) -> None:
    """Write a minimal Debian as a tar, without the device nodes that images do not carry."""
    sources = mirrors()
    command = ["mmdebstrap", "--variant=minbase", "--format=tar", "--skip=output/dev"]
    command += [f"--aptopt={line}" for line in apt_options()]
    if any(" https:" in line for line in sources):
        command.append("--include=ca-certificates")
    command += [SUITE, str(tar)]
    if sources:
        command.append("-")
    subprocess.run(command, check=True, input="\n".join(sources), text=True)


def mirrors() -> list[str]:
    """List this machine's own sources of SUITE; empty if it has none, and the default will do."""
    line = "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"
    command = ["apt-get", "indextargets", "--format", line]
    command += ["Created-By: Packages", "Origin: Debian"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    wanted = [entry for entry in dict.fromkeys(found) if entry.split()[2].startswith(SUITE)]
    # Sources that lack the suite itself (updates or security only) cannot bootstrap it.
    return wanted if any(entry.split()[2] == SUITE for entry in wanted) else []


def apt_options() -> list[str]:
    """List the settings with which this machine's apt reaches its mirror."""
    command = ["apt-config", "dump", "--format", '%F "%v";%n', "Acquire"]
    dump = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = [
        line for line in dump.splitlines() if line.startswith(CARRIED) and not line.endswith('"";')
    ]
    for scheme in ("http", "https"):
        proxy = os.environ.get(f"{scheme}_proxy")
        if proxy:
            found.append(f'Acquire::{scheme}::Proxy "{proxy}";')
    return found


def add_layer(tar: Path, blobs: Path) -> tuple[dict[str, Any], str]:
    """Compress a tar into the blobs; return its descriptor and diffID."""
    diff_id, digest, size = hashlib.sha256(), hashlib.sha256(), 0
    unfinished = blobs / ".layer"
    with unfinished.open("wb") as out:
        for chunk in gzip_chunks(tar, diff_id):
            digest.update(chunk)
            size += len(chunk)
            out.write(chunk)
    unfinished.rename(blobs / digest.hexdigest())
    return descriptor(TYPE + "layer.v1.tar+gzip", digest.hexdigest(), size), name(diff_id)


def gzip_chunks(tar: Path, diff_id: "hashlib._Hash") -> Iterator[bytes]:
    deflate = zlib.compressobj(1, zlib.DEFLATED, 31)  # 31: the gzip format, with no time in it
    with tar.open("rb") as source:
        while chunk := source.read(1 << 20):
            diff_id.update(chunk)
            yield deflate.compress(chunk)
    yield deflate.flush()


def add_document(document: dict[str, Any], media_type: str, blobs: Path) -> dict[str, Any]:
    content = json.dumps(document).encode()
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    return descriptor(media_type, digest, len(content))


def descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def name(digest: "hashlib._Hash") -> str:
    return f"sha256:{digest.hexdigest()}"


def architecture() -> dict[str, str]:
    """Name this machine's architecture as images do."""
    command = ["dpkg", "--print-architecture"]
    debian = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return ARCHITECTURES.get(debian, {"architecture": debian})


if __name__ == "__main__":
    sys.exit(main())
