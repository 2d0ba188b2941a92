"""The tar reader against other writers, at every cut and split, and on nonsense."""

import io
import os
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asynckaniko.errors import ArchiveError
from asynckaniko.rootfs.decompress import ReadChunk
from asynckaniko.rootfs.tar_member import ArchiveLimits, Kind, Member
from asynckaniko.rootfs.tar_reader import TarReader
from tests.unit.rootfs import rawtar as raw

Read = list[tuple[Member, bytes]]
SECOND = 1_000_000_000


def chunks_of(content: bytes, *sizes: int) -> ReadChunk:
    """Hand out `content` in chunks of `sizes`, the last one again and again."""
    stream = io.BytesIO(content)
    remaining = list(sizes or (4096,))
    return lambda: stream.read(remaining.pop(0) if len(remaining) > 1 else remaining[0])


def read(content: bytes, *sizes: int, limits: ArchiveLimits | None = None) -> Read:
    reader = TarReader(chunks_of(content, *sizes), limits)
    return [(member, b"".join(reader.data())) for member in reader]


def only(content: bytes) -> Member:
    [(member, _)] = read(content)
    return member


def test_fields_of_a_plain_header_are_read() -> None:
    member = only(raw.file(b"dir/name", b"hello", mode=0o4755, uid=5, gid=6, mtime=7) + raw.END)

    assert member == Member(b"dir/name", Kind.FILE, 0o4755, 5, 6, 7 * SECOND, 5)


@pytest.mark.parametrize(
    ("flag", "kind"),
    [
        (b"0", Kind.FILE),
        (b"\0", Kind.FILE),
        (b"7", Kind.FILE),
        (b"1", Kind.HARD_LINK),
        (b"2", Kind.SYMLINK),
        (b"3", Kind.CHARACTER_DEVICE),
        (b"4", Kind.BLOCK_DEVICE),
        (b"5", Kind.DIRECTORY),
        (b"6", Kind.FIFO),
    ],
)
def test_type_flags_are_understood(flag: bytes, kind: Kind) -> None:
    member = only(raw.header(b"n", flag, link=b"to", device=(8, 1)) + raw.END)

    assert member.kind is kind
    assert member.link == (b"" if kind is Kind.FILE else b"to")
    assert member.device == ((8, 1) if "device" in kind.value else (0, 0))


def test_slash_makes_a_directory_of_an_old_header_only() -> None:
    assert only(raw.header(b"d/", b"\0", magic=raw.V7)).kind is Kind.DIRECTORY
    assert only(raw.header(b"d/", b"0")).kind is Kind.FILE


def test_type_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ArchiveError, match="unknown type"):
        read(raw.header(b"n", b"Z"))


def test_volume_label_is_no_member() -> None:
    assert only(raw.header(b"label", b"V") + raw.file(b"f") + raw.END).name == b"f"


@pytest.mark.parametrize(
    ("magic", "name"),
    [(raw.USTAR, b"pre/fix/name"), (raw.GNU, b"name"), (raw.V7, b"name")],
)
def test_prefix_counts_in_ustar_headers_only(magic: bytes, name: bytes) -> None:
    assert only(raw.header(b"name", prefix=b"pre/fix", magic=magic)).name == name


def test_times_in_a_star_header_are_not_part_of_the_name() -> None:
    block = bytearray(raw.header(b"name", prefix=b"pre"))
    block[476:488] = b"14524770456\0"
    block[508:512] = b"tar\0"
    total = sum(block) - sum(block[148:156]) + 8 * 32
    block[148:156] = b"%06o\0 " % total

    assert only(bytes(block)).name == b"pre/name"


def test_name_ends_at_its_first_zero_byte() -> None:
    assert only(raw.header(b"seen\0hidden")).name == b"seen"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b"0000017\0", 15),
        (b"     17 ", 15),
        (b"17\0junk!", 15),
        (b"\0" * 8, 0),
        (b" " * 8, 0),
        (b"\x80\0\0\0\0\0\0\x11", 17),
        (b"\x80\0\0\0\x7f\xff\xff\xff", 2**31 - 1),
    ],
)
def test_numbers_are_octal_or_binary(field: bytes, value: int) -> None:
    assert only(raw.header(b"n", uid=field)).uid == value


@pytest.mark.parametrize(
    "field",
    [
        b"0000018\0",
        b"0x11\0",
        b"1_0\0",
        b"-1\0",
        b"+1\0",
        b"0o17\0",
        b"1 7\0",
        b"\xff" * 8,
        b"\x80" + b"\xff" * 7,
        b"\x80\0\0\0\xff\xff\xff\xff",
    ],
)
def test_what_is_no_number_or_no_id_is_refused(field: bytes) -> None:
    with pytest.raises(ArchiveError):
        read(raw.header(b"n", uid=field))


@pytest.mark.parametrize("size", [-1, -512, 2**63, 2**70])
@pytest.mark.parametrize("flag", [b"0", b"7", b"L", b"x"])
def test_size_that_nothing_has_is_refused(flag: bytes, size: int) -> None:
    with pytest.raises(ArchiveError):
        read(raw.header(b"n", flag, size=size) + raw.END)


@pytest.mark.parametrize("flag", [b"1", b"2", b"3", b"4", b"5", b"6"])
def test_size_of_what_has_no_content_is_not_looked_at(flag: bytes) -> None:
    archive = raw.header(b"n", flag, size=10_000, link=b"t") + raw.file(b"after") + raw.END

    assert [(member.name, member.size) for member, _ in read(archive)] == [(b"n", 0), (b"after", 1)]


@pytest.mark.parametrize("mtime", [-1, -62135596800, 2**36])
def test_times_before_1970_and_far_away_are_read(mtime: int) -> None:
    assert only(raw.header(b"n", mtime=mtime)).mtime_ns == mtime * SECOND


def test_time_beyond_all_reason_is_refused() -> None:
    with pytest.raises(ArchiveError):
        read(raw.header(b"n", mtime=2**63))


def test_damaged_header_is_refused() -> None:
    with pytest.raises(ArchiveError, match="byte 512"):
        read(raw.header(b"good") + raw.header(b"bad", checksum=1))


@pytest.mark.parametrize("name", [b"plain", b"\xff\xfe\x80" * 5, b"\x80" * 20])
def test_checksum_may_be_of_signed_bytes(name: bytes) -> None:
    block = raw.header(name)
    signed = sum(byte - 256 * (byte > 127) for byte in block[:148] + b" " * 8 + block[156:])

    assert only(raw.header(name, checksum=b"%06o\0 " % signed)).name == name
    assert only(block).name == name
    with pytest.raises(ArchiveError):
        read(raw.header(name, checksum=b"%06o\0 " % (signed + 1)))


def test_archive_ends_at_two_empty_blocks() -> None:
    assert only(raw.file(b"f") + raw.END + raw.file(b"ignored")).name == b"f"


def test_empty_block_between_entries_is_refused() -> None:
    with pytest.raises(ArchiveError, match="empty block"):
        read(raw.file(b"a") + bytes(512) + raw.file(b"b") + raw.END)


@pytest.mark.parametrize("end", [b"", bytes(512), bytes(700)])
def test_archive_may_lack_its_end(end: bytes) -> None:
    assert only(raw.file(b"f") + end).name == b"f"


def test_extended_header_needs_an_entry() -> None:
    with pytest.raises(ArchiveError, match="extended header"):
        read(raw.pax([(b"path", b"n")]) + raw.END)


def test_pax_records_overrule_the_header() -> None:
    records = [
        (b"path", b"p" * 300),
        (b"uid", b"3000000000"),
        (b"gid", b"7"),
        (b"mtime", b"-1.5"),
        (b"SCHILY.xattr.user.\xff", b"\0\n="),
        (b"SCHILY.xattr.user.empty", b""),
        (b"comment", b"anything"),
    ]
    member = only(raw.pax(records) + raw.file(b"n", b"content") + raw.END)

    assert member == Member(
        b"p" * 300,
        Kind.FILE,
        0o644,
        3_000_000_000,
        7,
        -1_500_000_000,
        7,
        xattrs={"user.\udcff": b"\0\n=", "user.empty": b""},
    )


def test_pax_size_is_that_of_the_content() -> None:
    archive = raw.pax([(b"size", b"600")]) + raw.header(b"n", size=1) + raw.padded(b"z" * 600)

    assert read(archive + raw.file(b"after"))[0][1] == b"z" * 600


def test_pax_records_hold_for_one_entry() -> None:
    archive = raw.pax([(b"path", b"long")]) + raw.file(b"a") + raw.file(b"b") + raw.END

    assert [member.name for member, _ in read(archive)] == [b"long", b"b"]


def test_global_records_hold_until_they_are_overruled_or_withdrawn() -> None:
    archive = (
        raw.pax([(b"mtime", b"5"), (b"comment", b"commit id")], b"g")
        + raw.file(b"a", mtime=1)
        + raw.pax([(b"mtime", b"6")])
        + raw.file(b"b", mtime=1)
        + raw.pax([(b"mtime", b"")])
        + raw.file(b"c", mtime=1)
        + raw.file(b"d", mtime=1)
        + raw.END
    )

    assert [member.mtime_ns // SECOND for member, _ in read(archive)] == [5, 6, 1, 5]


@pytest.mark.parametrize("key", [b"path", b"linkpath", b"size", b"GNU.sparse.name"])
def test_global_record_that_would_rename_everything_is_refused(key: bytes) -> None:
    with pytest.raises(ArchiveError, match="every entry"):
        read(raw.pax([(key, b"1")], b"g") + raw.file(b"a") + raw.END)


def test_global_records_cannot_pile_up() -> None:
    headers = (raw.pax([(b"key%d" % number, b"v" * 100_000)], b"g") for number in range(20))

    with pytest.raises(ArchiveError, match="global pax headers are too long"):
        read(b"".join(headers))


@pytest.mark.parametrize(
    "content",
    [
        b"0 a=b\n",
        b"6 a=b",
        b"7 a=b\n",
        b"5 a=b\n",
        b"99999999999 a=b\n",
        b"-6 a=b\n",
        b"0x6 a=b\n",
        b"8 abcde\n",
        b"5 =b\n",
        b"a=b\n",
        b" 6 a=b\n",
        b"7 a\0=b\n",
        b"14 path=a\0/../b"[:14] + b"\n",
        b"9 uid=x\n",
        b"9 uid=-1",
        b"12 mtime=nan\n"[:13],
        b"14 mtime=1e400"[:13] + b"\n",
        b"31 mtime=99999999999999999999\n",
        b"13 size=1e3\n",
        b"12 size=-1\n",
    ],
)
def test_malformed_records_are_refused(content: bytes) -> None:
    with pytest.raises(ArchiveError):
        read(raw.pax_raw(content) + raw.file(b"n") + raw.END)


def test_gnu_long_names_win_over_pax() -> None:
    archive = (
        raw.gnu_long(b"K", b"k" * 200)
        + raw.gnu_long(b"L", b"l" * 200)
        + raw.pax([(b"path", b"p"), (b"linkpath", b"q")])
        + raw.symlink(b"short", b"short")
        + raw.END
    )
    member = only(archive)

    assert (member.name, member.link) == (b"l" * 200, b"k" * 200)


@pytest.mark.parametrize(
    "archive",
    [
        raw.pax([(b"SCHILY.xattr.user.x", bytes(8 << 20))]) + raw.file(b"n"),
        raw.pax([(b"k%d" % number, b"v") for number in range(2000)]) + raw.file(b"n"),
        raw.pax([(b"path", b"p" * 4097)]) + raw.file(b"n"),
        raw.pax([(b"linkpath", b"p" * 4097)]) + raw.symlink(b"n", b""),
        raw.gnu_long(b"L", b"p" * 4097) + raw.file(b"n"),
        raw.header(b"L", b"L", size=2**62) + raw.file(b"n"),
    ],
    ids=["large record", "many records", "path", "linkpath", "gnu name", "gnu size"],
)
def test_extended_headers_are_bounded(archive: bytes) -> None:
    with pytest.raises(ArchiveError):
        read(archive + raw.END)


def test_number_of_headers_is_bounded() -> None:
    archive = raw.pax([(b"comment", b"c")]) + raw.file(b"a") + raw.file(b"b")

    with pytest.raises(ArchiveError, match="more than 2 entries"):
        read(archive, limits=ArchiveLimits(entries=2))


def test_size_of_the_archive_is_bounded_before_its_content_is_read() -> None:
    unread = iter([raw.header(b"n", size=2**40)])

    with pytest.raises(ArchiveError, match="larger than"):
        list(TarReader(lambda: next(unread)))


def test_many_small_files_reach_the_size_limit_too() -> None:
    with pytest.raises(ArchiveError, match="larger than 10000 bytes"):
        read(raw.file(b"f") * 10, limits=ArchiveLimits(size=10_000))


LONG = "ä" * 60 + "/" + "n" * 150
ENTRIES: st.SearchStrategy[list[dict[str, object]]] = st.lists(
    st.builds(
        dict,
        name=st.sampled_from(["a", "dir/b", "ünï", "x" * 100, "y" * 101, LONG, "sp ace\n"]),
        type=st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE]),
        mode=st.integers(0, 0o7777),
        uid=st.sampled_from([0, 1000, 2**21 - 1, 2**21, 2**32 - 2]),
        gid=st.sampled_from([0, 100, 2**21]),
        mtime=st.sampled_from([0, 1, 2**33 - 1, 2**33, 1700000000]),
        linkname=st.sampled_from(["t", "../ä", "l" * 101, LONG]),
        content=st.binary(max_size=1500),
    ),
    max_size=6,
)


@settings(max_examples=300)
@given(
    entries=ENTRIES,
    form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=5),
)
def test_archives_of_python_are_read_whatever_the_chunks(
    entries: list[dict[str, object]], form: int, sizes: list[int]
) -> None:
    stream = io.BytesIO()
    expected = []
    with tarfile.open(fileobj=stream, mode="w", format=form, encoding="utf-8") as archive:
        for entry in entries:
            info = tarfile.TarInfo(str(entry["name"]))
            content = b""
            for key, value in entry.items():
                if key not in {"name", "content"}:
                    setattr(info, key, value)
            if info.type == tarfile.REGTYPE:
                content = bytes(entry["content"])  # type: ignore[call-overload]
                info.size = len(content)
            if info.type != tarfile.SYMTYPE:
                info.linkname = ""
            archive.addfile(info, io.BytesIO(content))
            expected.append(
                (
                    info.name.encode(),
                    info.mode,
                    info.uid,
                    info.gid,
                    int(info.mtime) * SECOND,
                    info.linkname.encode(),
                    content,
                )
            )

    found = [
        (
            member.name.rstrip(b"/"),
            member.mode,
            member.uid,
            member.gid,
            member.mtime_ns,
            member.link,
            content,
        )
        for member, content in read(stream.getvalue(), *sizes)
    ]

    assert found == expected


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with what GNU tar can express, and a file with holes."""
    root = tmp_path_factory.mktemp("tree")
    (root / "dir/deep").mkdir(parents=True)
    (root / "dir/file").write_bytes(b"content" * 300)
    (root / "dir/empty").touch()
    (root / "dir/link").symlink_to("file")
    os.link(root / "dir/file", root / "dir/hard")
    os.mkfifo(root / "dir/fifo")
    with open(root / "sparse", "wb") as file:
        for offset in (0, 1 << 20, 3 << 20):
            file.seek(offset)
            file.write(b"data at %d" % offset)
        file.truncate(5 << 20)
    for path in [root, *root.rglob("*")]:
        os.utime(path, ns=(5 * SECOND, 5 * SECOND), follow_symlinks=False)
    return root


@pytest.mark.parametrize(
    "options",
    [
        ["--format=v7"],
        ["--format=oldgnu"],
        ["--format=gnu"],
        ["--format=ustar"],
        ["--format=posix"],
        ["--format=gnu", "--sparse"],
        ["--format=oldgnu", "--sparse"],
        ["--format=posix", "--sparse", "--sparse-version=0.0"],
        ["--format=posix", "--sparse", "--sparse-version=0.1"],
        ["--format=posix", "--sparse", "--sparse-version=1.0"],
    ],
    ids=" ".join,
)
def test_archives_of_gnu_tar_are_read(tree: Path, tmp_path: Path, options: list[str]) -> None:
    archive = tmp_path / "archive.tar"
    members = ["dir/deep", "dir/file", "dir/empty", "dir/link", "dir/hard", "sparse"]
    command = ["tar", "--create", f"--file={archive}", f"--directory={tree}", *options, *members]
    subprocess.run(command, check=True)
    found = {member.name: (member, content) for member, content in read(archive.read_bytes())}

    assert found[b"dir/file"][1] == b"content" * 300
    assert found[b"dir/deep/"][0].kind is Kind.DIRECTORY
    assert found[b"dir/link"][0].link == b"file"
    assert found[b"dir/hard"][0].link == b"dir/file"
    assert found[b"sparse"][1] == (tree / "sparse").read_bytes()
    assert {member.mtime_ns for member, _ in found.values()} == {5 * SECOND}


@pytest.mark.parametrize("version", ["gnu", "0.0", "0.1", "1.0"])
def test_holes_stay_holes_in_a_file(tree: Path, tmp_path: Path, version: str) -> None:
    form = (
        ["--format=gnu"] if version == "gnu" else ["--format=posix", f"--sparse-version={version}"]
    )
    archive = tmp_path / "archive.tar"
    command = ["tar", "--create", f"--file={archive}", f"--directory={tree}", "--sparse", *form]
    subprocess.run([*command, "sparse"], check=True)
    reader = TarReader(chunks_of(archive.read_bytes()))
    member = next(iter(reader))
    copy = tmp_path / "copy"
    with open(copy, "wb") as file:
        reader.copy_to(file.fileno())

    assert member.size == 5 << 20
    assert copy.read_bytes() == (tree / "sparse").read_bytes()
    assert copy.stat().st_blocks * 512 < 1 << 20


def sparse(realsize: bytes, map_text: bytes, content: bytes) -> bytes:
    records = [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", b"s"),
        (b"GNU.sparse.realsize", realsize),
    ]
    stored = raw.padded(map_text) + content
    return raw.pax(records) + raw.file(b"GNUSparseFile.0/s", stored) + raw.END


def test_sparse_file_has_its_own_name_and_size() -> None:
    [(member, content)] = read(sparse(b"10", b"1\n4\n3\n", b"abc"))

    assert (member.name, member.size, content) == (b"s", 10, b"\0\0\0\0abc\0\0\0")


@pytest.mark.parametrize(
    ("realsize", "map_text", "content"),
    [
        (b"10", b"1\n8\n3\n", b"abc"),
        (b"10", b"2\n4\n2\n0\n1\n", b"abc"),
        (b"10", b"2\n0\n2\n1\n1\n", b"abc"),
        (b"10", b"1\n0\n2\n", b"abc"),
        (b"10", b"1\n0\n4\n", b"abc"),
        (b"10", b"2\n0\n3\n", b"abc"),
        (b"10", b"1\nx\n3\n", b"abc"),
        (b"10", b"-1\n0\n3\n", b"abc"),
        (b"10", b"99999999\n0\n3\n", b"abc"),
        (b"-10", b"1\n0\n3\n", b"abc"),
        (b"%d" % 2**40, b"1\n%d\n3\n" % (2**40 - 3), b"abc"),
        (b"%d" % 2**62, b"0\n", b""),
    ],
)
def test_sparse_map_that_does_not_fit_is_refused(
    realsize: bytes, map_text: bytes, content: bytes
) -> None:
    with pytest.raises(ArchiveError):
        read(sparse(realsize, map_text, content))


def test_unknown_sparse_version_is_refused() -> None:
    records = [(b"GNU.sparse.major", b"2"), (b"GNU.sparse.realsize", b"10")]

    with pytest.raises(ArchiveError, match="version"):
        read(raw.pax(records) + raw.file(b"s") + raw.END)


ENTRIES_OF_SAMPLE = [
    raw.pax([(b"comment", b"c" * 600)]) + raw.file(b"first", b"a" * 700),
    raw.directory(b"dir/"),
    raw.gnu_long(b"L", b"n" * 150) + raw.file(b"nnn", b"b" * 512),
    raw.file(b"empty", b""),
    raw.file(b"last", b"c" * 3),
    sparse(b"2000", b"1\n1000\n3\n", b"abc").removesuffix(raw.END),
]
PADDINGS_OF_SAMPLE = [324, 0, 0, 0, 509, 509]
SAMPLE = b"".join(ENTRIES_OF_SAMPLE) + raw.END
SAMPLE_READ = read(SAMPLE)


def test_every_cut_is_noticed_but_for_those_that_lose_only_whole_entries() -> None:
    unnoticed = set()
    length = len(SAMPLE) - len(raw.END)
    for end in range(length + 1):
        try:
            found = read(SAMPLE[:end])
        except ArchiveError:
            continue
        unnoticed.add(end)
        assert found == SAMPLE_READ[: len(found)]

    invisible = {0}
    position = 0
    for entry, padding in zip(ENTRIES_OF_SAMPLE, PADDINGS_OF_SAMPLE, strict=True):
        position += len(entry)
        invisible.update(range(position - padding, position + 1))
    assert unnoticed == invisible


@settings(max_examples=200)
@given(sizes=st.lists(st.integers(1, 2000), min_size=1, max_size=12))
@example(sizes=[1])
@example(sizes=[511])
@example(sizes=[513])
def test_splits_of_the_input_do_not_matter(sizes: list[int]) -> None:
    assert read(SAMPLE, *sizes) == SAMPLE_READ


CHANGES = st.tuples(st.integers(0, len(SAMPLE) - 1), st.binary(max_size=12))


@settings(max_examples=500)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(SAMPLE) - 1), st.binary(max_size=12)), max_size=4
    ),
    mended=st.booleans(),
)
def test_nonsense_is_refused_in_one_way(changes: list[tuple[int, bytes]], mended: bool) -> None:
    content = bytearray(SAMPLE)
    for position, replacement in changes:
        content[position : position + len(replacement)] = replacement
    if mended:
        for start in range(0, len(content) - 511, 512):
            block = content[start : start + 512]
            if block[257:262] == b"ustar":
                total = sum(block) - sum(block[148:156]) + 8 * 32
                content[start + 148 : start + 156] = b"%06o\0 " % total

    message = ""
    try:
        read(bytes(content), limits=ArchiveLimits(size=1 << 20))
    except ArchiveError as error:
        message = str(error)
    assert message.isprintable()


def test_content_that_is_not_read_is_passed_over() -> None:
    reader = TarReader(chunks_of(raw.file(b"a", b"x" * 10_000) + raw.file(b"b", b"y") + raw.END))
    members = iter(reader)
    next(members)
    next(iter(reader.data()))

    assert next(members).name == b"b"
    assert b"".join(reader.data()) == b"y"
    assert b"".join(reader.data()) == b""


def test_content_larger_than_a_chunk_is_copied(tmp_path: Path) -> None:
    content = os.urandom(100_000)
    reader = TarReader(chunks_of(raw.file(b"a", content) + raw.END))
    with open(tmp_path / "copy", "wb") as file:
        for _ in reader:
            reader.copy_to(file.fileno())

    assert (tmp_path / "copy").read_bytes() == content


def test_draining_reads_what_follows_the_archive() -> None:
    chunks = [raw.file(b"a") + raw.END, b"more", b"and more", b""]
    reader = TarReader(lambda: chunks.pop(0))
    list(reader)

    reader.drain()

    assert chunks == []


def test_repeated_attributes_are_not_remembered_without_bound() -> None:
    archive = b"".join(raw.header(b"f", uid=uid) for uid in range(5000))

    assert [member.uid for member, _ in read(archive)] == list(range(5000))


def test_members_are_independent_of_each_other() -> None:
    first, second = (member for member, _ in read(raw.file(b"a", uid=1) + raw.file(b"b", uid=1)))

    assert replace(second, name=b"a") == first
