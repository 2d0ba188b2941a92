"""produce: what COPY of a local context writes."""

import gzip
import hashlib
import os
import random
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from asynckaniko.errors import ContextError, CopyFailed, DockerfileError
from asynckaniko.rootfs.copy_tree import produce
from tests.unit.rootfs.copying import DIRECTORY, FILE, NEW, ROOT, arguments, at, copy
from tests.unit.rootfs.trees import (
    RANDOM,
    TIME,
    Node,
    describe,
    directory,
    fifo,
    file,
    hard_link,
    make,
    symlink,
    unpack,
)

A_FILE = {"f": file(b"f", mode=0o600)}
A_DIRECTORY = {"d": directory(mode=0o700), "d/f": file(), "d/sub": directory(mode=0o711)}
BOTH = {**A_FILE, **A_DIRECTORY}


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return make(tmp_path / "context", BOTH)


@pytest.mark.parametrize(
    ("destination", "names"),
    [
        (at("x"), ["x"]),
        (at("x", FILE), ["x"]),
        (at("x", DIRECTORY), ["x/f"]),
        (at("x/"), ["x", "x/f"]),
        (at("x/", DIRECTORY), ["x/f"]),
        (ROOT, ["f"]),
        (at("p/q/x", missing_parents=["p", "p/q"]), ["p", "p/q", "p/q/x"]),
        (at("p/x/", missing_parents=["p"]), ["p", "p/x", "p/x/f"]),
        (at("etc/x"), ["etc/x"]),
    ],
)
def test_file_goes_to_the_name_or_into_the_directory(
    context: Path, destination: Mapping[str, Any], names: Sequence[str]
) -> None:
    assert copy(context, ["f"], destination).names == names


@pytest.mark.parametrize(
    ("destination", "names"),
    [
        (at("x"), ["x", "x/f", "x/sub"]),
        (at("x/"), ["x", "x/f", "x/sub"]),
        (at("x", DIRECTORY), ["x/f", "x/sub"]),
        (ROOT, ["f", "sub"]),
        (at("p/x", missing_parents=["p"]), ["p", "p/x", "p/x/f", "p/x/sub"]),
    ],
)
def test_contents_of_a_directory_go_into_the_destination(
    context: Path, destination: Mapping[str, Any], names: Sequence[str]
) -> None:
    assert copy(context, ["d"], destination).names == names


@pytest.mark.parametrize(
    ("sources", "destination", "names"),
    [
        (["f", "g"], at("x/"), ["x", "x/f", "x/g"]),
        (["f", "g"], at("x", DIRECTORY), ["x/f", "x/g"]),
        (["d", "f"], at("x"), ["x", "x/f", "x/one"]),
        (["d", "e"], at("x"), ["x", "x/one", "x/two"]),
        (["f", "f"], at("x/"), ["x", "x/f"]),
        (["f", "nomatch*"], at("x/"), ["x", "x/f"]),
        (["nomatch*"], at("x/"), []),
        (["nomatch*", "none?"], at("p/x/", missing_parents=["p"]), []),
    ],
)
def test_several_sources_meet_in_the_destination(
    tmp_path: Path, sources: Sequence[str], destination: Mapping[str, Any], names: Sequence[str]
) -> None:
    context = make(
        tmp_path / "context", {"f": file(), "g": file(), "d/one": file(), "e/two": file()}
    )

    copied = copy(context, sources, destination)

    assert sorted(copied.names) == names
    assert copied.result["warnings"] == []


def test_several_sources_for_one_file_leave_the_last_and_a_warning(tmp_path: Path) -> None:
    context = make(tmp_path / "context", {"a": file(b"a"), "b": file(b"b")})

    copied = copy(context, ["a", "b"], at("x"))

    assert copied.contents == {"x": b"b"}
    assert copied.result["entries"] == 1
    assert "/x" in copied.result["warnings"][0]


def test_later_sources_win_and_nothing_is_written_twice(tmp_path: Path) -> None:
    context = make(
        tmp_path / "context",
        {
            "one/n": directory(mode=0o700),
            "one/n/a": file(b"1"),
            "one/n/both": file(b"1"),
            "two/n": directory(mode=0o711),
            "two/n/both": file(b"2"),
            "two/link": symlink("2"),
            "one/link": file(b"1"),
        },
    )

    copied = copy(context, ["one", "two"], at("x"))

    assert {n: c for n, c in copied.contents.items() if copied.members[n].isfile()} == {
        "x/n/a": b"1",
        "x/n/both": b"2",
    }
    assert copied.modes["x/n"] == 0o711
    assert copied.members["x/link"].linkname == "2"


@pytest.mark.parametrize(
    ("sources", "destination", "message"),
    [
        (["d"], at("x", FILE), "cannot copy directory onto file /x"),
        (["f"], at("x/", FILE), "cannot copy into file /x"),
        (["f", "d"], at("x"), "cannot copy directory onto file /x"),
        (["d", "f-over-d"], at("x"), "cannot replace directory /x/sub with file"),
        (["f-over-d", "d"], at("x"), "cannot copy directory onto file /x/sub"),
    ],
)
def test_files_and_directories_do_not_replace_each_other(
    tmp_path: Path, sources: Sequence[str], destination: Mapping[str, Any], message: str
) -> None:
    context = make(tmp_path / "context", {**BOTH, "f-over-d/sub": file()})

    with pytest.raises(CopyFailed, match=f"^{message}$"):
        copy(context, sources, destination)


def test_context_belongs_to_root_in_the_image(tmp_path: Path) -> None:
    context = make(
        tmp_path / "context",
        {
            "f": file(owner=(1000, 1000)),
            "l": symlink("f", owner=(5, 6)),
            "d": directory(owner=(7, 8)),
        },
    )

    assert set(copy(context, ["."], at("x/")).owners.values()) == {(0, 0)}


def test_given_owner_holds_for_everything_that_is_written(tmp_path: Path) -> None:
    context = make(tmp_path / "context", {"d/f": file(), "d/l": symlink("f"), "d/s": directory()})

    copied = copy(context, ["d"], at("p/x", missing_parents=["p"]), owner=[10, 11])

    assert copied.names == ["p", "p/x", "p/x/f", "p/x/l", "p/x/s"]
    assert set(copied.owners.values()) == {(10, 11)}


def test_modes_are_the_sources_but_not_for_new_directories(context: Path) -> None:
    make(context, {"su": file(mode=0o4755), "t": directory(mode=0o1777), "d/sg": file(mode=0o2711)})

    copied = copy(context, ["."], at("p/x", missing_parents=["p"]))

    assert copied.modes == {
        "p": 0o755,
        "p/x": 0o755,
        "p/x/d": 0o700,
        "p/x/d/f": 0o644,
        "p/x/d/sg": 0o2711,
        "p/x/d/sub": 0o711,
        "p/x/f": 0o600,
        "p/x/su": 0o4755,
        "p/x/t": 0o1777,
    }


@pytest.mark.parametrize(
    ("chmod", "modes"),
    [
        ("0640", {"p": 0o640, "p/x": 0o640, "p/x/f": 0o640, "p/x/l": 0o777, "p/x/s": 0o640}),
        ("0", {"p": 0, "p/x": 0, "p/x/f": 0, "p/x/l": 0o777, "p/x/s": 0}),
        ("4777", {"p": 0o4777, "p/x": 0o4777, "p/x/f": 0o4777, "p/x/l": 0o777, "p/x/s": 0o4777}),
        ("go=", {"p": 0o755, "p/x": 0o755, "p/x/f": 0o600, "p/x/l": 0o777, "p/x/s": 0o700}),
        ("a+X", {"p": 0o755, "p/x": 0o755, "p/x/f": 0o644, "p/x/l": 0o777, "p/x/s": 0o755}),
    ],
)
def test_octal_chmod_is_for_implicit_directories_too_and_symbolic_is_not(
    tmp_path: Path, chmod: str, modes: Mapping[str, int]
) -> None:
    context = make(tmp_path / "context", {"d/f": file(), "d/l": symlink("f"), "d/s": directory()})

    copied = copy(context, ["d"], at("p/x", missing_parents=["p"]), chmod=chmod)

    assert copied.modes == modes


def test_chmod_without_a_mode_is_an_error_of_the_dockerfile(context: Path) -> None:
    with pytest.raises(DockerfileError, match="chmod"):
        copy(context, ["f"], at("x"), chmod="u=what")


def test_times_attributes_and_kinds_are_kept(tmp_path: Path) -> None:
    nodes: dict[str, Node] = {
        "d/f": file(os.urandom(200_000), mtime=TIME - 5, xattrs={"user.x": b"1"}),
        "d/g": hard_link("d/f"),
        "d/empty": file(xattrs={"user.y": b""}),
        "d/link": symlink("/absolute", mtime=TIME - 6),
        "d/up": symlink("../../x"),
        "d/pipe": fifo(mode=0o620),
        "d/sub/" + "n" * 200: file(b"deep"),
        "d/sub": directory(mode=0o2750, xattrs={"user.z": b"z" * 3000}),
    }
    context = make(tmp_path / "context", nodes)

    copied = copy(context, ["d"], keep_owner=True)

    (tmp_path / "copied").write_bytes(copied.content)
    unpacked = unpack(tmp_path / "copied", tmp_path / "unpacked")
    assert describe(unpacked) == describe(context / "d")


def test_hard_links_hold_across_the_sources_of_one_copy(tmp_path: Path) -> None:
    context = make(tmp_path / "context", {"a": file(b"same"), "b": hard_link("a")})

    copied = copy(context, ["a", "b"], at("x/"))

    assert copied.contents == {"x/a": b"same", "x/b": b"same"}
    assert [member.islnk() for member in copied.members.values()] == [False, False, True]


def test_name_that_a_later_source_takes_is_not_linked_to(tmp_path: Path) -> None:
    context = make(
        tmp_path / "context",
        {"one/a": file(b"old"), "one/b": hard_link("one/a"), "two/a": file(b"new")},
    )

    copied = copy(context, ["one", "two"], at("x"))

    assert copied.contents == {"x/a": b"new", "x/b": b"old"}


def test_new_directories_have_the_time_of_the_first_source(tmp_path: Path) -> None:
    context = make(tmp_path / "context", {"d": directory(mtime=10**18), "d/f": file()})

    copied = copy(context, ["d"], at("p/x", missing_parents=["p"]))

    assert copied.members["p"].mtime == copied.members["p/x"].mtime == 10**9
    assert copied.members["p/x/f"].mtime == pytest.approx(TIME / 10**9)


@pytest.mark.parametrize(
    ("more", "mode", "owner"),
    [
        ({}, 0o2755, (0, 50)),
        ({"owner": [5, 6]}, 0o2755, (5, 6)),
        ({"chmod": "0750"}, 0o2750, (0, 50)),
    ],
)
def test_new_directories_inherit_bit_and_group_of_a_setgid_parent(
    context: Path, more: dict[str, Any], mode: int, owner: tuple[int, int]
) -> None:
    parents = [["var", 0o755, 0, 0, 0], ["var/mail", 0o2775, 0, 50, 0]]
    place = at("var/mail/a/b", missing_parents=["var/mail/a"], parents=parents)

    copied = copy(context, ["f"], place, **more)

    assert (copied.modes["var/mail/a"], copied.owners["var/mail/a"]) == (mode, owner)
    assert copied.modes["var/mail/a/b"] & 0o2000 == 0


def test_clamp_holds_for_all_times(tmp_path: Path) -> None:
    context = make(tmp_path / "context", {"d/old": file(mtime=10**18), "d/new": file()})

    copied = copy(context, ["d"], at("p/x", missing_parents=["p"]), clamp=1_600_000_000)

    assert {name: member.mtime for name, member in copied.members.items()} == {
        "p": 1_600_000_000,
        "p/x": 1_600_000_000,
        "p/x/new": 1_600_000_000,
        "p/x/old": 1_000_000_000,
    }


def test_socket_of_a_context_arrives_as_an_empty_file(tmp_path: Path) -> None:
    context = make(tmp_path / "context", {"d/f": file()})
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.fspath(context / "d/s"))
        in_directory, by_name = copy(context, ["d"]), copy(context, ["d/s"])

    assert in_directory.members["s"].isfile()
    assert by_name.contents == {"s": b""}


def test_attributes_of_the_users_machine_stay_there(tmp_path: Path) -> None:
    note = {"user.xdg.origin.url": b"https://name:secret@mirror.example/f"}
    nodes: dict[str, Node] = {"d": directory(xattrs=note), "d/f": file(xattrs=note)}
    context = make(tmp_path / "context", {**nodes, "g": file(xattrs=note)})

    copied = copy(context, ["d", "g"], at("x/"))

    assert set(copied.contents) == {"x/f", "x/g"}
    assert b"user.xdg" not in copied.content


def test_file_capabilities_are_kept(tmp_path: Path) -> None:
    context = make(tmp_path / "context", {"ping": file(b"elf", mode=0o755)})
    capability = bytes.fromhex("0100000200200000" + "00" * 12)
    os.setxattr(context / "ping", "security.capability", capability)

    copied = copy(context, ["ping"], at("x"), chmod="0700", owner=[1, 1])

    assert b"SCHILY.xattr.security.capability=" + capability + b"\n" in copied.content


def test_fifo_is_copied_and_not_opened(tmp_path: Path) -> None:
    context = make(tmp_path / "context", {"p": fifo()})

    assert copy(context, ["p"], at("x")).members["x"].isfifo()


@pytest.mark.parametrize("sources", [["d"], ["d/.wh.x"], ["."]])
def test_names_that_would_delete_are_refused(tmp_path: Path, sources: Sequence[str]) -> None:
    context = make(tmp_path / "context", {"d/.wh.x": file()})

    with pytest.raises(CopyFailed, match=r"\.wh\.x: .*deletions"):
        copy(context, sources, at("x/"))


def test_context_that_is_gone_is_an_error_of_the_context(tmp_path: Path) -> None:
    with pytest.raises(ContextError, match="gone: No such file"):
        copy(tmp_path / "gone", ["f"])


def test_file_that_grows_while_it_is_read_is_named(tmp_path: Path) -> None:
    context = make(tmp_path / "context", {"d/log": file(bytes(100))})
    growing, done = (context / "d/log").open("ab"), threading.Event()

    def grow() -> None:
        while not done.is_set():
            growing.write(b"x")
            growing.flush()

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        with pytest.raises(CopyFailed, match=r'^"/d/log": changed while it was being read'):
            for _ in range(100_000):
                copy(context, ["d"])
    finally:
        done.set()
        writer.join()
        growing.close()


@pytest.mark.parametrize(
    ("excludes", "names"),
    [
        (["*"], ["x"]),
        (["f"], ["x", "x/s", "x/s/f", "x/s/g.md", "x/t.md"]),
        (["**/f"], ["x", "x/s", "x/s/g.md", "x/t.md"]),
        (["s"], ["x", "x/f", "x/t.md"]),
        (["s/**"], ["x", "x/f", "x/s", "x/t.md"]),
        (["s/**", "!s/f"], ["x", "x/f", "x/s", "x/s/f", "x/t.md"]),
        (["s", "!s/f"], ["x", "x/f", "x/s", "x/s/f", "x/t.md"]),
        (["**", "!s/g.md"], ["x", "x/s", "x/s/g.md"]),
        (["**", "!nothing/below"], ["x"]),
        (["*.md"], ["x", "x/f", "x/s", "x/s/f", "x/s/g.md"]),
    ],
)
def test_excludes_are_relative_to_each_source_directory(
    tmp_path: Path, excludes: Sequence[str], names: Sequence[str]
) -> None:
    context = make(
        tmp_path / "context", {"d/f": file(), "d/s/f": file(), "d/s/g.md": file(), "d/t.md": file()}
    )

    assert copy(context, ["d"], at("x"), excludes=excludes).names == names


def test_excludes_apply_to_the_names_of_file_sources(tmp_path: Path) -> None:
    context = make(tmp_path / "context", {"a.md": file(), "d/b.md": file(), "c.txt": file()})

    copied = copy(context, ["a.md", "d/*", "*.txt"], at("x/"), excludes=["*.md"])

    assert copied.names == ["x", "x/c.txt"]


PARENTS_TREE = {
    "t/a/b/c/d/foo": file(),
    "t/a/b": directory(mode=0o700),
    "t/a/b2/c/bar": file(),
    "src/a.txt": file(),
    "src/x/b.txt": file(),
    "src/x/y/c.txt": file(),
    "src/x/y/no.md": file(),
    "src/empty": directory(),
    "src/link": symlink("x"),
}


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("t/a/b/./c/d", ["c", "c/d", "c/d/foo"]),
        ("/t/a/./b/./c/", ["b", "b/c", "b/c/d", "b/c/d/foo"]),
        ("t/a/./*/c", ["b", "b/c", "b/c/d", "b/c/d/foo", "b2", "b2/c", "b2/c/bar"]),
        ("t/*/./b2", ["b2", "b2/c", "b2/c/bar"]),
        ("./src/a.txt", ["src", "src/a.txt"]),
        ("src/x/y", ["src", "src/x", "src/x/y", "src/x/y/c.txt", "src/x/y/no.md"]),
        (
            "./src/**/*.txt",
            ["src", "src/a.txt", "src/x", "src/x/b.txt", "src/x/y", "src/x/y/c.txt"],
        ),
        ("src/link", ["src", "src/link"]),
        ("src/empty", ["src", "src/empty"]),
        ("src/*.nothing", []),
        ("nothing/*", []),
        ("noth*/./x", None),
    ],
)
def test_parents_keep_the_path_of_the_source(
    tmp_path: Path, source: str, names: Sequence[str] | None
) -> None:
    context = make(tmp_path / "context", PARENTS_TREE)

    copied = copy(context, [source], at("p"), parents=True)

    expected = [] if names is None else ["p", *(f"p/{name}" for name in names)]
    assert copied.names == expected
    if "p/b" in copied.modes:
        assert copied.modes["p/b"] == 0o700


@pytest.mark.parametrize(
    "source", ["t/nonexistent", "/t/a/./nothing", "nowhere/./*", "src/a.txt/./x", "src/link/b.txt"]
)
def test_parents_of_a_missing_path_is_an_error(tmp_path: Path, source: str) -> None:
    context = make(tmp_path / "context", PARENTS_TREE)

    with pytest.raises(CopyFailed, match=r"not found|not a directory|does not follow"):
        copy(context, [source], at("p"), parents=True)


def test_parents_respect_what_is_ignored_and_excluded(tmp_path: Path) -> None:
    context = make(tmp_path / "context", PARENTS_TREE)

    copied = copy(
        context,
        ["./src/**/*.*"],
        at("p"),
        parents=True,
        ignore=["src/x/b.txt"],
        excludes=["src/x/y/*.md"],
    )

    assert copied.names == [
        "p",
        "p/src",
        "p/src/a.txt",
        "p/src/x",
        "p/src/x/y",
        "p/src/x/y/c.txt",
    ]


def test_heredoc_becomes_a_file(context: Path) -> None:
    given = {"name": "EOF", "content": "text\udcff\n", "mode": 0o644, "mtime": 5}

    copied = copy(context, [], at("x/"), files=[given])

    assert copied.contents == {"x/EOF": b"text\xff\n"}
    assert copied.members["x/EOF"].mtime == 5
    assert copied.modes == {"x": 0o755, "x/EOF": 0o644}


def test_given_files_follow_the_flags(context: Path, tmp_path: Path) -> None:
    (tmp_path / "download").write_bytes(b"d" * 1000)
    with (tmp_path / "download").open("rb") as download:
        download.seek(0, os.SEEK_END)
        given = {"name": "d", "fd_index": 1, "mode": 0o600, "uid": 3, "gid": 4, "mtime": 5}
        plain = copy(context, [], at("x"), files=[given], fds=[download.fileno()])
        flagged = copy(
            context,
            [],
            at("x"),
            files=[given],
            fds=[download.fileno()],
            owner=[1, 2],
            chmod="0413",
        )

    assert plain.contents == {"x": b"d" * 1000}
    assert (plain.modes["x"], plain.owners["x"]) == (0o600, (3, 4))
    assert (flagged.modes["x"], flagged.owners["x"]) == (0o413, (1, 2))


def test_heredoc_without_a_time_is_of_now(context: Path) -> None:
    before = int(time.time())

    copied = copy(
        context, [], at("x"), files=[{"name": "E", "content": "", "mode": 0o644, "mtime": None}]
    )

    assert before <= copied.members["x"].mtime <= time.time()


def test_layer_is_the_archive_compressed(context: Path, tmp_path: Path) -> None:
    archive = copy(context, ["."], at("x"))

    layer = copy(context, ["."], at("x"), output="layer", compression="gzip")

    assert gzip.decompress(layer.content) == archive.content
    assert layer.result == {
        "digest": "sha256:" + hashlib.sha256(layer.content).hexdigest(),
        "size": len(layer.content),
        "diff_id": "sha256:" + hashlib.sha256(archive.content).hexdigest(),
        "uncompressed_size": len(archive.content),
        "entries": 5,
        "needs_replace": False,
        "warnings": [],
    }


def test_layer_and_archive_can_be_had_at_once(context: Path, tmp_path: Path) -> None:
    alone = copy(context, ["."], at("x"), output="layer", compression="gzip")

    with (tmp_path / "stream").open("w+b") as stream:
        both = copy(
            context,
            ["."],
            at("x"),
            output="both",
            compression="gzip",
            stream_index=1,
            fds=[stream.fileno()],
        )
        stream.seek(0)
        archive = stream.read()

    assert (both.content, both.result) == (alone.content, alone.result)
    assert archive == gzip.decompress(both.content)


def test_bytes_depend_on_the_context_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"d{number % 7}/f{number}" for number in range(60)]
    archives = []
    for seed, zone, umask in ((1, "UTC", 0o022), (2, "Pacific/Kiritimati", 0o077)):
        random.Random(seed).shuffle(names)
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        before = os.umask(umask)
        try:
            context = make(tmp_path / zone, {name: file(name.encode()) for name in names})
            os.utime(context, ns=(TIME, TIME))
            archives.append(copy(context, [".", "d1/*", "d2"], at("p/x", missing_parents=["p"])))
        finally:
            os.umask(before)
    monkeypatch.undo()
    time.tzset()

    assert archives[0].content == archives[1].content


def test_reader_that_leaves_ends_the_copy_without_an_error(context: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        job = {"source": {"directory": os.fspath(context)}, **arguments(["."], at("x"))}
        result = produce(job, [write_end])
    finally:
        os.close(write_end)

    assert result["complete"] is False


def test_deep_destination_of_root_has_no_slash_before_it(context: Path) -> None:
    assert copy(context, ["f"], {**NEW, **ROOT, "path": "/"}).names == ["f"]


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(nodes=RANDOM)
def test_copying_and_unpacking_is_identity(
    tmp_path_factory: pytest.TempPathFactory, nodes: dict[str, Node]
) -> None:
    base = tmp_path_factory.mktemp("identity")
    context = make(base / "context", nodes)

    (base / "copied").write_bytes(copy(context, ["."], keep_owner=True).content)

    assert describe(unpack(base / "copied", base / "unpacked")) == describe(context)
