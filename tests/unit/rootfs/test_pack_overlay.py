"""pack_upper on what real overlays hold after real commands."""

import os
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asynckaniko.linux.overlay import mount_overlay
from asynckaniko.rootfs.pack_layer import pack_upper
from tests.unit.rootfs.applying import LOWERS, OPERATIONS, apply_layer, list_entries
from tests.unit.rootfs.children import in_namespaces
from tests.unit.rootfs.trees import (
    Node,
    describe,
    directory,
    file,
    hard_link,
    make,
    symlink,
)

LOWER = {
    "etc/passwd": file(b"root"),
    "etc/group": file(b"root"),
    "usr/share/doc/a": file(b"a"),
    "usr/share/doc/b": file(b"b"),
    "usr/lib": symlink("share"),
    "data/one": file(b"1"),
    "data/two": hard_link("data/one"),
    "empty": directory(),
}


def change(tmp_path: Path, script: str, lower: Mapping[str, Node] = LOWER) -> dict[str, str]:
    """Run `script` in an overlay over `lower`, pack the upper, and say what the layer holds.

    Entries are written as the kind and, where there is one, the target. As a check of all of
    them, the layer is applied to a copy of the lower, which must then equal the merged tree.
    """

    def work() -> dict[str, str]:
        make(Path("lower"), lower)
        make(Path("copy"), lower)
        for name in ("upper", "work", "merged"):
            Path(name).mkdir()
        mount_overlay(["lower"], "merged", upper="upper", work="work", scratch=".")
        subprocess.run(["sh", "-ec", script], check=True, cwd="merged")
        with open("layer", "wb") as output:
            pack_upper({"upper": "upper", "compression": "none"}, [output.fileno()])
        entries = list_entries(Path("layer").read_bytes())
        apply_layer("layer", entries, "copy")
        assert _comparable("copy") == _comparable("merged")
        return entries

    base = tmp_path / "base"
    base.mkdir()
    return in_namespaces(base, work)


def _comparable(root: str) -> dict[str, dict[str, object]]:
    described = describe(Path(root))
    for name, entry in described.items():
        if "same as" in entry:
            # Copying up one name of a file with several parts it from the others.
            del entry["same as"]
        if stat.S_ISDIR(entry["kind"]):
            # The kernel sets the times of directories that are only touched by copying up.
            del entry["mtime"]
        assert name
    return described


COMMANDS: list[tuple[str, dict[str, str]]] = [
    ("true", {}),
    # Opened for writing, which copies it up, and left as it was.
    (": >> etc/group", {"etc": "d", "etc/group": "-"}),
    ("rm etc/group", {"etc": "d", "etc/.wh.group": "-"}),
    ("rm -r usr/share", {"usr": "d", "usr/.wh.share": "-"}),
    (
        "rm -r usr/share; mkdir usr/share; touch usr/share/new",
        {"usr": "d", "usr/share": "d", "usr/share/.wh..wh..opq": "-", "usr/share/new": "-"},
    ),
    (
        "mv usr/share usr/moved",
        {
            "usr": "d",
            "usr/.wh.share": "-",
            "usr/moved": "d",
            "usr/moved/doc": "d",
            "usr/moved/doc/a": "-",
            "usr/moved/doc/b": "-",
        },
    ),
    ("mv etc/passwd etc/shadow", {"etc": "d", "etc/.wh.passwd": "-", "etc/shadow": "-"}),
    ("chmod 4711 etc/passwd", {"etc": "d", "etc/passwd": "-"}),
    ("chown 12:34 etc", {"etc": "d"}),
    ("touch -d @1000.5 etc/passwd", {"etc": "d", "etc/passwd": "-"}),
    ("rm usr/lib; mkdir usr/lib", {"usr": "d", "usr/lib": "d", "usr/lib/.wh..wh..opq": "-"}),
    ("rm -r etc; echo > etc", {"etc": "-"}),
    ("rm -r etc; ln -s usr etc", {"etc": "l usr"}),
    ("rm etc/passwd; ln -s group etc/passwd", {"etc": "d", "etc/passwd": "l group"}),
    (
        "echo > x; ln x y; ln x data/z",
        {"data": "d", "data/z": "-", "x": "h data/z", "y": "h data/z"},
    ),
    ("echo changed > data/one", {"data": "d", "data/one": "-"}),
    ("ln data/one three", {"data": "d", "data/one": "-", "three": "h data/one"}),
    ("mkfifo p", {"p": "p"}),
    ("touch new; rm new", {}),
    ("mkdir empty/new; rmdir empty/new", {"empty": "d"}),
    ("setfattr -n user.x -v y etc/passwd", {"etc": "d", "etc/passwd": "-"}),
]


@pytest.mark.parametrize(("script", "entries"), COMMANDS, ids=[script for script, _ in COMMANDS])
def test_layer_holds_what_the_commands_changed(
    tmp_path: Path, script: str, entries: dict[str, str]
) -> None:
    script = script.replace(
        "setfattr -n user.x -v y",
        """python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.x", b"y")'""",
    )

    assert change(tmp_path, script) == entries


def test_owners_are_those_inside_the_namespace(tmp_path: Path) -> None:
    def work() -> str:
        make(Path("upper"), {"root": file(), "user": file(owner=(1000, 65534))})
        with open("layer", "wb") as output:
            pack_upper({"upper": "upper", "compression": "none"}, [output.fileno()])
        return subprocess.run(
            ["tar", "--numeric-owner", "-tvf", "layer"], capture_output=True, check=True, text=True
        ).stdout

    listing = in_namespaces(tmp_path, work)

    assert [line.split()[1] for line in listing.splitlines()] == ["0/0", "1000/65534"]


def test_file_capabilities_set_by_a_step_are_kept(tmp_path: Path) -> None:
    revision_2 = bytes.fromhex("0100000200200000" + "00" * 12)

    def work() -> bytes:
        make(Path("upper"), {"ping": file(b"elf", mode=0o755)})
        os.setxattr("upper/ping", "security.capability", revision_2)
        with open("layer", "wb") as output:
            pack_upper({"upper": "upper", "compression": "none"}, [output.fileno()])
        return Path("layer").read_bytes()

    layer = in_namespaces(tmp_path, work)

    assert b"SCHILY.xattr.security.capability=" + revision_2 + b"\n" in layer


@settings(
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(lower=LOWERS, operations=st.lists(OPERATIONS, max_size=8))
def test_applying_the_layer_gives_the_merged_tree(
    tmp_path_factory: pytest.TempPathFactory, lower: dict[str, Node], operations: list[str]
) -> None:
    # Operations that make no sense where they happen fail, and the next one follows.
    script = "".join(f"{operation} 2>/dev/null || true\n" for operation in operations)

    layer = change(tmp_path_factory.mktemp("overlay"), script, {"keep": file(), **lower})

    # That the layer gives the merged tree is asserted by `change`.
    assert "keep" not in layer, "no operation concerns it"
