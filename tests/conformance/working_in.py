"""WORKDIR."""

from tests.conformance.case import EMPTY, Case, is_directory

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
