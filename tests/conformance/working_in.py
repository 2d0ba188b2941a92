"""WORKDIR."""

from tests.conformance.case import EMPTY, Case, Is, is_directory
from tests.support.images import directory, make_tar

CASES = (
    Case(
        name="paths are expanded, joined and cleaned",
        dockerfile="""\
            FROM scratch
            ENV ROOT=/base
            WORKDIR $ROOT/$UNSET
            WORKDIR one/
            WORKDIR ../two//three/.
        """,
        tree={
            "base": is_directory(),
            "base/one": is_directory(),
            "base/two/three": is_directory(0o755),
        },
        config={"WorkingDir": "/base/two/three"},
    ),
    Case(
        name="the directory is made even if nothing uses it",
        dockerfile="""\
            FROM scratch
            WORKDIR /unused
            WORKDIR /
        """,
        tree={"unused": EMPTY},
        config={"WorkingDir": "/"},
    ),
    Case(
        name="a directory that is there stays as it is",
        dockerfile="""\
            FROM scratch
            COPY --chown=9:9 --chmod=0700 f /own/f
            WORKDIR /own
        """,
        context={"f": "f"},
        tree={"own": is_directory(0o700, (9, 9))},
        config={"WorkingDir": "/own"},
    ),
    Case(
        name="what it makes below a setgid directory has its bit and group",
        dockerfile="""\
            FROM scratch
            ADD base.tar /
            WORKDIR /group/a
            COPY f /group/b/f
            COPY --chown=5:6 --chmod=0750 f /group/c/f
        """,
        context={"base.tar": make_tar({"group/": directory(0o2775, gid=10)}), "f": "f"},
        tree={
            "group/a": is_directory(0o2755, (0, 10)),
            "group/b": is_directory(0o2755, (0, 10)),
            "group/b/f": Is(content="f", owner=(0, 0)),
            "group/c": is_directory(0o2750, (5, 6)),
        },
    ),
    Case(
        name="what it makes is of the epoch",
        dockerfile="""\
            FROM scratch
            WORKDIR /w
        """,
        request={"source_date_epoch": 1_500_000_000},
        tree={"w": Is(kind="directory", mtime=1_500_000_000)},
    ),
    Case(
        name="what it makes belongs to the user whose name it is",
        dockerfile="""\
            FROM busybox
            USER nobody:mail
            WORKDIR /new
        """,
        tree={"new": is_directory(0o755, (65534, 8))},
    ),
    Case(
        name="what it makes belongs to the user",
        dockerfile="""\
            FROM scratch
            USER 1000:1001
            WORKDIR /new/below
        """,
        tree={
            "new": is_directory(0o755, (1000, 1001)),
            "new/below": is_directory(0o755, (1000, 1001)),
        },
    ),
)
