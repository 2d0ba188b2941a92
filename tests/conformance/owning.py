"""Owners and modes: --chown, --chmod, and what a copy keeps."""

from tests.conformance.case import Case, Is, has, is_directory
from tests.support.images import Entry, directory

CASES = (
    Case(
        name="an octal mode is for directories and for missing parents too",
        dockerfile="""\
            FROM scratch
            ARG given
            COPY --chmod=777 f /open/f
            COPY --chmod=770 f /open/group/f
            COPY --chmod=0 f /none
            COPY --chmod=${given} f /from-arg
            COPY --chmod=0640 dir /dir
        """,
        request={"build_args": {"given": "755"}},
        context={"f": Entry(content=b"f", mode=0o600), "dir/sub/x": "x"},
        tree={
            "open": is_directory(0o777),
            "open/f": has(mode=0o777),
            "open/group": is_directory(0o770),
            "open/group/f": has(mode=0o770),
            "none": has(mode=0),
            "from-arg": has(mode=0o755),
            "dir": is_directory(0o640),
            "dir/sub": is_directory(0o640),
            "dir/sub/x": has(mode=0o640),
        },
    ),
    Case(
        name="an octal mode may have the special bits",
        dockerfile="""\
            FROM scratch
            COPY --chmod=4755 f /setuid
            COPY --chmod=1777 f /sticky
        """,
        context={"f": "f"},
        tree={"setuid": has(mode=0o4755), "sticky": has(mode=0o1777)},
    ),
    Case(
        name="a symbolic mode changes the one that is there",
        dockerfile="""\
            FROM scratch
            COPY --chmod=u=rwX,go=rX d /d
            COPY --chmod=go-w both /less
            COPY --chmod=a+X both /same
            COPY --chmod=+x both /more
        """,
        context={
            "d/text": Entry(content=b"t", mode=0o600),
            "d/program": Entry(content=b"p", mode=0o700),
            "d/sub/": directory(0o700),
            "d/sub/loose": Entry(content=b"l", mode=0o666),
            "both": Entry(content=b"b", mode=0o666),
        },
        tree={
            "d/text": has(mode=0o644),
            "d/program": has(mode=0o755),
            "d/sub": is_directory(0o755),
            "d/sub/loose": has(mode=0o644),
            "less": has(mode=0o644),
            "same": has(mode=0o666),
            "more": has(mode=0o777),
        },
    ),
    Case(
        name="a number alone is user and group, of new parents as well",
        dockerfile="""\
            FROM scratch
            COPY --chown=55 f /new/parent/f
            COPY --chown=10:11 f /both
        """,
        context={"f": "f"},
        tree={
            "new": is_directory(owner=(55, 55)),
            "new/parent": is_directory(owner=(55, 55)),
            "new/parent/f": has(owner=(55, 55)),
            "both": has(owner=(10, 11)),
        },
    ),
    Case(
        name="a name that the image does not know is an error",
        dockerfile="""\
            FROM scratch
            COPY accounts /etc/passwd
            COPY --chown=nobodyknows f /f
        """,
        context={"accounts": "root:x:0:0::/root:/bin/sh\n", "f": "f"},
        error=("nobodyknows",),
        line=3,
    ),
    Case(
        name="directories that are there keep their owner",
        dockerfile="""\
            FROM scratch AS source
            COPY --chown=100:200 tree/ /tree/
            FROM scratch
            COPY --chown=500:600 before/ /mine/
            COPY --from=source /tree /copy
            COPY --from=source /tree/. /mine
            COPY --from=source --chown=300:400 /tree/. /mine/below/
        """,
        context={"tree/sub/leaf": "leaf", "before/old": "old"},
        tree={
            "copy": is_directory(owner=(0, 0)),
            "copy/sub": is_directory(owner=(100, 200)),
            "copy/sub/leaf": has(owner=(100, 200)),
            "mine": is_directory(owner=(500, 600)),
            "mine/old": has(owner=(500, 600)),
            "mine/sub/leaf": has(owner=(100, 200)),
            "mine/below": is_directory(owner=(300, 400)),
            "mine/below/sub/leaf": has(owner=(300, 400)),
        },
    ),
    Case(
        name="special bits survive copies",
        dockerfile="""\
            FROM scratch AS source
            COPY . /from
            FROM scratch
            COPY --from=source /from/u /from/g /
            COPY --from=source /from /whole
        """,
        context={
            "u": Entry(content=b"u", mode=0o4755),
            "g": Entry(content=b"g", mode=0o2755),
            "t/": directory(0o1777),
        },
        tree={
            "u": has(mode=0o4755),
            "g": has(mode=0o2755),
            "whole/u": has(mode=0o4755),
            "whole/t": is_directory(0o1777),
        },
    ),
    Case(
        name="a context belongs to root whoever owns it, and USER has no say in it",
        dockerfile="""\
            FROM scratch
            USER 1000:1000
            COPY f /f
        """,
        context={"f": "f"},
        tree={"f": Is(content="f", owner=(0, 0))},
        config={"User": "1000:1000"},
    ),
)
