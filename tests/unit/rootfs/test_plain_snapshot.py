"""Layers made by comparing a plain tree with what it was before a command."""

import marshal
import os
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asynckaniko.errors import StepFailed
from asynckaniko.rootfs.plain.snapshot import pack_changes, record
from tests.unit.rootfs.applying import LOWERS, OPERATIONS, apply_layer, list_entries
from tests.unit.rootfs.trees import (
    Node,
    contents,
    describe,
    directory,
    file,
    hard_link,
    make,
    symlink,
)

NOTHING: dict[str, Sequence[str]] = {}
BEFORE = {
    "etc/passwd": file(b"root"),
    "etc/group": file(b"root"),
    "usr/share/doc/a": file(b"a"),
    "usr/share/doc/b": file(b"b"),
    "usr/lib": symlink("share"),
    "data/one": file(b"1"),
    "data/two": hard_link("data/one"),
    "empty": directory(),
    "tmp": directory(mode=0o1777),
}


def change(
    place: Path, script: str, before: Mapping[str, Node] = BEFORE, ignored: Any = NOTHING
) -> bytes:
    """Run `script` in a tree between two looks at it; return the layer."""
    (layer,) = changes(place, [script], before, ignored)
    return layer


def changes(
    place: Path,
    scripts: Sequence[str],
    before: Mapping[str, Node] = BEFORE,
    ignored: Any = NOTHING,
    *,
    restored: Sequence[str] = (),
) -> list[bytes]:
    """Run scripts one after the other, each seen between two looks; return their layers.

    `restored` is what was elsewhere during the first.
    """
    root, listings = make(place / "root", before), [os.memfd_create("listing")]
    arguments = {"root": os.fspath(root), "ignored": ignored, "compression": "none"}
    layers: list[bytes] = []
    try:
        record(arguments, listings)
        for script in scripts:
            subprocess.run(["sh", "-ec", script], check=True, cwd=root)
            listings.append(os.memfd_create("listing"))
            with (place / "layer").open("wb") as output:
                hidden = {} if layers else {"restored": restored}
                pack_changes(arguments | hidden, [output.fileno(), *listings[-2:]])
            layers.append((place / "layer").read_bytes())
    finally:
        for listing in listings:
            os.close(listing)
    return layers


COMMANDS: list[tuple[str, dict[str, str]]] = [
    ("true", {}),
    ("cat etc/passwd usr/share/doc/*; ls -lR", {}),
    ("rm etc/group", {"etc": "d", "etc/.wh.group": "-"}),
    ("rm -r usr/share", {"usr": "d", "usr/.wh.share": "-"}),
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
    (
        "rm -r usr/share/doc; mkdir usr/share/doc; touch usr/share/doc/b",
        {
            "usr": "d",
            "usr/share": "d",
            "usr/share/doc": "d",
            "usr/share/doc/.wh.a": "-",
            "usr/share/doc/b": "-",
        },
    ),
    ("chmod 4711 etc/passwd", {"etc": "d", "etc/passwd": "-"}),
    ("chown 12:34 etc", {"etc": "d"}),
    ("rm usr/lib; mkdir usr/lib", {"usr": "d", "usr/lib": "d", "usr/lib/.wh..wh..opq": "-"}),
    ("rm -r etc; echo > etc", {"etc": "-"}),
    ("rm -r etc; ln -s usr etc", {"etc": "l usr"}),
    ("ln -sfT doc usr/lib", {"usr": "d", "usr/lib": "l doc"}),
    ("ln data/one three", {"data": "d", "data/one": "-", "data/two": "h data/one",
                           "three": "h data/one"}),
    ("mkfifo p", {"p": "p"}),
    ("touch tmp/new; rm tmp/new", {"tmp": "d"}),
    ("mv etc/passwd etc/swap; mv etc/group etc/passwd; mv etc/swap etc/group",
     {"etc": "d", "etc/group": "-", "etc/passwd": "-"}),
]  # fmt: skip


@pytest.mark.parametrize(("script", "entries"), COMMANDS, ids=[script for script, _ in COMMANDS])
def test_layer_holds_what_the_commands_changed(
    tmp_path: Path, script: str, entries: dict[str, str]
) -> None:
    assert list_entries(change(tmp_path, script)) == entries


def test_next_command_is_compared_with_what_the_one_before_left(tmp_path: Path) -> None:
    first, nothing, last = changes(
        tmp_path,
        [
            "printf 1 > new; rm etc/group; printf toor > etc/passwd",
            "true",
            # At once, with the same length: only the change time can tell.
            "printf 2 > new; touch -r etc/passwd new; rm -r empty",
        ],
    )

    assert list_entries(first) == {"etc": "d", "etc/.wh.group": "-", "etc/passwd": "-", "new": "-"}
    assert list_entries(nothing) == {}
    assert list_entries(last) == {".wh.empty": "-", "new": "-"}


def test_what_was_elsewhere_during_a_command_counts_again_for_the_next(tmp_path: Path) -> None:
    # Two names are one file: a change of one is one of both.
    scripts = ["mv data aside; chmod 600 aside/one; mv aside data", "printf 2 > data/one"]

    first, second = changes(tmp_path, scripts, restored=["data"])

    assert list_entries(first) == {}
    assert list_entries(second) == {"data": "d", "data/one": "-", "data/two": "h data/one"}


@pytest.mark.parametrize(
    "script",
    [
        # The same length, and the time as it was.
        "touch -r etc/passwd ../time; printf toor > etc/passwd; touch -r ../time etc/passwd",
        "cp -p etc/passwd new; printf toor > new; touch -r etc/passwd new; mv new etc/passwd",
    ],
)
def test_file_changed_with_its_time_put_back_is_noticed(tmp_path: Path, script: str) -> None:
    assert contents(change(tmp_path, script))["etc/passwd"] == b"toor"


def test_attributes_and_capabilities_of_a_changed_file_are_in_the_layer(tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000200200000" + "00" * 12)
    script = (
        'python3 -c \'import os; os.setxattr("etc/passwd", "security.capability",'
        f' bytes.fromhex("{capability.hex()}"))\''
    )

    layer = change(tmp_path, script)

    assert b"SCHILY.xattr.security.capability=" + capability + b"\n" in layer
    assert set(list_entries(layer)) == {"etc", "etc/passwd"}


def test_ignored_paths_are_neither_changed_nor_gone(tmp_path: Path) -> None:
    ignored = {"whole": ["/etc/group", "usr/share/doc"], "inside": ["/data"], "patterns": ["*/l?b"]}

    layer = change(
        tmp_path,
        "rm -r etc/group usr/lib tmp; touch usr/share/doc/new data/new; chmod 700 data",
        ignored=ignored,
    )

    assert list_entries(layer) == {".wh.tmp": "-", "data": "d", "etc": "d", "usr": "d"}


def test_pattern_ignores_what_is_below_a_directory_that_matches(tmp_path: Path) -> None:
    layer = change(tmp_path, "echo > usr/share/doc/new", ignored={"patterns": ["u*/share"]})

    assert list_entries(layer) == {}


def test_listing_opens_no_file(tmp_path: Path) -> None:
    make(tmp_path / "root", {"closed": file(b"x", mode=0o200)})
    before = os.stat(tmp_path / "root/closed").st_atime_ns

    change(tmp_path, "true", {})

    assert os.stat(tmp_path / "root/closed").st_atime_ns == before


def test_deep_trees_need_few_descriptors(tmp_path: Path) -> None:
    deep = "/".join("d" * 300)
    root, listing = tmp_path / "root", os.memfd_create("listing")
    (root / deep).mkdir(parents=True)
    (root / "d/z").mkdir()

    count = record({"root": os.fspath(root), "ignored": {}}, [listing])

    found = marshal.loads(os.pread(listing, 10_000_000, 0))
    os.close(listing)
    assert count == {"entries": 301}
    assert {deep, "d/z"} <= set(found)


def test_name_that_would_delete_something_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"/etc/\.wh\.passwd"):
        change(tmp_path, "touch etc/.wh.passwd")


def test_odd_names_arrive(tmp_path: Path) -> None:
    assert set(list_entries(change(tmp_path, r"touch $(printf 'x\377y') ' '"))) == {"x\udcffy", " "}


def comparable(root: Path) -> dict[str, dict[str, Any]]:
    described = describe(root)
    for entry in described.values():
        if stat.S_ISDIR(entry["kind"]):
            # Unpacking into a directory sets its time.
            del entry["mtime"]
    return described


@settings(
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(before=LOWERS, operations=st.lists(OPERATIONS, max_size=8))
def test_applying_the_layer_to_the_tree_before_gives_the_tree_after(
    tmp_path_factory: pytest.TempPathFactory, before: dict[str, Node], operations: list[str]
) -> None:
    place = tmp_path_factory.mktemp("plain")
    before = {"keep": file(), **before}
    copy = make(place / "copy", before)
    # Operations that make no sense where they happen fail, and the next one follows.
    script = "".join(f"{operation} 2>/dev/null || true\n" for operation in operations)

    layer = change(place, script, before)

    apply_layer(os.fspath(place / "layer"), list_entries(layer), os.fspath(copy))
    assert comparable(copy) == comparable(place / "root")
    shutil.rmtree(place)
