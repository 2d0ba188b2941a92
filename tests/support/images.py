"""Images as values: make small ones from dictionaries, and read finished ones independently.

The reader is Python's own tarfile and json on purpose: it must not share code, and so no mistake,
with the package.
"""

import gzip
import hashlib
import io
import json
import stat
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from tests.support.registry import Registry

OCI = "application/vnd.oci.image."
MANIFEST, INDEX = OCI + "manifest.v1+json", OCI + "index.v1+json"
CONFIG, LAYER = OCI + "config.v1+json", OCI + "layer.v1.tar+gzip"
REF_NAME = "org.opencontainers.image.ref.name"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIME = 1_600_000_000

_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
}


@dataclass(frozen=True)
class Entry:
    """One path of an image. `target` is a symlink's text, or the path that a hard link repeats."""

    kind: str = "file"
    content: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: float = TIME
    target: str = ""
    xattrs: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def permissions(self) -> str:
        """`-rwsr-xr-x`, as ls prints it."""
        types = {"file": stat.S_IFREG, "directory": stat.S_IFDIR, "symlink": stat.S_IFLNK}
        return stat.filemode(types.get(self.kind, stat.S_IFREG) | self.mode)


def directory(mode: int = 0o755, uid: int = 0, gid: int = 0) -> Entry:
    return Entry("directory", mode=mode, uid=uid, gid=gid)


def symlink(target: str) -> Entry:
    return Entry("symlink", mode=0o777, target=target)


def hardlink(target: str, mode: int = 0o644) -> Entry:
    """Repeat the mode of `target`: a tar has it in both headers."""
    return Entry("hardlink", mode=mode, target=target)


Files: TypeAlias = Mapping[str, Entry | bytes | str]
"""Path to content or Entry. A path that ends in `/` is a directory."""


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def make_tar(files: Files) -> bytes:
    """Write the files in their order, nothing added."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, value in files.items():
            entry = _entry(path, value)
            info = tarfile.TarInfo(path.rstrip("/"))
            info.type = next(kind for kind, name in _KINDS.items() if name == entry.kind)
            info.mode, info.uid, info.gid = entry.mode, entry.uid, entry.gid
            info.mtime, info.linkname, info.size = entry.mtime, entry.target, len(entry.content)
            info.pax_headers = {
                f"SCHILY.xattr.{name}": text.decode("utf-8", "surrogateescape")
                for name, text in entry.xattrs.items()
            }
            archive.addfile(info, io.BytesIO(entry.content))
    return out.getvalue()


def _entry(path: str, value: Entry | bytes | str) -> Entry:
    if isinstance(value, Entry):
        return value
    if path.endswith("/"):
        return directory()
    return Entry(content=value.encode() if isinstance(value, str) else value)


@dataclass(frozen=True)
class Image:
    """A whole image in memory: manifest, and every blob that it names."""

    manifest: bytes
    blobs: Mapping[str, bytes]

    @classmethod
    def of_tars(
        cls,
        tars: Sequence[bytes],
        *,
        architecture: str = "amd64",
        compressed: Sequence[bytes] = (),
        **runtime: Any,
    ) -> "Image":
        """Put layer tars, base first, together; `runtime` is the config's `config` object.

        `compressed` spares gzip its work when the layers are there already.
        """
        created = "2020-09-13T12:26:40Z"
        config = {
            "architecture": architecture,
            "os": "linux",
            "created": created,
            "config": {"Env": [PATH], "Cmd": ["sh"]} | runtime,
            "rootfs": {"type": "layers", "diff_ids": [digest(tar) for tar in tars]},
            "history": [
                {"created": created, "created_by": f"layer {number}"} for number in range(len(tars))
            ],
        }
        layers = list(compressed) or [gzip.compress(tar, 1, mtime=0) for tar in tars]
        return cls.of_blobs(config, layers)

    @classmethod
    def of_blobs(cls, config: Mapping[str, Any], layers: Sequence[bytes]) -> "Image":
        """Put a config and compressed layers together, whether they fit or not."""
        content = json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, content),
            "layers": [_descriptor(LAYER, layer) for layer in layers],
        }
        blobs = {digest(blob): blob for blob in (content, *layers)}
        return cls(json.dumps(manifest).encode(), blobs)

    @classmethod
    def of(cls, *layers: Files, **runtime: Any) -> "Image":
        return cls.of_tars([make_tar(files) for files in layers], **runtime)

    @property
    def digest(self) -> str:
        return digest(self.manifest)

    @property
    def config(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(
            self.blobs[json.loads(self.manifest)["config"]["digest"]]
        )
        return document

    @property
    def layers(self) -> list[str]:
        """Digests of the compressed layers, base first."""
        return [layer["digest"] for layer in json.loads(self.manifest)["layers"]]

    def push(self, registry: Registry, repository: str, tag: str = "latest") -> str:
        """Put the image into a registry; return its reference."""
        for name, content in self.blobs.items():
            registry.put_blob(repository, name, content)
        registry.put_manifest(repository, tag, MANIFEST, self.manifest)
        return f"{registry.host}/{repository}:{tag}"

    def write_layout(self, path: Path, tag: str = "latest") -> Path:
        """Write an OCI layout directory that holds only this image."""
        blobs = path / "blobs/sha256"
        blobs.mkdir(parents=True)
        for name, content in (*self.blobs.items(), (self.digest, self.manifest)):
            (blobs / name.removeprefix("sha256:")).write_bytes(content)
        entry = _descriptor(MANIFEST, self.manifest) | {"annotations": {REF_NAME: tag}}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
        (path / "index.json").write_text(json.dumps(index))
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return path


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}


@dataclass(frozen=True)
class ReadImage:
    """A finished image as another program sees it."""

    digest: str
    manifest: dict[str, Any]
    config: dict[str, Any]
    layers: list[dict[str, Entry]]
    """Each layer's own entries, whiteouts included."""

    @property
    def runtime(self) -> dict[str, Any]:
        runtime: dict[str, Any] = self.config["config"]
        return runtime

    @cached_property
    def tree(self) -> dict[str, Entry]:
        """What a container of this image would see, by path without a leading slash."""
        return flatten(self.layers)


def read_layout(path: Path, tag: str | None = None) -> ReadImage:
    """Read the layout's only image, or the one called `tag`, checking every digest and size."""
    index = json.loads((path / "index.json").read_bytes())
    assert json.loads((path / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    found = [
        entry
        for entry in index["manifests"]
        if tag is None or entry.get("annotations", {}).get(REF_NAME) == tag
    ]
    assert len(found) == 1, index

    def blob(descriptor: Mapping[str, Any]) -> bytes:
        content = Path(path, "blobs", descriptor["digest"].replace(":", "/")).read_bytes()
        assert (digest(content), len(content)) == (descriptor["digest"], descriptor["size"])
        return content

    manifest = json.loads(blob(found[0]))
    config = json.loads(blob(manifest["config"]))
    layers = []
    diff_ids = config["rootfs"]["diff_ids"]
    assert len(diff_ids) == len(manifest["layers"])
    for descriptor, diff_id in zip(manifest["layers"], diff_ids, strict=True):
        tar = decompress(blob(descriptor))
        assert digest(tar) == diff_id, f"diffID of {descriptor['digest']}"
        layers.append(read_tar(tar))
    return ReadImage(found[0]["digest"], manifest, config, layers)


def decompress(blob: bytes) -> bytes:
    if blob[:2] == b"\x1f\x8b":
        return gzip.decompress(blob)
    if blob[:4] == b"\x28\xb5\x2f\xfd":
        # Python 3.11 has no zstd; the zstd program is not ours either.
        return subprocess.run(["zstd", "-dc"], input=blob, capture_output=True, check=True).stdout
    return blob


def read_tar(tar: bytes) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for info in archive:
            path = info.name.removeprefix("./").strip("/")
            body = archive.extractfile(info) if info.isreg() else None
            entries[path] = Entry(
                _KINDS[info.type],
                body.read() if body else b"",
                info.mode & 0o7777,  # some writers repeat the type here
                info.uid,
                info.gid,
                info.mtime,
                info.linkname,
                {
                    name.removeprefix("SCHILY.xattr."): text.encode("utf-8", "surrogateescape")
                    for name, text in info.pax_headers.items()
                    if name.startswith("SCHILY.xattr.")
                },
            )
    return entries


def flatten(layers: Iterable[Mapping[str, Entry]]) -> dict[str, Entry]:
    """Apply layers, base first (image-spec layer.md); hard links become files of their own."""
    tree: dict[str, Entry] = {}
    for layer in layers:
        for path in layer:
            parent, _, name = path.rpartition("/")
            if name == ".wh..wh..opq":
                _remove(tree, parent, keep=True)
            elif name.startswith(".wh."):
                _remove(tree, f"{parent}/{name[4:]}".lstrip("/"), keep=False)
        for path, entry in layer.items():
            if path.rpartition("/")[2].startswith(".wh."):
                continue
            if entry.kind == "hardlink":
                entry = tree[entry.target.removeprefix("./").strip("/")]
            below = tree.get(path)
            if below and below.kind == "directory" and entry.kind != "directory":
                _remove(tree, path, keep=False)
            tree[path] = entry
    return tree


def _remove(tree: dict[str, Entry], path: str, *, keep: bool) -> None:
    below = f"{path}/" if path else ""
    for name in [name for name in tree if name.startswith(below)]:
        del tree[name]
    if not keep:
        tree.pop(path, None)
