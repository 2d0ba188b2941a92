"""Apply layers as their specification says, and change trees at random."""

import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from hypothesis import strategies as st

from tests.unit.rootfs.trees import file, members


def list_entries(layer: bytes) -> dict[str, str]:
    """Say of each entry its kind and, where there is one, its target."""
    kinds = {
        tarfile.DIRTYPE: "d",
        tarfile.REGTYPE: "-",
        tarfile.LNKTYPE: "h",
        tarfile.SYMTYPE: "l",
        tarfile.FIFOTYPE: "p",
    }
    return {
        name: f"{kinds[member.type]} {member.linkname}".rstrip()
        for name, member in members(layer).items()
    }


def apply_layer(layer: str, entries: Mapping[str, str], root: str) -> None:
    """Apply a layer as image-spec layer.md says it: whiteouts hide what was there before."""
    for name, kind in entries.items():
        parent, _, last = name.rpartition("/")
        if last == ".wh..wh..opq":
            if Path(root, parent).is_dir():
                _remove(*Path(root, parent).iterdir())
        elif last.startswith(".wh."):
            _remove(Path(root, parent, last.removeprefix(".wh.")))
        else:
            _make_way(Path(root, name), is_directory=kind == "d")
    extract = ["tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-p"]
    subprocess.run([*extract, "--exclude=.wh.*", "-xf", layer, "-C", root], check=True)


def _remove(*paths: Path) -> None:
    for path in paths:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _make_way(path: Path, *, is_directory: bool) -> None:
    if path.is_symlink() or (path.exists() and path.is_dir() != is_directory):
        _remove(path)


_PATHS = st.sampled_from(["a", "b", "a/x", "a/y", "b/x", "a/x/z"])
OPERATIONS: st.SearchStrategy[str] = st.one_of(
    st.builds("rm -rf {0}".format, _PATHS),
    st.builds("mkdir -p {0}".format, _PATHS),
    st.builds("echo {1} > {0}".format, _PATHS, st.integers(0, 9)),
    st.builds("mv -T {0} {1}".format, _PATHS, _PATHS),
    st.builds("ln -sfT t {0}".format, _PATHS),
    st.builds("ln -f {0} {1}".format, _PATHS, _PATHS),
    st.builds("chmod {1} {0}".format, _PATHS, st.sampled_from(["700", "4755", "1777"])),
    st.builds("chown -h 7:8 {0}".format, _PATHS),
)
LOWERS = st.dictionaries(
    st.sampled_from(["a/x", "a/y/1", "b/x/2", "c"]), st.just(file(b"lower")), max_size=4
)
