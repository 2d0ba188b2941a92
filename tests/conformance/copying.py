"""COPY: where files go, what is found, what is in the way."""

from tests.conformance.case import EMPTY, GONE, Case, Is, is_directory
from tests.support.images import Entry, directory

CASES = (
    Case(
        name="a file goes into a directory that is there, slash or not",
        dockerfile="""\
            FROM scratch
            COPY first /place
            COPY note /place
        """,
        context={"first/old": "old", "note": "new"},
        tree={"place": is_directory(), "place/old": "old", "place/note": "new"},
    ),
    Case(
        name="a directory gives what is in it and not its own mode",
        dockerfile="""\
            FROM scratch
            COPY from /to
        """,
        context={
            "from/": directory(0o700),
            "from/closed": Entry(content=b"c", mode=0o600),
            "from/below/": directory(0o711),
            "from/below/deep": "d",
        },
        tree={
            "to": is_directory(0o755, (0, 0)),
            "to/closed": Is(content="c", mode=0o600),
            "to/below": is_directory(0o711),
            "to/below/deep": "d",
            "to/from": GONE,
        },
    ),
    Case(
        name="a wildcard that finds one file may give it another name",
        dockerfile="""\
            FROM scratch
            COPY ma*.c renamed.c
            COPY src/*/lib/x /into/
            COPY src/*/lib/x /over/name
        """,
        context={"main.c": "main", "other.c": "other", "src/one/lib/x": "deep"},
        tree={"renamed.c": "main", "into/x": "deep", "over/name": "deep", "other.c": GONE},
    ),
    Case(
        name="brackets hide a wildcard and the JSON form hides blanks",
        dockerfile="""\
            FROM scratch
            COPY log[[]1].txt /logs/
            COPY ["a name/with blanks.txt", "/logs/"]
        """,
        context={"log[1].txt": "yes", "log1.txt": "no", "a name/with blanks.txt": "blank"},
        tree={"logs/log[1].txt": "yes", "logs/with blanks.txt": "blank", "logs/log1.txt": GONE},
    ),
    Case(
        name="a wildcard without a match does no harm beside a file",
        dockerfile="""\
            FROM scratch
            COPY lock package*.none /
        """,
        context={"lock": "l"},
        tree={"lock": "l"},
    ),
    Case(
        name="a wildcard without a match does not even make the destination",
        dockerfile="""\
            FROM scratch
            COPY lock /
            COPY package*.none /never/
        """,
        context={"lock": "l"},
        tree={"lock": "l", "never": GONE},
    ),
    Case(
        name="a name that is not there is an error",
        dockerfile="""\
            FROM scratch
            ENV before=1
            COPY absent here
            ENV after=1
        """,
        error=("absent", "not found"),
        line=3,
    ),
    Case(
        name="neither dots nor a slash lead out of the context",
        dockerfile="""\
            FROM scratch
            COPY ../../../top /a
            COPY /below/it /b
        """,
        context={"top": "T", "below/it": "I"},
        tree={"a": "T", "b": "I"},
    ),
    Case(
        name="a relative destination begins at WORKDIR",
        dockerfile="""\
            FROM scratch
            WORKDIR /one
            WORKDIR two
            COPY f ./
            COPY f ./three/renamed
            WORKDIR ..
            COPY f up
            WORKDIR /other/side
            COPY f ../
        """,
        context={"f": "hello"},
        tree={
            "one/two/f": "hello",
            "one/two/three/renamed": "hello",
            "one/up": "hello",
            "other/f": "hello",
        },
        config={"WorkingDir": "/other/side"},
    ),
    Case(
        name="sources may be variables and have any letters",
        dockerfile="""\
            FROM scratch
            ENV WHICH=one
            COPY $WHICH two
            COPY größe.txt gr%C3%B6.txt a+b.txt /
        """,
        context={"one": "1", "größe.txt": "letters", "gr%C3%B6.txt": "percent", "a+b.txt": "plus"},
        tree={"two": "1", "größe.txt": "letters", "gr%C3%B6.txt": "percent", "a+b.txt": "plus"},
    ),
    Case(
        name="the same copy twice changes nothing and another one merges",
        dockerfile="""\
            FROM scratch
            COPY tree tree
            COPY tree tree
            COPY src/a.go dst/a.go
            COPY src dst
        """,
        context={"tree/x/y/z": "z", "src/a.go": "a", "src/b.go": "b"},
        tree={"tree/x/y/z": "z", "dst/a.go": "a", "dst/b.go": "b", "tree/tree": GONE},
    ),
    Case(
        name="a directory below the destination takes the source's metadata, the top does not",
        dockerfile="""\
            FROM scratch
            COPY --chown=7:8 first /d
            COPY second /d
        """,
        context={
            "first/sub/": directory(0o700),
            "first/sub/a": "a",
            "second/sub/": directory(0o755),
            "second/sub/b": "b",
        },
        tree={
            "d": is_directory(owner=(7, 8)),
            "d/sub": is_directory(0o755, (0, 0)),
            "d/sub/a": Is(content="a", owner=(7, 8)),
            "d/sub/b": Is(content="b", owner=(0, 0)),
        },
    ),
    Case(
        name="a directory does not take a file's place",
        dockerfile="""\
            FROM scratch
            COPY flat/ /d/
            COPY nested/ /d/
        """,
        context={"flat/entry": "file", "nested/entry/x": "x"},
        error=("entry",),
        line=3,
    ),
    Case(
        name="a file does not take a directory's place",
        dockerfile="""\
            FROM scratch
            COPY nested/ /d/
            COPY flat/ /d/
        """,
        context={"flat/entry": "file", "nested/entry/x": "x"},
        error=("entry",),
        line=3,
    ),
    Case(
        name="everything excluded leaves an empty directory",
        dockerfile="""\
            FROM scratch
            ADD --exclude=* part* /out
        """,
        context={"part1/a": "a", "part2/b": "b"},
        tree={"out": EMPTY},
    ),
)
