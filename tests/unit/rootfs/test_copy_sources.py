"""Which files the sources of a COPY name."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from asynckaniko.errors import CopyFailed, DockerfileError
from asynckaniko.rootfs.copy_tree import produce
from tests.unit.rootfs.children import in_child
from tests.unit.rootfs.copying import arguments, at, copy
from tests.unit.rootfs.trees import Node, directory, file, make, members, symlink

TREE = {
    "a": file(b"a"),
    "a.txt": file(b"text"),
    "b.txt": file(b"b"),
    ".hidden": file(b"h"),
    "arr[0].txt": file(b"0"),
    "arr0.txt": file(b"1"),
    "sp ace": file(b"s"),
    "ünï": file(b"u"),
    "d/one": file(b"1"),
    "d/sub/two": file(b"2"),
    "d/sub/deep/three": file(b"3"),
    "e/sub/four": file(b"4"),
    "link": symlink("d/one"),
    "absolute": symlink("/d/one"),
    "climbs": symlink("../../../../d/one"),
    "chain": symlink("link"),
    "to-d": symlink("d"),
    "dangling": symlink("nowhere"),
    "loop": symlink("loop"),
}


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return make(tmp_path / "context", TREE)


@pytest.mark.parametrize(
    ("source", "content"),
    [
        ("a", b"a"),
        ("/a", b"a"),
        ("./a", b"a"),
        ("../../a", b"a"),
        ("d/../a", b"a"),
        ("d/sub/two", b"2"),
        ("sp ace", b"s"),
        ("ünï", b"u"),
        ("arr[[]0].txt", b"0"),
        ("link", b"1"),
        ("absolute", b"1"),
        ("climbs", b"1"),
        ("chain", b"1"),
        ("to-d/sub/two", b"2"),
        ("to-d/../a", b"a"),
        ("ar?0.txt", b"1"),
        ("d/su[a-c]/tw*", b"2"),
        ("*/*/deep/three", b"3"),
    ],
)
def test_source_is_found_inside_the_context(context: Path, source: str, content: bytes) -> None:
    assert copy(context, [source], at("x")).contents == {"x": content}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("*.txt", ["a.txt", "arr0.txt", "arr[0].txt", "b.txt"]),
        ("[a-c]", ["a"]),
        (".h*", [".hidden"]),
        ("*i*den", [".hidden"]),
        ("l*k", ["link"]),
        ("*/sub/*", ["four", "three", "two"]),
        ("**/two", []),
        ("d/**/two", ["two"]),
        ("*/nothing", []),
        ("nowhere/*", []),
        ("a/*", []),
        ("to-*", ["one", "sub/two", "sub/deep/three"]),
    ],
)
def test_wildcards_stop_at_slashes_and_give_contents_of_directories(
    context: Path, source: str, names: Sequence[str]
) -> None:
    copied = copy(context, [source], at("x/"))

    found = [name.removeprefix("x/") for name in copied.contents if copied.members[name].isfile()]
    assert sorted(found) == sorted(names)


@pytest.mark.parametrize("source", ["d", "d/", "d/.", "/d", "./d/../d", "to-d"])
def test_directory_gives_what_it_contains(context: Path, source: str) -> None:
    assert copy(context, [source], at("x")).names == [
        "x",
        "x/one",
        "x/sub",
        "x/sub/deep",
        "x/sub/deep/three",
        "x/sub/two",
    ]


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        ("nothing", ""),
        ("../nothing", ""),
        ("d/nothing", ""),
        ("a/below-a-file", ""),
        ("dangling", 'it is a link to "nowhere"'),
    ],
)
def test_missing_source_is_named(context: Path, source: str, detail: str) -> None:
    with pytest.raises(CopyFailed) as caught:
        copy(context, [source], at("x"))

    assert f'"/{source.removeprefix("../")}": not found' in str(caught.value)
    assert detail in str(caught.value)


def test_link_out_of_the_context_does_not_reach_the_host(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the host")
    context = make(
        tmp_path / "context",
        {
            "evil": symlink("../secret"),
            "host": symlink("/etc/passwd"),
            "up": symlink(".."),
            "process": symlink("/proc/self/root/etc/passwd"),
        },
    )

    for source in ("evil", "host", "up/secret", "process"):
        with pytest.raises(CopyFailed, match=f'"/{source}": not found'):
            copy(context, [source], at("x"))
    assert copy(context, ["up"], at("x")).members["x/evil"].linkname == "../secret"


def test_link_in_a_circle_is_an_error(context: Path) -> None:
    with pytest.raises(CopyFailed, match=r"/loop.*symbolic links"):
        copy(context, ["loop"], at("x"))


def test_wildcard_that_matches_a_dangling_link_is_an_error(context: Path) -> None:
    with pytest.raises(CopyFailed, match='"/dangling": not found'):
        copy(context, ["d*"], at("x/"))


def test_malformed_wildcard_is_an_error(context: Path) -> None:
    with pytest.raises(DockerfileError):
        copy(context, ["a[b"], at("x/"))


IGNORED: Mapping[str, Node] = {
    "keep": file(),
    "secret": file(),
    "to-secret": symlink("secret"),
    "docs/README": file(),
    "docs/draft": file(),
    "docs/img/logo": file(),
    "out/x/y": file(),
    "logs/a.log": file(),
    "logs/a.txt": file(),
}
PATTERNS = ["secret", "docs", "!docs/README", "out", "!out/nothing-here", "**/*.log"]


@pytest.fixture
def ignoring(tmp_path: Path) -> Path:
    return make(tmp_path / "context", IGNORED)


def test_ignored_files_are_not_copied(ignoring: Path) -> None:
    copied = copy(ignoring, ["."], at("x"), ignore=PATTERNS)

    assert copied.names == [
        "x",
        "x/docs",
        "x/docs/README",
        "x/keep",
        "x/logs",
        "x/logs/a.txt",
        "x/to-secret",
    ]


@pytest.mark.parametrize("source", ["secret", "docs/draft", "out", "out/x", "logs/a.log"])
def test_ignored_source_is_not_found_and_the_reason_is_said(ignoring: Path, source: str) -> None:
    with pytest.raises(CopyFailed, match=f'"/{source}": not found.*dockerignore'):
        copy(ignoring, [source], at("x"), ignore=PATTERNS)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("kep", '"/kep": not found (did you mean keep?)'),
        ("docs/READM", '"/docs/READM": not found (did you mean README?)'),
        ("docs/draf", '"/docs/draf": not found'),
        ("nowhere/at/all", '"/nowhere/at/all": not found'),
    ],
)
def test_name_that_is_almost_there_is_hinted_at_unless_it_is_ignored(
    ignoring: Path, source: str, said: str
) -> None:
    with pytest.raises(CopyFailed) as caught:
        copy(ignoring, [source], at("x"), ignore=PATTERNS)

    assert str(caught.value) == said


def test_link_to_an_ignored_file_leads_nowhere(ignoring: Path) -> None:
    with pytest.raises(CopyFailed, match='"/to-secret": not found'):
        copy(ignoring, ["to-secret"], at("x"), ignore=PATTERNS)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("[^t]*", ["README", "a.txt", "keep"]),
        ("docs", ["README"]),
        ("docs/*", ["README"]),
        ("secre*", []),
        ("ou*", []),
        ("logs/*", ["a.txt"]),
    ],
)
def test_wildcards_do_not_see_what_is_ignored(
    ignoring: Path, source: str, names: Sequence[str]
) -> None:
    copied = copy(ignoring, [source], at("x/"), ignore=PATTERNS)

    assert sorted(name.removeprefix("x/") for name in copied.names if name != "x") == names


@pytest.fixture
def private(tmp_path: Path) -> Path:
    return make(
        tmp_path / "context",
        {"keep": file(), "dir": directory(mode=0o700), "dir/x": file(), "file": file(mode=0o600)},
    )


def as_nobody(context: Path, sources: Sequence[str], ignore: Sequence[str]) -> list[str]:
    """Copy without any right to what belongs to others; directories above may be closed."""
    with (context.parent / "archive").open("w+b") as output:

        def work() -> None:
            os.chdir(context)
            os.setuid(65534)
            job = {"source": {"directory": "."}, **arguments(sources, at("x"), ignore=ignore)}
            produce(job, [output.fileno()])

        in_child(work)
        output.seek(0)
        return list(members(output.read()))


def test_what_is_ignored_need_not_be_readable(private: Path) -> None:
    assert as_nobody(private, ["."], ["dir", "file"]) == ["x", "x/keep"]


@pytest.mark.parametrize(
    ("source", "name"), [(".", "dir"), ("file", "file"), ("dir/x", "dir/x"), ("dir/*", "dir")]
)
def test_what_cannot_be_read_is_named(private: Path, source: str, name: str) -> None:
    with pytest.raises(CopyFailed, match=f'cannot read "/{name}": Permission denied'):
        as_nobody(private, [source], [])
