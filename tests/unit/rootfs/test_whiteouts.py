"""Deletions: what stacked layers show, through a real overlay and written onto one tree."""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from asynckaniko.errors import ArchiveError
from asynckaniko.rootfs.implicit import settle
from asynckaniko.rootfs.trees import open_tree
from asynckaniko.rootfs.whiteout import deleted_name
from tests.unit.rootfs import rawtar as raw
from tests.unit.rootfs.children import in_namespaces
from tests.unit.rootfs.unpacking import apply, unpack

LOWER = {b"top": b"0", b"d/a": b"1", b"d/b": b"2", b"d/e/c": b"3", b"x/y/z": b"4"}


def layer(files: dict[bytes, bytes]) -> bytes:
    """Write files, and an entry for each of their directories first."""
    directories = sorted({parent for name in files for parent in parents(name)})
    return b"".join(raw.directory(name) for name in directories) + b"".join(
        raw.file(name, content) for name, content in files.items()
    )


def parents(name: bytes) -> list[bytes]:
    parts = name.split(b"/")
    return [b"/".join(parts[:end]) for end in range(1, len(parts))]


def contents(root: str, prefix: bytes = b"") -> dict[bytes, bytes]:
    """Map the files of a tree to their contents, links to `-> target`, directories to nothing."""
    found = {}
    with os.scandir(root) as entries:
        for entry in entries:
            name = prefix + os.fsencode(entry.name)
            if entry.is_symlink():
                found[name] = b"-> " + os.fsencode(os.readlink(entry.path))
            elif entry.is_dir(follow_symlinks=False):
                found[name + b"/"] = b""
                found |= contents(entry.path, name + b"/")
            elif os.path.lexists(entry.path):
                found[name] = Path(entry.path).read_bytes()
            # Else it is the whiteout of what never was: the kernel lists the name, and that is all.
    return found


def both_ways(*archives: bytes) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
    """Stack archives as an overlay's lowers, and write them one onto the other."""
    os.makedirs("scratch")
    lowers = []
    for number, archive in enumerate(archives):
        unpack(archive + raw.END, f"layer{number}")
        lowers.append(f"layer{number}")
    with open_tree(lowers, scratch="scratch") as tree:
        stacked = contents(f"/proc/self/fd/{tree.root}")
    apply(archives[-1] + raw.END, "layer", lowers[:-1])
    with open_tree(lowers[:-1], scratch="scratch", upper="upper", work="work") as tree:
        written = contents(f"/proc/self/fd/{tree.root}")
    return stacked, written


def files(found: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {name: content for name, content in found.items() if not name.endswith(b"/")}


@pytest.mark.parametrize(
    ("archive", "gone", "new"),
    [
        (raw.file(b".wh.top", b""), {b"top"}, {}),
        (raw.file(b"d/.wh.a", b""), {b"d/a"}, {}),
        (raw.file(b".wh.d", b""), {b"d/a", b"d/b", b"d/e/c"}, {}),
        (raw.file(b"d/.wh.missing", b""), set(), {}),
        (raw.file(b"missing/.wh.x", b""), set(), {}),
        (raw.file(b"d/.wh..wh..opq", b""), {b"d/a", b"d/b", b"d/e/c"}, {}),
        (raw.file(b".wh..wh..opq", b"") + raw.file(b"n"), set(LOWER), {b"n": b"x"}),
        (raw.directory(b".wh.d"), {b"d/a", b"d/b", b"d/e/c"}, {}),
        (raw.symlink(b".wh.top", b"d"), {b"top"}, {}),
        (raw.hard_link(b".wh.top", b".wh.x"), {b"top"}, {}),
        (raw.file(b".wh.top", b"content") + raw.file(b"n"), {b"top"}, {b"n": b"x"}),
        (raw.file(b"./d/../.wh.top", b""), {b"top"}, {}),
        (
            raw.symlink(b"l", b"d") + raw.file(b"l/.wh.a", b""),
            {b"d/a"},
            {b"l": b"-> d"},
        ),
        (
            raw.symlink(b"l", b"/d") + raw.file(b"l/.wh..wh..opq", b""),
            {b"d/a", b"d/b", b"d/e/c"},
            {b"l": b"-> /d"},
        ),
    ],
)
def test_deletion_deletes_from_the_layers_below(
    tmp_path: Path, archive: bytes, gone: set[bytes], new: dict[bytes, bytes]
) -> None:
    stacked, written = in_namespaces(tmp_path, lambda: both_ways(layer(LOWER), archive))

    expected = {name: content for name, content in LOWER.items() if name not in gone} | new
    assert files(stacked) == expected
    assert files(written) == expected


@pytest.mark.parametrize(
    "archive",
    [
        raw.file(b"d/.wh..", b""),
        raw.file(b"d/.wh...", b""),
        raw.file(b".wh..", b""),
        raw.file(b".wh...", b""),
        raw.file(b"d/.wh.", b""),
        raw.file(b"d/.wh..wh.x", b""),
        raw.file(b"d/.wh..wh..wh.", b""),
        raw.file(b".wh.d/a", b""),
        raw.directory(b".wh.d") + raw.file(b".wh.d/a"),
        raw.file(b"d/.wh..wh..opq/x", b""),
    ],
)
def test_deletion_that_means_nothing_is_refused(tmp_path: Path, archive: bytes) -> None:
    def work() -> str:
        unpack(layer(LOWER) + raw.END, "lower")
        before = contents("lower")
        with pytest.raises(ArchiveError) as caught:
            unpack(raw.file(b"d/first") + archive + raw.END)
        with pytest.raises(ArchiveError):
            apply(raw.file(b"d/first") + archive + raw.END, "layer", ["lower"])
        assert contents("lower") == before
        return caught.value.message

    assert ".wh." in in_namespaces(tmp_path, work)


def test_names_that_only_look_like_deletions_are_ordinary() -> None:
    assert deleted_name(b".whx") is None
    assert deleted_name(b"x.wh.y") is None
    assert deleted_name(b".wh.x.wh.") == b"x.wh."


def test_opaque_root_hides_all_layers_below_and_none_above(tmp_path: Path) -> None:
    def work() -> dict[bytes, bytes]:
        os.mkdir("scratch")
        unpack(layer({b"old": b"0"}) + raw.END, "0")
        unpack(raw.file(b".wh..wh..opq", b"") + layer({b"new": b"1"}) + raw.END, "1")
        unpack(layer({b"newest": b"2"}) + raw.END, "2")
        with open_tree(["0", "1", "2"], scratch="scratch") as tree:
            return contents(f"/proc/self/fd/{tree.root}")

    assert in_namespaces(tmp_path, work) == {b"new": b"1", b"newest": b"2"}


def test_opaque_directory_without_an_entry_stays_opaque_where_it_is_a_link_below(
    tmp_path: Path,
) -> None:
    def work() -> dict[bytes, bytes]:
        for name in ("layers", "settling", "scratch"):
            os.mkdir(name)
        below = raw.directory(b"usr") + raw.directory(b"usr/bin") + raw.file(b"usr/bin/old")
        unpack(below + raw.symlink(b"bin", b"usr/bin") + raw.END, "layers/0")
        above = raw.file(b"bin/new", b"1") + raw.file(b"bin/.wh..wh..opq", b"")
        implicit = unpack(above + raw.END, "layers/1")["implicit"]
        arguments = {"lowers": ["layers/0"], "layer": "layers/1", "implicit": implicit}
        settled = settle(arguments | {"scratch": "settling"}, [])
        with open_tree(["layers/0", settled], scratch="scratch") as tree:
            return files(contents(f"/proc/self/fd/{tree.root}"))

    assert in_namespaces(tmp_path, work) == {b"bin": b"-> usr/bin", b"usr/bin/new": b"1"}


def test_hard_link_to_a_deletion_is_refused(tmp_path: Path) -> None:
    archive = raw.file(b".wh.a", b"") + raw.hard_link(b"b", b"a") + raw.END

    with pytest.raises(ArchiveError, match="'b' is a hard link to 'a'"):
        in_namespaces(tmp_path, lambda: unpack(archive))


NAMES = st.sampled_from([b"a", b"b", b"c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
TREES = st.dictionaries(PATHS, st.binary(max_size=3), max_size=6).map(
    lambda tree: {name: tree[name] for name in tree if not any(p in tree for p in parents(name))}
)


@dataclass(frozen=True)
class Change:
    """A layer in terms of what it does."""

    files: dict[bytes, bytes]
    deleted: set[bytes]
    opaque: set[bytes]

    @property
    def marks(self) -> list[bytes]:
        split = [path.rpartition(b"/") for path in sorted(self.deleted)]
        return [
            *(parent + slash + b".wh." + name for parent, slash, name in split),
            *(path + b"/.wh..wh..opq" for path in sorted(self.opaque)),
        ]

    @property
    def directories(self) -> set[bytes]:
        return {parent for name in [*self.files, *self.marks] for parent in parents(name)}

    def fits(self, lower: dict[bytes, bytes]) -> bool:
        """Tell whether no file, of either layer, is where this layer has a directory."""
        return not self.directories & {*lower, *self.files}

    def over(self, lower: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """Say what is there when the layer lies on `lower`."""
        gone = self.deleted | set(self.files)
        kept = {
            name: content
            for name, content in lower.items()
            if not gone & {name, *parents(name)} and not self.opaque & set(parents(name))
        }
        return kept | self.files


# hypothesis imports what is behind randoms() when it is first used: for this test that is in a
# process that may no longer see the library's files.
st.randoms(use_true_random=False).validate()


def test_order_of_entries_and_deletions_does_not_matter(tmp_path: Path) -> None:
    directories = itertools.count()

    @settings(max_examples=100, database=None)
    @given(
        lower=TREES,
        change=st.builds(Change, TREES, st.sets(PATHS, max_size=4), st.sets(PATHS, max_size=2)),
        shuffle=st.randoms(use_true_random=False),
    )
    def check(lower: dict[bytes, bytes], change: Change, shuffle: Random) -> None:
        assume(change.fits(lower))
        entries = [raw.file(name, content) for name, content in change.files.items()]
        entries += [raw.file(mark, b"") for mark in change.marks]
        shuffle.shuffle(entries)
        here = os.open(".", os.O_RDONLY)
        directory = f"{next(directories)}"
        os.mkdir(directory)
        os.chdir(directory)
        try:
            stacked, written = both_ways(layer(lower), b"".join(entries))
        finally:
            os.fchdir(here)
            os.close(here)

        assert files(stacked) == change.over(lower)
        assert files(written) == change.over(lower)

    in_namespaces(tmp_path, check)
