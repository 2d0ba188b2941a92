"""A real root filesystem, unpacked as builds do it, against GNU tar's idea of it."""

import hashlib
import os
import subprocess
import zlib
from pathlib import Path
from typing import Any

import pytest

from asynckaniko.isolation.fork_server import ForkServer
from asynckaniko.rootfs.remove import remove_trees
from tests.support.debian import debian_tar
from tests.unit.rootfs.children import in_namespaces
from tests.unit.rootfs.trees import describe

MODULE = "asynckaniko.rootfs.apply_layer"


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A Debian as a gzip layer, and what the job is told about it."""
    path = tmp_path_factory.mktemp("layer") / "layer.tar.gz"
    diff_id, digest, size = hashlib.sha256(), hashlib.sha256(), 0
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    with debian_tar().open("rb") as tar, path.open("wb") as blob:
        while piece := tar.read(1 << 20):
            diff_id.update(piece)
            blob.write(compressor.compress(piece))
        blob.write(compressor.flush())
    with path.open("rb") as blob:
        while piece := blob.read(1 << 20):
            digest.update(piece)
            size += len(piece)
    return {
        "path": path,
        "media_type": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": f"sha256:{digest.hexdigest()}",
        "diff_id": f"sha256:{diff_id.hexdigest()}",
        "size": size,
        "limits": {"size": 1 << 30, "entries": 1_000_000},
    }


async def unpack_by_fork_server(directory: Path, layer: dict[str, Any]) -> Any:
    arguments = {name: value for name, value in layer.items() if name != "path"}
    async with ForkServer.start(directory=directory, preload=[MODULE], namespaces=True) as server:
        with layer["path"].open("rb") as blob:
            return await server.call(
                f"{MODULE}:unpack_layer", arguments | {"directory": "ours"}, fds=[blob.fileno()]
            )


async def test_debian_is_what_gnu_tar_makes_of_it(tmp_path: Path, layer: dict[str, Any]) -> None:
    result = await unpack_by_fork_server(tmp_path, layer)

    def work() -> tuple[int, list[str]]:
        os.mkdir("theirs")
        command = ["tar", "-xpf-", "--numeric-owner", "--xattrs", "--xattrs-include=*"]
        subprocess.run([*command, "-C", "theirs"], stdin=tar, check=True)
        theirs = describe(Path("theirs"))
        ours = describe(Path("ours"))
        different = [
            f"{name}: {ours.get(name)} instead of {theirs.get(name)}"
            for name in sorted({*ours, *theirs})
            if ours.get(name) != theirs.get(name)
        ]
        remove_trees({"paths": ["ours", "theirs"]}, [])
        return len(ours), different

    with debian_tar().open("rb") as tar:
        count, different = in_namespaces(tmp_path, work)

    assert different == []
    # The archive has an entry for its root, and every other entry is a path of its own.
    assert count == result["entries"] - 1
    assert result["implicit"] == result["devices"] == []
