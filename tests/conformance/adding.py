"""ADD: archives and downloads."""

import bz2
import gzip
import lzma

from backports import zstd

from tests.conformance.case import GONE, Case, Is, has, is_directory
from tests.support.images import Entry, directory, make_tar

CASES = (
    Case(
        name="an archive keeps its owners unless others are given",
        dockerfile="""\
            FROM scratch
            ADD a.tar /kept/
            ADD --chown=100:200 a.tar /given/
        """,
        context={"a.tar": make_tar({"f": Entry(content=b"f", uid=7, gid=9)})},
        tree={
            "kept": is_directory(owner=(0, 0)),
            "kept/f": has(owner=(7, 9)),
            "given": is_directory(owner=(100, 200)),
            "given/f": has(owner=(100, 200)),
        },
    ),
    Case(
        name="given owners are for entries, not for directories that an archive only implies",
        dockerfile="""\
            FROM scratch
            ADD --chown=100:200 a.tar /given/
        """,
        context={"a.tar": make_tar({"etc/conf.d/x": "x"})},
        tree={
            "given": is_directory(owner=(100, 200)),
            "given/etc": is_directory(0o755, (0, 0)),
            "given/etc/conf.d": is_directory(0o755, (0, 0)),
            "given/etc/conf.d/x": has(owner=(100, 200)),
        },
    ),
    Case(
        name="archives that a wildcard finds meet in the destination",
        dockerfile="""\
            FROM scratch
            ADD *.tar /all
        """,
        context={"1.tar": make_tar({"one": "1"}), "2.tar": make_tar({"two": "2"})},
        tree={"all/one": "1", "all/two": "2"},
    ),
    Case(
        name="an archive is known by its content, however it is compressed",
        dockerfile="""\
            FROM scratch
            ADD plain gzip bzip2 xz zstd /all/
        """,
        context={
            "plain": make_tar({"plain": "0"}),
            "gzip": gzip.compress(make_tar({"gzip": "1"})),
            "bzip2": bz2.compress(make_tar({"bzip2": "2"})),
            "xz": lzma.compress(make_tar({"xz": "3"})),
            "zstd": zstd.compress(make_tar({"zstd": "4"})),
        },
        tree={
            "all/plain": "0",
            "all/gzip": "1",
            "all/bzip2": "2",
            "all/xz": "3",
            "all/zstd": "4",
        },
    ),
    Case(
        name="what is no archive is copied whatever its name",
        dockerfile="""\
            FROM scratch
            ADD nothing.tar.gz text.tar only.gz /d/
        """,
        context={"nothing.tar.gz": "", "text.tar": "text", "only.gz": gzip.compress(b"text")},
        tree={"d/nothing.tar.gz": "", "d/text.tar": "text", "d/only.gz": Is()},
    ),
    Case(
        name="an archive makes parents, and its root entry changes no destination",
        dockerfile="""\
            FROM scratch
            COPY f /d/f
            ADD a.tar /d
        """,
        context={
            "f": "f",
            "a.tar": make_tar({"./": directory(0o700, 3, 3), "etc/conf.d/x": "x"}),
        },
        tree={
            "d": is_directory(0o755, (0, 0)),
            "d/etc": is_directory(),
            "d/etc/conf.d/x": "x",
            "d/f": "f",
        },
    ),
    Case(
        name="an entry that leaves the destination is refused",
        dockerfile="""\
            FROM scratch
            ADD a.tar /deep/down/
        """,
        context={"a.tar": make_tar({"fine": "f", "../../../../outside": "o"})},
        error=("outside",),
        line=2,
    ),
    Case(
        name="a download has the server's name and time, mode 0600, and stays packed",
        dockerfile="""\
            FROM scratch
            ADD {web}/file /named/
            ADD {web}/file /renamed
            ADD {web}/ /unnamed/
            ADD {web}/a.tgz /packed
            ADD --unpack=true {web}/a.tgz /unpacked/
            ADD --chmod=0413 {web}/file /moded
        """,
        web={
            "/file": b"content",
            "/": b"index",
            "/a.tgz": gzip.compress(make_tar({"inner": "i"})),
        },
        tree={
            "named/file": Is(content="content", mode=0o600, mtime=1_600_000_000),
            "renamed": "content",
            "unnamed/__unnamed__": "index",
            "packed": Is(),
            "unpacked/inner": "i",
            "moded": has(mode=0o413),
        },
    ),
    Case(
        name="a checksum is for what is downloaded",
        dockerfile=f"""\
            FROM scratch
            ADD --checksum=sha256:{64 * "0"} f /f
        """,
        context={"f": ""},
        error=("checksum",),
        line=2,
    ),
    Case(
        name="a download that is another than was asked for is refused",
        dockerfile=f"""\
            FROM scratch
            ADD --checksum=sha256:{64 * "0"} {{web}}/file /f
        """,
        web={"/file": b"content"},
        error=("sha256:000",),
    ),
    Case(
        name="--unpack=false leaves an archive of the context as it is",
        dockerfile="""\
            FROM scratch
            ADD --unpack=false a.tar /d/
        """,
        context={"a.tar": make_tar({"inner": "i"})},
        tree={"d/a.tar": Is(), "d/inner": GONE},
    ),
)
