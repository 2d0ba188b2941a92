"""Ignore files."""

from tests.conformance.case import GONE, Case

CASES = (
    Case(
        name="ignored files are not there, the Dockerfile among them",
        dockerfile="""\
            FROM scratch
            COPY . .
        """,
        ignore="re*\nDockerfile\n!rest\n.dockerignore\n",
        context={"main": "m", "red": "r", "reed": "e", "rest": "kept"},
        tree={
            "main": "m",
            "rest": "kept",
            "red": GONE,
            "reed": GONE,
            "Dockerfile": GONE,
            ".dockerignore": GONE,
        },
    ),
    Case(
        name="the ignore file beside a Dockerfile counts alone",
        dockerfile="""\
            FROM scratch
            COPY . .
        """,
        dockerfile_name="images/web.Dockerfile",
        ignore="first\n",
        context={
            "first": "1",
            "second": "2",
            "images/web.Dockerfile.dockerignore": "second\n",
        },
        tree={"first": "1", "second": GONE},
    ),
    Case(
        name="the last pattern that matches decides",
        dockerfile="""\
            FROM scratch
            COPY . /
        """,
        ignore=(
            "# a comment\n\n!one.md\n*.md\n  /two.txt  \n./three.txt\nnotes/\n!notes/KEEP.md\n"
            "**/*.tmp\n!**/kept.tmp\n"
        ),
        context={
            "one.md": "1",
            "two.txt": "2",
            "three.txt": "3",
            "sub/two.txt": "sub",
            "notes/KEEP.md": "keep",
            "notes/other": "other",
            "t.tmp": "t",
            "far/down/t.tmp": "t",
            "far/down/kept.tmp": "kept",
        },
        tree={
            "sub/two.txt": "sub",
            "notes/KEEP.md": "keep",
            "far/down/kept.tmp": "kept",
            "one.md": GONE,
            "two.txt": GONE,
            "three.txt": GONE,
            "notes/other": GONE,
            "t.tmp": GONE,
            "far/down/t.tmp": GONE,
        },
    ),
    Case(
        name="an ignored file cannot be named either",
        dockerfile="""\
            FROM scratch
            COPY private.key /
        """,
        ignore="private.key\n",
        context={"private.key": "k"},
        error=("private.key", "not found"),
        line=2,
    ),
    Case(
        name="other stages are not ignored",
        dockerfile="""\
            FROM scratch AS source
            COPY f /ignored
            FROM source
            COPY --from=source /ignored /again
        """,
        ignore="*\n!f\n",
        context={"f": "f"},
        tree={"ignored": "f", "again": "f"},
    ),
    Case(
        name="the context itself cannot be ignored",
        dockerfile="""\
            FROM scratch
            COPY . /
        """,
        ignore="/\n.\n",
        context={"f": "f"},
        tree={"f": "f"},
    ),
    Case(
        name="characters that mean something elsewhere are themselves",
        dockerfile="""\
            FROM scratch
            COPY . /
        """,
        ignore="x[*]\n^a\n\\d\n",
        context={"x*": "", "xy": "", "^a": "", "a": "", "d": "", "5": ""},
        tree={"x*": GONE, "xy": "", "^a": GONE, "a": "", "d": GONE, "5": ""},
    ),
)
