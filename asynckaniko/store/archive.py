"""Write an image as `docker save` does: one tar with manifest.json, config and layers.

Synchronous; `build` calls it in a thread. The tar has fixed times and owners, so that equal images
are equal files.
"""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import orjson

from asynckaniko.errors import HostError, OutOfSpace
from asynckaniko.oci.descriptor import Descriptor

_BLOCK = 512
_OUT_OF_SPACE = frozenset({28, 122})  # ENOSPC, EDQUOT
_COPY_SIZE = 1 << 20


def write_archive(
    path: Path,
    *,
    config: bytes,
    config_digest_hex: str,
    layers: Sequence[tuple[Descriptor, Path]],
    references: Sequence[str],
) -> None:
    """Write the archive beside `path`, then put it in place whole. Missing directories are made.

    Raises:
        HostError: with the path and the reason.
    """
    draft = path.absolute().with_name(f".{path.name}.{secrets.token_hex(4)}")
    names = [f"{descriptor.digest.hex}.tar.gz" for descriptor, _ in layers]
    manifest = {
        "Config": f"sha256:{config_digest_hex}",
        "RepoTags": list(references) or None,
        "Layers": names,
    }
    try:
        draft.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("xb") as file:
            _member(file.fileno(), manifest["Config"], config)
            seen: set[str] = set()
            for name, (descriptor, source) in zip(names, layers, strict=True):
                if name not in seen:
                    _file_member(file.fileno(), name, descriptor.size, source)
                seen.add(name)
            _member(file.fileno(), "manifest.json", orjson.dumps([manifest]))
            file.write(bytes(2 * _BLOCK))
        os.rename(draft, path)
    except OSError as error:
        kind = OutOfSpace if error.errno in _OUT_OF_SPACE else HostError
        raise kind(f"{path}: {error.strerror}") from error
    finally:
        with suppress(FileNotFoundError):
            draft.unlink()


def _member(file: int, name: object, content: bytes) -> None:
    _write(file, _header(str(name), len(content)) + content + bytes(-len(content) % _BLOCK))


def _file_member(file: int, name: str, size: int, source: Path) -> None:
    _write(file, _header(name, size))
    for chunk in _chunks(source):
        _write(file, chunk)
    _write(file, bytes(-size % _BLOCK))


def _chunks(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        while chunk := file.read(_COPY_SIZE):
            yield chunk


def _header(name: str, size: int) -> bytes:
    """Make a ustar header of a regular file, mode 0644, root, at time 0; names here are short."""
    fields = b"%-100b0000644\x000000000\x000000000\x00%011o\x0000000000000\x00        0" % (
        name.encode().ljust(100, b"\0"),
        size,
    )
    head = fields.ljust(257, b"\0") + b"ustar\x0000"
    head = head.ljust(_BLOCK, b"\0")
    return head[:148] + b"%06o\x00 " % sum(head) + head[156:]


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
