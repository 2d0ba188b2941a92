"""unpack_layer: what is on disk afterwards is what the layer says, and nothing unverified."""

import errno
import gzip
import itertools
import os
import resource
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asynckaniko.errors import ArchiveError, HostError, IntegrityError
from asynckaniko.linux import syscalls
from asynckaniko.rootfs.apply_layer import unpack_layer
from tests.unit.rootfs import rawtar as raw
from tests.unit.rootfs.children import in_namespaces
from tests.unit.rootfs.trees import describe
from tests.unit.rootfs.unpacking import LIMITS, Unpacked, memory_file, sha256, unpack, unpacked

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SECOND = 1_000_000_000
CAPABILITY = b"\1\0\0\2" + b"\0\x20\0\0" + bytes(12)
"""cap_net_raw=ep in revision 2."""
DEFAULT_ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, permissions, 0xFFFFFFFF)
    for tag, permissions in ((0x01, 7), (0x04, 5), (0x20, 0))
)
"""user::rwx, group::r-x, other::---, as linux/posix_acl_xattr.h lays it out."""


def xattr(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    return b"SCHILY.xattr." + name, value


def test_files_have_their_content_owner_mode_and_time(tmp_path: Path) -> None:
    archive = raw.file(b"small", b"content", mode=0o640, uid=1000, gid=100, mtime=5)
    archive += raw.file(b"large", b"0123456789" * 100_000, mtime=-5) + raw.file(b"empty", b"")

    found = unpacked(tmp_path, archive + raw.END).tree

    assert found["small"]["content"] == b"content"
    assert found["small"]["mode"] == 0o640
    assert found["small"]["owner"] == (1000, 100)
    assert found["small"]["mtime"] == 5 * SECOND
    assert found["large"]["content"] == b"0123456789" * 100_000
    assert found["large"]["mtime"] == -5 * SECOND
    assert found["large"]["owner"] == (0, 0)
    assert found["empty"]["content"] == b""


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6711, 0o1777, 0o000, 0o7777])
@pytest.mark.parametrize("owner", [0, 33])
def test_special_bits_survive_the_change_of_owner(tmp_path: Path, mode: int, owner: int) -> None:
    archive = raw.file(b"f", mode=mode, uid=owner, gid=owner)
    archive += raw.directory(b"d", mode=mode, uid=owner, gid=owner)
    archive += raw.header(b"p", b"6", mode=mode, uid=owner, gid=owner)

    found = unpacked(tmp_path, archive + raw.END)

    assert found.all("mode") == {"f": mode, "d": mode, "p": mode}
    assert set(found.all("owner").values()) == {(owner, owner)}


def test_bits_beyond_permissions_are_left_out(tmp_path: Path) -> None:
    archive = raw.file(b"f", mode=0o1777644)

    assert unpacked(tmp_path, archive + raw.END).tree["f"]["mode"] == 0o7644 & 0o7777


def test_directory_keeps_its_time_although_files_come_later(tmp_path: Path) -> None:
    archive = raw.directory(b"./", mtime=4) + raw.directory(b"d/", mtime=5)
    archive += raw.directory(b"d/e/", mtime=6) + raw.file(b"d/e/f", mtime=7)

    def work() -> dict[str, float]:
        unpack(archive + raw.END)
        return {path: os.stat(f"layer/{path}").st_mtime for path in (".", "d", "d/e", "d/e/f")}

    assert in_namespaces(tmp_path, work) == {".": 4, "d": 5, "d/e": 6, "d/e/f": 7}


def test_entry_of_the_root_sets_its_metadata(tmp_path: Path) -> None:
    archive = raw.directory(b"./", mode=0o555, uid=3, gid=4)

    def work() -> os.stat_result:
        unpack(archive + raw.END)
        return os.stat("layer")

    status = in_namespaces(tmp_path, work)
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o555, 3, 4)


def test_files_in_a_setgid_directory_keep_their_own_group(tmp_path: Path) -> None:
    archive = raw.directory(b"mail", mode=0o2775, gid=8)
    archive += raw.file(b"mail/root") + raw.directory(b"mail/d") + raw.symlink(b"mail/l", b"root")

    found = unpacked(tmp_path, archive + raw.END)

    assert found.all("owner") == {
        "mail": (0, 8),
        "mail/root": (0, 0),
        "mail/d": (0, 0),
        "mail/l": (0, 0),
    }
    assert found.tree["mail/d"]["mode"] == 0o755


def test_setgid_bit_of_a_volume_does_not_reach_the_layer(tmp_path: Path) -> None:
    os.chown(tmp_path, -1, 2000)
    tmp_path.chmod(0o2777)

    def work() -> tuple[os.stat_result, os.stat_result]:
        os.mkdir("volume")
        os.chown("volume", 0, 2000)
        os.chmod("volume", 0o2777)
        unpack(raw.file(b"f") + raw.END, "volume/layer")
        return os.stat("volume/layer"), os.stat("volume/layer/f")

    root, file = in_namespaces(tmp_path, work)
    assert (stat.S_IMODE(root.st_mode), root.st_gid) == (0o755, 0)
    assert file.st_gid == 0


def test_default_acl_of_a_volume_does_not_reach_the_layer(tmp_path: Path) -> None:
    archive = raw.directory(b"d", mode=0o777) + raw.file(b"d/f", mode=0o666)

    def work() -> dict[str, int]:
        os.mkdir("volume")
        os.setxattr("volume", "system.posix_acl_default", DEFAULT_ACL)
        unpack(archive + raw.END, "volume/layer")
        return {
            path: stat.S_IMODE(os.stat(f"volume/layer/{path}").st_mode) for path in ("d", "d/f")
        }

    assert in_namespaces(tmp_path, work) == {"d": 0o777, "d/f": 0o666}


def test_time_of_a_replaced_directory_is_not_given_to_what_a_link_leads_to(tmp_path: Path) -> None:
    archive = raw.directory(b"real", mtime=5) + raw.directory(b"gone", mtime=6)
    archive += raw.directory(b"gone/below", mtime=7) + raw.symlink(b"gone", b"real", mtime=8)

    found = unpacked(tmp_path, archive + raw.END)

    assert found.all("mtime") == {"real": 5 * SECOND, "gone": 8 * SECOND}


def test_directory_that_is_named_through_a_link_has_its_time(tmp_path: Path) -> None:
    archive = raw.directory(b"real", mtime=5) + raw.symlink(b"link", b"real", mtime=6)
    archive += raw.directory(b"link/below", mtime=7) + raw.file(b"link/below/f", mtime=8)

    found = unpacked(tmp_path, archive + raw.END)

    assert found.all("mtime") == {
        "real": 5 * SECOND,
        "link": 6 * SECOND,
        "real/below": 7 * SECOND,
        "real/below/f": 8 * SECOND,
    }


def test_links_are_made_as_they_are_written(tmp_path: Path) -> None:
    archive = raw.file(b"f", b"content", mode=0o600, uid=7, mtime=3)
    archive += raw.symlink(b"s", b"/does/not/../exist", uid=5, gid=6, mtime=4)
    archive += raw.hard_link(b"h", b"./f") + raw.hard_link(b"hs", b"/s")

    found = unpacked(tmp_path, archive + raw.END).tree

    assert found["s"]["target"] == found["hs"]["target"] == "/does/not/../exist"
    assert (found["s"]["owner"], found["s"]["mtime"]) == ((5, 6), 4 * SECOND)
    assert found["h"]["same as"] == found["f"]["same as"]
    assert (found["f"]["mode"], found["f"]["owner"], found["f"]["mtime"]) == (
        0o600,
        (7, 0),
        3 * SECOND,
    )


def test_portable_attributes_are_set_and_others_left_out(tmp_path: Path) -> None:
    records = [
        xattr(b"security.capability", CAPABILITY),
        xattr(b"user.mime_type", b"text/\0plain"),
        xattr(b"user.overlay.opaque", b"y"),
        xattr(b"user.overlay.whiteout", b"y"),
        xattr(b"trusted.overlay.opaque", b"y"),
        xattr(b"security.selinux", b"label"),
        xattr(b"system.posix_acl_access", b"\2\0\0\0"),
    ]
    on_directory = raw.pax(records[1:]) + raw.directory(b"d")
    on_symlink = raw.pax(records) + raw.symlink(b"s", b"f")
    on_file = raw.pax(records) + raw.file(b"f", uid=1000, mode=0o755)

    found = unpacked(tmp_path, on_directory + on_file + on_symlink + raw.END)

    assert found.all("xattrs") == {
        "d": {"user.mime_type": b"text/\0plain"},
        "f": {"security.capability": CAPABILITY, "user.mime_type": b"text/\0plain"},
    }


def test_capability_of_another_namespace_becomes_that_of_this_one(tmp_path: Path) -> None:
    revision_3 = b"\1\0\0\3" + CAPABILITY[4:] + (100_000).to_bytes(4, "little")
    archive = raw.pax([xattr(b"security.capability", revision_3)]) + raw.file(b"f")

    found = unpacked(tmp_path, archive + raw.END)

    assert found.all("xattrs")["f"] == {"security.capability": CAPABILITY}


@pytest.mark.parametrize(
    "record",
    [
        xattr(b"security.capability", b"nonsense"),
        xattr(b"user." + b"n" * 300, b""),
        xattr(b"user.large", bytes(70_000)),
    ],
)
def test_attribute_that_cannot_be_is_refused_by_name(
    tmp_path: Path, record: tuple[bytes, bytes]
) -> None:
    with pytest.raises(ArchiveError, match="the attribute"):
        unpacked(tmp_path, raw.pax([record]) + raw.file(b"f") + raw.END)


def test_devices_are_reported_as_no_namespace_can_have_them(tmp_path: Path) -> None:
    archive = raw.header(b"dev/null", b"3", device=(1, 3), mode=0o666, uid=1, gid=2)
    archive += raw.hard_link(b"dev/zilch", b"dev/null")
    archive += raw.header(b"dev/sda", b"4", device=(8, 0), mode=0o660)
    archive += raw.header(b"dev/gone", b"3", device=(5, 5)) + raw.file(b"dev/gone", b"instead")

    found = unpacked(tmp_path, archive + raw.END)

    assert found.result["devices"] == [
        {
            "path": path,
            "kind": kind,
            "major": major,
            "minor": minor,
            "mode": mode,
            "uid": uid,
            "gid": gid,
        }
        for path, kind, major, minor, mode, uid, gid in [
            ("dev/null", "character device", 1, 3, 0o666, 1, 2),
            ("dev/sda", "block device", 8, 0, 0o660, 0, 0),
            ("dev/zilch", "character device", 1, 3, 0o666, 1, 2),
        ]
    ]
    assert sorted(found.tree) == ["dev", "dev/gone"]
    assert found.tree["dev/gone"]["content"] == b"instead"


def test_directories_without_an_entry_are_made_and_reported(tmp_path: Path) -> None:
    archive = raw.file(b"a/b/f") + raw.file(b"c/f") + raw.directory(b"c", mode=0o700)
    archive += raw.symlink(b"l", b"a/x") + raw.file(b"l/y/f") + raw.directory(b"l/y/z")
    archive += raw.file(b"gone/f") + raw.file(b"gone")

    found = unpacked(tmp_path, archive + raw.END)

    assert found.result["implicit"] == ["a", "a/b", "a/x", "a/x/y"]
    assert found.tree["a/b"]["mode"] == 0o755
    assert found.tree["c"]["mode"] == 0o700
    assert "a/x/y/f" in found.tree


KINDS = {
    "file": raw.file(b"n", b"first"),
    "directory": raw.directory(b"n"),
    "full directory": raw.directory(b"n") + raw.directory(b"n/d") + raw.file(b"n/d/f"),
    "symlink": raw.symlink(b"n", b"other"),
    "hard link": raw.hard_link(b"n", b"other"),
    "fifo": raw.header(b"n", b"6"),
    "device": raw.header(b"n", b"3", device=(1, 3)),
    "whiteout": raw.file(b".wh.n", b""),
}


FLIPS = [
    (first, second)
    for first, second in itertools.product(KINDS, repeat=2)
    # Directories merge; deletions concern other layers only.
    if not (first == "full directory" and "directory" in second) and second != "whiteout"
]


@pytest.mark.parametrize(("first", "second"), FLIPS)
def test_later_entry_of_a_name_wins(tmp_path: Path, first: str, second: str) -> None:
    other = raw.file(b"other", b"content")

    def work() -> tuple[Unpacked, Unpacked]:
        both = unpack(other + KINDS[first] + KINDS[second] + raw.END, "both")
        alone = unpack(other + KINDS[second] + raw.END, "alone")
        return Unpacked(both, describe(Path("both"))), Unpacked(alone, describe(Path("alone")))

    both, alone = in_namespaces(tmp_path, work)

    for fact in ("kind", "mode", "content", "target", "same as"):
        assert both.all(fact) == alone.all(fact)
    assert both.result["devices"] == alone.result["devices"]


def test_directories_merge_and_the_later_entry_says_how_they_are(tmp_path: Path) -> None:
    archive = (
        raw.directory(b"d", uid=1, mode=0o700) + raw.file(b"d/f") + raw.directory(b"d", mtime=9)
    )

    found = unpacked(tmp_path, archive + raw.END).tree

    assert sorted(found) == ["d", "d/f"]
    assert (found["d"]["mode"], found["d"]["owner"], found["d"]["mtime"]) == (
        0o755,
        (0, 0),
        9 * SECOND,
    )


def test_hard_link_to_itself_or_written_twice_changes_nothing(tmp_path: Path) -> None:
    archive = raw.file(b"f", b"content") + raw.hard_link(b"f", b"f")
    archive += raw.hard_link(b"h", b"f") + raw.hard_link(b"h", b"f")

    assert unpacked(tmp_path, archive + raw.END).all("content") == {
        "f": b"content",
        "h": b"content",
    }


def test_many_directories_need_few_descriptors(tmp_path: Path) -> None:
    names = [b"d%d/e" % number for number in range(600)]
    archive = b"".join(raw.file(name + b"/f") for name in names * 2)

    def work() -> tuple[int, int]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
        before = len(os.listdir("/proc/self/fd"))
        unpack(archive + raw.END)
        return len(list(Path("layer").rglob("f"))), len(os.listdir("/proc/self/fd")) - before

    files, descriptors = in_namespaces(tmp_path, work)
    assert files == 600
    assert descriptors == 0


ARCHIVE = raw.file(b"f", b"content" * 10_000) + raw.END


@pytest.mark.parametrize("blob", [ARCHIVE, gzip.compress(ARCHIVE), zstd.compress(ARCHIVE)])
def test_blob_is_kept_as_it_is(tmp_path: Path, blob: bytes) -> None:
    def work() -> tuple[dict[str, Any], bytes]:
        arguments = {
            "directory": "layer",
            "media_type": "",
            "digest": sha256(blob),
            "size": len(blob),
            "diff_id": sha256(ARCHIVE),
            "limits": LIMITS,
        }
        with memory_file(blob) as descriptor, memory_file() as spool:
            result = unpack_layer(arguments, [descriptor, spool])
            return result, os.pread(spool, len(blob) + 1, 0)

    result, kept = in_namespaces(tmp_path, work)
    assert result == {"entries": 1, "size": len(ARCHIVE), "implicit": [], "devices": []}
    assert kept == blob


@pytest.mark.parametrize("blob", [ARCHIVE, gzip.compress(ARCHIVE), zstd.compress(ARCHIVE)])
@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"size": 100}, ["100"]),
        ({"size": 10**9}, ["1000000000"]),
        ({"digest": sha256(b"other")}, [sha256(b"other")]),
        ({"diff_id": sha256(b"other")}, [sha256(b"other"), sha256(ARCHIVE)]),
    ],
)
def test_other_bytes_than_those_asked_for_are_refused(
    tmp_path: Path, blob: bytes, changes: dict[str, Any], names: list[str]
) -> None:
    with pytest.raises(IntegrityError) as caught:
        unpacked(tmp_path, blob, tar=ARCHIVE, **changes)

    assert type(caught.value) is IntegrityError
    for name in [*names, changes.get("digest", sha256(blob))]:
        assert name in caught.value.message


@pytest.mark.parametrize("position", [20, 40_000, 70_000])
@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstd.compress])
def test_damage_is_called_a_wrong_digest_whatever_it_looks_like(
    tmp_path: Path, compress: Callable[[bytes], bytes], position: int
) -> None:
    blob = compress(ARCHIVE)
    damaged = bytearray(blob)
    damaged[position % len(blob)] ^= 0x55

    with pytest.raises(IntegrityError, match="digest") as caught:
        unpacked(tmp_path, bytes(damaged), digest=sha256(blob))

    assert not isinstance(caught.value, ArchiveError)


def test_bytes_after_the_archive_count_for_the_digests(tmp_path: Path) -> None:
    blob = ARCHIVE + b"trailing"

    assert unpacked(tmp_path, gzip.compress(blob), tar=blob).result["size"] == len(blob)
    with pytest.raises(IntegrityError, match="diffID"):
        unpacked(tmp_path, gzip.compress(blob), tar=ARCHIVE, directory="again")


def test_hostile_archive_with_its_right_digest_is_refused_as_such(tmp_path: Path) -> None:
    blob = raw.file(b"../f") + raw.END + bytes(5 << 20)

    with pytest.raises(ArchiveError, match=sha256(blob)):
        unpacked(tmp_path, blob)


@pytest.mark.parametrize("limits", [{"size": 50_000, "entries": 9}, {"size": 10**6, "entries": 0}])
def test_layer_over_a_limit_is_refused(tmp_path: Path, limits: dict[str, int]) -> None:
    with pytest.raises(ArchiveError):
        unpacked(tmp_path, gzip.compress(ARCHIVE), tar=ARCHIVE, limits=limits)


def test_owner_that_the_namespace_does_not_have_is_named(tmp_path: Path) -> None:
    def work() -> None:
        # The id that stands in for root outside is the one that nobody has inside.
        _, nobody, _ = Path("/proc/self/uid_map").read_text().split()[:3]
        unpack(raw.file(b"f", uid=int(nobody)) + raw.END)

    with pytest.raises(HostError, match=r"'f' with owner [0-9]+:0"):
        in_namespaces(tmp_path, work)


def test_full_disk_is_the_disks_fault(tmp_path: Path) -> None:
    archive = raw.file(b"f", bytes(8 << 20)) + raw.END

    def work() -> None:
        os.mkdir("small")
        syscalls.mount("tmpfs", "small", "tmpfs", 0, "size=4m")
        unpack(archive, "small/layer")

    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        in_namespaces(tmp_path, work)


def test_existing_directory_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "layer").mkdir()

    with pytest.raises(FileExistsError):
        unpacked(tmp_path, ARCHIVE)

    assert list((tmp_path / "layer").iterdir()) == []
