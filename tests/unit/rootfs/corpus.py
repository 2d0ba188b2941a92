"""Hostile and odd archives by the hundred, each with what must become of it.

Made by crossing where a name or a link's target can be written, what it says, and what is done
with it. Outcomes follow from rules that are stated here, not from what the code did once.
"""

import gzip
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tests.unit.rootfs import rawtar as raw

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

OUTSIDE = b"/mnt/outside"
"""Where the archives want to write: a directory beside the root, with a file `victim`."""
PAYLOAD = b"pwned"
_UP = b"../" * 12 + OUTSIDE[1:]


@dataclass(frozen=True)
class Case:
    """One archive. `refused` is about layers; `copied` is the same for ADD, where it differs."""

    name: str
    archive: bytes
    refused: bool
    lands: bytes = b""
    """Where below the root the payload must be, if it is not refused."""
    copied_refused: bool | None = None

    def is_refused(self, *, copied: bool) -> bool:
        if copied and self.copied_refused is not None:
            return self.copied_refused
        return self.refused


def every_case() -> list[Case]:
    found = [
        *_names(),
        *_links(),
        *_hard_links(),
        *_whiteouts(),
        *_roots(),
        *_numbers(),
        *_extended_headers(),
        *_structures(),
        *_odd_names(),
    ]
    found += _compressed(found)
    names = [case.name for case in found]
    assert len(set(names)) == len(names), "a name is there twice"
    return found


Write = Callable[[bytes, bytes], bytes]
"""Makes an entry from its name and kind flag."""


def _entry(name: bytes, flag: bytes, **fields: object) -> bytes:
    content = PAYLOAD if flag == b"0" else b""
    made = raw.header(name, flag, size=len(content), link=b"t", mode=0o777, **fields)  # type: ignore[arg-type]
    return made + raw.padded(content)


def _in_prefix(name: bytes, flag: bytes) -> bytes:
    prefix, slash, base = name.rpartition(b"/")
    return _entry(base, flag, prefix=prefix) if slash else _entry(name, flag)


NAME_CHANNELS: dict[str, Write] = {
    "ustar": _entry,
    "prefix": _in_prefix,
    "gnu": lambda name, flag: raw.gnu_long(b"L", name) + _entry(b"decoy", flag),
    "pax": lambda name, flag: raw.pax([(b"path", name)]) + _entry(b"decoy", flag),
}
KINDS = {"file": b"0", "directory": b"5", "symlink": b"2", "fifo": b"6", "device": b"3"}
NAMES: dict[str, tuple[bytes, bytes | None]] = {
    # Where it lands inside; None if it leads out of the root; empty if it is the root itself.
    "dotdot": (b"../outside/pw", None),
    "dotdot deep": (_UP + b"/pw", None),
    "dotdot in the middle": (b"a/../../outside/pw", None),
    "dotdot after dot": (b"./../outside/pw", None),
    "dotdot after slash": (b"/../outside/pw", None),
    "dotdot alone": (b"..", None),
    "dotdot at the end": (b"a/../..", None),
    "dotdot that stays inside": (b"a/../outside/pw", b"outside/pw"),
    "absolute": (OUTSIDE + b"/pw", OUTSIDE[1:] + b"/pw"),
    "two slashes": (b"//mnt//outside//pw", OUTSIDE[1:] + b"/pw"),
    "three dots": (b".../pw", b".../pw"),
    "backslashes": (b"..\\outside\\pw", b"..\\outside\\pw"),
    "dot": (b".", b""),
    "slash": (b"/", b""),
    "back to the root": (b"a/..", b""),
}


def _names() -> Iterator[Case]:
    for (channel, write), (kind, flag), (what, (name, lands)) in itertools.product(
        NAME_CHANNELS.items(), KINDS.items(), NAMES.items()
    ):
        refused = lands is None or (lands == b"" and kind != "directory")
        yield Case(
            f"name {what} by {channel} as {kind}",
            write(name, flag) + raw.END,
            refused,
            lands if lands and kind == "file" else b"",
        )


LINK_CHANNELS: dict[str, Write] = {
    "ustar": lambda target, flag: raw.header(b"l", flag, link=target),
    "gnu": lambda target, flag: raw.gnu_long(b"K", target) + raw.header(b"l", flag, link=b"decoy"),
    "pax": lambda target, flag: (
        raw.pax([(b"linkpath", target)]) + raw.header(b"l", flag, link=b"decoy")
    ),
}
TARGETS: dict[str, tuple[bytes, bytes | None]] = {
    # Where it leads inside; None if it leads nowhere.
    "outside": (OUTSIDE, OUTSIDE[1:]),
    "outside by dotdot": (_UP, OUTSIDE[1:]),
    "beside the root": (b"../outside", b"outside"),
    "through proc root": (b"/proc/self/root" + OUTSIDE, b"proc/self/root" + OUTSIDE),
    "through proc cwd": (b"/proc/self/cwd", b"proc/self/cwd"),
    "through proc of init": (b"/proc/1/root/tmp", b"proc/1/root/tmp"),
    "slash": (b"/", b""),
    "dot": (b".", b""),
    "dotdot": (b"..", b""),
    "itself": (b"l", None),
    "another loop": (b"loop", None),
    "a file": (b"f", None),
    "below a file": (b"f/x", None),
    "through a link": (b"inner/x", b"d/x"),
    "missing": (b"missing/deeper", b"missing/deeper"),
}
_AROUND = (
    raw.file(b"f")
    + raw.directory(b"d")
    + raw.symlink(b"loop", b"pool")
    + raw.symlink(b"pool", b"loop")
    + raw.symlink(b"inner", b"/d")
)
# What is done next with the link `l`; whether it needs a directory there; where a payload lands.
ACTIONS: dict[str, tuple[bytes, bool, str]] = {
    "write below it": (raw.file(b"l/pw", PAYLOAD), True, "below"),
    "write further below it": (raw.file(b"l/new/pw", PAYLOAD), True, "further below"),
    "make a directory below it": (raw.directory(b"l/new", mode=0o777), True, ""),
    "climb from below it": (raw.file(b"l/../pw", PAYLOAD), False, "root"),
    "replace it by a file": (raw.file(b"l", PAYLOAD, mode=0o4777), False, "itself"),
    "replace it by a directory": (raw.directory(b"l", mode=0o777, uid=7), False, ""),
    "replace it by a fifo": (raw.header(b"l", b"6", mode=0o777), False, ""),
    "link to it": (raw.hard_link(b"h", b"l"), False, ""),
    "link to it and write": (raw.hard_link(b"h", b"l") + raw.file(b"h", PAYLOAD), False, "h"),
    "link into it": (raw.file(b"l/x") + raw.hard_link(b"l/h", b"l/x"), True, ""),
}


def _links() -> Iterator[Case]:
    for (channel, write), (to, (target, inside)), (
        what,
        (action, below, lands),
    ) in itertools.product(LINK_CHANNELS.items(), TARGETS.items(), ACTIONS.items()):
        place = {
            "below": (inside or b"") + b"/pw",
            "further below": (inside or b"") + b"/new/pw",
            "root": b"pw",
            "itself": b"l",
            "h": b"h",
        }.get(lands, b"")
        yield Case(
            f"symlink to {to} by {channel}, then {what}",
            _AROUND + write(target, b"2") + action + raw.END,
            refused=below and inside is None,
            lands=place.lstrip(b"/"),
        )


def _hard_links() -> Iterator[Case]:
    targets: dict[str, tuple[bytes, bool]] = {
        "outside": (OUTSIDE + b"/victim", True),
        "outside by dotdot": (_UP + b"/victim", True),
        "beside the root": (b"../outside/victim", True),
        "a name in the working directory": (b"cwd-victim", True),
        "itself": (b"l", True),
        "nothing": (b"", True),
        "the root": (b"/", True),
        "a directory": (b"d", True),
        "below a file": (b"f/x", True),
        "a loop": (b"loop/x", True),
        "through a link out": (b"out/victim", True),
        "through proc": (b"/proc/self/cwd/cwd-victim", True),
        "a file": (b"f", False),
        "a file by a long way": (b"/d/.././f", False),
        "a file through a link": (b"inner/g", False),
        "a link": (b"inner", False),
    }
    around = _AROUND + raw.file(b"d/g") + raw.symlink(b"out", OUTSIDE)
    for (channel, write), (to, (target, refused)) in itertools.product(
        LINK_CHANNELS.items(), targets.items()
    ):
        # Without text, pax leaves the header's own in force.
        if channel == "pax" and not target:
            continue
        yield Case(
            f"hard link to {to} by {channel}", around + write(target, b"1") + raw.END, refused
        )
        yield Case(
            f"hard link to {to} by {channel}, then written to",
            around + write(target, b"1") + raw.file(b"l", PAYLOAD) + raw.END,
            refused,
            b"" if refused else b"l",
        )


def _whiteouts() -> Iterator[Case]:
    out = raw.symlink(b"out", OUTSIDE) + raw.directory(b"etc")
    ordinary = {
        "of a name": b"etc/.wh.x",
        "of the same layer": b".wh.etc",
        "of a link out": b".wh.out",
        "through a link out": b"out/.wh.victim",
        "opaque": b"etc/.wh..wh..opq",
        "opaque root": b".wh..wh..opq",
        "opaque through a link out": b"out/.wh..wh..opq",
        "below what is missing": b"no/where/.wh.x",
        "of a long name": b".wh." + b"n" * 251,
    }
    malformed = {
        "of dot": b"etc/.wh..",
        "of dotdot": b"etc/.wh...",
        "of dot at the root": b".wh..",
        "of dotdot at the root": b".wh...",
        "of nothing": b"etc/.wh.",
        "of nothing at the root": b".wh.",
        "of a mark": b"etc/.wh..wh.x",
        "of the opaque mark": b"etc/.wh..wh..wh..opq",
        "as a parent": b".wh.etc/f",
        "opaque as a parent": b".wh..wh..opq/f",
        "by dotdot": b"etc/../../.wh.outside",
    }
    kinds = {"file": b"0", "directory": b"5", "symlink": b"2", "hard link": b"1", "fifo": b"6"}
    for (what, name), (kind, flag) in itertools.product(ordinary.items(), kinds.items()):
        # For ADD these are ordinary names, so a hard link to nothing is what is wrong with it.
        yield Case(
            f"whiteout {what} as {kind}",
            out + raw.header(name, flag, link=b"x") + raw.file(b"pw", PAYLOAD) + raw.END,
            refused=False,
            lands=b"pw",
            copied_refused=kind == "hard link",
        )
    for (what, name), (kind, flag) in itertools.product(malformed.items(), kinds.items()):
        yield Case(
            f"whiteout {what} as {kind}",
            out + raw.header(name, flag, link=b"x") + raw.END,
            refused=True,
            copied_refused=kind == "hard link" or b"/../" in name,
        )


def _roots() -> Iterator[Case]:
    for what, name in {"dot": b".", "slash": b"/", "nothing": b"", "dot slash": b"./"}.items():
        for kind, flag in {"file": b"0", "symlink": b"2", "hard link": b"1", "fifo": b"6"}.items():
            yield Case(
                f"root called {what} as {kind}",
                raw.header(name, flag, link=OUTSIDE) + raw.file(b"pw", PAYLOAD) + raw.END,
                refused=True,
            )
        yield Case(
            f"root called {what} as directory",
            raw.directory(name, mode=0o700) + raw.file(b"pw", PAYLOAD) + raw.END,
            refused=False,
            lands=b"pw",
        )


def _numbers() -> Iterator[Case]:
    fields = {
        "size -1": ({"size": -1}, True),
        "size -512": ({"size": -512}, True),
        "size 2^62": ({"size": 2**62}, True),
        "size 2^63": ({"size": 2**63}, True),
        "size 2^64-512": ({"size": 2**64 - 512}, True),
        "size not octal": ({"size": b"0000000009\0"}, True),
        "size hexadecimal": ({"size": b"0x200\0"}, True),
        "size with underscore": ({"size": b"1_0\0"}, True),
        "size with sign": ({"size": b"+10\0"}, True),
        "size of blanks": ({"size": b" " * 12}, False),
        "uid -1": ({"uid": -1}, True),
        "uid 2^32-1": ({"uid": 2**32 - 1}, True),
        "uid 2^40": ({"uid": 2**40}, True),
        "uid of letters": ({"uid": b"root\0"}, True),
        "gid -1": ({"gid": -1}, True),
        "gid 2^40": ({"gid": 2**40}, True),
        "mode of all bits": ({"mode": 0o7777777}, False),
        "mode negative": ({"mode": -1}, False),
        "mode of letters": ({"mode": b"rwxrwx\0"}, True),
        "mtime -1": ({"mtime": -1}, False),
        "mtime of year 1": ({"mtime": -62135596800}, False),
        "mtime 2^36": ({"mtime": 2**36}, False),
        "mtime 2^62": ({"mtime": 2**62}, True),
        "mtime -2^62": ({"mtime": -(2**62)}, True),
        "mtime of letters": ({"mtime": b"now\0"}, True),
    }
    for what, (values, refused) in fields.items():
        yield Case(f"number {what}", raw.header(b"n", **values) + raw.END, refused)  # type: ignore[arg-type]
    devices: dict[str, int | bytes] = {"-1": -1, "2^40": 2**40, "letters": b"x"}
    for what, device in devices.items():
        yield Case(
            f"number device {what}", raw.header(b"n", b"3", device=(device, 0)) + raw.END, True
        )
    for kind, flag in KINDS.items():
        if kind != "file":
            yield Case(
                f"number size of a {kind}",
                raw.header(b"n", flag, size=512, link=b"t") + raw.file(b"pw", PAYLOAD) + raw.END,
                refused=False,
                lands=b"pw",
            )
            yield Case(
                f"number size of a {kind} that brings content",
                raw.header(b"n", flag, size=512, link=b"t") + b"A" * 512 + raw.END,
                refused=True,
            )


def _extended_headers() -> Iterator[Case]:
    records: dict[str, tuple[list[tuple[bytes, bytes]], bool]] = {
        "size -1": ([(b"size", b"-1")], True),
        "size 1e3": ([(b"size", b"1e3")], True),
        "size 10^30": ([(b"size", b"1" + b"0" * 30)], True),
        "uid -1": ([(b"uid", b"-1")], True),
        "uid 2^33": ([(b"uid", b"8589934592")], True),
        "mtime nan": ([(b"mtime", b"nan")], True),
        "mtime inf": ([(b"mtime", b"inf")], True),
        "mtime 1e400": ([(b"mtime", b"1e400")], True),
        "mtime of twenty digits": ([(b"mtime", b"9" * 20)], True),
        "mtime empty": ([(b"mtime", b"")], False),
        "mtime of many decimals": ([(b"mtime", b"1." + b"3" * 1000)], False),
        "path with zero byte": ([(b"path", b"a\0/../../pw")], True),
        "path empty": ([(b"path", b"")], False),
        "path twice": ([(b"path", b"../x"), (b"path", b"fine")], False),
        "path twice, the last hostile": ([(b"path", b"fine"), (b"path", b"../x")], True),
        "path of 4097 bytes": ([(b"path", b"a/" * 2048 + b"a")], True),
        "path 2000 deep": ([(b"path", b"a/" * 2000 + b"a")], True),
        "path 257 deep": ([(b"path", b"a/" * 256 + b"a")], True),
        "path 256 deep": ([(b"path", b"a/" * 255 + b"a")], False),
        "name of 256 bytes": ([(b"path", b"n" * 256)], True),
        "name of 255 bytes": ([(b"path", b"n" * 255)], False),
        "record of 8 MiB": ([(b"SCHILY.xattr.user.x", bytes(8 << 20))], True),
        "2000 records": ([(b"k%d" % number, b"v") for number in range(2000)], True),
        "unknown key": ([(b"VENDOR.key", b"value")], False),
        "charset": ([(b"hdrcharset", b"BINARY")], False),
        "attribute trusted": ([(b"SCHILY.xattr.trusted.overlay.opaque", b"y")], False),
        "attribute opaque": ([(b"SCHILY.xattr.user.overlay.opaque", b"y")], False),
        "attribute redirect": ([(b"SCHILY.xattr.user.overlay.redirect", b"/../outside")], False),
        "attribute selinux": ([(b"SCHILY.xattr.security.selinux", b"label\0")], False),
        "attribute without name": ([(b"SCHILY.xattr.", b"value")], False),
        "attribute capability of nonsense": ([(b"SCHILY.xattr.security.capability", b"x")], True),
    }
    for what, (pairs, refused) in records.items():
        yield Case(f"pax {what}", raw.pax(pairs) + raw.file(b"n", PAYLOAD) + raw.END, refused)
    raw_content = {
        "length 0": b"0 a=b\n\0\0",
        "length too large": b"99999999999 a=b\n",
        "length too small": b"4 a=b\n",
        "length negative": b"-6 a=b\n",
        "length of many digits": b"1" * 5000 + b" a=b\n",
        "no length": b"a=b\n",
        "no equals sign": b"8 abcde\n",
        "no key": b"5 =b\n",
        "no newline": b"6 a=b ",
        "zero byte in key": b"7 a\0=b\n",
    }
    for what, content in raw_content.items():
        yield Case(f"pax {what}", raw.pax_raw(content) + raw.file(b"n") + raw.END, refused=True)
    for key in (b"path", b"linkpath", b"size"):
        yield Case(
            f"pax global {key.decode()}",
            raw.pax([(key, _UP + b"/pw")], b"g") + raw.file(b"n", PAYLOAD) + raw.END,
            refused=True,
        )
    yield Case(
        "pax global comment",
        raw.pax([(b"comment", b"c")], b"g") + raw.file(b"n", PAYLOAD) + raw.END,
        refused=False,
        lands=b"n",
    )
    for flag in (b"x", b"L", b"K", b"g"):
        letter = flag.decode()
        big = raw.header(b"h", flag, size=2**40)
        yield Case(f"extended header {letter} of 1 TiB", big + raw.END, refused=True)
        if flag != b"g":
            alone = raw.pax([], flag) if flag == b"x" else raw.gnu_long(flag, b"n")
            yield Case(f"extended header {letter} alone", alone + raw.END, refused=True)
    many = raw.pax([(b"comment", b"c")]) * 500
    yield Case("extended headers in a chain", many + raw.file(b"n", PAYLOAD) + raw.END, False, b"n")


def _sparse(size: int, text: bytes, content: bytes) -> bytes:
    records = [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", b"s"),
        (b"GNU.sparse.realsize", b"%d" % size),
    ]
    return raw.pax(records) + raw.file(b"decoy", raw.padded(text) + content) + raw.END


def _structures() -> Iterator[Case]:
    fine = raw.file(b"pw", PAYLOAD)
    both = raw.file(b"a", b"1"), raw.directory(b"a"), raw.file(b"a/b", b"2")
    link_chain = b"".join(raw.symlink(b"s%d" % n, b"s%d" % (n + 1)) for n in range(60))
    archives: dict[str, tuple[bytes, bool]] = {
        "empty": (b"", False),
        "end only": (raw.END, False),
        "no end": (fine, False),
        "half an end": (fine + bytes(512), False),
        "empty block inside": (fine + bytes(512) + fine + raw.END, True),
        "cut in a header": (fine + raw.header(b"x")[:300], True),
        "cut in content": (fine + raw.file(b"x", bytes(5000))[:2000], True),
        "cut in an extended header": (raw.pax([(b"k", b"v" * 600)])[:700], True),
        "garbage at the end": (fine + raw.END + b"GARBAGE" * 1000, False),
        "garbage instead of a header": (fine + b"GARBAGE" * 1000, True),
        "another archive at the end": (fine + raw.END + raw.file(b"../x") + raw.END, False),
        "wrong checksum": (raw.header(b"n", checksum=1) + raw.END, True),
        "checksum of letters": (raw.header(b"n", checksum=b"abcdefgh") + raw.END, True),
        "unknown type": (raw.header(b"n", b"Z") + fine + raw.END, True),
        "unknown type beyond ASCII": (raw.header(b"n", b"\xff") + fine + raw.END, True),
        "multi-volume": (raw.header(b"n", b"M") + fine + raw.END, True),
        "volume label": (raw.header(b"../label", b"V") + fine + raw.END, False),
        "contiguous file": (raw.header(b"n", b"7") + fine + raw.END, False),
        "old header": (raw.header(b"n", b"\0", magic=raw.V7) + fine + raw.END, False),
        "file twice": (both[0] + both[0] + fine + raw.END, False),
        "file, directory, file": (b"".join(both) + both[0] + fine + raw.END, False),
        "file as parent": (both[0] + both[2] + raw.END, True),
        "fifo, then file": (raw.header(b"pw", b"6") + fine + raw.END, False),
        "fifo as parent": (raw.header(b"p", b"6") + raw.file(b"p/x") + raw.END, True),
        "device": (raw.header(b"p", b"3", device=(1, 3)) + fine + raw.END, False),
        "device 0:0": (raw.header(b"p", b"3") + fine + raw.END, False),
        "device, then file": (raw.header(b"pw", b"4", device=(8, 0)) + fine + raw.END, False),
        "symlink loop as parent": (
            raw.symlink(b"a", b"b") + raw.symlink(b"b", b"a") + raw.file(b"a/f") + raw.END,
            True,
        ),
        "symlinks 60 in a row": (link_chain + raw.file(b"s0/f") + raw.END, True),
        "symlink without target": (raw.symlink(b"l", b"") + raw.END, True),
        "symlink with a target of 1000 bytes": (
            raw.gnu_long(b"K", b"t" * 1000) + raw.symlink(b"l", b"") + fine + raw.END,
            False,
        ),
        "symlink with a target of 4096 bytes": (
            raw.gnu_long(b"K", b"t" * 4096) + raw.symlink(b"l", b"") + raw.END,
            True,
        ),
        "sparse file of 1 TiB": (_sparse(2**40, b"1\n%d\n1\n" % (2**40 - 1), b"z"), True),
        "sparse file with its end before its start": (_sparse(10, b"1\n8\n5\n", b"abcde"), True),
        "sparse file, overlapping": (_sparse(10, b"2\n0\n3\n2\n2\n", b"abcde"), True),
        "sparse file, map cut": (_sparse(10, b"3\n0\n3\n", b""), True),
        "sparse file that fits": (_sparse(10, b"1\n5\n5\n", b"abcde"), False),
        "sparse header, old": (raw.header(b"s", b"S", magic=raw.GNU) + fine + raw.END, False),
    }
    for what, (archive, refused) in archives.items():
        lands = b"pw" if fine in archive and not refused else b""
        yield Case(f"structure {what}", archive, refused, lands)


def _odd_names() -> Iterator[Case]:
    names = {
        "beyond UTF-8": b"\xff\xfe\x80",
        "newline and escape": b"a\n\x1b[2Jb",
        "blanks": b" ",
        "looks like an option": b"-rf",
        "tilde": b"~",
        "of dots": b"....",
        "of every byte": bytes(byte for byte in range(1, 256) if byte != 0x2F)[:99],
        "right to left": "\u202egpj.exe".encode(),
    }
    for (channel, write), (what, name) in itertools.product(NAME_CHANNELS.items(), names.items()):
        yield Case(f"odd name {what} by {channel}", write(name, b"0") + raw.END, False, name)


def _compressed(cases: list[Case]) -> list[Case]:
    def in_two(archive: bytes) -> bytes:
        half = len(archive) // 2
        return gzip.compress(archive[:half]) + gzip.compress(archive[half:])

    def zstandard(archive: bytes) -> bytes:
        return zstd.compress(archive, options={zstd.CompressionParameter.checksum_flag: 1})

    skippable = b"\x5f\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"skip"
    wrappers: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "gzip in two members": in_two,
        "zstd": zstandard,
        "zstd after a skippable frame": lambda archive: skippable + zstandard(archive),
    }
    sample = cases[:: max(1, len(cases) // 25)]
    wrapped = [
        replace(case, name=f"{case.name}, {name}", archive=wrap(case.archive))
        for case in sample
        for name, wrap in wrappers.items()
    ]
    archive = raw.file(b"pw", PAYLOAD) + raw.END
    damages: dict[str, Callable[[bytes], bytes]] = {
        "cut": lambda blob: blob[:-5],
        "cut in half": lambda blob: blob[: len(blob) // 2],
        "followed by garbage": lambda blob: blob + b"GARBAGE" * 100,
        "damaged": lambda blob: blob[:30] + b"\xaa\xaa\xaa" + blob[33:],
    }
    broken = [
        Case(f"{name}, {what}", damage(wrap(archive)), refused=True)
        for name, wrap in wrappers.items()
        for what, damage in damages.items()
    ]
    return wrapped + broken
