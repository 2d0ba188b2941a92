"""COPY with --exclude, --parents, --link and --from."""

from tests.conformance.case import GONE, Case, Is, is_directory, is_link
from tests.support.images import make_tar, symlink

CASES = (
    Case(
        name="an exclusion may have exceptions",
        dockerfile="""\
            FROM scratch
            COPY --exclude=data/** --exclude=!data/seed src/ src/
        """,
        context={"src/data/seed": "s", "src/data/dump": "d", "src/code": "c"},
        tree={"src/code": "c", "src/data/seed": "s", "src/data/dump": GONE},
    ),
    Case(
        name="parents keep what stands after the pivot",
        dockerfile="""\
            FROM scratch AS source
            COPY r /r
            FROM scratch
            COPY --from=source --parents /r/a/b/./c/d /middle/
            COPY --from=source --parents /r/a/./b/./c /twice/
            COPY --from=source --parents /r/a/./*/c /wild/
            COPY --from=source --parents ./r/a/b/c/d /front/
        """,
        context={"r/a/b/c/d/x": "x", "r/a/b2/c/y": "y"},
        tree={
            "middle/c/d/x": "x",
            "twice/b/c/d/x": "x",
            "wild/b/c/d/x": "x",
            "wild/b2/c/y": "y",
            "front/r/a/b/c/d/x": "x",
            "middle/a": GONE,
            "middle/r": GONE,
            "twice/a": GONE,
            "wild/a": GONE,
        },
    ),
    Case(
        name="parents know two stars",
        dockerfile="""\
            FROM scratch
            COPY --parents ./lib/**/*.py /p/
        """,
        context={"lib/a.py": "a", "lib/b/b.py": "b", "lib/b/c/c.py": "c", "lib/b/c/c.txt": "-"},
        tree={
            "p/lib/a.py": "a",
            "p/lib/b/b.py": "b",
            "p/lib/b/c/c.py": "c",
            "p/lib/b/c/c.txt": GONE,
        },
    ),
    Case(
        name="parents of a name that is not there are an error",
        dockerfile="""\
            FROM scratch AS source
            COPY f /dir/f
            FROM scratch
            COPY --from=source --parents /dir/not-this-one /out/
        """,
        context={"f": "f"},
        error=("not-this-one", "not found"),
    ),
    Case(
        name="a linked copy begins at WORKDIR as any other",
        dockerfile="""\
            FROM scratch
            WORKDIR /srv/www
            COPY --link page .
        """,
        context={"page": "hello"},
        tree={"srv/www/page": "hello"},
    ),
    Case(
        name="a linked copy does not follow links of the image",
        dockerfile="""\
            FROM scratch
            ADD links.tar /
            COPY --link page /www/
        """,
        context={"links.tar": make_tar({"www": symlink("elsewhere")}), "page": "hello"},
        tree={"www": is_directory(0o755), "www/page": "hello", "elsewhere": GONE},
    ),
    Case(
        name="a linked copy with a mode follows links as one that is not linked",
        dockerfile="""\
            FROM scratch
            ADD links.tar /
            COPY --link --chmod=0755 page /www/
        """,
        context={"links.tar": make_tar({"www": symlink("elsewhere")}), "page": "hello"},
        tree={"www": is_link("elsewhere"), "elsewhere/page": Is(content="hello", mode=0o755)},
    ),
    Case(
        name="a linked copy knows the accounts of the image",
        dockerfile="""\
            FROM busybox
            COPY --link --chown=nobody:mail page /page
        """,
        context={"page": "hello"},
        tree={"page": Is(content="hello", owner=(65534, 8))},
    ),
    Case(
        name="exclusions hold for files that are named",
        dockerfile="""\
            FROM scratch
            COPY --exclude=*.tmp a.txt b.tmp /d/
        """,
        context={"a.txt": "a", "b.tmp": "b"},
        tree={"d/a.txt": "a", "d/b.tmp": GONE},
    ),
    Case(
        name="--from takes no variables",
        dockerfile="""\
            FROM scratch
            COPY --from=$STAGE . .
        """,
        error=("--from",),
    ),
    Case(
        name="--from takes names in any case, and numbers",
        dockerfile="""\
            FROM scratch AS First
            COPY f one
            FROM scratch AS seCOND
            COPY --from=fIRST one two
            COPY --from=0 one three
            FROM scratch
            COPY --from=second two four
        """,
        request={"target": "Second"},
        context={"f": "f"},
        tree={"two": "f", "three": "f", "four": GONE},
    ),
    Case(
        name="--from begins at the root of the stage, not at its WORKDIR",
        dockerfile="""\
            FROM scratch AS source
            WORKDIR /inside
            COPY f /f
            FROM scratch
            WORKDIR /here
            COPY --from=source f .
        """,
        context={"f": "f"},
        tree={"here/f": "f"},
    ),
    Case(
        name="--from a later stage is an error",
        dockerfile="""\
            FROM scratch AS early
            COPY --from=late /x /y
            FROM scratch AS late
            COPY f /x
            FROM early
        """,
        context={"f": "f"},
        error=("late",),
        line=2,
    ),
    Case(
        name="COPY does not download",
        dockerfile="""\
            FROM scratch
            COPY http://127.0.0.1:9/file /file
        """,
        error=("copy",),
        line=2,
    ),
)
